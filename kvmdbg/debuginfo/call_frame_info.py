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
from typing import Any, NamedTuple

from kvmdbg.debuginfo.dwarf import Dwarf, damage
from kvmdbg.masks import LOW64

POINTERS = {2: "H", 3: "I", 4: "Q", 0xA: "h", 0xB: "i", 0xC: "q"}
"""How DW_EH_PE_* encodes a pointer, as struct has it; 0 is an address of the machine's size."""
PCREL = 0x10
WORD, LONG = struct.Struct("<I").unpack_from, struct.Struct("<Q").unpack_from


class _Cie(NamedTuple):
    """Where a CIE is in its section, and how its FDEs write the first address and the number of addresses."""

    start: int
    end: int
    pair: struct.Struct
    relative: bool


class _Table:
    """The FDEs of one section, found by address."""

    def __init__(self, dwarf: Dwarf, section: Any, eh: bool) -> None:
        self.data = section.stream.getvalue()[: section.size]
        self.address = int(section.address)
        self.structs = dwarf.info.structs
        self.eh = eh
        self._cies: dict[int, _Cie] = {}
        kind = "eh_frame" if eh else "debug_frame"
        kept = dwarf.cache.read(kind) if dwarf.is_large else None
        if kept is None:
            columns = [array("Q", column) for column in zip(*sorted(self._entries()), strict=True)]
            kept = b"".join(column.tobytes() for column in columns)
            if dwarf.is_large:
                dwarf.cache.write(kind, kept)
        numbers = array("Q", kept)
        count = len(numbers) // 3
        self._starts, self._ends, self._places = numbers[:count], numbers[count : 2 * count], numbers[2 * count :]

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
            pointer = self._cie_of(body, wide) if body < end else None
            if pointer is not None:
                cie = self._cies.get(pointer) or self._cie(pointer)
                place = body + (8 if wide else 4)
                start, size = cie.pair.unpack_from(self.data, place)
                if cie.relative:
                    start += self.address + place
                if size > 0 and 0 <= start < 1 << 64:
                    yield start, min(start + size, LOW64), at
            at = end

    def _bounds(self, at: int) -> tuple[int, int, bool]:
        """Where the entry's identifier is, where the entry ends, and whether it is 64-bit DWARF."""
        length = WORD(self.data, at)[0]
        wide = length == 0xFFFFFFFF
        if wide:
            length = LONG(self.data, at + 4)[0]
        body = at + (12 if wide else 4)
        if body + length > len(self.data):
            raise ValueError(f"the entry at {at:#x} ends behind its section")
        return body, body + length, wide

    def _cie_of(self, body: int, wide: bool) -> int | None:
        """The place of an FDE's CIE; None where the entry is a CIE itself."""
        pointer: int = (LONG if wide else WORD)(self.data, body)[0]
        if self.eh:
            return body - pointer if pointer else None
        return None if pointer == (LOW64 if wide else 0xFFFFFFFF) else pointer

    def _cie(self, at: int) -> _Cie:
        if at not in self._cies:
            end = self._bounds(at)[1]
            cie = self._parse(self.data[at:end], self.address + at)[0]
            encoding = int(cie.augmentation_dict.get("FDE_encoding", 0))
            size = cie.header.get("address_size") or self.structs.address_size  # from version 4 on in the header
            form = POINTERS.get(encoding & 0xF, "Q" if size == 8 else "I")
            self._cies[at] = _Cie(at, end, struct.Struct(f"<{form}{form}"), bool(encoding & PCREL))
        return self._cies[at]

    def _parsed(self, at: int) -> Any:
        """One FDE, decoded as if it and its CIE were all that the section has."""
        body, end, wide = self._bounds(at)
        pointer = self._cie_of(body, wide)
        assert pointer is not None
        cie = self._cie(pointer)
        before = cie.end - cie.start
        entry = bytearray(self.data[at:end])
        struct.pack_into("<Q" if wide else "<I", entry, body - at, before + body - at if self.eh else 0)
        return self._parse(self.data[cie.start : cie.end] + entry, self.address + at - before)[1]

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
            dwarf.kept["frames"] = [_Table(dwarf, one, eh) for one, eh in sections if one is not None]
        for table in dwarf.kept["frames"]:
            entry = table.find(address)
            if entry is not None:
                return entry.get_decoded(), b"S" in entry.cie.header["augmentation"]
    return None
