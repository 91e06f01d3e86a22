"""What differs between two moments of a guest."""

from __future__ import annotations

import pytest

from kvmdbg.core.differences import between
from kvmdbg.kvm import abi
from kvmdbg.machine.snapshot import MachineState, VcpuState
from kvmdbg.x86.modes import CR0_PE, CR0_PG
from kvmdbg.x86.paging import Limits

DIRECTORY, TABLES, COUNT = 0x1000, 0x100000, 60


def state(present: range) -> MachineState:
    """32-bit paging in which every other page is mapped: no two of the mappings are one."""
    sregs = abi.kvm_sregs(cr0=CR0_PE | CR0_PG, cr3=DIRECTORY)
    pages = {DIRECTORY: b"".join((TABLES + 0x1000 * n | 1).to_bytes(4, "little") for n in present).ljust(4096, b"\0")}
    for n in present:
        entries = ((n << 22 | at << 12) | (1 if at % 2 else 0) for at in range(1024))
        pages[TABLES + 0x1000 * n] = b"".join(one.to_bytes(4, "little") for one in entries)
    vcpu = VcpuState(bytes(abi.kvm_regs()), bytes(sregs), b"", b"", b"", b"", 0, b"", b"")
    return MachineState(pages, 1 << 30, (vcpu,), (), [])


@pytest.mark.timeout(30)
def test_many_mappings_are_compared_in_reasonable_time() -> None:
    found = between(state(range(COUNT)), state(range(COUNT - 1)), 0, Limits())
    assert len(found.gone) == 512 and not found.new
    assert found.gone[0].linear == COUNT - 1 << 22 | 0x1000
