"""The memory accesses that KVM makes by itself for an instruction with a device: no debug register fires for them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from kvmdbg.errors import MemoryFault
from kvmdbg.record import replace
from kvmdbg.x86.operands import EFLAGS_DF

if TYPE_CHECKING:
    from kvmdbg.engine.inspection import Inspection
    from kvmdbg.engine.vcpu_thread import VcpuThread
    from kvmdbg.x86.operands import Access


def by_input(space: Inspection, runner: VcpuThread, elements: int) -> list[Access]:
    """Those of the instruction at pc, whose read has been answered; ``elements`` of them where it repeats."""
    repetition = space.repetition_at(runner) if elements > 1 else None
    way = repetition.stride * (elements - 1) if repetition else 0
    return [
        replace(access, linear=access.linear + min(way, 0), size=access.size + abs(way))
        for access in space.accesses_at(runner)
    ]


def by_output(space: Inspection, runner: VcpuThread, data: bytes, elements: int) -> list[Access]:
    """Those of the ``outs`` that has written ``data`` to a port, whose registers are behind these elements."""
    if runner.vcpu.regs.rflags & EFLAGS_DF:
        size = len(data) // elements
        data = b"".join(data[at : at + size] for at in reversed(range(0, len(data), size)))
    for source in space.string_outputs(runner, elements):
        with suppress(MemoryFault):
            if space.read_linear(runner, source.linear, source.size) == data:
                return [source]
    return []  # an `out` before it has written them


def by_store(space: Inspection, runner: VcpuThread, address: int, size: int) -> list[Access]:
    """The reads of the instruction that has written to this guest-physical address, and with registers behind it."""
    return [access for access in space.accesses_of_writer(runner, address, size) if access.read]
