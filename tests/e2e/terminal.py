"""A program in a pseudo-terminal, and the screen that its user sees (pexpect and pyte)."""

from __future__ import annotations

import os
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pexpect
import pyte

ROOT = Path(__file__).resolve().parents[2]
TIME_SCALE = float(os.environ.get("KVMDBG_TIME_SCALE", "1"))


class Terminal:
    """``kvmdbg ARGUMENTS`` on a screen of ``columns`` by ``lines``; ``environment`` goes over the usual one.

    With ``bash`` it is bash, whose job kvmdbg is when it is typed there.
    """

    def __init__(
        self, *arguments: str, columns: int, lines: int = 40, environment: dict[str, str], bash: bool = False
    ) -> None:
        kvmdbg = [sys.executable, "-m", "kvmdbg", *arguments]
        program = ["bash", "--norc", "--noprofile"] if bash else kvmdbg
        self.screen = pyte.HistoryScreen(columns, lines, history=1000)
        self._stream = pyte.Stream(self.screen)
        self.raw = ""
        self.says_where_its_cursor_is = True
        self.child = pexpect.spawn(
            program[0],
            program[1:],
            cwd=str(ROOT),
            env={**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "CI": "", **environment},
            dimensions=(lines, columns),
            encoding="utf-8",
            codec_errors="replace",
            timeout=None,
        )
        self.child.delaybeforesend = 0

    def _read(self, seconds: float) -> None:
        try:
            data = self.child.read_nonblocking(65536, timeout=seconds)
        except (pexpect.TIMEOUT, pexpect.EOF):
            return
        self.raw += data
        if "\x1b[6n" in data and self.says_where_its_cursor_is:
            self._stream.feed(data)
            self.child.send(f"\x1b[{self.screen.cursor.y + 1};{self.screen.cursor.x + 1}R")
        else:
            self._stream.feed(data)

    @property
    def is_cooked(self) -> bool:
        """Whether the terminal echoes what is typed and gives it on by lines, as it does at the start."""
        flags = termios.tcgetattr(self.child.fileno())[3]
        return bool(flags & termios.ECHO and flags & termios.ICANON)

    @property
    def shows_whole_screen(self) -> bool:
        """Whether the alternate screen is on."""
        return self.raw.rfind("\x1b[?1049h") > self.raw.rfind("\x1b[?1049l")

    @property
    def rows(self) -> list[str]:
        """What is on the screen, without the blanks at the ends."""
        return [line.rstrip() for line in self.screen.display]

    @property
    def text(self) -> str:
        return "\n".join(self.rows)

    @property
    def whole_text(self) -> str:
        """What has left the screen at its top, and what is on it."""
        columns = range(self.screen.columns)
        gone = ["".join(line[x].data for x in columns).rstrip() for line in self.screen.history.top]
        return "\n".join([*gone, self.text])

    def wait(self, condition: Callable[[], bool] | str, seconds: float = 20) -> None:
        """Until ``condition`` holds (or this text is on the screen); AssertionError with the screen otherwise."""
        holds = condition if callable(condition) else lambda: condition in self.text
        end = time.monotonic() + seconds * TIME_SCALE
        while not holds():
            if time.monotonic() > end:
                wanted = condition if isinstance(condition, str) else "the condition"
                raise AssertionError(f"no {wanted!r} within {seconds} s on this screen:\n{self.text}")
            self._read(0.05)

    def wait_for_death(self) -> None:
        """Until the program has ended, and all that it wrote is read."""
        self.wait(lambda: not self.child.isalive())
        read = -1
        while read != len(self.raw):
            read = len(self.raw)
            self._read(0.2)

    def send(self, text: str) -> None:
        self.child.send(text)

    def prompt(self, state: str = "real") -> None:
        """Until an empty prompt is the last line above the toolbar."""
        self.wait(lambda: self.last == f"(kvmdbg {state})")

    @property
    def last(self) -> str:
        """The line that the cursor is on."""
        return self.rows[self.screen.cursor.y]

    def command(self, line: str, state: str = "real") -> None:
        """Type a line; wait for the next prompt."""
        self.send("\x0c")  # clear the screen
        self.wait(lambda: self.rows[0] == self.last)
        self.send(line)
        self.wait(lambda: line[-20:] in "".join(self.rows))
        self.send("\r")
        self.wait(lambda: self.screen.cursor.y > 0 and self.last == f"(kvmdbg {state})")

    def resize(self, columns: int, lines: int) -> None:
        self.screen.resize(lines, columns)
        self.child.setwinsize(lines, columns)

    def end(self, seconds: float = 10) -> int:
        """Wait for the program's end; its exit status."""
        end = time.monotonic() + seconds * TIME_SCALE
        while self.child.isalive():
            assert time.monotonic() < end, f"it does not end:\n{self.text}"
            self._read(0.05)
        self._read(0)
        assert self.child.exitstatus is not None
        return int(self.child.exitstatus)

    def close(self) -> None:
        try:
            self.child.close(force=True)
        except pexpect.ExceptionPexpect:  # it was killed, and the host is slow to end it
            self.child.wait()
