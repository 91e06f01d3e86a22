"""A debugger on one of the shipped guests, driven by lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.results import Result

GUESTS = Path(__file__).resolve().parents[2] / "guests"


class Typist:
    """Types lines and reads what comes: ``type("si")`` gives the results' plain text."""

    def __init__(self, dbg: Interpreter) -> None:
        self.dbg = dbg

    def results(self, text: str) -> list[Result]:
        lines = iter(text.split("\n"))
        found: list[Result] = []
        for line in lines:
            found += self.dbg.execute(line, lambda: next(lines, None))
        return found

    def type(self, text: str) -> str:
        return "\n".join(one.plain() for one in self.results(text))


@pytest.fixture
def opened() -> Iterator[Callable[..., Typist]]:
    """Opens a guest: ``opened("hello16.bin", load=0x1000)``; closed at the test's end."""
    from kvmdbg import api

    sessions = []

    def open_guest(name: str | Path, **options: object) -> Typist:
        session = api.open(GUESTS / name, **options)  # type: ignore[arg-type]
        sessions.append(session)
        dbg = Interpreter(session)
        dbg.settings["context"] = ()
        return Typist(dbg)

    yield open_guest
    for session in sessions:
        session.close()


@pytest.fixture
def hello(opened: Callable[..., Typist]) -> Typist:
    return opened("hello16.bin", load=0x1000, registers={"rax": 2, "rbx": 2})


@pytest.fixture
def counter(opened: Callable[..., Typist]) -> Typist:
    return opened("counter16.bin", memory=512 << 20, load=0x10000, entry="0x1000:0")
