"""Memory that the guest cannot write: ROMs, and their copies in RAM."""

from __future__ import annotations

from typing import cast

from kvmdbg.kvm import Vm, abi
from kvmdbg.machine.memory import GuestMemory
from tests.machine.test_memory import READ_ONLY, WITHDRAWN, SlotTable


def made(vm: SlotTable) -> GuestMemory:
    memory = GuestMemory(cast(Vm, vm))
    memory.add(0, 0x10000)
    memory.add(0x100000, 0x4000)
    return memory


def test_read_only_ranges_and_guards() -> None:
    vm = SlotTable()
    memory = made(vm)
    memory.make_read_only([(0xE000, 0x10000), (0x100000, 0x102000)])

    def flags() -> dict[int, tuple[int, bool]]:
        return {address: (size, bool(flag & abi.KVM_MEM_READONLY)) for address, size, _, flag in vm.slots.values()}

    assert flags() == {
        0: (0xE000, False), 0xE000: (0x2000, True), 0x100000: (0x2000, True), 0x102000: (0x2000, False),
    }  # fmt: skip
    memory.guard({0xE000: WITHDRAWN, 0xF000: READ_ONLY, 0x1000: READ_ONLY})
    assert flags() == {
        0: (0x1000, False), 0x1000: (0x1000, True), 0x2000: (0xC000, False), 0xF000: (0x1000, True),
        0x100000: (0x2000, True), 0x102000: (0x2000, False),
    }  # fmt: skip
    assert not memory.is_read_only(0xDFFF) and not memory.is_read_only(0x102000)
    assert all(memory.is_read_only(at) for at in (0xE000, 0xFFFF, 0x101FFF))
    memory.write(0xEFFF, b"ab")
    assert memory.read(0xEFFF, 2) == b"ab"
    memory.make_read_only([])
    assert dict(memory.guards) == {0xE000: WITHDRAWN, 0xF000: READ_ONLY, 0x1000: READ_ONLY}
    memory.guard({})
    assert not any(read_only for _, read_only in flags().values())


def test_roms_are_no_ram() -> None:
    memory = made(SlotTable())
    size, pages = memory.size, memory.pages
    memory.add(0xFFFF0000, 0x10000, rom=True)
    assert (memory.size, memory.pages) == (size, pages + 16)
