"""Files that only tell names and lines: ELF files, map files, listings. The formats known, and which of them one is."""

from __future__ import annotations

import os
from typing import NamedTuple, Protocol, TypeVar

from kvmdbg import plugins
from kvmdbg.errors import LoadError
from kvmdbg.loaders.registry import read_image
from kvmdbg.machine.image import Symbol
from kvmdbg.record import record


class Line(NamedTuple):
    """Instructions from ``address`` up to ``end`` come from ``line`` of ``file``."""

    address: int
    end: int
    file: str
    line: int


@record
class SymbolFile:
    """What is in a symbol file: its names, and the source lines of its code by address where it is not DWARF."""

    symbols: list[Symbol]
    lines: tuple[Line, ...] = ()


class SymbolReader(Protocol):
    """One format; ``name`` is what messages call it."""

    name: str

    def recognise(self, data: bytes) -> bool:
        """True when the file's bytes are of this format."""
        ...

    def read(self, data: bytes, path: str, base: int) -> SymbolFile:
        """What is in it, ``base`` added to the addresses; LoadError with one sentence that names ``path``."""
        ...


_readers: list[SymbolReader] = []

R = TypeVar("R", bound=type[SymbolReader])


def symbol_reader(cls: R) -> R:
    """Class decorator: make one of it known. The last one made known that recognises a file reads it."""
    _readers.insert(0, cls())
    return cls


def read_symbol_file(path: str | os.PathLike[str], base: int = 0) -> SymbolFile:
    """What a symbol file tells, ``base`` added to its addresses; LoadError when it is of no format or has nothing."""
    from kvmdbg.loaders import elf, listing, maps  # noqa: F401  they register; most sessions need none of them

    name = os.fspath(path)
    data = read_image(name)
    plugins.load()
    reader = next((one for one in _readers if one.recognise(data)), None)
    if reader is None:
        known = ", ".join(one.name for one in _readers)
        raise LoadError(f"{name} is no symbol file: it is none of {known}")
    found = reader.read(data, name, base)
    if not found.symbols and not found.lines:
        raise LoadError(f"{name} has no symbols")
    return found
