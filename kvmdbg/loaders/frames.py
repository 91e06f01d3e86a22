"""Call frame information of ELF files (.debug_frame and .eh_frame)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any


@lru_cache(maxsize=16)
def read_frames(path: str) -> tuple[tuple[int, int, Any], ...]:
    """(first address, end, entry) of the call frame information in an ELF file."""
    from elftools.common.exceptions import ELFError
    from elftools.dwarf.callframe import FDE
    from elftools.elf.elffile import ELFFile

    found: list[tuple[int, int, Any]] = []
    try:
        with open(path, "rb") as file:
            if file.read(4) != b"\x7fELF":
                return ()
            file.seek(0)
            dwarf = ELFFile(file).get_dwarf_info()
            tables = []
            if dwarf.has_CFI():
                tables += dwarf.CFI_entries()
            if dwarf.has_EH_CFI():
                tables += dwarf.EH_CFI_entries()
            for one in tables:
                if isinstance(one, FDE):
                    start = one.header["initial_location"]
                    found.append((start, start + one.header["address_range"], one.get_decoded()))
    except (OSError, ELFError, KeyError, ValueError, AssertionError, IndexError):
        return tuple(found)
    return tuple(sorted(found, key=lambda entry: entry[0]))
