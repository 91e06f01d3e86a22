"""What differs between a snapshot and now, or between two snapshots."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kvmdbg.engine.registers import values_of
from kvmdbg.errors import MemoryFault
from kvmdbg.kvm import abi
from kvmdbg.machine.memory import PAGE
from kvmdbg.machine.snapshot import ZERO, MachineState
from kvmdbg.record import record
from kvmdbg.x86 import paging

NEAR = 16
"""Changed bytes that are closer than this are shown as one stretch."""


@record
class Change:
    """Guest-physical bytes that differ."""

    address: int
    before: bytes
    after: bytes


@record
class Differences:
    """``registers``: name, before, after of one vCPU's; ``memory``; ``mappings`` gone and new."""

    registers: tuple[tuple[str, int, int], ...]
    memory: tuple[Change, ...]
    gone: tuple[paging.Mapping, ...]
    new: tuple[paging.Mapping, ...]


def between(first: MachineState, second: MachineState, vcpu: int, limits: paging.Limits) -> Differences:
    """What is different in ``second``, in the registers and mappings of one vCPU and in memory."""
    states = []
    for one in (first, second):
        saved = one.vcpus[vcpu]
        states.append((abi.kvm_regs.from_buffer_copy(saved.regs), abi.kvm_sregs.from_buffer_copy(saved.sregs)))
    before, after = (values_of(*state) for state in states)
    registers = tuple((name, value, after[name]) for name, value in before.items() if after[name] != value)
    maps = []
    for one, (_, sregs) in zip((first, second), states, strict=True):
        read = reader(one)
        maps.append(paging.mappings(read, sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer, limits))
    known = [set(one) for one in maps]
    gone = tuple(one for one in maps[0] if one not in known[1])
    new = tuple(one for one in maps[1] if one not in known[0])
    return Differences(registers, tuple(_memory(first, second)), gone, new)


def reader(state: MachineState) -> Callable[[int, int], bytes]:
    """Reads guest-physical memory as it was in a state. (All of it counts as RAM.)"""

    def read(address: int, size: int) -> bytes:
        if address + size > 1 << 52:
            raise MemoryFault(address, "read", "physical", "no memory there")
        found = b""
        while size > 0:
            offset = address % PAGE
            part = state.pages.get(address - offset, ZERO)[offset : offset + size]
            found += part
            address, size = address + len(part), size - len(part)
        return found

    return read


def _memory(first: MachineState, second: MachineState) -> Iterator[Change]:
    for address in sorted(first.pages.keys() | second.pages.keys()):
        before, after = first.pages.get(address, ZERO), second.pages.get(address, ZERO)
        if before is after or before == after:
            continue
        changed = [at for at in range(PAGE) if before[at] != after[at]]
        start = last = changed[0]
        for at in [*changed[1:], PAGE + 2 * NEAR]:
            if at - last > NEAR:
                yield Change(address + start, before[start : last + 1], after[start : last + 1])
                start = at
            last = at
