"""Several steps in a row, for a vCPU that has no faster way to make them."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kvmdbg.machine.cpu import Cpu

LAST = 4096 - 16
"""In a page of code: up to there the longest instruction is all in it."""


def stride(
    cpu: Cpu,
    code: memoryview | bytes,
    pc: int,
    plain: Callable[[memoryview | bytes, int], bool],
    most: int,
    stops: Container[int],
    record: list[bytes] | None,
    out_is_past: bool = False,
) -> tuple[int, int | None, bytes]:
    """As ``Cpu.stride`` has it, but for writes to ports: a step that exits is the last, wherever rip is there."""
    start, done = pc & -4096, 0
    while True:
        before = cpu.copy_of_regs()
        here = 0 <= pc - start < LAST and plain(code, pc - start)
        if done == most or (done and pc in stops) or not here:
            return done, pc, before
        came_to = cpu.step()
        if came_to is None:
            return done, None, before
        pc = came_to
        done += 1
        if record is not None:
            record.append(cpu.copy_of_regs())
