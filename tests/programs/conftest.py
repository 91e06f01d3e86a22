"""A debugger on one of these programs, driven by lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.core.session import Session
from kvmdbg.errors import KvmdbgError
from tests.e2e.debuggers import TIME_SCALE
from tests.programs import build


class Debugger:
    """``typed("break add", "run")`` gives what is said; the text of an error where one is refused."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.session: Session = kvmdbg.open(path, memory="16M")
        self.interpreter = Interpreter(self.session)
        self.interpreter.settings["context"] = ()
        self.interpreter.settings["limit-time"] = 10.0 * TIME_SCALE

    def typed(self, *lines: str) -> str:
        said = []
        for line in lines:
            try:
                said += [one.plain(200) for one in self.interpreter.execute(line)]
            except KvmdbgError as error:
                said.append(f"refused: {error}")
        return "\n".join(said)


Open = Callable[..., Debugger]


@pytest.fixture
def debug(tmp_path: Path) -> Iterator[Open]:
    """``debug("kernel.c", flags="-O1")``: a debugger on a program of these sources, or of the file given."""
    opened: list[Debugger] = []

    def start(*sources: str, flags: str = "", path: Path | None = None, bits: int = 32) -> Debugger:
        opened.append(Debugger(path or build(tmp_path, *sources, flags=flags, bits=bits)))
        return opened[-1]

    yield start
    for one in opened:
        one.session.close()
