"""Source lines: which one an address belongs to, where a line's code begins, and the text of files."""

from __future__ import annotations

import os
from bisect import bisect_right
from functools import lru_cache
from typing import TYPE_CHECKING

from kvmdbg.errors import LoadError, UsageError
from kvmdbg.loaders.lines import Line, lines_size, read_lines
from kvmdbg.record import replace

if TYPE_CHECKING:
    from kvmdbg.core.session import Session


QUICK = 1 << 20
"""Bytes of line programs that are read at a stop without being asked for."""


class Source:
    """Line information of ``session``'s image and symbol files (DWARF), read when it is first asked for."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._key: tuple[tuple[str, int], ...] = ()
        self._lines: list[Line] = []
        self._starts: list[int] = []

    def _files(self) -> tuple[tuple[str, int], ...]:
        session = self._session
        files = [
            (str(session.image.path), 0),
            *((path, session.symbol_bases.get(path, 0)) for path in session.symbol_files),
        ]
        return tuple(dict.fromkeys(files))

    def _load(self) -> None:
        key = self._files()
        if key == self._key:
            return
        self._key = key
        lines: list[Line] = []
        for path, base in key:
            try:
                found = read_lines(path)
            except LoadError:
                continue  # a file without readable line information has none
            lines += [replace(one, address=one.address + base, end=one.end + base) for one in found] if base else found
        self._lines = sorted(lines, key=lambda one: one.address)
        self._starts = [one.address for one in self._lines]

    def quick_at(self, address: int) -> Line | None:
        """The same as ``at`` where that takes no time: None while large line information has not been read.

        For what is shown at each stop; whoever asks for lines by a command has it read.
        """
        if self._key != self._files() and sum(lines_size(path) for path, _ in self._files()) > QUICK:
            return None
        return self.at(address)

    def __len__(self) -> int:
        self._load()
        return len(self._lines)

    def at(self, address: int) -> Line | None:
        """The line that the instruction at a linear address comes from, None where that is not known."""
        self._load()
        at = bisect_right(self._starts, address) - 1
        while at >= 0 and self._starts[at] > address - 0x10000:
            if self._lines[at].address <= address < self._lines[at].end:
                return self._lines[at]
            at -= 1
        return None

    def files(self) -> list[str]:
        """All files that code comes from."""
        self._load()
        return sorted({one.file for one in self._lines})

    def find_file(self, name: str) -> str:
        """The file whose path ends in ``name``. UsageError where there is none, or more than one."""
        found = [file for file in self.files() if file == name or file.endswith(os.sep + name)]
        if not found:
            known = ", ".join(os.path.basename(file) for file in self.files()[:8])
            raise UsageError(f"no code comes from a file {name}" + (f"; there are {known}" if known else ""))
        if len(found) > 1:
            raise UsageError(f"{name} may be {' or '.join(found[:4])}: give more of its path")
        return found[0]

    def address_of(self, name: str, line: int) -> int:
        """Where the code of a line begins; of the next line that has code, as debuggers do. UsageError."""
        file = self.find_file(name)
        numbers = sorted({one.line for one in self._lines if one.file == file and one.line >= line})
        if not numbers:
            raise UsageError(f"no code comes from line {line} of {name} or behind it")
        return min(one.address for one in self._lines if one.file == file and one.line == numbers[0])

    def after_prologue(self, address: int) -> int:
        """Where the second line of the function at ``address`` begins: its frame is set up there."""
        first = self.at(address)
        if first is None:
            return address
        at = first.end
        following = self.at(at)
        return at if following is not None and following.address == at else address

    @staticmethod
    @lru_cache(maxsize=64)
    def text(file: str) -> tuple[str, ...]:
        """The lines of a file, none where it cannot be read."""
        try:
            with open(file, encoding="utf-8", errors="replace") as opened:
                return tuple(opened.read().splitlines())
        except OSError:
            return ()
