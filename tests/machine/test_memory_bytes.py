"""Single bytes of guest memory, put in the place of others."""

from __future__ import annotations

from typing import cast

import pytest

from kvmdbg.errors import MemoryFault
from kvmdbg.kvm import Vm
from kvmdbg.machine.memory import GuestMemory
from tests.machine.test_memory import SlotTable


def test_single_bytes_are_exchanged_across_regions() -> None:
    memory = GuestMemory(cast(Vm, SlotTable()))
    memory.add(0, 0x10000)
    memory.add(0x100000, 0x4000)
    memory.write(0x1000, b"ab")
    memory.write(0x100000, b"c")
    writes = memory.writes
    assert memory.exchange({0x1000: 1, 0x100000: 3, 0x1001: 2}) == {0x1000: 97, 0x100000: 99, 0x1001: 98}
    assert (memory.read(0x1000, 2), memory.read(0x100000, 1), memory.writes) == (b"\1\2", b"\3", writes + 1)
    assert memory.exchange({0x1000: 97, 0x1001: 98}, {0x1000: 1, 0x1001: 7}) == {0x1000: 1, 0x1001: 2}
    assert memory.read(0x1000, 2) == b"a\2"
    with pytest.raises(MemoryFault, match="0x30000"):
        memory.exchange({0x30000: 0})
    memory.close()
