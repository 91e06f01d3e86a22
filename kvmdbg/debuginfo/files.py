"""The files that tell of the guest's program: its image, and the symbol files that were added."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from kvmdbg.debuginfo.dwarf import Dwarf, Progress
from kvmdbg.debuginfo.linked import linked
from kvmdbg.debuginfo.symbols import SymbolTable
from kvmdbg.errors import LoadError
from kvmdbg.loaders.symbol_files import Line, SymbolFile
from kvmdbg.machine.image import Image


class DebugFiles:
    """What they have: symbols, source lines, DWARF. ``changed`` is called when there are other symbols."""

    def __init__(self, image: Image, changed: Callable[[], None]) -> None:
        self._image = image
        self._changed = changed
        self.symbols = SymbolTable(image.symbols, image.later_symbols)
        self.symbol_files: dict[str, int] = dict.fromkeys(image.debug_files, 0)
        """Their paths, with what was added to their addresses."""
        self.listed_lines: dict[str, tuple[Line, ...]] = {}
        """The source lines of symbol files that have them otherwise than as DWARF, by address, by the file's path."""
        self.progress: Progress | None = None
        """Told how far the reading of a large file is; None: nobody wants to know."""

    def dwarf(self) -> list[tuple[Dwarf, int]]:
        """The debug information of those that have some, with what its addresses are moved by."""
        found = []
        for path, base in ({str(self._image.path): self._image.bias} | self.symbol_files).items():
            with suppress(LoadError):  # one that is damaged has none
                for dwarf in linked(path).parts:
                    dwarf.progress = self.progress
                    found.append((dwarf, base))
        return found

    @property
    def missing(self) -> list[str]:
        """What these files say to be in others that are not there, a sentence each."""
        found: list[str] = []
        for path in (str(self._image.path), *self.symbol_files):
            with suppress(LoadError):
                found += linked(path).missing
        return found

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
            self.listed_lines.clear()
        self.add_symbols(path, base, found)
        return len(found.symbols)

    def add_symbols(self, path: str, base: int, found: SymbolFile) -> None:
        """Add what was read from a symbol file."""
        self.symbols.add(found.symbols)
        self.symbol_files[path] = base
        if found.lines:
            self.listed_lines[path] = found.lines
        self._changed()
