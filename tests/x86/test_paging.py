"""Page walks: every mode by hand, random tables against KVM's own walk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvmdbg.errors import MemoryFault
from kvmdbg.kvm import System, Vcpu
from kvmdbg.machine.machine import _leaf
from kvmdbg.machine.memory import GuestMemory
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
    read = memory({0x1000 + 4: 0x00C00083 | 0x85 << 13}, 4)
    found = paging.walk(read, CR0_PG, 0x1000, CR4_PSE, 0, 0x00412345)
    assert (found.physical, found.page_size) == (0x85 << 32 | 0x00C12345, 1 << 22)
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


def test_tables_of_each_mode() -> None:
    """Those of high addresses, too, and none below a page."""
    high = {0x1000: 1 << 40 | 0x2003}
    assert list(paging.tables(memory(high), CR0_PG, 0x1000, CR4_PAE, LONG)) == [0x1000, 1 << 40 | 0x2000]
    legacy = {0x1000: 0x2003, 0x1004: 0xC00083, 0x1008: 0xFFFFF003, 0x2000: 0x5003}
    assert sorted(paging.tables(memory(legacy, 4), CR0_PG, 0x1000, CR4_PSE, 0)) == [0x1000, 0x2000, 0xFFFFF000]
    assert sorted(paging.tables(memory(legacy, 4), CR0_PG, 0x1000, 0, 0)) == [0x1000, 0x2000, 0xC00000, 0xFFFFF000]
    pae = {0x1020: 0x2001, 0x1028: 0x3001, 0x2000: 0x200083, 0x3FF8: 0x4003}
    assert sorted(paging.tables(memory(pae), CR0_PG, 0x1020, CR4_PAE, 0)) == [0x1000, 0x2000, 0x3000, 0x4000]


def test_halves_of_linear_memory() -> None:
    """The upper half of a 4-level map begins at 0xffff8000_00000000, that of a 5-level one at 0xff000000_00000000."""
    four = {0x1000 + 255 * 8: 0x2003, 0x1000 + 256 * 8: 0x3003, 0x2000 + 511 * 8: 0x83, 0x3000: 0x40000083}
    found = paging.mappings(memory(four), CR0_PG, 0x1000, CR4_PAE, LONG)
    assert [(one.linear, one.physical, one.size) for one in found] == [
        (0x7FFFC0000000, 0, 1 << 30), (0xFFFF800000000000, 1 << 30, 1 << 30),
    ]  # fmt: skip
    five = {0x1000 + 256 * 8: 0x2003, 0x2000: 0x3003, 0x3000: 0x83}
    found = paging.mappings(memory(five), CR0_PG, 0x1000, CR4_PAE | CR4_LA57, LONG)
    assert [(one.linear, one.size) for one in found] == [(0xFF00000000000000, 1 << 30)]
    low = {0x1000 + 3 * 8: 0x2001, 0x2000 + 511 * 8: 0x200083}
    found = paging.mappings(memory(low), CR0_PG, 0x1000, CR4_PAE, 0)
    assert [(one.linear, one.physical, one.size) for one in found] == [(0xFFE00000, 0x200000, 1 << 21)]
    assert paging.mappings(memory({}), 0, 0, 0, 0) == [paging.Mapping(0, 0, 1 << 32, True, True, True)]


def test_rights_as_text() -> None:
    rows = {(True, True, True): ("rwx", "rwx u"), (False, False, False): ("r", "r-- s"),
            (False, True, True): ("rx", "r-x u"),
            (True, False, False): ("rw", "rw- s")}  # fmt: skip
    for (writable, user, executable), (access, rights) in rows.items():
        one = paging.Mapping(0, 0, 1, writable, user, executable)
        assert (one.access, one.rights) == (access, rights)


@pytest.mark.parametrize("size", [1 << 21, 1 << 12])
def test_rights_of_a_walk_and_a_mapping(size: int) -> None:
    """Each level can take rights away (SDM volume 3A, 4.6)."""
    for level, right in ((0, 2), (1, 2), (2, 2), (0, 4), (1, 4), (2, 4), (0, 1 << 63), (1, 1 << 63), (2, 1 << 63)):
        last = 0x2000000 | (0x87 if size > 1 << 12 else 7)
        entries = {0x1000: 0x2007, 0x2000: 0x3007, 0x3000: last if size > 1 << 12 else 0x4007, 0x4000: last}
        entries[0x1000 * (level + 1)] ^= right
        read = memory(entries)
        registers = CR0_PG, 0x1000, CR4_PAE, LONG | paging.EFER_NXE
        walk = paging.walk(read, *registers, 0)
        mapped = paging.mappings(read, *registers)[0]
        wanted = right != 2, right != 4, right != 1 << 63
        assert (walk.writable, walk.user, walk.executable) == wanted
        assert (mapped.writable, mapped.user, mapped.executable) == wanted


def test_pml5e_is_no_page() -> None:
    found = paging.walk(memory({0x1000: 0x83}), CR0_PG, 0x1000, CR4_PAE | CR4_LA57, LONG, 0)
    assert found.page_size == 0 and found.fault == "the PML5E at 0x1000 has reserved bits set (0x80 of 0x83)"
    entry = paging.walk(memory({0x1008: 0}), CR0_PG, 0x1000, CR4_PAE | CR4_LA57, LONG, 1 << 48).entries[0]
    assert (entry.level, entry.address, entry.index, entry.table, entry.size) == (5, 0x1008, 1, 0x1000, 8)


LIMITS = {
    "any": paging.Limits(),
    "narrow": paging.Limits(36, gib_pages=False, pse36=False, bit_8_reserved=True),
    "36 bits": paging.Limits(36),
    "40 bits": paging.Limits(40),
}


def reserved_in(limits: paging.Limits, cr4: int, efer: int, shifts: list[int], depth: int, nxe: bool) -> set[int]:
    """The bits that fault when set in the entry at ``depth`` of a walk through tables with these shifts."""
    width, found = (8 if cr4 & CR4_PAE else 4), set()
    for bit in range(1, 8 * width):
        entries = {}
        for n, shift in enumerate(shifts):
            leaf = n == len(shifts) - 1
            entry = (0x87 if shift > 12 else 7) if leaf else 0x1000 * (n + 2) | (7 if shift != 30 or efer else 1)
            entries[0x1000 * (n + 1)] = entry | (n == depth) << bit
        registers = CR0_PG, 0x1000, cr4, efer | (paging.EFER_NXE if nxe else 0)
        walk = paging.walk(memory(entries, width), *registers, 0, limits)
        if "reserved" in (walk.fault or ""):
            found.add(bit)
        if not (walk.fault or "").endswith("memory"):
            mapped = any(not one.linear for one in paging.mappings(memory(entries, width), *registers, limits))
            assert mapped == (walk.physical is not None)
    return found


def bits(first: int, last: int) -> set[int]:
    return set(range(first, last + 1))


@pytest.mark.parametrize(
    ("limits", "cr4", "efer", "shifts", "depth", "reserved"),
    [
        # 4-level (SDM volume 3A, tables 4-15 to 4-20): MAXPHYADDR to 51, PS in a PML4E, the low bits of large frames
        ("any", CR4_PAE, LONG, [39, 30, 21, 12], 0, {7}),
        ("any", CR4_PAE, LONG, [39, 30, 21, 12], 3, set()),
        ("36 bits", CR4_PAE, LONG, [39, 30, 21, 12], 0, {7} | bits(36, 51)),
        ("36 bits", CR4_PAE, LONG, [39, 30, 21, 12], 1, bits(36, 51)),
        ("36 bits", CR4_PAE, LONG, [39, 30, 21, 12], 2, bits(36, 51)),
        ("36 bits", CR4_PAE, LONG, [39, 30, 21, 12], 3, bits(36, 51)),
        ("40 bits", CR4_PAE, LONG, [39, 30, 21], 2, bits(13, 20) | bits(40, 51)),
        ("40 bits", CR4_PAE, LONG, [39, 30], 1, bits(13, 29) | bits(40, 51)),
        ("narrow", CR4_PAE, LONG, [39, 30, 21, 12], 0, {7, 8} | bits(36, 51)),  # bit 8: AMD APM volume 2, 5.3.3
        ("narrow", CR4_PAE, LONG, [39, 30, 21, 12], 1, {7} | bits(36, 51)),  # no pages of 1 GiB
        ("narrow", CR4_PAE, LONG, [39, 30, 21, 12], 2, bits(36, 51)),
        # 5-level: the same in a PML5E
        ("narrow", CR4_PAE | CR4_LA57, LONG, [48, 39, 30, 21, 12], 0, {7, 8} | bits(36, 51)),
        # PAE (tables 4-8 to 4-11): up to bit 62; a PDPTE is checked elsewhere
        ("36 bits", CR4_PAE, 0, [30, 21, 12], 0, set()),
        ("36 bits", CR4_PAE, 0, [30, 21, 12], 1, bits(36, 62)),
        ("40 bits", CR4_PAE, 0, [30, 21, 12], 2, bits(40, 62)),
        ("any", CR4_PAE, 0, [30, 21], 1, bits(13, 20) | bits(52, 62)),
        # 32-bit (table 4-4): bits 20:13 of a large page are bits 39:32 of its address, as far as there are so many
        ("any", CR4_PSE, 0, [22, 12], 0, set()),
        ("any", CR4_PSE, 0, [22, 12], 1, set()),
        ("any", CR4_PSE, 0, [22], 0, {21}),
        ("40 bits", CR4_PSE, 0, [22], 0, {21}),
        ("36 bits", CR4_PSE, 0, [22], 0, bits(17, 21)),
        ("narrow", CR4_PSE, 0, [22], 0, bits(13, 21)),
    ],
)
@pytest.mark.parametrize("nxe", [False, True])
def test_all_reserved_bits(
    limits: str, cr4: int, efer: int, shifts: list[int], depth: int, reserved: set[int], nxe: bool
) -> None:
    checked_in_a_walk = cr4 & CR4_PAE and not (shifts[0] == 30 and depth == 0)
    wanted = reserved | ({63} if checked_in_a_walk and not nxe else set())
    found = reserved_in(LIMITS[limits], cr4, efer, shifts, depth, nxe)
    # where a set bit changes the kind of entry, others of it are looked at: PS makes a large page of a table
    assert found - {7} == wanted - {7}
    if 7 in wanted:
        assert 7 in found


def leaves(most: int, vendor: bytes, one: int, large: int, widths: int) -> Callable[[int], tuple[int, int, int, int]]:
    first, last, middle = (int.from_bytes(vendor[n : n + 4], "little") for n in (0, 8, 4))
    known = {
        1: (0, 0, 0, one), 0x80000000: (most, first, last, middle), 0x80000001: (0, 0, 0, large),
        0x80000008: (widths, 0, 0, 0),
    }  # fmt: skip
    return lambda leaf: known.get(leaf, (0, 0, 0, 0))


@pytest.mark.parametrize(
    ("cpu", "limits"),
    [
        (leaves(0x80000008, b"GenuineIntel", 1 << 6 | 1 << 17, 1 << 26, 0x392E), paging.Limits(46)),
        (leaves(0x80000021, b"AuthenticAMD", 1 << 17, 0, 0x3030), paging.Limits(48, False, True, True)),
        (leaves(0x80000008, b"HygonGenuine", 0, 1 << 26, 0x3028), paging.Limits(40, True, False, True)),
        (leaves(0x80000007, b"GenuineIntel", 1 << 6, 1 << 26, 0x392E), paging.Limits(36, True, False)),
        (leaves(0, b"\0" * 12, 0, 0, 0), paging.Limits(32, False, False)),
        (leaves(0x80000008, b"AMDAuthentic", 1 << 6, 0, 0), paging.Limits(36, False, False)),
    ],
)  # fmt: skip
def test_limits_follow_from_cpuid(cpu: Callable[[int], tuple[int, int, int, int]], limits: paging.Limits) -> None:
    assert paging.limits(cpu) == limits


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


@contextmanager
def paging_vcpu(mode: str) -> Iterator[tuple[Vcpu, GuestMemory, Any, paging.Limits]]:
    """A vCPU with its memory, special registers that turn paging on, all but EFER, and what its CPUID allows."""
    wide, cr4, _, _, _ = MODES[mode]
    with System() as system:
        vm = system.create_vm()
        ram = GuestMemory(vm)
        ram.add(0, SIZE)
        vcpu = vm.create_vcpu(0)
        cpuid = system.supported_cpuid()
        vcpu.set_cpuid(cpuid)
        sregs = vcpu.get_sregs()
        sregs.cs.l, sregs.cs.db, sregs.cr3 = wide, 1 - wide, 0x1000
        sregs.cr4 |= cr4
        sregs.cr0 |= CR0_PG | 1
        yield vcpu, ram, sregs, paging.limits(lambda leaf: _leaf(cpuid, leaf))
        vcpu.close()
        ram.close()
        vm.close()


@pytest.mark.kvm
@pytest.mark.kvm_alone
@pytest.mark.parametrize("mode", MODES)
def test_against_kvm_translate(mode: str) -> None:
    """Random tables: KVM's walk and ours agree wherever KVM finds a page, and where it finds none.

    A KVM on which no guest runs with paging in 32-bit protected mode (a probe tells) walks no such tables either.
    """
    from kvmdbg.engine.probe import legacy_paging_works

    wide, _, efer, width, bits = MODES[mode]
    with paging_vcpu(mode) as (vcpu, ram, sregs, limits):
        sregs.efer |= efer
        agreed = [0, 0]

        @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 1), ENTRY), max_size=40), st.integers(0, 15))
        def compare(entries: list[tuple[int, int, int]], which: int) -> None:
            ram.write(0x1000, bytes(SIZE - 0x1000))
            for table, index, value in entries:
                entry = value & (1 << 8 * width) - 1
                if mode == "PAE" and table == 1:
                    entry &= (
                        ~PDPTE_RESERVED & (1 << limits.address_bits) - 1
                    )  # the CPU checks them when CR3 is loaded, and not in a walk
                ram.write(table * 4096 + index * width, entry.to_bytes(width, "little"))
            vcpu.set_sregs(sregs)  # PAE's four PDPTEs are read when CR3 is set
            linear = sum((which >> n & 1) << bit for n, bit in enumerate(bits))
            ours = paging.walk(ram.read, sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer, linear, limits)
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


LEAVES = {
    "4-level": ((39, 30, 21, 12), (39, 30, 21), (39, 30)),
    "PAE": ((30, 21, 12), (30, 21)),
    "32-bit": ((22, 12), (22,)),
}


@pytest.mark.kvm
@pytest.mark.kvm_alone
@pytest.mark.parametrize("mode", MODES)
def test_each_bit_against_kvm_translate(mode: str) -> None:
    """A walk to a page of each size, with each bit of each entry the other way round, with and without EFER.NXE."""
    from kvmdbg.engine.probe import legacy_paging_works

    wide, _, efer, width, _ = MODES[mode]
    with paging_vcpu(mode) as (vcpu, ram, sregs, limits):
        compared = 0
        for nxe in (0, paging.EFER_NXE) if wide or legacy_paging_works() else ():
            sregs.efer = efer | nxe
            for shifts in LEAVES[mode]:
                last = len(shifts) - 1
                for depth in range(mode == "PAE", len(shifts)):  # PDPTEs are checked when CR3 is set
                    for bit in range(1, 8 * width):
                        if mode == "32-bit" and shifts == (22,) and 17 <= bit <= 20:
                            continue  # PSE-36: KVM's own walk takes 36 address bits, the SDM up to 40
                        ram.write(0x1000, bytes(SIZE - 0x1000))
                        for n, shift in enumerate(shifts):
                            entry = 0x1000 * (n + 2) | 7
                            if mode == "PAE" and n == 0:
                                entry &= ~6
                            if n == last:
                                entry = 7 if shift == 12 else 0x87
                            entry ^= (n == depth) << bit
                            ram.write(0x1000 * (n + 1), entry.to_bytes(width, "little"))
                        vcpu.set_sregs(sregs)
                        ours = paging.walk(ram.read, sregs.cr0, 0x1000, sregs.cr4, sregs.efer, 0x123, limits)
                        theirs = vcpu.translate(0x123)
                        if ours.fault is not None and "outside" in ours.fault:
                            continue  # KVM tells of tables that are nowhere as of others
                        assert bool(theirs.valid) == (ours.physical is not None), (shifts, depth, bit, ours)
                        assert not theirs.valid or theirs.physical_address == ours.physical
                        compared += 1
        assert compared > 400 or not wide
