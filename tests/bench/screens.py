"""How long a user waits, through a pseudo-terminal, while every CPU is busy with something else; beside gdb.

The times are those at which the bytes came that made the screen what it was waited for.
"""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyte

from tests.bench.effort import Effort

COLUMNS, LINES = 120, 40
PATIENCE = 30.0
F11 = "\x1b[23~"
NOPS = b"\x90" * 4000 + b"\xf4"
PEER = "/bin/true"
HELLO = Path(__file__).parents[2] / "guests/hello16.bin"
GDB = ["gdb", "-nx", "-q", "-iex", "set debuginfod enabled off", PEER]


class Program:
    """A program on a screen of its own."""

    def __init__(self, arguments: list[str], folder: Path) -> None:
        self.screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.ByteStream(self.screen)
        self.begun = time.monotonic()
        self.pid, self._file = pty.fork()
        if not self.pid:
            kept = {"XDG_STATE_HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "HOME": str(folder)}
            environment = {**os.environ, **kept, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "CI": ""}
            environment.pop("PYTHONDONTWRITEBYTECODE", None)
            os.execvpe(arguments[0], arguments, environment)
        termios.tcsetwinsize(self._file, (LINES, COLUMNS))

    @property
    def rows(self) -> list[str]:
        return [row.rstrip() for row in self.screen.display]

    @property
    def last(self) -> str:
        """The line with the cursor."""
        return self.rows[self.screen.cursor.y]

    def until(self, holds: Callable[[], bool]) -> float:
        """When the bytes came after which this holds."""
        came = time.monotonic()
        while not holds():
            if not select.select([self._file], [], [], PATIENCE)[0]:
                raise TimeoutError("\n".join(self.rows))
            data = os.read(self._file, 65536)
            came = time.monotonic()
            self._stream.feed(data)
            if b"\x1b[6n" in data:  # where is the cursor?
                self.send(f"\x1b[{self.screen.cursor.y + 1};{self.screen.cursor.x + 1}R")
        return came

    def send(self, text: str) -> None:
        os.write(self._file, text.encode())

    def took(self, keys: str, holds: Callable[[], bool]) -> float:
        """Milliseconds from the keys to that."""
        self.rest()
        begin = time.monotonic()
        self.send(keys)
        return (self.until(holds) - begin) * 1e3

    def rest(self) -> None:
        """Read until nothing more comes."""
        while select.select([self._file], [], [], 0.05)[0]:
            self._stream.feed(os.read(self._file, 65536))

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._file)


@contextlib.contextmanager
def load() -> Iterator[None]:
    """While inside, each CPU has something else to do."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in os.sched_getaffinity(0)]
    try:
        yield
    finally:
        for one in busy:
            one.kill()
            one.wait()


@contextlib.contextmanager
def programs(*options: str) -> Iterator[tuple[Program, Program]]:
    """kvmdbg with these options on a guest of nops, and gdb; both at their prompts."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        guest = folder / "nops.bin"
        guest.write_bytes(NOPS)
        ours = Program([sys.executable, "-m", "kvmdbg", "--load", "0x1000", *options, str(guest)], folder)
        theirs = Program(GDB, folder)
        try:
            ours.until(lambda: ours.last.startswith("(kvmdbg"))
            theirs.until(lambda: theirs.last == "(gdb)")
            yield ours, theirs
        finally:
            ours.close()
            theirs.close()


def key(effort: Effort) -> tuple[float, float]:
    """From a key to its echo."""
    word = "info registers rax"

    def typed(program: Program) -> float:
        spent = []
        start = program.last
        for _ in range(max(effort.count(10), 2)):
            for end in range(1, len(word) + 1):
                wanted = f"{start} {word[:end]}".rstrip()
                spent.append(program.took(word[end - 1], lambda wanted=wanted: program.last == wanted))  # type: ignore[misc]
            program.took("\x15", lambda: program.last == start)
        return statistics.median(spent)

    with programs() as (ours, theirs), load():
        return typed(ours), typed(theirs)


def stepi(effort: Effort) -> tuple[float, float]:
    """From Enter behind stepi to the next prompt, with registers and code."""
    with programs("-ex", "set context regs,code,stack") as (ours, theirs), load():
        theirs.took("set pagination off\r", lambda: theirs.last == "(gdb)")
        theirs.took("starti\r", lambda: theirs.last == "(gdb)" and any("stopped" in row for row in theirs.rows))
        theirs.took("display/10i $pc\r", lambda: theirs.last == "(gdb)" and any("10i" in row for row in theirs.rows))
        spent, peers = [], []
        for number in range(1, max(effort.count(40), 3) + 1):
            ours.took("\x0c", lambda: ours.rows[0] == ours.last)
            ours.took("stepi", lambda: ours.last.endswith("stepi"))
            stepped = f"Stepped to {0x1000 + number:#x}."
            spent.append(ours.took("\r", lambda stepped=stepped: stepped in ours.rows and ours.last == "(kvmdbg real)"))  # type: ignore[misc]
            theirs.took("\x0c", lambda: theirs.rows[0] == theirs.last)
            theirs.took("stepi", lambda: theirs.last.endswith("stepi"))
            peers.append(theirs.took("\r", lambda: theirs.last == "(gdb)" and theirs.screen.cursor.y > 3))
        return statistics.median(spent), statistics.median(peers)


def full_screen(effort: Effort) -> tuple[float, float]:
    """From F11 to the screen with the next instruction, the registers and what was done."""
    with programs("--tui") as (ours, theirs), load():
        theirs.took("starti\r", lambda: theirs.last == "(gdb)" and any("stopped" in row for row in theirs.rows))
        theirs.took("layout asm\r", lambda: any(">" in row[:5] for row in theirs.rows))
        theirs.took("stepi\r", lambda: theirs.last == "(gdb)" and any("stepi" in row for row in theirs.rows))
        spent, peers = [], []

        def arrow() -> str:
            return next((row for row in theirs.rows if ">" in row[:5]), "")

        for number in range(1, max(effort.count(40), 3) + 1):
            pc = 0x1000 + number

            def drawn(pc: int = pc) -> bool:
                rows = ours.rows
                return (
                    any(row.startswith(f"=> 0000:{pc:04x}") for row in rows)
                    and any(f"Stepped to {pc:#x}." in row for row in rows)
                    and any(f"eip*{pc:08x}" in row for row in rows)
                    and f"pc {pc:#x}" in rows[-2]
                )

            spent.append(ours.took(F11, drawn))
            theirs.rest()
            before = arrow()
            peers.append(theirs.took("\r", lambda before=before: arrow() not in ("", before)))  # type: ignore[misc]
        return statistics.median(spent), statistics.median(peers)


def prompt(effort: Effort) -> tuple[float, float]:
    """From the start to the prompt."""

    def started(arguments: list[str], prompt: str) -> float:
        with tempfile.TemporaryDirectory() as folder:
            program = Program(arguments, Path(folder))
            try:
                return (program.until(lambda: program.last.startswith(prompt)) - program.begun) * 1e3
            finally:
                program.close()

    hello = [sys.executable, "-m", "kvmdbg", "--load", "0x1000", str(HELLO)]
    started(hello, "(kvmdbg")
    started(GDB, "(gdb)")
    with load():
        rounds = [(started(hello, "(kvmdbg real)"), started(GDB, "(gdb)")) for _ in range(max(effort.count(3), 1))]
    return statistics.median(ours for ours, _ in rounds), statistics.median(theirs for _, theirs in rounds)
