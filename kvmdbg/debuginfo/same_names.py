"""Functions that share a name, as static ones of several files do: which one is meant.

Source: gdb manual, "Variables" (``'file.c'::name``) and "Symbols"; a name means that of the code's own file first.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from kvmdbg.debuginfo.dwarf import Dwarf, Unit
from kvmdbg.debuginfo.files import DebugFiles
from kvmdbg.errors import LoadError
from kvmdbg.machine.image import Symbol


def symbol_named(files: DebugFiles, name: str, here: Callable[[], int]) -> Symbol | None:
    """The symbol that a name means to the code at ``here()``; of ``file.c::name`` the one of that file."""
    found = files.symbols.scoped(name)
    if found is None or found.kind != "function" or not files.symbols.is_shared(found.name):
        return found
    file = name.rpartition("::")[0]
    several = [one for one in files.symbols.all_named(found.name) if one.kind == "function"]
    for dwarf, base in files.dwarf():
        with suppress(LoadError):
            own = _units(dwarf, here() - base)
            for one in several:
                for unit in _units(dwarf, one.address - base):
                    if unit.path.endswith(f"/{file.removeprefix('/')}") if file else unit in own:
                        return one
    return found


def _units(dwarf: Dwarf, address: int) -> list[Unit]:
    return [unit for unit in dwarf.units_at(address) if unit.ranges]
