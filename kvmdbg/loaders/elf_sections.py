"""The section headers of an ELF kernel, as boot loaders hand them over: with what no segment has loaded, too."""

from __future__ import annotations

import struct

from kvmdbg.machine.image import Segment
from kvmdbg.machine.layout import ram_areas
from kvmdbg.record import record

SHT_NULL, SHT_NOBITS = 0, 8
SHF_ALLOC = 2
PAGE = 0x1000


@record
class Sections:
    """``headers`` are ``number`` ELF section headers of ``entry_size`` bytes, ``names`` the index of their names' one.

    Their addresses are where the sections lie in memory.
    """

    number: int
    entry_size: int
    names: int
    headers: bytes


def handed_over(data: bytes, start: int, memory: int) -> tuple[Sections | None, list[Segment]]:
    """The headers of an ELF file's sections, and those that no segment loads, placed from ``start`` on.

    None where the file has none, where they are damaged, or where there is no room for them.
    """
    wide = data[4:5] == b"\2"
    table = int.from_bytes(data[40:48] if wide else data[32:36], "little")
    entry_size, number, names = struct.unpack_from("<HHH", data, 58 if wide else 46)
    layout = struct.Struct("<IIQQQQIIQQ" if wide else "<10I")
    if not table or not number or entry_size != layout.size or table + number * entry_size > len(data):
        return None, []
    address, size = ram_areas(memory)[0]
    at, placed, headers = -(-start // PAGE) * PAGE, [], bytearray()
    for fields in layout.iter_unpack(data[table : table + number * entry_size]):
        name, kind, flags, where, offset, length, *rest = fields
        if kind not in (SHT_NULL, SHT_NOBITS) and not flags & SHF_ALLOC and length and not where:
            at = -(-at // 16) * 16
            if offset + length > len(data) or at + length > address + size:
                return None, []
            placed.append(Segment(at, data[offset : offset + length], name=f"section {len(headers) // entry_size}"))
            where, at = at, at + length
        headers += layout.pack(name, kind, flags, where, offset, length, *rest)
    return Sections(number, entry_size, names, bytes(headers)), placed
