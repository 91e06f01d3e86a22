"""The code pane of the full-screen mode: source and instructions around the selected frame, with breakpoints."""

from __future__ import annotations

import os
import re

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.results import Disassembly, Result
from kvmdbg.ui.panes import Line, lines_of

AROUND = 300
"""Lines of source before and behind the current one that can be scrolled to."""
BEHIND = 200
"""Instructions behind the current one, the same."""
_ADDRESS = re.compile(r"0x([0-9a-f]{4,16})")


class CodePane:
    """Makes the pane's lines, and remembers which place of the code each row shows."""

    def __init__(self, interpreter: Interpreter) -> None:
        self.interpreter = interpreter
        self.session = interpreter.session
        self.places: list[str] = []
        self.current = 0
        """The row of the current line or instruction."""

    @property
    def scrolls(self) -> bool:
        """Whether there is more than is seen at once."""
        return bool(self.interpreter.settings["tui-layout"] != "split")

    def lines(self, width: int, height: int) -> list[Line]:
        """What the setting tui-layout wishes: source (src), instructions (asm, regs), or both (split)."""
        from kvmdbg.commands import views

        layout = self.interpreter.settings["tui-layout"]
        frame = self.session.frame
        here = frame.pc if frame.number else self.session.vcpu.pc
        place = frame.place if frame.number else here
        line = self.session.source.at(place) if self.session.source.is_listed else None
        self.places, self.current = [], 0
        if layout == "src" and line is not None and self.interpreter.source_lines(line.file):
            return self._source(line.file, line.line, max(1, line.line - AROUND), 2 * AROUND, width)
        if layout in ("asm", "regs", "src"):
            before = views.instructions_before(self.interpreter, here, views.BEFORE)
            start = before[0] if before else here
            shown = views.code_lines(self.interpreter, start, len(before) + BEHIND)
            syntax = self.interpreter.settings["disassembly-flavor"]
            return self._instructions(Disassembly(shown, raw=True, syntax=syntax), here, width)
        if frame.number:
            start = (views.instructions_before(self.interpreter, here, views.BEFORE) or [here])[0]
            shown = views.code_lines(self.interpreter, start, 2 * views.BEFORE)
            code: Result = Disassembly(shown, raw=True, syntax=self.interpreter.settings["disassembly-flavor"])
        else:
            code = views.code_part(self.interpreter)
        below = lines_of(code, width)
        above: list[Line] = []
        if line is not None and self.interpreter.source_lines(line.file):
            count = max(5, height - len(below) - 2)
            above = [*self._source(line.file, line.line, line.line - count // 2, count, width), []]
            self.places.append("")
        return above + self._instructions(code, here, width)

    def _source(self, file: str, current: int, first: int, count: int, width: int) -> list[Line]:
        from kvmdbg.commands import views

        shown = views.source_text(self.interpreter, file, first, count)
        found = lines_of(shown, width)
        points = self._lines_with_breakpoints(file)
        self.places.append("")
        for row, (number, _, _) in enumerate(shown.lines, 1):
            self.places.append(f"{os.path.basename(file)}:{number}")
            if number == current:
                self.current = row
            if number in points and row < len(found):
                style, text = found[row][0]
                found[row][:1] = [(style, text[:2]), ("bold", "b")]
        return found

    def _instructions(self, code: Result, here: int, width: int) -> list[Line]:
        found = lines_of(code, width)
        base = len(self.places)
        for row, line in enumerate(found):
            text = "".join(part for _, part in line)
            match = _ADDRESS.search(text) if not text.lstrip().startswith(";") else None
            self.places.append(f"*{int(match[1], 16):#x}" if match else "")
            if match and int(match[1], 16) == here and not self.current:
                self.current = base + row
        return found

    def _lines_with_breakpoints(self, file: str) -> set[int]:
        found = set()
        for point in self.session.breakpoints.held():
            line = self.session.source.at(point.address) if point.space == "linear" and point.number else None
            if line is not None and line.file == file:
                found.add(line.line)
        return found

    def click(self, row: int) -> str:
        """The command that sets a breakpoint at what a row shows, or deletes those that are there; "" for no place."""
        place = self.places[row] if row < len(self.places) else ""
        if not place:
            return ""
        here = set(self._addresses(place))
        numbers = sorted({one.number for one in self.session.breakpoints.held() if one.number and one.address in here})
        return f"delete {' '.join(map(str, numbers))}" if numbers else f"break {place}"

    def _addresses(self, place: str) -> list[int]:
        return [one.address for one in self.session.locations.find(place).locations]
