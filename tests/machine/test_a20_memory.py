"""Memory while address line 20 is low: the second MiB is the first once more."""

from __future__ import annotations

from typing import cast

import pytest

from kvmdbg.kvm import Vm, abi
from kvmdbg.machine.memory import GuestMemory
from tests.machine.test_memory import READ_ONLY, SlotTable

MIB = 1 << 20


@pytest.fixture
def vm() -> SlotTable:
    return SlotTable()


@pytest.fixture
def memory(vm: SlotTable) -> GuestMemory:
    found = GuestMemory(cast(Vm, vm))
    found.add(0, 3 * MIB)
    for number in range(3):
        found.write(number * MIB, b"%d st" % number)
        found.write(number * MIB + MIB - 2, b"%d" % number)
    return found


def shown(vm: SlotTable, memory: GuestMemory) -> set[tuple[int, int, int]]:
    """Each slot's address and size, and which part of memory it shows."""
    (region,) = memory.regions
    return {(address, size, host - region.host_address) for address, size, host, _ in vm.slots.values()}


def test_what_the_guest_sees(vm: SlotTable, memory: GuestMemory) -> None:
    whole = {(0, 3 * MIB, 0)}
    assert shown(vm, memory) == whole
    memory.set_a20(False)
    assert shown(vm, memory) == {(0, MIB, 0), (MIB, MIB, 0), (2 * MIB, MIB, 2 * MIB)}
    memory.set_a20(True)
    assert shown(vm, memory) == whole


def test_guards_of_the_first_are_those_of_the_second(vm: SlotTable, memory: GuestMemory) -> None:
    memory.set_a20(False)
    memory.guard({0x5000: READ_ONLY})
    read_only = {address for address, _, _, flags in vm.slots.values() if flags & abi.KVM_MEM_READONLY}
    assert read_only == {0x5000, MIB + 0x5000}


def test_what_is_written_to_the_second_is_logged_as_the_first(vm: SlotTable, memory: GuestMemory) -> None:
    memory.track()
    memory.set_a20(False)
    vm.guest_writes(MIB + 0x5000, 2 * MIB)
    assert memory.take_dirty() == {0x5000, 2 * MIB}


def test_accesses_follow_it(memory: GuestMemory) -> None:
    places = (0, MIB, 2 * MIB)
    assert [memory.read(at, 4) for at in places] == [b"0 st", b"1 st", b"2 st"]
    memory.set_a20(False)
    assert [memory.read(at, 4) for at in places] == [b"0 st", b"0 st", b"2 st"]
    assert memory.read(MIB - 2, 6) == b"0\x000 st" and memory.read(2 * MIB - 2, 6) == b"0\x002 st"
    assert memory.read_page(MIB)[:4] == b"1 st"
    memory.write(MIB - 1, b"abc")
    assert memory.read(0, 2) == b"bc" and memory.read(MIB, 2) == b"bc"
    memory.write(2 * MIB - 1, b"xyz")
    assert memory.read(MIB - 1, 1) == b"x" and memory.read(2 * MIB, 2) == b"yz"
    memory.set_a20(True)
    assert memory.read(MIB, 4) == b"1 st" and memory.read(2 * MIB - 1, 1) == b"\0"
