"""The terminal, shared by results, by the guest's serial port (from a vCPU's thread) and by the prompt.

While the prompt is shown, whole lines go above it, and a line that the guest has not ended is part of the prompt's
own text until it is; so neither ever lands in the other. The terminal stays in raw mode all the while (prompt_toolkit's
own patch_stdout leaves it for each write, and what is typed in that moment is echoed into the output).
"""

from __future__ import annotations

import codecs
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kvmdbg import standard_files
from kvmdbg.commands.results import Error, Result, Screen, Text
from kvmdbg.ui.folded import folded
from kvmdbg.ui.render import render

if TYPE_CHECKING:
    from prompt_toolkit import Application

LONGEST_SEQUENCE = 256
"""An escape sequence that goes on for longer is none."""
BETWEEN_WRITES = 0.05
"""Seconds for which output is gathered while a prompt is shown: it is drawn anew for each write."""
# Colours of the guest's pass; what moves the cursor or switches modes of the terminal does not.
_ESCAPES = re.compile(
    r"\x1b\[(?P<colour>[0-9;]*)m"
    r"|\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[0-Z\\^-~]|\x1b"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)
_BEGUN = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*\x1b?)?\Z")
"""An escape sequence that has not ended."""
_COLOURS_AND_ENDS = re.compile(r"(\x1b\[[0-9;]*m|\n)")
_NO_COLOURS = "\x1b[0m"


class Guest:
    """Makes text that a terminal can show from the bytes of a serial port, split anywhere."""

    def __init__(self, color: bool) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._color = color
        self._held = ""
        self._on = ""
        """What has set the colours that are on."""

    def text(self, data: bytes) -> str:
        """The text of the bytes so far; an escape sequence that has not ended is held back.

        Its colours, which may hide what is written in them, are off at the end of it and of each line: what the
        terminal shows there may be another's.
        """
        text = self._held + self._decoder.decode(data)
        self._held = ""
        if (begun := _BEGUN.search(text)) is not None and len(begun[0]) < LONGEST_SEQUENCE:
            text, self._held = text[: begun.start()], begun[0]
        return self._coloured(_ESCAPES.sub(self._escape, text.replace("\r\n", "\n")))

    def _escape(self, match: re.Match[str]) -> str:
        is_colour = match["colour"] is not None and len(match[0]) < LONGEST_SEQUENCE
        return match[0] if self._color and is_colour else ""

    def _coloured(self, text: str) -> str:
        if not self._on and "\x1b" not in text:
            return text
        out, shown = "", ""  # the colours that are on in what stands there
        for part in _COLOURS_AND_ENDS.split(text):
            if part.startswith("\x1b"):
                before = "" if part[2:-1].startswith(("0;", ";")) or len(self._on) > LONGEST_SEQUENCE else self._on
                self._on = "" if not part[2:-1].strip("0") else before + part
            elif part:
                wanted = "" if part == "\n" else self._on
                if shown != wanted:
                    out += (_NO_COLOURS if shown else "") + wanted
                out, shown = out + part, wanted
        return out + (_NO_COLOURS if shown else "")


def _cells(text: str) -> int:
    """How many columns a terminal needs for it, at most."""
    from prompt_toolkit.utils import get_cwidth

    return get_cwidth(text.expandtabs())


class Console:
    """Everything that is written goes through here; any thread may."""

    def __init__(self, width: Callable[[], int], theme: Callable[[], str]) -> None:
        """``theme`` is asked at each result; where it is "" at first the guest's output has no colour either."""
        self._theme = theme
        self.on_partial: Callable[[], None] = lambda: None
        self.on_lost: Callable[[], None] = lambda: None
        self.pager: Callable[[str], bool] = lambda text: False
        """Shows a long text by itself; False where it is to be written as others are."""
        self.lost: int | None = None
        """The exit status when the terminal, or whatever stdout is, cannot be written: nothing is shown then."""
        self.partial = ""
        """The guest's line that has not ended, while the prompt is shown."""
        self._width = width
        self._guest = Guest(bool(theme()))
        self._lock = threading.RLock()
        self._app: Application[str] | None = None
        self._above = ""
        self._column = 0
        self._guests_line = False
        """The line that has not ended is the guest's."""
        self._ended_early = False
        """The guest's line was ended for it: the newline that is still to come has been written."""

    @contextmanager
    def prompting(self, app: Application[str]) -> Iterator[None]:
        """While inside, this prompt owns the terminal. It must call ``started`` when it runs."""
        with self._lock:
            self.end_line()
            self._put("\r\x1b[K")  # what the terminal has shown of keys that nobody had read yet: ^C
            self._app = app
        try:
            yield
        finally:
            with self._lock:
                self._app = None
                above, self._above = self._above, ""
                self._write(above)

    def started(self) -> None:
        """In the prompt's event loop: from now on there is something to write above."""
        with self._lock:
            if self._above:
                self._write_soon()

    def _write_soon(self) -> None:
        if self._app is not None and (loop := self._app.loop) is not None:
            loop.call_soon_threadsafe(loop.call_later, BETWEEN_WRITES, self._write_above)

    def _write_above(self) -> None:
        """In the prompt's event loop: write what was gathered above the prompt."""
        with self._lock:
            app, above = self._app, self._above
            if app is None or not above or app.is_done:  # it is written when a prompt that is ending has ended:
                return  # the terminal's answer to where its cursor is would come too late for it
            self._above = ""
            if not above.endswith("\n"):
                above += "\n"
            app.renderer.erase()
            app.output.write_raw(above.replace("\n", "\r\n"))
            app.output.flush()
            app.renderer.request_absolute_cursor_position()
            app.invalidate()

    def guest(self, data: bytes) -> None:
        """What the guest sent to its serial port."""
        with self._lock:
            text = self._guest.text(data)
            if text and self._ended_early:
                text, self._ended_early = text.removeprefix("\n"), False
            if self._app is None:
                self._write(text)
                self._guests_line = bool(self._column)
                return
            whole, newline, self.partial = (self.partial + text).rpartition("\n")
            if self.partial and _cells(self.partial) >= self._app.output.get_size().columns:
                whole, newline, self.partial = whole + newline + self.partial, "\n", ""  # the prompt has one row
                self._ended_early = True
            self._write(whole + newline)
        self.on_partial()

    def show(self, result: Result) -> None:
        """A result of a command, on lines of its own."""
        if isinstance(result, Text):
            with self._lock:
                self._write(result.plain())
            return
        text = render(result, self._width(), self._theme())
        if not isinstance(result, Screen):
            text = folded(text, self._width())
        if self._app is None and self.pager(text):
            return
        with self._lock:
            self.end_line()
            self._write(f"{text}\n")

    def progress(self, text: str) -> None:
        """Draw or erase the line that says how far something is; nothing while a prompt is shown."""
        with self._lock:
            if self._app is None:
                self.end_line()
                self._put(text)

    def error(self, text: str) -> None:
        """A mistake, in one sentence."""
        self.show(Error(text))

    def keep_partial(self) -> None:
        """The prompt went away without a trace: its unended guest line is written out where it stood."""
        with self._lock:
            partial, self.partial = self.partial, ""
            self._write(partial)
            self._guests_line = bool(partial)

    def end_line(self) -> None:
        """Go to the start of a line."""
        with self._lock:
            if self._column:
                self._ended_early, self._guests_line = self._guests_line, False
                self._write("\n")

    def _write(self, text: str) -> None:
        if not text:
            return
        self._column = 0 if text.endswith("\n") else 1
        if self._app is not None:
            waiting, self._above = bool(self._above), self._above + text
            if not waiting:
                self._write_soon()
            return
        self._put(text)

    def _put(self, text: str) -> None:
        if self.lost is not None:
            return
        try:
            standard_files.write(sys.stdout.buffer, text.encode(sys.stdout.encoding or "utf-8", "replace"))
        except (OSError, ValueError) as error:
            self.lost = standard_files.lost(error)
            self.on_lost()
