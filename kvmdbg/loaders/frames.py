"""Call frame information of ELF files (.debug_frame and .eh_frame).

pyelftools decodes an entry; which entry an address needs is found here, since kernels have 100,000s of them.
Source: DWARF 5, section 6.4.1; Linux Standard Base Core 5, section 10.6 (.eh_frame).
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from io import BytesIO
from typing import Any

from kvmdbg.loaders.dwarf import Dwarf, damage

POINTERS = {2: "H", 3: "I", 4: "Q", 0xA: "h", 0xB: "i", 0xC: "q"}
"""How DW_EH_PE_* encodes a pointer, as struct has it; 0 is an address of the machine's size."""
PCREL = 0x10


class _Table:
    """The FDEs of one section, found by address."""

    def __init__(self, section: Any, structs: Any, eh: bool) -> None:
        self.data = section.stream.getvalue()[: section.size]
        self.address = int(section.address)
        self.structs = structs
        self.eh = eh
        self._cies: dict[int, tuple[tuple[int, int], str, int]] = {}
        found = sorted(self._entries(), key=lambda one: one[0])
        self._starts = array("Q", (one[0] for one in found))
        self._ends = array("Q", (one[1] for one in found))
        self._places = array("Q", (one[2] for one in found))

    def find(self, address: int) -> Any:
        """pyelftools' FDE of the function at an address, or None."""
        at = bisect_right(self._starts, address) - 1
        for index in range(at, max(at - 2, -1), -1):
            if address < self._ends[index]:
                return self._parsed(self._places[index])
        return None

    def _entries(self) -> Iterator[tuple[int, int, int]]:
        """The first address of each FDE's code, its end and the FDE's place in the section."""
        at = 0
        while at + 4 <= len(self.data):
            body, end, wide = self._bounds(at)
            cie = self._cie_of(body, wide) if body < end else None
            if cie is not None:
                _, form, relative = self._cie(cie)
                start, size = struct.unpack_from(f"<{form}{form}", self.data, body + (8 if wide else 4))
                if relative:
                    start += self.address + body + (8 if wide else 4)
                size &= (1 << 64) - 1
                if size and 0 <= start < 1 << 64:
                    yield start, min(start + size, (1 << 64) - 1), at
            at = end

    def _bounds(self, at: int) -> tuple[int, int, bool]:
        """Where the entry's identifier is, where the entry ends, and whether it is 64-bit DWARF."""
        (length,) = struct.unpack_from("<I", self.data, at)
        wide = length == 0xFFFFFFFF
        if wide:
            (length,) = struct.unpack_from("<Q", self.data, at + 4)
        body = at + (12 if wide else 4)
        if body + length > len(self.data):
            raise ValueError(f"the entry at {at:#x} ends behind its section")
        return body, body + length, wide

    def _cie_of(self, body: int, wide: bool) -> int | None:
        """The place of an FDE's CIE; None where the entry is a CIE itself."""
        (pointer,) = struct.unpack_from("<Q" if wide else "<I", self.data, body)
        if self.eh:
            return body - pointer if pointer else None
        return None if pointer == (0xFFFFFFFFFFFFFFFF if wide else 0xFFFFFFFF) else pointer

    def _cie(self, at: int) -> tuple[tuple[int, int], str, int]:
        """The bounds of a CIE, how its FDEs write addresses, and whether these are relative to their place."""
        if at not in self._cies:
            end = self._bounds(at)[1]
            cie = self._parse(self.data[at:end], self.address + at)[0]
            encoding = int(cie.augmentation_dict.get("FDE_encoding", 0))
            size = cie.header.get("address_size") or self.structs.address_size  # from version 4 on in the header
            form = POINTERS.get(encoding & 0xF, "Q" if size == 8 else "I")
            self._cies[at] = (at, end), form, encoding & PCREL
        return self._cies[at]

    def _parsed(self, at: int) -> Any:
        """One FDE, decoded as if it and its CIE were all that the section has."""
        body, end, wide = self._bounds(at)
        cie_at = self._cie_of(body, wide)
        assert cie_at is not None
        first, last = self._cie(cie_at)[0]
        before = last - first
        entry = bytearray(self.data[at:end])
        pointer = before + body - at if self.eh else 0
        struct.pack_into("<Q" if wide else "<I", entry, body - at, pointer)
        return self._parse(self.data[first:last] + entry, self.address + at - before)[1]

    def _parse(self, data: bytes, address: int) -> list[Any]:
        from elftools.dwarf.callframe import CallFrameInfo

        return CallFrameInfo(BytesIO(data), len(data), address, self.structs, self.eh).get_entries()


def frame_at(dwarf: Dwarf, address: int) -> tuple[Any, bool] | None:
    """The decoded call frame table (pyelftools) of the function at an address, and whether it is a signal frame.

    A signal frame's caller was interrupted, it called nobody ("S" in the augmentation, .cfi_signal_frame). None where
    there is none. LoadError.
    """
    with dwarf.lock, damage(dwarf.path, "call frame information"):
        if "frames" not in dwarf.kept:
            sections = ((dwarf.info.eh_frame_sec, True), (dwarf.info.debug_frame_sec, False))
            dwarf.kept["frames"] = [_Table(one, dwarf.info.structs, eh) for one, eh in sections if one is not None]
        for table in dwarf.kept["frames"]:
            entry = table.find(address)
            if entry is not None:
                return entry.get_decoded(), b"S" in entry.cie.header["augmentation"]
    return None
