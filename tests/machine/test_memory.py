"""Guest memory over a VM that only keeps its slots, as strictly as KVM does; the last test on KVM's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmdbg.errors import LoadError, MemoryFault, UsageError
from kvmdbg.kvm import Vm, abi
from kvmdbg.machine.memory import PAGE, Guard, GuestMemory

READ_ONLY, WITHDRAWN = Guard.READ_ONLY, Guard.WITHDRAWN


class SlotTable:
    """What GuestMemory uses of Vm and System, with the rules of KVM_SET_USER_MEMORY_REGION (api.rst 4.35)."""

    def __init__(self, slots: int = 64) -> None:
        self.system = self
        self.limit = slots
        self.slots: dict[int, tuple[int, int, int, int]] = {}
        self.changes: list[int] = []
        self.dirty: dict[int, set[int]] = {}
        """What the guest has written: page numbers in each slot, since the slot was made or asked about."""

    def check_extension(self, extension: int) -> int:
        assert extension == abi.KVM_CAP_NR_MEMSLOTS
        return self.limit

    def set_memory_region(self, number: int, address: int, size: int, host: int, flags: int = 0) -> None:
        assert 0 <= number < (self.limit or 32)
        self.changes.append(number)
        if not size:
            del self.slots[number]
            self.dirty.pop(number, None)  # with the slot goes its log
            return
        assert number not in self.slots, "the flags of a slot cannot change"
        assert address % PAGE == size % PAGE == host % PAGE == 0
        assert all(address + size <= a or a + s <= address for a, s, _, _ in self.slots.values()), "overlap"
        self.slots[number] = (address, size, host, flags)

    def guest_writes(self, *addresses: int) -> None:
        """The guest writes to these pages: those of logged slots are in the log."""
        for written in addresses:
            for number, (address, size, _, flags) in self.slots.items():
                if address <= written < address + size:
                    assert not flags & abi.KVM_MEM_READONLY
                    if flags & abi.KVM_MEM_LOG_DIRTY_PAGES:
                        self.dirty.setdefault(number, set()).add((written - address) // PAGE)

    def dirty_log(self, number: int, pages: int) -> bytes:
        _, size, _, flags = self.slots[number]
        assert flags & abi.KVM_MEM_LOG_DIRTY_PAGES and pages == size // PAGE
        found = self.dirty.pop(number, set())
        return sum(1 << page for page in found).to_bytes(-(-pages // 64) * 8, "little")

    @property
    def layout(self) -> list[tuple[int, int, bool]]:
        """(address, size, whether read-only) of each slot, by address."""
        return sorted((a, s, flags == abi.KVM_MEM_READONLY) for a, s, _, flags in self.slots.values())


@pytest.fixture
def vm() -> SlotTable:
    return SlotTable()


@pytest.fixture
def memory(vm: SlotTable) -> Iterator[GuestMemory]:
    """64 KiB at 0, and at 1 MiB two regions of 16 KiB that touch."""
    found = GuestMemory(cast(Vm, vm))
    found.add(0x104000, 0x4000)
    found.add(0, 0x10000)
    found.add(0x100000, 0x4000)
    yield found
    found.close()


# --- regions -------------------------------------------------------------------------------------------


def test_each_region_is_a_slot(memory: GuestMemory, vm: SlotTable) -> None:
    assert vm.layout == [(0, 0x10000, False), (0x100000, 0x4000, False), (0x104000, 0x4000, False)]
    assert [(s.address, s.size, s.read_only) for s in memory.slots] == vm.layout
    assert memory.size == 0x18000
    assert {(s.address, r.host_address) for s, r in zip(memory.slots, memory.regions, strict=True)} == {
        (address, host) for address, _, host, _ in vm.slots.values()
    }


@pytest.mark.parametrize(("address", "size"), [(0, 0), (0, -PAGE), (0x20000, 100), (0x20001, PAGE)])
def test_only_whole_pages(memory: GuestMemory, address: int, size: int) -> None:
    with pytest.raises(UsageError, match=f"{size:#x} bytes at {address:#x} is not a positive number of whole 4 KiB"):
        memory.add(address, size)


@pytest.mark.parametrize(("address", "size"), [(0xF000, PAGE), (0x10000, 0x100000), (0xFF000, 0x20000), (0, 1 << 30)])
def test_an_overlap_names_both(memory: GuestMemory, address: int, size: int) -> None:
    with pytest.raises(UsageError, match=f"{address:#x}-{address + size - 1:#x} overlaps 0x[0-9a-f]+-0x[0-9a-f]+"):
        memory.add(address, size)
    assert len(memory.regions) == 3


@pytest.mark.parametrize("size", [1 << 62, 1 << 63, 1 << 64])
def test_more_than_the_host_can_map(memory: GuestMemory, size: int) -> None:
    with pytest.raises(UsageError, match=f"the host cannot map {size:#x} bytes of guest memory"):
        memory.add(1 << 40, size)
    assert memory.find(1 << 40) is None


def test_a_region_without_a_slot_left_is_not_added() -> None:
    vm = SlotTable(2)
    memory = GuestMemory(cast(Vm, vm))
    memory.add(0, PAGE)
    memory.add(0x10000, PAGE)
    with pytest.raises(UsageError, match="2 memory slots, 3 would be needed"):
        memory.add(0x20000, PAGE)
    assert memory.find(0x20000) is None
    assert len(vm.slots) == 2


def test_a_kvm_that_does_not_tell_its_slots_has_32() -> None:
    assert GuestMemory(cast(Vm, SlotTable(0))).max_slots == 32


# --- access --------------------------------------------------------------------------------------------


def test_find(memory: GuestMemory) -> None:
    for address, start in {0: 0, 0xFFFF: 0, 0x100000: 0x100000, 0x103FFF: 0x100000, 0x104000: 0x104000}.items():
        region = memory.find(address)
        assert region is not None
        assert region.address == start
    assert [memory.find(address) for address in (0x10000, 0xFFFFF, 0x108000, 1 << 64, -1)] == [None] * 5


def test_read_and_write_across_regions(memory: GuestMemory) -> None:
    memory.write(0x103FFE, b"abcd")
    assert memory.read(0x103FFE, 4) == b"abcd"
    assert (memory.read(0x103FFF, 1), memory.read(0x104000, 1)) == (b"b", b"c")
    assert memory.read(0x103FF0, 0) == b""


@pytest.mark.parametrize(
    ("address", "size", "missing"), [(0xFFFF, 2, 0x10000), (0x20000, 1, 0x20000), (0x103FFE, 0x5000, 0x108000)]
)
def test_the_first_byte_that_is_not_there_is_named(memory: GuestMemory, address: int, size: int, missing: int) -> None:
    with pytest.raises(MemoryFault, match=f"cannot read physical address {missing:#x}") as read:
        memory.read(address, size)
    with pytest.raises(MemoryFault, match=f"cannot write physical address {missing:#x}") as write:
        memory.write(address, b"\xff" * size)
    assert read.value.address == write.value.address == missing
    for region in memory.regions:
        assert not any(region.view)  # all or nothing


def test_load_fills_up_with_zeros(memory: GuestMemory) -> None:
    memory.write(0x1000, b"\xff" * 0x2000)
    memory.load(0x1000, b"code", 0x1800, "text")
    assert memory.read(0x1000, 0x1801) == b"code".ljust(0x1800, b"\0") + b"\xff"


@pytest.mark.parametrize(("data", "size"), [(b"x" * 0x2000, 0x2000), (b"x", 0x2000)])
def test_load_says_what_does_not_fit(memory: GuestMemory, data: bytes, size: int) -> None:
    text = r"kernel \(0x2000 bytes at 0xf000\) does not fit the guest's memory: nothing at 0x10000; .* --memory"
    with pytest.raises(LoadError, match=text):
        memory.load(0xF000, data, size, "kernel")


def test_zero_and_clear(memory: GuestMemory) -> None:
    memory.write(0, b"\xff" * 0x10000)
    memory.write(0x104000, b"\xff")
    memory.zero(0x1001, 0x2000)
    assert memory.read(0x1000, 0x2003) == b"\xff" + bytes(0x2000) + b"\xff\xff"
    memory.clear()
    assert memory.read(0, 0x10000) + memory.read(0x104000, 1) == bytes(0x10001)


# --- guards --------------------------------------------------------------------------------------------


def test_a_read_only_page_splits_its_slot(memory: GuestMemory, vm: SlotTable) -> None:
    memory.guard({0x3000: READ_ONLY})
    assert vm.layout[:3] == [(0, 0x3000, False), (0x3000, PAGE, True), (0x4000, 0xC000, False)]
    host = memory.regions[0].host_address
    assert {address: slot for address, _, slot, _ in vm.slots.values() if address < 0x10000} == {
        address: host + address for address in (0, 0x3000, 0x4000)
    }


def test_a_withdrawn_page_has_no_slot_but_can_be_read(memory: GuestMemory, vm: SlotTable) -> None:
    memory.write(0x3000, b"here")
    memory.guard({0x3000: WITHDRAWN})
    assert vm.layout[:2] == [(0, 0x3000, False), (0x4000, 0xC000, False)]
    assert memory.read(0x3000, 4) == b"here"


def test_first_last_and_neighbouring_pages(memory: GuestMemory, vm: SlotTable) -> None:
    memory.guard({0: READ_ONLY, 0x1000: WITHDRAWN, 0xF000: READ_ONLY, 0x103000: WITHDRAWN, 0x104000: READ_ONLY})
    assert vm.layout == [
        (0, PAGE, True),
        (0x2000, 0xD000, False),
        (0xF000, PAGE, True),
        (0x100000, 0x3000, False),
        (0x104000, PAGE, True),
        (0x105000, 0x3000, False),
    ]


def test_only_slots_that_change_are_touched(memory: GuestMemory, vm: SlotTable) -> None:
    memory.guard({0x3000: READ_ONLY})
    untouched = {number for number, slot in vm.slots.items() if slot[0] >= 0x100000}
    vm.changes.clear()
    memory.guard({0x3000: READ_ONLY})
    assert vm.changes == []
    memory.guard({0x3000: READ_ONLY, 0x4000: READ_ONLY})
    assert len(vm.changes) == 3  # the slot from 0x4000 on goes, the page and the rest come
    memory.guard({})
    assert untouched.isdisjoint(vm.changes)
    assert vm.layout[0] == (0, 0x10000, False)


def test_guards_outside_ram_are_left_out(memory: GuestMemory, vm: SlotTable) -> None:
    memory.guard({0x20000: WITHDRAWN, 0x1000: WITHDRAWN})
    assert dict(memory.guards) == {0x1000: WITHDRAWN}
    assert len(vm.slots) == 4


def test_too_many_guards_change_nothing_however_often_they_are_asked_for() -> None:
    vm = SlotTable(3)
    memory = GuestMemory(cast(Vm, vm))
    memory.add(0, 0x10000)
    memory.guard({0x1000: READ_ONLY})
    before = dict(vm.slots)
    for _ in range(2):
        with pytest.raises(UsageError, match="3 memory slots, 5 would be needed: watch fewer pages"):
            memory.guard({0x1000: READ_ONLY, 0x3000: READ_ONLY})
        assert vm.slots == before
        assert dict(memory.guards) == {0x1000: READ_ONLY}


PAGES = st.sampled_from([page * PAGE for page in (*range(0x10), *range(0x100, 0x108))])


@given(st.lists(st.dictionaries(PAGES, st.sampled_from(Guard), max_size=8), min_size=1, max_size=6))
def test_any_guards_one_after_the_other(wishes: list[dict[int, Guard]]) -> None:
    vm = SlotTable()
    memory = GuestMemory(cast(Vm, vm))
    for address, size in ((0x104000, 0x4000), (0, 0x10000), (0x100000, 0x4000)):
        memory.add(address, size)
    for wish in wishes:
        memory.guard(wish)
        shown = {page: ro for address, size, ro in vm.layout for page in range(address, address + size, PAGE)}
        ram = [page for region in memory.regions for page in range(region.address, region.end, PAGE)]
        assert shown == {page: wish.get(page) is READ_ONLY for page in ram if wish.get(page) is not WITHDRAWN}
        assert [(s.address, s.size, s.read_only) for s in memory.slots] == vm.layout
        assert {s.number for s in memory.slots} == set(vm.slots)
    memory.close()


# --- guards by the host's protection -------------------------------------------------------------------


class Protection:
    """Stands for mprotect: what each page of the host's is set to."""

    def __init__(self) -> None:
        self.pages: dict[int, int] = {}
        self.calls: list[tuple[int, int, int]] = []

    def __call__(self, address: int, size: int, protection: int) -> None:
        assert address % PAGE == size % PAGE == 0 and size > 0
        self.calls.append((address, size, protection))
        for page in range(address, address + size, PAGE):
            self.pages[page] = protection

    def of(self, memory: GuestMemory, address: int) -> int:
        region = memory.find(address)
        assert region is not None
        return self.pages.get(region.host_address + address - region.address, 3)


@pytest.fixture
def protection(monkeypatch: pytest.MonkeyPatch) -> Protection:
    made = Protection()
    monkeypatch.setattr("kvmdbg.machine.memory.protect", made)
    return made


READ, BOTH, NEITHER = 1, 3, 0  # PROT_READ, PROT_READ | PROT_WRITE, PROT_NONE


def test_host_guards_by_protection_and_leaves_slots(memory: GuestMemory, vm: SlotTable, protection: Protection) -> None:
    vm.changes.clear()
    wanted = {0x1000: READ_ONLY, 0x2000: READ_ONLY, 0x3000: WITHDRAWN, 0x5000: WITHDRAWN, 0x105000: READ_ONLY}
    memory.guard(wanted | {0x50000: READ_ONLY}, restartable=True)
    assert vm.changes == [] and memory.restartable and dict(memory.guards) == {}
    for page in range(0, 0x10000, PAGE):
        kind = wanted.get(page)
        assert protection.of(memory, page) == (READ if kind is READ_ONLY else NEITHER if kind is WITHDRAWN else BOTH)
    host = memory.regions[0].host_address
    assert (host + 0x1000, 2 * PAGE, READ) in protection.calls  # neighbours with one guard in one call
    assert protection.of(memory, 0x105000) == READ and len(protection.calls) == 4
    memory.guard(wanted, restartable=True)
    assert len(protection.calls) == 4  # nothing to change
    memory.guard({0x2000: WITHDRAWN}, restartable=True)
    assert [protection.of(memory, page) for page in (0x1000, 0x2000, 0x3000, 0x105000)] == [BOTH, NEITHER, BOTH, BOTH]
    memory.guard({0x2000: WITHDRAWN})
    assert not memory.restartable and set(protection.pages.values()) == {BOTH}
    assert dict(memory.guards) == {0x2000: WITHDRAWN}
    memory.guard({0x2000: WITHDRAWN}, restartable=True)
    assert dict(memory.guards) == {} and protection.of(memory, 0x2000) == NEITHER
    memory.guard({})
    assert not memory.restartable


def test_regions_that_touch_are_guarded_each_by_itself(memory: GuestMemory, protection: Protection) -> None:
    memory.guard({0x103000: READ_ONLY, 0x104000: READ_ONLY}, restartable=True)
    assert protection.of(memory, 0x103000) == protection.of(memory, 0x104000) == READ


def test_lifting_all_guards_for_a_moment(memory: GuestMemory, vm: SlotTable, protection: Protection) -> None:
    memory.guard({0x1000: READ_ONLY, 0x3000: WITHDRAWN}, restartable=True)
    with pytest.raises(ZeroDivisionError), memory.unprotected():
        assert set(protection.pages.values()) == {BOTH} and not memory.restartable
        raise ZeroDivisionError
    assert (protection.of(memory, 0x1000), protection.of(memory, 0x3000)) == (READ, NEITHER) and memory.restartable
    memory.guard({0x1000: READ_ONLY, 0x3000: WITHDRAWN})
    shown = vm.layout
    with pytest.raises(ZeroDivisionError), memory.unguarded():
        assert vm.layout[0] == (0, 0x10000, False) and dict(memory.guards) == {}
        raise ZeroDivisionError
    assert vm.layout == shown and dict(memory.guards) == {0x1000: READ_ONLY, 0x3000: WITHDRAWN}


# --- what has changed ----------------------------------------------------------------------------------


def test_nothing_is_logged_before_it_is_asked_for(memory: GuestMemory, vm: SlotTable) -> None:
    vm.guest_writes(0x1000)
    memory.write(0x2000, b"x")
    assert not memory.tracking and all(flags == 0 for _, _, _, flags in vm.slots.values())
    memory.track()
    assert memory.tracking and all(flags == abi.KVM_MEM_LOG_DIRTY_PAGES for _, _, _, flags in vm.slots.values())
    assert memory.take_dirty() == set()


def test_pages_written_by_guest_and_debugger(memory: GuestMemory, vm: SlotTable) -> None:
    memory.track()
    vm.guest_writes(0, 0x1FFF, 0xF000, 0x104000, 0x107FFF)
    memory.write(0x3FFF, b"ab")
    memory.write(0x5000, b"")
    memory.zero(0x103000, PAGE)
    memory.put_page(0x9000, bytes(PAGE))
    assert memory.take_dirty() == {0, 0x1000, 0xF000, 0x104000, 0x107000, 0x3000, 0x4000, 0x103000}
    assert memory.take_dirty() == set()
    vm.guest_writes(0x2000)
    assert memory.take_dirty() == {0x2000}


def test_log_survives_slots_that_change(memory: GuestMemory, vm: SlotTable) -> None:
    """KVM's log of a slot goes with the slot."""
    memory.track()
    vm.guest_writes(0x1000, 0x8000, 0x100000)
    memory.guard({0x3000: READ_ONLY, 0x4000: WITHDRAWN})
    vm.guest_writes(0x9000)
    memory.guard({})
    vm.guest_writes(0x3000)
    with memory.unguarded():
        vm.guest_writes(0x5000)
    assert memory.take_dirty() == {0x1000, 0x8000, 0x100000, 0x9000, 0x3000, 0x5000}


def test_read_only_slots_have_no_log(memory: GuestMemory, vm: SlotTable) -> None:
    memory.track()
    memory.guard({0x3000: READ_ONLY})
    flags = {address: flags for address, _, _, flags in vm.slots.values()}
    assert flags[0x3000] == abi.KVM_MEM_READONLY and flags[0x4000] == flags[0] == abi.KVM_MEM_LOG_DIRTY_PAGES
    assert memory.take_dirty() == set()


def test_tracking_ends(memory: GuestMemory, vm: SlotTable) -> None:
    memory.track()
    memory.track()
    vm.guest_writes(0x1000)
    memory.track(False)
    assert not memory.tracking and all(flags == 0 for _, _, _, flags in vm.slots.values())
    memory.write(0x2000, b"x")
    memory.track()
    assert memory.take_dirty() == set()


def test_pages_that_were_ever_touched(memory: GuestMemory) -> None:
    assert list(memory.populated()) == []
    for address in (0x2000, 0x3FFF, 0xF000, 0x104000):
        memory.write(address, b"x")
    assert list(memory.populated()) == [0x2000, 0x3000, 0xF000, 0x104000]
    memory.clear()
    assert list(memory.populated()) == []


def test_whole_page(memory: GuestMemory) -> None:
    memory.write(0xFFF, b"abc")
    memory.put_page(0x1000, b"\x55" * PAGE)
    assert memory.read(0xFFF, 3) == b"a\x55\x55" and memory.read(0x1FFE, 3) == b"\x55\x55\0"


def test_writes_are_counted(memory: GuestMemory) -> None:
    before = memory.writes
    memory.write(0, b"x")
    assert memory.writes == before + 1
    with pytest.raises(MemoryFault):
        memory.write(0x20000, b"x")
    assert memory.writes == before + 1
    memory.zero(0, 1)
    assert memory.writes > before + 1


def test_large_spans_are_cleared_in_pieces() -> None:
    memory = GuestMemory(cast(Vm, SlotTable()))
    memory.add(0, 5 << 20)
    size = (2 << 20) + 3
    memory.write(0, b"\xff" * (4 << 20))
    memory.zero(1, size)
    assert memory.read(0, 1) == b"\xff" and memory.read(1, size) == bytes(size)
    assert memory.read(size + 1, 4) == b"\xff" * 4
    memory.close()
    assert memory.regions == [] and memory.find(0) is None


def test_region_that_kvm_refuses_is_closed() -> None:
    import os

    at_first = len(os.listdir("/proc/self/fd"))
    vm = SlotTable(1)
    memory = GuestMemory(cast(Vm, vm))
    memory.add(0, PAGE)
    open_files = len(os.listdir("/proc/self/fd"))
    with pytest.raises(UsageError):
        memory.add(0x10000, PAGE)
    assert len(os.listdir("/proc/self/fd")) == open_files
    memory.close()
    assert len(os.listdir("/proc/self/fd")) == at_first


def test_numbers_of_slots_are_used_again(memory: GuestMemory, vm: SlotTable) -> None:
    for _ in range(50):
        memory.guard({0x3000: READ_ONLY})
        memory.guard({})
    assert max(vm.changes) <= 5 and sorted(vm.slots)[0] >= 0


@pytest.mark.kvm
def test_protection_of_the_hosts() -> None:
    import ctypes
    import mmap

    from kvmdbg.machine.memory import protect

    with pytest.raises(OSError, match=r"Cannot allocate memory|Invalid argument"):
        protect(1, PAGE, READ)
    area = mmap.mmap(-1, PAGE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(area))
    protect(address, PAGE, READ)
    rows = [row.split() for row in Path("/proc/self/maps").read_text().splitlines()]
    shown = [row[1] for row in rows if int(row[0].split("-")[0], 16) <= address < int(row[0].split("-")[1], 16)]
    assert shown[0].startswith("r-")
    protect(address, PAGE, BOTH)


@pytest.mark.kvm
@pytest.mark.kvm_alone
def test_kvm_takes_the_slots() -> None:
    from kvmdbg.kvm import System

    with System() as system:
        vm = system.create_vm()
        memory = GuestMemory(vm)
        assert memory.max_slots >= 32
        memory.add(0, 0x10000)
        for guards in ({0x1000: READ_ONLY, 0x2000: WITHDRAWN}, {0x1000: WITHDRAWN, 0xF000: READ_ONLY}, {}):
            memory.guard(guards)
            assert dict(memory.guards) == guards
        assert len(memory.slots) == 1
        memory.close()
        vm.close()
