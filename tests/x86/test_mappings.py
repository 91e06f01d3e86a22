"""The map of linear memory against walks, over page tables of any shape."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvmdbg.errors import MemoryFault
from kvmdbg.x86 import paging
from kvmdbg.x86.modes import CR0_PG, CR4_LA57, CR4_PAE, CR4_PSE, EFER_LMA

SIZE = 16 * 4096
MODES = {
    "32-bit": (0, 0),
    "32-bit with PSE": (CR4_PSE, 0),
    "PAE": (CR4_PAE, 0),
    "4-level": (CR4_PAE, EFER_LMA | 1 << 11),
    "5-level": (CR4_PAE | CR4_LA57, EFER_LMA | 1 << 11),
}


def reader(memory: bytes):  # type: ignore[no-untyped-def]
    def read(address: int, size: int) -> bytes:
        if address + size > len(memory):
            raise MemoryFault(address, "read", "physical")
        return memory[address : address + size]

    return read


entries = st.tuples(
    st.integers(0, 15), st.integers(0, 1023), st.integers(0, 15), st.integers(0, 0x1FF), st.booleans()
)  # table's page, index, where it leads, low bits, NX


@settings(max_examples=150)
@given(
    st.sampled_from(sorted(MODES)), st.lists(entries, max_size=60), st.lists(st.integers(0, (1 << 64) - 1), max_size=20)
)
def test_the_map_says_what_walks_say(
    mode: str, chosen: list[tuple[int, int, int, int, bool]], places: list[int]
) -> None:
    cr4, efer = MODES[mode]
    size = 4 if mode.startswith("32") else 8
    memory = bytearray(SIZE)
    for page, index, target, low, nx in chosen:
        value = target << 12 | low | (1 << 63 if nx and size == 8 else 0)
        at = page * 4096 + index % (4096 // size) * size
        memory[at : at + size] = value.to_bytes(size, "little")
    read = reader(bytes(memory))
    found = paging.mappings(read, CR0_PG, 0, cr4, efer)
    assert found == sorted(found, key=lambda one: one.linear)
    for one in found[:40]:
        places += [one.linear, one.linear + one.size - 1, one.linear + one.size, one.linear - 1]
    for linear in places:
        linear &= (1 << 64) - 1 if efer else (1 << 32) - 1
        walk = paging.walk(read, CR0_PG, 0, cr4, efer, linear)
        holding = [one for one in found if one.linear <= linear < one.linear + one.size]
        if walk.physical is None:
            assert holding == []
        else:
            (one,) = holding
            assert one.physical + linear - one.linear == walk.physical
            assert (one.writable, one.user, one.executable) == (walk.writable, walk.user, walk.executable)


def test_pages_are_one_mapping_where_they_go_on_with_the_same_rights() -> None:
    memory = bytearray(SIZE)
    for level in range(3):
        memory[level * 0x1000 : level * 0x1000 + 8] = (0x1000 * (level + 1) | 7).to_bytes(8, "little")
    pages = {1: 0x5003, 3: 0x8003, 4: 0x9003, 5: 0xA001, 6: 0xB001, 7: 0xD001, 8: 0x6003}
    for index, entry in pages.items():
        memory[0x3000 + 8 * index : 0x3000 + 8 * index + 8] = entry.to_bytes(8, "little")
    found = paging.mappings(reader(bytes(memory)), CR0_PG, 0, CR4_PAE, EFER_LMA)
    assert [(one.linear, one.physical, one.size, one.writable) for one in found] == [
        (0x1000, 0x5000, 0x1000, True), (0x3000, 0x8000, 0x2000, True), (0x5000, 0xA000, 0x2000, False),
        (0x7000, 0xD000, 0x1000, False), (0x8000, 0x6000, 0x1000, True),
    ]  # fmt: skip


def test_a_table_that_holds_itself() -> None:
    memory = bytearray(SIZE)
    memory[0x1FF * 8 : 0x200 * 8] = (0x3).to_bytes(8, "little")
    memory[0:8] = (0x1003).to_bytes(8, "little")
    found = paging.mappings(reader(bytes(memory)), CR0_PG, 0, CR4_PAE, EFER_LMA)
    assert any(one.linear == 0xFFFFFFFFFFFFF000 and one.physical == 0 for one in found)


def test_no_paging_and_tables_outside_of_memory() -> None:
    assert paging.mappings(reader(b""), 0, 0, 0, 0) == [paging.Mapping(0, 0, 1 << 32, True, True, True)]
    assert paging.mappings(reader(b""), CR0_PG, 0x5000, CR4_PAE, EFER_LMA) == []


@pytest.mark.parametrize(("rights", "text"), [((True, True, True), "rwx u"), ((False, False, False), "r-- s")])
def test_rights(rights: tuple[bool, bool, bool], text: str) -> None:
    assert paging.Mapping(0, 0, 4096, *rights).rights == text
