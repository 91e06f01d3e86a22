"""Call frame information of ELF files (.debug_frame and .eh_frame)."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

from kvmdbg.loaders.dwarf import Dwarf, damage


def frame_at(dwarf: Dwarf, address: int) -> tuple[Any, bool] | None:
    """The decoded call frame table (pyelftools) of the function at an address, and whether it is a signal frame.

    A signal frame's caller was interrupted, it called nobody ("S" in the augmentation, .cfi_signal_frame). None where
    there is none. LoadError.
    """
    with dwarf.lock, damage(dwarf.path, "call frame information"):
        if "frames" not in dwarf.kept:
            dwarf.kept["frames"] = _entries(dwarf)
        starts, entries = dwarf.kept["frames"]
        at = bisect_right(starts, address) - 1
        for index in range(at, max(at - 2, -1), -1):
            entry = entries[index]
            if address < starts[index] + entry.header["address_range"]:
                return entry.get_decoded(), b"S" in entry.cie.header["augmentation"]
    return None


def _entries(dwarf: Dwarf) -> tuple[list[int], list[Any]]:
    from elftools.dwarf.callframe import FDE

    tables = dwarf.info.CFI_entries() if dwarf.info.has_CFI() else []
    tables = tables + dwarf.info.EH_CFI_entries() if dwarf.info.has_EH_CFI() else tables
    found = sorted((one for one in tables if isinstance(one, FDE)), key=lambda one: int(one.header["initial_location"]))
    return [int(one.header["initial_location"]) for one in found], found
