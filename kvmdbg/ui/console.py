"""The terminal, shared by results, by the guest's serial port (from a vCPU's thread) and by the prompt.

While the prompt is shown, whole lines go above it, and a line that the guest has not ended is part of the prompt's
own text until it is; so neither ever lands in the other.
"""

from __future__ import annotations

import codecs
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kvmdbg.commands.results import Error, Result, Text
from kvmdbg.ui.render import render

if TYPE_CHECKING:
    from prompt_toolkit.patch_stdout import StdoutProxy

LONGEST_LINE = 4000
"""An unended line of the guest's is cut after so many characters."""
# Colours of the guest's pass; what moves the cursor or switches modes of the terminal does not.
_ESCAPES = re.compile(
    r"\x1b\[(?P<colour>[0-9;]*)m"
    r"|\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[0-Z\\^-~]|\x1b"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)


class Guest:
    """Makes text that a terminal can show from the bytes of a serial port, split anywhere."""

    def __init__(self, color: bool) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._color = color
        self._held = ""

    def text(self, data: bytes) -> str:
        """The text of the bytes so far; an escape sequence that has not ended is held back."""
        text = self._held + self._decoder.decode(data)
        self._held = ""
        start = text.rfind("\x1b")
        if start >= 0 and len(text) - start < 32 and re.fullmatch(r"\x1b(\[[0-?]*[ -/]*)?", text[start:]):
            text, self._held = text[:start], text[start:]
        return _ESCAPES.sub(self._escape, text.replace("\r\n", "\n"))

    def _escape(self, match: re.Match[str]) -> str:
        return match[0] if self._color and match["colour"] is not None else ""


class Console:
    """Everything that is written goes through here; any thread may."""

    def __init__(self, width: Callable[[], int], color: bool) -> None:
        self.color = color
        self.on_partial: Callable[[], None] = lambda: None
        self.partial = ""
        """The guest's line that has not ended, while the prompt is shown."""
        self._width = width
        self._guest = Guest(color)
        self._lock = threading.RLock()
        self._proxy: StdoutProxy | None = None
        self._column = 0

    @contextmanager
    def prompting(self) -> Iterator[None]:
        """While inside, a prompt of prompt_toolkit owns the terminal."""
        from prompt_toolkit.patch_stdout import StdoutProxy

        with self._lock:
            self.end_line()
            self._proxy = StdoutProxy(sleep_between_writes=0.05, raw=True)
        try:
            yield
        finally:
            with self._lock:
                proxy, self._proxy = self._proxy, None
                proxy.close()

    def guest(self, data: bytes) -> None:
        """What the guest sent to its serial port."""
        with self._lock:
            text = self._guest.text(data)
            if self._proxy is None:
                self._write(text)
                return
            whole, newline, self.partial = (self.partial + text).rpartition("\n")
            if len(self.partial) > LONGEST_LINE:
                whole, newline, self.partial = whole + newline + self.partial, "\n", ""
            self._write(whole + newline)
        self.on_partial()

    def show(self, result: Result) -> None:
        """A result of a command, on lines of its own."""
        if isinstance(result, Text):
            with self._lock:
                self._write(result.text)
            return
        text = render(result, self._width(), self.color)
        with self._lock:
            self.end_line()
            self._write(f"{text}\n")

    def error(self, text: str) -> None:
        """A mistake, in one sentence."""
        self.show(Error(text))

    def keep_partial(self) -> None:
        """The prompt went away without a trace: its unended guest line is written out where it stood."""
        with self._lock:
            partial, self.partial = self.partial, ""
            self._write(partial)

    def end_line(self) -> None:
        """Go to the start of a line."""
        with self._lock:
            if self._column:
                self._write("\n")

    def _write(self, text: str) -> None:
        if not text:
            return
        self._column = 0 if text.endswith("\n") else 1
        if self._proxy is not None:
            self._proxy.write(text)
            return
        sys.stdout.write(text.encode("utf-8", "replace").decode(sys.stdout.encoding or "utf-8", "replace"))
        sys.stdout.flush()
