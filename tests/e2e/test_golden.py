"""The full-screen mode, screen by screen, as tests/e2e/golden has it.

python -m tests.e2e.test_golden        writes the screens anew; read the diff before committing it
"""

from __future__ import annotations

import contextlib
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.docs.transcripts import HOSTS
from tests.e2e.conftest import Shell
from tests.e2e.terminal import Terminal

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]

GOLDEN = Path(__file__).parent / "golden"
CUT = re.compile(r"(\bbreakpoint  keep  y .*?  )(?:debu|int[13]|hlt|page|step).*$", re.MULTILINE)
"""How a breakpoint is held, where the pane's edge cuts it off."""
SIZES = [(80, 24), (120, 40), (200, 60)]
F2, F3, F5, F11, PAGE_UP = "\x1bOQ", "\x1bOR", "\x1b[15~", "\x1b[23~", "\x1b[5~"


def boot16(screen: Terminal) -> Iterator[str]:
    """16-bit assembly: the start, a step behind a breakpoint, memory, exits."""
    screen.wait("0x007c00  <start>")
    yield "start"
    screen.send("break func\r")
    screen.wait("Breakpoint 1 at func")
    screen.send(F5)
    screen.wait("Breakpoint 1 at 0x7c16 <func>.")
    screen.send(F11)
    screen.wait("Stepped to 0x7c1b")
    screen.wait("eip*00007c1b")
    yield "step"
    screen.send("set tui-memory &counter\r")
    screen.wait("(kvmdbg) set tui-memory")
    for _ in range(6 if screen.screen.columns < 100 else 4):
        screen.send(F2)
    screen.wait("&counter")
    yield "memory"
    screen.send(F5)
    screen.wait("=> 0000:7c16")
    screen.send(F11)
    screen.wait("00007c1c  01*")
    yield "changed"


def kernel(screen: Terminal) -> Iterator[str]:
    """C, at a breakpoint on a function."""
    screen.wait("=>  8      cli")
    screen.send("break fill\r")
    screen.wait("Breakpoint 1 at fill")
    screen.send(F5)
    screen.wait("Breakpoint 1 at 0x1005d4 <fill+0xc>")
    screen.wait("=>")
    screen.wait("u64 *page")
    yield "fill"
    screen.send("print *task\r")
    screen.wait("RUNNING")
    screen.send("bt\r")
    screen.wait("outermost frame")
    yield "print"


SESSIONS: dict[str, tuple[list[str], Callable[[Terminal], Iterator[str]]]] = {
    "boot16": (["--symbols", "guests/boot16.elf", "guests/boot16.bin"], boot16),
    "kernel": (["guests/kernel-O0.elf"], kernel),
}


def masked(screen: Terminal) -> str:
    """The screen without what differs between hosts."""
    return HOSTS.sub("HELD", CUT.sub(r"\1HELD", screen.text)) + "\n"


def settled(screen: Terminal) -> str:
    """The screen once it stays as it is."""
    before = None
    while before != screen.text:
        before = screen.text
        for _ in range(10):
            screen._read(0.05)
    return masked(screen)


def captures(name: str, screen: Terminal) -> Iterator[Path]:
    """The file of each screen of a session, when it is time to look at it."""
    for moment in SESSIONS[name][1](screen):
        yield GOLDEN / f"{name}-{moment}-{screen.screen.columns}x{screen.screen.lines}.txt"


@pytest.mark.parametrize(("columns", "lines"), SIZES)
@pytest.mark.parametrize("name", SESSIONS)
def test_screens(shell: Shell, name: str, columns: int, lines: int) -> None:
    screen = shell("--tui", *SESSIONS[name][0], columns=columns, lines=lines)
    for path in captures(name, screen):
        wanted = path.read_text()
        with contextlib.suppress(AssertionError):  # the last part of it may still be to come
            screen.wait(lambda wanted=wanted: masked(screen) == wanted, 10)  # type: ignore[misc]
        assert masked(screen) == wanted, f"{path.name}; python -m tests.e2e.test_golden writes it anew"
        assert all(len(row) <= columns for row in wanted.split("\n"))


def write() -> None:
    """Write all screens anew."""
    GOLDEN.mkdir(exist_ok=True)
    for old in GOLDEN.glob("*.txt"):
        old.unlink()
    for name, (arguments, _) in SESSIONS.items():
        for columns, lines in SIZES:
            with tempfile.TemporaryDirectory() as state:
                screen = Terminal(
                    "--tui", *arguments, columns=columns, lines=lines, environment={"XDG_STATE_HOME": state}
                )
                try:
                    for path in captures(name, screen):
                        path.write_text(settled(screen))
                finally:
                    screen.close()


if __name__ == "__main__":
    sys.exit(write())
