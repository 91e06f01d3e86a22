"""The code panes of the full-screen mode: source, and instructions, around the selected frame, with breakpoints."""

from __future__ import annotations

import os
import re
import time

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.results import Disassembly, SourceText
from kvmdbg.ui.panes import Line, lines_of

AROUND = 300
"""Lines of source before and behind the shown one that can be scrolled to, at least."""
STEP = 200
"""By how many lines the part of a file that is made moves on."""
BEFORE = 40
"""Instructions before the current one that can be scrolled to, and at least so many behind it."""
DOUBLE_CLICK = 0.5
"""Seconds within which a second click on a row belongs to the first."""
_ADDRESS = re.compile(r"0x([0-9a-f]{4,16})")


class CodePane:
    """Remembers which place of the code each row shows, so that a click finds it."""

    def __init__(self, interpreter: Interpreter) -> None:
        self.interpreter = interpreter
        self.session = interpreter.session
        self.places: list[str] = []
        self.middle = 0
        """The row that is to be seen."""
        self.shown: object = None
        """What the pane is about: where that changes, ``middle`` is gone to."""
        self._clicked = "", 0.0

    def clicked(self, row: int) -> str:
        """The place that a click on this row is about; "" where there is none, and for the end of a double click."""
        place, now = self.places[row] if row < len(self.places) else "", time.monotonic()
        if self._clicked[0] == place and now - self._clicked[1] < DOUBLE_CLICK:
            return ""
        self._clicked = place, now
        return place

    def change(self, place: str) -> str:
        """The command that sets a breakpoint at a place, or deletes those that are there now."""
        here = {one.address for one in self.session.locations.find(place).locations}
        numbers = sorted({one.number for one in self.session.breakpoints.held() if one.number and one.address in here})
        return f"delete {' '.join(map(str, numbers))}" if numbers else f"break {place}"


class SourcePane(CodePane):
    """The file of the selected frame, or what `list` has shown since the guest stopped there."""

    def __init__(self, interpreter: Interpreter) -> None:
        super().__init__(interpreter)
        self.title = ""
        self._listed: tuple[str, int, int] | None = None
        self._frame: object = None
        self._made: tuple[object, list[Line]] = None, []

    @property
    def current(self) -> tuple[str, int] | None:
        """The selected frame's file and line, where its source can be read."""
        source, frame = self.session.source, self.session.frame
        line = source.at(frame.place) if source.is_listed else None
        return (line.file, line.line) if line is not None and self.interpreter.source_lines(line.file) else None

    @property
    def there(self) -> tuple[str, int] | None:
        """The file and the line that the pane is about; None where there is no source."""
        from kvmdbg.commands.examine import examined

        listed, current = examined(self.interpreter).source, self.current
        frame = (self.interpreter.runs.stops, self.session.frame.number, current)
        if frame != self._frame:
            self._frame, self._listed = frame, listed
        if listed is not None and listed != self._listed:
            return listed[0], (listed[1] + listed[2]) // 2
        return current

    def lines(self, width: int) -> list[Line]:
        """The part of the file around that line."""
        there = self.there
        self.places, self.middle, self.shown = [], 0, there
        if there is None:
            return []
        file, number = there
        self.title = file
        text = self.interpreter.source_lines(file)
        first = max(1, number // STEP * STEP - AROUND)
        last = min(len(text), number // STEP * STEP + STEP + AROUND)
        key = (file, first, last, width, id(text))
        if self._made[0] != key:
            made = SourceText(file, tuple((at, text[at - 1], False) for at in range(first, last + 1)))
            self._made = key, lines_of(made, width)[1:]
        found = list(self._made[1])
        self.middle = min(number, last) - first
        self.places = [f"{os.path.basename(file)}:{at}" for at in range(first, last + 1)]
        current = self.current
        points = self._lines_with_breakpoints(file)
        for at in {*points, *([current[1]] if current is not None else [])}:
            if first <= at <= last:
                arrow = "=>" if current == (file, at) else "  "
                found[at - first] = _marked(found[at - first], arrow, at in points)
        return found

    def _lines_with_breakpoints(self, file: str) -> set[int]:
        found = set()
        for point in self.session.breakpoints.held():
            line = self.session.source.at(point.address) if point.space == "linear" and point.number else None
            if line is not None and line.file == file:
                found.add(line.line)
        return found


def _marked(line: Line, arrow: str, has_breakpoint: bool) -> Line:
    """A line of source with what stands before it."""
    (style, text), *rest = line
    return [("bold", arrow + ("b" if has_breakpoint else " ")), (style, text[3:]), *rest]


class InstructionPane(CodePane):
    """The instructions around the selected frame's."""

    def lines(self, width: int, height: int) -> list[Line]:
        """As many behind the current one as twice the pane's height."""
        from kvmdbg.commands import views

        frame = self.session.frame
        here = frame.pc if frame.number else self.session.vcpu.pc
        before = views.instructions_before(self.interpreter, here, BEFORE)
        shown = views.code_lines(self.interpreter, before[0] if before else here, len(before) + max(BEFORE, 2 * height))
        code = Disassembly(shown, raw=True, syntax=self.interpreter.settings["disassembly-flavor"])
        found = lines_of(code, width)
        self.places, self.middle, self.shown = [], 0, (self.interpreter.runs.stops, frame.number, here)
        for row, line in enumerate(found):
            text = "".join(part for _, part in line)
            match = _ADDRESS.search(text) if not text.lstrip().startswith(";") else None
            self.places.append(f"*{int(match[1], 16):#x}" if match else "")
            if match and int(match[1], 16) == here and not self.middle:
                self.middle = row
        return found
