"""The tables' layouts are those of chapter 4 of the MultiProcessor Specification."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from kvmdbg.machine.image import Segment
from kvmdbg.machine.mp_table import clear_of, configuration, tables

SIZES = {0: 20, 1: 8, 2: 8, 3: 8, 4: 8}


@given(st.integers(1, 255))
def test_every_processor_is_in_it(cpus: int) -> None:
    pointer, table = tables(cpus, 0x800F12, 0x78BFBFF)
    assert (pointer.address, pointer.data[:4], pointer.size, sum(pointer.data) & 0xFF) == (0x9FD00, b"_MP_", 16, 0)
    assert struct.unpack_from("<IBB", pointer.data, 4) == (table.address, 1, 4)
    assert pointer.data[11:] == bytes(5)  # there is a table, and no IMCR
    assert table.end <= 0xA0000 or table.address == 0xE8000
    assert table.address in (0x9FD10, 0xE8000)  # right behind the pointer, where it has room there
    data = table.data
    assert data[:4] == b"PCMP" and sum(data) & 0xFF == 0
    length, revision, _, oem, product = struct.unpack_from("<HBB8s12s", data, 4)
    assert (length, revision, oem.strip(), product.strip()) == (len(data), 4, b"KVMDBG", b"PC")
    count, lapic = struct.unpack_from("<HI", data, 34)
    assert lapic == 0xFEE00000
    found: dict[int, list[bytes]] = {}
    at = 44
    for _ in range(count):
        entry = data[at : at + SIZES[data[at]]]
        found.setdefault(entry[0], []).append(entry)
        at += len(entry)
    assert at == len(data) and list(found) == [0, 1, 2, 3, 4]
    assert [struct.unpack_from("<BBBII", one, 1) for one in found[0]] == [
        (number, 0x14, 1 if number else 3, 0x800F12, 0x78BFBFF) for number in range(cpus)
    ]
    assert found[1] == [b"\1\0ISA   "]
    assert found[2] == [struct.pack("<BBBBI", 2, 0, 0x11, 1, 0xFEC00000)]
    assert [(one[1], one[5], one[7]) for one in found[3]] == [(0, irq, irq) for irq in range(16) if irq != 2]
    assert [(one[1], one[6], one[7]) for one in found[4]] == [(3, 0xFF, 0), (1, 0xFF, 1)]


def test_nothing_is_written_over() -> None:
    made = tables(2, 0, 0)
    assert clear_of(made, [Segment(0x1000, b"", 0x9ED00), Segment(0x9F000, b"", 0xD00)], 1 << 20)
    assert not clear_of(made, [Segment(0x9FD0F, b"x")], 1 << 20)
    assert not clear_of(made, [], 0x9FD80)
    assert len(configuration(1, 0, 0)) + 20 == len(configuration(2, 0, 0))
