from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.debuggers import GDBS, LLDBS, Gdb, Lldb, Served
from tests.e2e.terminal import Terminal

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup the programs that are tested would ignore it

Shell = Callable[..., Terminal]
Serve = Callable[..., Served]


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """``shell(ARGUMENTS, columns=80)``: kvmdbg in a pseudo-terminal, with a history of the test's own."""
    terminals: list[Terminal] = []

    def start(*arguments: str, columns: int = 80, lines: int = 40, bash: bool = False, **environment: str) -> Terminal:
        place = {"XDG_STATE_HOME": str(tmp_path), **environment}
        terminals.append(Terminal(*arguments, columns=columns, lines=lines, environment=place, bash=bash))
        return terminals[-1]

    yield start
    for terminal in terminals:
        terminal.close()


@pytest.fixture
def serve() -> Iterator[Serve]:
    """``serve(ARGUMENTS)``: kvmdbg serving a guest to a debugger."""
    running: list[Served] = []

    def start(*arguments: str, **more: str) -> Served:
        running.append(Served(*arguments, **more))
        return running[-1]

    yield start
    for served in running:
        served.close()


@pytest.fixture(params=GDBS)
def gdb(request: pytest.FixtureRequest) -> Gdb:
    """``gdb(SERVED, COMMANDS)``: the distribution's gdb and the newest one."""
    return Gdb(GDBS[request.param])


@pytest.fixture(params=LLDBS)
def lldb(request: pytest.FixtureRequest) -> Lldb:
    """``lldb(SERVED, COMMANDS)``: the distribution's lldb and the newest one."""
    return Lldb(LLDBS[request.param])
