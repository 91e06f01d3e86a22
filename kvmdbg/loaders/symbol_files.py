"""Files that only tell names and lines: ELF files, map files, listings. The formats known, and which of them one is."""

from __future__ import annotations

from typing import NamedTuple, Protocol, TypeVar

from kvmdbg.machine.image import Symbol
from kvmdbg.record import record


class Line(NamedTuple):
    """Instructions from ``address`` up to ``end`` come from ``line`` of ``file``.

    ``begins``: a statement begins there, and a breakpoint on the line belongs there.
    """

    address: int
    end: int
    file: str
    line: int
    begins: bool = True


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


def recognised(data: bytes) -> SymbolReader | None:
    """The format that a file's bytes are of, as far as they are known yet; None for none."""
    return next((one for one in _readers if one.recognise(data)), None)


def format_names() -> list[str]:
    """What the formats are called."""
    return [one.name for one in _readers]
