"""Accesses by segments that let nobody make them, in protected mode (SDM volume 3A, 5.6): unicorn makes all.

An instruction is looked at where its segment refused it as it was translated: no guest runs it so but by mistake.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from kvmdbg.soft.alignment import accesses
from kvmdbg.soft.nothing_done import bits_of
from kvmdbg.soft.state import EFLAGS, HFLAGS, PE, SEGMENTS
from kvmdbg.x86 import operands
from kvmdbg.x86.faults import PF, Fault
from kvmdbg.x86.modes import EFLAGS_VM

if TYPE_CHECKING:
    from kvmdbg.soft.running import Running

PRESENT, CODE, WRITABLE = 1 << 15, 1 << 11, 1 << 9
OVERRIDES = {"cs": 0x2E, "fs": 0x64, "gs": 0x65}
"""What an instruction that accesses memory by these begins with."""


class SegmentRights:
    """Of the vCPU ``cpu``."""

    def __init__(self, cpu: Running) -> None:
        self._cpu = cpu

    def refused_in(self, code: bytes) -> dict[str, bool]:
        """The segments that refuse accesses which this code may make: whether that is all, or writes alone.
        ``state`` has been saved."""
        state, found = self._cpu.state, dict[str, bool]()
        if bits_of(state) == 64 or not state.u32[HFLAGS // 4] & PE or state.u64[EFLAGS // 8] & EFLAGS_VM:
            return found
        for name in ("es", "cs", "ss", "ds", "fs", "gs"):
            attributes = state.u32[SEGMENTS[name] // 4 + 5]
            is_null = not attributes & PRESENT
            refuses = is_null or attributes & CODE or not attributes & WRITABLE
            if refuses and (name not in OVERRIDES or OVERRIDES[name] in code):
                found[name] = is_null
        return found

    def places(self, code: bytes, lengths: Mapping[int, int], refused: Mapping[str, bool]) -> Iterator[int]:
        """Where instructions begin that make one of these accesses."""
        bits = bits_of(self._cpu.state)
        for at, length in lengths.items():
            for access in operands.accesses(code[at : at + length], 0, bits, lambda name: 1):
                if access.segment in refused and (access.write or refused[access.segment]):
                    yield at
                    break

    def fault(self) -> Fault | None:
        """Of the instruction at hand, by the first access that faults."""
        found = next((fault for _, fault in accesses(self._cpu) if fault is not None), None)
        return None if found is None or found.vector == PF else found
