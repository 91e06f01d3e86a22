"""Source lines: which one an address belongs to, where a line's code begins, and the text of files."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache

from kvmdbg.debuginfo.backtrace import FRAME_POINTER_32, FRAME_POINTER_64, cfi_row
from kvmdbg.debuginfo.demangled import demangled
from kvmdbg.debuginfo.dwarf import Dwarf, Unit
from kvmdbg.debuginfo.files import DebugFiles
from kvmdbg.debuginfo.functions import Block, Functions
from kvmdbg.debuginfo.lines import unit_files, unit_lines
from kvmdbg.errors import LoadError, UsageError
from kvmdbg.loaders.symbol_files import Line


def _covering(lines: Sequence[Line], address: int) -> Line | None:
    at = bisect_right(lines, address, key=lambda one: one.address) - 1
    while at >= 0 and lines[at].address > address - 0x10000:
        if address < lines[at].end:
            return lines[at]
        at -= 1
    return None


def _moved(line: Line, base: int) -> Line:
    return line._replace(address=line.address + base, end=line.end + base) if base else line


def _is_called(file: str, name: str) -> bool:
    return file == name or file.endswith(os.sep + name)


LONGEST_PROLOGUE = 16
"""Bytes of code in which a function sets up its frame, at most."""


class Source:
    """Line information of the image and the symbol files (DWARF), read when it is asked for."""

    def __init__(self, files: DebugFiles) -> None:
        self._files = files
        self.folders: list[str] = []
        """Where source files are looked for, too."""

    def _units(self) -> Iterator[tuple[Dwarf, Unit, int]]:
        for dwarf, base in self._files.dwarf():
            for unit in dwarf.units():
                yield dwarf, unit, base

    @property
    def is_listed(self) -> bool:
        """Whether ``at`` takes no time: the units of all large files are known."""
        return all(dwarf.is_listed for dwarf, _ in self._files.dwarf())

    @property
    def has_lines(self) -> bool:
        """Whether any source is known."""
        return bool(self._files.dwarf() or self._files.listed_lines)

    def read_units(self) -> None:
        """Make it so."""
        for _ in self._units():
            pass

    def quick_at(self, address: int) -> Line | None:
        """The same as ``at`` where that takes no time, for what is shown at each stop.

        None while the units of a large file are not listed, unless someone is shown the progress.
        """
        if self._files.progress is None and not self.is_listed:
            return None
        return self.at(address)

    def at(self, address: int) -> Line | None:
        """The line that the instruction at a linear address comes from, None where that is not known."""
        for dwarf, base in self._files.dwarf():
            with suppress(LoadError):  # a file whose line information cannot be read has none
                for unit in dwarf.units_at(address - base):
                    found = _covering(unit_lines(dwarf, unit), address - base)
                    if found is not None:
                        return _moved(found, base)
        for lines in self._files.listed_lines.values():
            found = _covering(lines, address)
            if found is not None:
                return found
        return None

    def lines(self) -> Iterator[Line]:
        """All lines of all files."""
        for dwarf, unit, base in self._units():
            for line in unit_lines(dwarf, unit):
                if line.end > line.address:
                    yield _moved(line, base)
        for lines in self._files.listed_lines.values():
            yield from lines

    def _lines(self, file: str) -> Iterator[list[Line]]:
        """The lines of a file in each unit that has code from it: first those that are made from it."""
        for dwarf, unit, base in self._units():
            if unit.path == file:
                with suppress(LoadError):
                    yield [_moved(line, base) for line in unit_lines(dwarf, unit) if line.file == file]
        for dwarf, unit, base in self._units():
            with suppress(LoadError):
                if unit.path != file and file in unit_files(dwarf)[unit.offset]:
                    yield [_moved(line, base) for line in unit_lines(dwarf, unit) if line.file == file]
        for lines in self._files.listed_lines.values():
            yield [line for line in lines if line.file == file]

    def lines_of(self, name: str) -> list[Line]:
        """The lines that have code, of the file whose path ends in ``name``. UsageError."""
        return [line for lines in self._lines(self.find_file(name)) for line in lines]

    def files(self) -> list[str]:
        """All files that code may come from."""
        found: set[str] = set()
        for dwarf, _ in self._files.dwarf():
            with suppress(LoadError):
                found.update(*unit_files(dwarf).values())
        return sorted(found | self._listed_files())

    def _listed_files(self) -> set[str]:
        return {line.file for lines in self._files.listed_lines.values() for line in lines}

    def find_file(self, name: str) -> str:
        """The file whose path ends in ``name``. UsageError where there is none, or more than one."""
        units = {unit.path for _, unit, _ in self._units() if unit.path not in (unit.folder, ".")}  # those have no name
        units |= self._listed_files()
        found = sorted(file for file in units if _is_called(file, name))
        if not found:
            found = [file for file in self.files() if _is_called(file, name)]
        if not found:
            known = ", ".join(sorted(os.path.basename(file) for file in units)[:8])
            raise UsageError(f"no code comes from a file {name}" + (f"; code comes from {known}" if known else ""))
        if len(found) > 1:
            raise UsageError(f"{name} may be {' or '.join(found[:4])}: give more of its path")
        return found[0]

    def address_of(self, name: str, line: int) -> int:
        """Where the code of a line begins; of the next line that has code, as debuggers do. UsageError."""
        return min(self.places_of(name, line)[1])

    def places_of(self, name: str, line: int, *, entry: bool = False) -> tuple[int, list[int]]:
        """Everywhere that the code of a line begins, or of the next line that has code, and which line that is.

        Once in each block of a function, also where it was inlined, and, but for ``entry``, behind the prologue of a
        function that begins there, as gdb has it. UsageError.
        """
        file = self.find_file(name)
        found = self._from(file, line)
        if not found:  # the lines that a generator names may be of another file of that name than the one compiled
            others = [one for one in self.files() if one != file and _is_called(one, name)]
            found = [one for other in others for one in self._from(other, line)]
        if not found:
            raise UsageError(f"no code comes from line {line} of {name} or behind it")
        least = min(one.line for one in found)
        places: dict[tuple[int, int], int] = {}
        for address in sorted({one.address for one in found if one.line == least}):
            chain, base = self.blocks_at(address)
            if not chain:
                places[-1, address] = address
            elif (base, chain[-1].offset) not in places:
                begins = not entry and chain[-1].kind == "function" and address == chain[0].entry + base
                places[base, chain[-1].offset] = self.behind_prologue(address) if begins else address
        return least, sorted(set(places.values()))

    def _from(self, file: str, line: int) -> list[Line]:
        """Where the code of a line of a file, or of any behind it, begins."""
        return [one for lines in self._lines(file) for one in lines if one.line >= line and one.begins]

    def blocks_at(self, address: int) -> tuple[list[Block], int]:
        """The blocks around an address, the function first, and what their addresses are moved by."""
        for dwarf, base in self._files.dwarf():
            with suppress(LoadError):
                if chain := Functions.of(dwarf).chain(address - base):
                    return chain, base
        return [], 0

    def labels_at(self, address: int) -> dict[str, int]:
        """The labels of C that code at an address can go to, and where they are: those of its function, or of the
        inlined copy of one."""
        chain, base = self.blocks_at(address)
        around = next((one for one in reversed(chain) if one.kind != "block"), None)
        return {name: place + base for name, place in around.labels.items()} if around is not None else {}

    def function_name(self, address: int) -> str:
        """The function that the code at an address is of, inlined ones included; that of its symbol otherwise."""
        near = self._files.symbols.nearest(address)
        for dwarf, base in self._files.dwarf():
            if dwarf.is_large and near is not None:
                continue  # reading its units takes long, for a name that is shown beside others
            with suppress(LoadError):
                functions = Functions.of(dwarf)
                for block in reversed(functions.chain(address - base)):
                    if block.origin is not None:
                        return functions.shown(block.origin)
        return demangled(near[0].name) if near is not None else ""

    def functions_named(self, name: str) -> list[tuple[Block, Functions, int]]:
        """The functions of that name and the inlined copies of them, and what their addresses are moved by."""
        found = []
        for dwarf, base in self._files.dwarf():
            with suppress(LoadError):
                functions = Functions.of(dwarf)
                found += [(block, functions, base) for block in functions.named(name)]
        return found

    def second_line(self, address: int) -> int:
        """Where the second line of the function at ``address`` begins: its frame is set up there.

        In assembly no line sets up a frame by itself, and it is ``address``.
        """
        first = self.at(address)
        if first is None or not self._is_compiled(address):
            return address
        at = first.end
        following = self.at(at)
        return at if following is not None and following.address == at else address

    def _is_compiled(self, address: int) -> bool:
        """Whether the code there comes from a compiler, not from an assembler."""
        for dwarf, base in self._files.dwarf():
            with suppress(LoadError):
                for unit in dwarf.units_at(address - base):
                    return not dwarf.is_assembly(unit)
        return False

    def _is_of_llvm(self, address: int) -> bool:
        """Whether clang, rustc or another compiler made of LLVM has made the code there."""
        for dwarf, base in self._files.dwarf():
            with suppress(LoadError):
                for unit in dwarf.units_at(address - base):
                    return dwarf.producer(unit).startswith("clang ")
        return False

    def behind_prologue(self, address: int) -> int:
        """Where a breakpoint on the function at ``address`` belongs, so that its arguments can be read.

        That is its second line where its frame is kept by a frame pointer from there on (call frame information),
        as unoptimized code has it, and in what LLVM has made, whose line table has a row there; else ``address``.
        """
        behind = self.second_line(address)
        inside = [one.holds(behind - base) for chain, base in [self.blocks_at(address)] for one in chain[:1]]
        if behind != address and self._is_of_llvm(address):
            return behind if all(inside) else address
        if behind != address and not all(inside):
            return self._frame_begins(address)
        row = cfi_row(self._files, behind) if behind != address else None
        if row is None or getattr(row["cfa"], "reg", None) not in (FRAME_POINTER_64, FRAME_POINTER_32):
            return address
        before = cfi_row(self._files, address)
        return behind if before is not None and before["cfa"].reg != row["cfa"].reg else address

    def _frame_begins(self, address: int) -> int:
        """Where the frame of a function that is all of one line, with others, is kept by its frame pointer, as gdb has
        it; ``address`` where none is."""
        for at in range(address + 1, address + LONGEST_PROLOGUE):
            row = cfi_row(self._files, at)
            if row is not None and getattr(row["cfa"], "reg", None) in (FRAME_POINTER_64, FRAME_POINTER_32):
                return at
        return address

    def path(self, file: str) -> str | None:
        """Where a source file is on this host: as it is named; or that name, or its last parts, in ``folders`` and
        beside the guest. None where it is nowhere."""
        if os.path.isfile(file):
            return file
        beside = [os.path.dirname(os.path.abspath(dwarf.path)) for dwarf, _ in self._files.dwarf()]
        parts = file.strip(os.sep).split(os.sep)
        for folder in [*self.folders, *beside]:
            for first in range(len(parts)):
                found = os.path.join(folder, *parts[first:])
                if os.path.isfile(found):
                    return found
        return None

    def text(self, file: str) -> tuple[str, ...]:
        """The lines of a file, none where it cannot be read."""
        path = self.path(file)
        return _text(path, os.stat(path).st_mtime_ns) if path is not None else ()


@lru_cache(maxsize=64)
def _text(path: str, _changed: int) -> tuple[str, ...]:
    try:
        with open(path, encoding="utf-8", errors="replace") as opened:
            return tuple(opened.read().splitlines())
    except OSError:
        return ()
