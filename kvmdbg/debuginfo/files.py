"""The files that tell of the guest's program: its image, and the symbol files that were added."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from kvmdbg.debuginfo.symbols import SymbolTable
from kvmdbg.errors import LoadError, UsageError
from kvmdbg.loaders.symbol_files import Line, SymbolFile
from kvmdbg.machine.image import Image
from kvmdbg.record import replace

if TYPE_CHECKING:
    from kvmdbg.debuginfo.backtrace import Frame
    from kvmdbg.debuginfo.dwarf import Dwarf, Progress


class DebugFiles:
    """What they have: symbols, source lines, DWARF. ``changed`` is called when there are other symbols."""

    def __init__(self, image: Image, changed: Callable[[], None]) -> None:
        self._image = image
        self._changed = changed
        self.symbols = SymbolTable(image.symbols, image.later_symbols)
        self.image_moved = 0
        """What the image's own symbols are moved by, beside where it was loaded."""
        self.symbol_files: list[tuple[str, int]] = [(path, 0) for path in image.debug_files]
        """Their paths, with what was added to their addresses; one file may lie at several."""
        self._read: dict[tuple[str, int], SymbolFile] = {}
        self._replaced = False
        self.calls: dict[tuple[int, int], Frame] = {}
        """Calls of the user's that have stopped inside: where each returns to, with the stack pointer there, and the
        frame that it was made in."""
        self.progress: Progress | None = None
        """Told how far the reading of a large file is; None: nobody wants to know."""

    def dwarf(self) -> list[tuple[Dwarf, int]]:
        """The debug information of those that have some, with what its addresses are moved by."""
        from kvmdbg.debuginfo.linked import linked

        found = []
        for path, base in self.placed:
            with suppress(LoadError):  # one that is damaged has none: ``missing`` tells of it
                for dwarf in linked(path).parts:
                    dwarf.progress = self.progress
                    found.append((dwarf, base))
        return found

    def keep_their_places(self) -> None:
        """Before the working directory is another one: they are read again later on."""
        self._image = replace(self._image, path=os.path.abspath(self._image.path))
        self.symbol_files = [(os.path.abspath(path), base) for path, base in self.symbol_files]
        self._read = {(os.path.abspath(path), base): file for (path, base), file in self._read.items()}

    @property
    def placed(self) -> list[tuple[str, int]]:
        """The image and the symbol files, each with what the addresses in it are moved by."""
        files = [(path, base) for path, base in self.symbol_files if path != str(self._image.path) or base]
        return [(str(self._image.path), self._image.bias + self.image_moved), *files]

    @property
    def start(self) -> str:
        """The function that the program starts in, "" where no symbol says so."""
        entry = self._image.entry
        found = self.symbols.nearest(entry.ip if entry.cs is None else 16 * entry.cs + entry.ip)
        return found[0].name if found is not None else ""

    @property
    def missing(self) -> list[str]:
        """What these files say to be in others that are not there, and what of them is damaged, a sentence each."""
        from kvmdbg.debuginfo.linked import linked

        found: list[str] = []
        for path in dict.fromkeys((str(self._image.path), *self.paths)):
            try:
                found += linked(path).missing
                for dwarf in linked(path).parts:
                    dwarf.units()
            except LoadError as error:
                found.append(str(error))
        return found

    @property
    def may_have_lines(self) -> bool:
        """Whether any of them may tell source lines: an ELF file does by DWARF, others have been read with theirs."""
        return bool(self.listed_lines) or any(_is_elf(path) for path, _ in self.placed)

    @property
    def has_large(self) -> bool:
        """Whether there is a file whose debug information takes long to read."""
        return any(dwarf.is_large for dwarf, _ in self.dwarf())

    def read_symbols(self, path: str, base: int = 0, *, replace: bool = False) -> int:
        """Read a symbol file, moved by ``base``, to what there is or in its place; how many symbols it has."""
        from kvmdbg.loaders.symbol_reading import read_symbol_file  # most sessions need none of its formats

        found = read_symbol_file(path, base)
        if replace:
            self.symbols.clear()
            self.symbol_files.clear()
            self._read.clear()
            self._replaced = True
        self.add_symbols(path, base, found)
        return len(found.symbols)

    def add_symbols(self, path: str, base: int, found: SymbolFile) -> None:
        """Add what was read from a symbol file."""
        if (path, base) in self.symbol_files:
            self.symbol_files.remove((path, base))
        self.symbol_files.append((path, base))
        self._read[path, base] = found
        self.symbols.add(found.symbols)
        self._changed()

    @property
    def paths(self) -> list[str]:
        """The symbol files."""
        return [path for path, _ in self.symbol_files]

    @property
    def listed_lines(self) -> dict[tuple[str, int], tuple[Line, ...]]:
        """The source lines of symbol files that have them otherwise than as DWARF, by address."""
        return {key: found.lines for key, found in self._read.items() if found.lines}

    def remove(self, path: str = "", *, address: int | None = None) -> list[str]:
        """Forget the symbol files of a path, or those around an address; their paths. UsageError for none."""
        gone = [one for one in self.symbol_files if self._means(one, path, address)]
        if not gone:
            where = path if address is None else f"symbols at {address:#x}"
            raise UsageError(f"no symbol file is {where}" if path else f"no symbol file has {where}")
        for one in gone:
            self.symbol_files.remove(one)
            self._read.pop(one, None)
        self._anew()
        return [one for one, _ in gone]

    def _means(self, one: tuple[str, int], path: str, address: int | None) -> bool:
        if address is None:
            return one[0] == path or os.path.abspath(one[0]) == os.path.abspath(path)
        known = self._read.get(one)
        places = [symbol for symbol in known.symbols if symbol.kind != "absolute"] if known is not None else []
        if not places:
            return False
        last = max(symbol.address + max(symbol.size, 1) for symbol in places)
        return min(symbol.address for symbol in places) <= address < last

    def move(self, path: str, delta: int) -> int:
        """Move a file's symbols, lines and variables by ``delta`` bytes: its code was copied elsewhere; how many files.

        UsageError where no file is called so.
        """
        from kvmdbg.loaders.symbol_reading import read_symbol_file

        moved = [one for one in self.symbol_files if self._means(one, path, None)]
        is_image = os.path.abspath(path) == os.path.abspath(str(self._image.path))
        for one in moved:
            self.symbol_files.remove(one)
            self._read.pop(one, None)
            base = one[1] + delta
            self.symbol_files.append((one[0], base))
            self._read[one[0], base] = read_symbol_file(one[0], base)
        if is_image and not moved:
            self.image_moved += delta
        if not moved and not is_image:
            raise UsageError(f"no symbols are from {path}")
        self._anew()
        return max(len(moved), 1)

    def _anew(self) -> None:
        """All symbols again, from the files that are left."""
        self.symbols.clear()
        if not self._replaced:
            self.symbols.add(self._image.symbols, self.image_moved)
        for found in self._read.values():
            self.symbols.add(found.symbols)
        self._changed()


def _is_elf(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(4) == b"\x7fELF"
    except OSError:
        return False
