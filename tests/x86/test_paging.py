"""Page walks: every mode by hand, random tables against KVM's own walk."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvmdbg.errors import MemoryFault
from kvmdbg.x86 import paging
from kvmdbg.x86.modes import CR0_PG, CR4_LA57, CR4_PAE, CR4_PSE, EFER_LMA, EFER_LME

SIZE = 0x10000
LONG = EFER_LMA | EFER_LME
PDPTE_RESERVED = 0x1E6
"""Bits that must be 0 in a PDPTE of PAE paging (SDM volume 3A, table 4-8)."""


def memory(entries: dict[int, int], width: int = 8) -> Callable[[int, int], bytes]:
    raw = bytearray(SIZE)
    for at, value in entries.items():
        raw[at : at + width] = value.to_bytes(width, "little")

    def read(address: int, size: int) -> bytes:
        if address + size > SIZE:
            raise MemoryFault(address, "read", "physical")
        return bytes(raw[address : address + size])

    return read


def test_without_paging_an_address_is_its_own_and_wraps_at_32_bits() -> None:
    found = paging.walk(memory({}), 0, 0, 0, 0, 0x1_2345_6789)
    assert (found.physical, found.entries, found.fault) == (0x23456789, (), None)


def test_32_bit() -> None:
    read = memory({0x1000 + 4: 0x2007, 0x2000 + 8: 0x5003}, 4)
    found = paging.walk(read, CR0_PG, 0x1000, 0, 0, 0x00402ABC)
    assert (found.physical, found.page_size, found.writable, found.user) == (0x5ABC, 4096, True, False)
    assert [(e.name, e.index, e.address) for e in found.entries] == [("PDE", 1, 0x1004), ("PTE", 2, 0x2008)]
    missing = paging.walk(read, CR0_PG, 0x1000, 0, 0, 0x00403ABC)
    assert missing.physical is None
    assert "PTE at 0x200c is not present" in (missing.fault or "")


def test_4_mib_pages_and_pse_36() -> None:
    read = memory({0x1000 + 4: 0x00C00083 | 5 << 13}, 4)
    found = paging.walk(read, CR0_PG, 0x1000, CR4_PSE, 0, 0x00412345)
    assert (found.physical, found.page_size) == (5 << 32 | 0x00C12345, 1 << 22)
    without_pse = paging.walk(read, CR0_PG, 0x1000, 0, 0, 0x00412345)
    assert len(without_pse.entries) == 1 or without_pse.page_size == 4096


def test_pae() -> None:
    read = memory({0x1020 + 8: 0x2001, 0x2000 + 16: 0x3007, 0x3000 + 24: 0x7 << 32 | 0x9005})
    found = paging.walk(read, CR0_PG, 0x1020, CR4_PAE, 0, 1 << 30 | 2 << 21 | 3 << 12 | 0x10)
    assert (found.physical, found.writable, found.user) == (0x7_0000_9010, False, True)


@pytest.mark.parametrize(("level", "size"), [(3, 1 << 30), (2, 1 << 21), (1, 1 << 12)])
def test_4_level_with_every_page_size(level: int, size: int) -> None:
    linear = 0xFFFF_8000_0000_0000 | 5 << 30 | 6 << 21 | 7 << 12 | 0x123
    tables = {0x1000 + 256 * 8: 0x2003}
    frame = 0x12_4000_0000
    at, base = 0x2000, 5
    for depth, index in ((3, 5), (2, 6), (1, 7)):
        leaf = depth == level
        tables[at + index * 8] = (frame | 0x83 if depth > 1 else frame | 3) if leaf else at + 0x1000 | 3
        if leaf:
            break
        at += 0x1000
    found = paging.walk(memory(tables), CR0_PG, 0x1000, CR4_PAE, LONG, linear)
    assert found.physical == frame + (linear & size - 1)
    assert found.page_size == size
    assert len(found.entries) == 5 - level
    assert base == 5


def test_5_level() -> None:
    linear = 3 << 48 | 1 << 39
    tables = {0x1000 + 24: 0x2003, 0x2000 + 8: 0x3003, 0x3000: 0x4000_0083}
    found = paging.walk(memory(tables), CR0_PG, 0x1000, CR4_PAE | CR4_LA57, LONG, linear)
    assert found.physical == 0x4000_0000
    assert [e.name for e in found.entries] == ["PML5E", "PML4E", "PDPTE"]
    assert paging.walk(memory(tables), CR0_PG, 0x1000, CR4_PAE, LONG, linear).fault == "the address is not canonical"


def test_no_execute_is_reserved_without_nxe() -> None:
    tables = {0x1000: 0x2003 | 1 << 63, 0x2000: 0x83}
    found = paging.walk(memory(tables), CR0_PG, 0x1000, CR4_PAE, LONG, 0)
    assert found.fault == "the PML4E at 0x1000 has reserved bits set (0x8000000000000000 of 0x8000000000002003)"
    assert not paging.walk(memory(tables), CR0_PG, 0x1000, CR4_PAE, LONG | 1 << 11, 0).executable


def test_tables_outside_memory_and_loops() -> None:
    found = paging.walk(memory({0x1000: 0xFFF000 | 3}), CR0_PG, 0x1000, CR4_PAE, LONG, 0)
    assert "outside the guest's memory" in (found.fault or "")
    looped = {0x1000 + 8 * n: 0x1003 for n in range(512)}
    assert list(paging.tables(memory(looped), CR0_PG, 0x1000, CR4_PAE, LONG)) == [0x1000]


def test_tables_lists_each_page_once() -> None:
    entries = {0x1000: 0x2003, 0x1008: 0x2003, 0x2000: 0x3003, 0x3000: 0x4003, 0x3008: 0x83, 0x4000: 0x9003}
    assert sorted(paging.tables(memory(entries), CR0_PG, 0x1000, CR4_PAE, LONG)) == [0x1000, 0x2000, 0x3000, 0x4000]
    assert list(paging.tables(memory(entries), 0, 0x1000, 0, 0)) == []


ENTRY = st.one_of(
    st.just(0),
    st.builds(
        lambda table, bits: table << 12 | bits,
        st.integers(1, 15) | st.just(0x200) | st.just(0x40000),
        st.sampled_from([3, 7, 1, 5, 0x83, 0x67, 2, 1 << 63 | 3]),
    ),
)


@pytest.mark.parametrize(
    ("entries", "cr4", "efer", "reserved"),
    [
        ({0x1000: 0x2083}, CR4_PAE, LONG, "PML4E at 0x1000 has reserved bits set (0x80 of"),
        ({0x1000: 0x2003, 0x2000: 0x40002083}, CR4_PAE, LONG, "PDPTE at 0x2000 has reserved bits set (0x2000 of"),
        ({0x1000: 0x2003, 0x2000: 0x3003, 0x3000: 0x201083}, CR4_PAE, LONG, ""),  # bit 12 is PAT
        ({0x1000: 0x2003, 0x2000: 0x3003, 0x3000: 0x202083}, CR4_PAE, LONG, "PDE at 0x3000 has reserved bits set"),
        ({0x1000: 0x2003, 0x2000: 0x3003, 0x3000: 0x4003, 0x4000: 0x9083}, CR4_PAE, LONG, ""),  # PAT of a page
        ({0x1000: 0x2001, 0x2000: 0x100083}, CR4_PAE, 0, "PDE at 0x2000 has reserved bits set (0x100000 of"),
        ({0x1000: 0x200083}, CR4_PSE, 0, "PDE at 0x1000 has reserved bits set (0x200000 of"),
        ({0x1000: 0x2083, 0x2000: 0x3003}, 0, 0, ""),  # no large pages without PSE
    ],
)
def test_reserved_bits(entries: dict[int, int], cr4: int, efer: int, reserved: str) -> None:
    found = paging.walk(memory(entries), CR0_PG, 0x1000, cr4, efer, 0)
    assert reserved in (found.fault or "")
    assert (found.fault is None) == (not reserved)
    mapped = [one for one in paging.mappings(memory(entries), CR0_PG, 0x1000, cr4, efer) if not one.linear]
    assert bool(mapped) == (not reserved)


@given(st.lists(st.tuples(st.integers(1, 15), st.integers(0, 3), ENTRY), max_size=60), st.integers(0, (1 << 64) - 1))
def test_rubbish_never_raises(entries: list[tuple[int, int, int]], linear: int) -> None:
    read = memory({table * 4096 + index * 8: value for table, index, value in entries})
    for cr4, efer in ((0, 0), (CR4_PSE, 0), (CR4_PAE, 0), (CR4_PAE, LONG), (CR4_PAE | CR4_LA57, LONG)):
        found = paging.walk(read, CR0_PG, 0x1000, cr4, efer, linear)
        assert (found.physical is None) == (found.fault is not None)
        assert len(set(paging.tables(read, CR0_PG, 0x1000, cr4, efer))) <= SIZE // 4096


MODES = {
    "32-bit": (0, CR4_PSE, 0, 4, (22, 12)),
    "PAE": (0, CR4_PAE, 0, 8, (30, 21, 12)),
    "4-level": (1, CR4_PAE, LONG, 8, (39, 30, 21, 12)),
}
"""CS.L, CR4, EFER, bytes of an entry, and a bit of the index into each level's table."""


@pytest.mark.kvm
@pytest.mark.parametrize("mode", MODES)
def test_against_kvm_translate(mode: str) -> None:
    """Random tables: KVM's walk and ours agree wherever KVM finds a page, and where it finds none.

    A KVM on which no guest runs with paging in 32-bit protected mode (a probe tells) walks no such tables either.
    """
    from kvmdbg.core.probe import legacy_paging_works
    from kvmdbg.kvm import System
    from kvmdbg.machine.memory import GuestMemory

    wide, cr4, efer, width, bits = MODES[mode]
    with System() as system:
        vm = system.create_vm()
        ram = GuestMemory(vm)
        ram.add(0, SIZE)
        vcpu = vm.create_vcpu(0)
        vcpu.set_cpuid(system.supported_cpuid())
        sregs = vcpu.get_sregs()
        sregs.cs.l, sregs.cs.db, sregs.cr3 = wide, 1 - wide, 0x1000
        sregs.cr4 |= cr4
        sregs.efer |= efer
        sregs.cr0 |= CR0_PG | 1
        agreed = [0, 0]

        @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 1), ENTRY), max_size=40), st.integers(0, 15))
        def compare(entries: list[tuple[int, int, int]], which: int) -> None:
            ram.write(0x1000, bytes(SIZE - 0x1000))
            for table, index, value in entries:
                entry = value & (1 << 8 * width) - 1
                if mode == "PAE" and table == 1:
                    entry &= ~PDPTE_RESERVED  # the CPU checks them when CR3 is loaded, and not in a walk
                ram.write(table * 4096 + index * width, entry.to_bytes(width, "little"))
            vcpu.set_sregs(sregs)  # PAE's four PDPTEs are read when CR3 is set
            linear = sum((which >> n & 1) << bit for n, bit in enumerate(bits))
            ours = paging.walk(ram.read, sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer, linear)
            theirs = vcpu.translate(linear)
            if not wide and not legacy_paging_works():
                assert (theirs.valid, theirs.physical_address) == (1, linear)
                agreed[0] += 1
                return
            assert bool(theirs.valid) == (ours.physical is not None), (ours, theirs)
            if theirs.valid:
                assert theirs.physical_address == ours.physical
            agreed[bool(theirs.valid)] += 1

        compare()
        assert agreed[0] > 10
        vcpu.close()
        ram.close()
        vm.close()
