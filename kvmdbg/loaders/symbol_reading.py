"""Reading a symbol file of whatever format. Most sessions need none of the formats that are imported here."""

from __future__ import annotations

import os

from kvmdbg import plugins
from kvmdbg.errors import LoadError
from kvmdbg.loaders import elf as elf  # these three make their formats known
from kvmdbg.loaders import listing as listing
from kvmdbg.loaders import maps as maps
from kvmdbg.loaders import symbol_files
from kvmdbg.loaders.registry import read_image
from kvmdbg.loaders.symbol_files import SymbolFile


def read_symbol_file(path: str | os.PathLike[str], base: int = 0) -> SymbolFile:
    """What a symbol file tells, ``base`` added to its addresses; LoadError when it is of no format or has nothing."""
    name = os.fspath(path)
    data = read_image(name)
    plugins.load()
    reader = symbol_files.recognised(data)
    if reader is None:
        raise LoadError(f"{name} is no symbol file: it is none of {', '.join(symbol_files.format_names())}")
    found = reader.read(data, name, base)
    if not found.symbols and not found.lines:
        raise LoadError(f"{name} has no symbols")
    return found
