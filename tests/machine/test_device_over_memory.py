"""A device that lies over RAM: the guest's accesses exit there, the debugger finds the RAM."""

from __future__ import annotations

from typing import Any

from kvmdbg.machine.memory import PAGE, Guard, GuestMemory
from tests.machine.test_memory import SlotTable


def test_a_device_lies_over_memory() -> None:
    vm: Any = SlotTable()
    memory = GuestMemory(vm)
    memory.add(0, 0x10000)
    memory.write(0x3000, b"here")
    memory.guard({0x2000: Guard.READ_ONLY, 0x4000: Guard.READ_ONLY})
    memory.cover(0x3000, 0x2000, True)
    assert vm.layout[:3] == [(0, 0x2000, False), (0x2000, PAGE, True), (0x5000, 0xB000, False)]
    assert [memory.is_covered(at) for at in (0x2FFF, 0x3000, 0x4FFF, 0x5000)] == [False, True, True, False]
    assert memory.read(0x3000, 4) == b"here"
    memory.cover(0, 0x1000, True)
    assert vm.layout[0] == (0x1000, 0x1000, False)
    vm.changes.clear()
    memory.cover(0x3000, 0x2000, True)
    assert vm.changes == []
    memory.cover(0, 0x1000, False)
    memory.cover(0x3000, 0x2000, False)
    memory.cover(0x3000, 0x2000, False)
    assert [part for part in vm.layout if part[0] < 0x10000] == [
        (0, 0x2000, False), (0x2000, PAGE, True), (0x3000, 0x1000, False), (0x4000, PAGE, True),
        (0x5000, 0xB000, False),
    ]  # fmt: skip
