"""MOV to the control registers: what a CPU refuses, and CR8, which unicorn has none of (SDM volume 2B, MOV; volume 3A,
2.5).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kvmdbg.soft.nothing_done import bits_of
from kvmdbg.soft.state import CR0, CR2, CR4, EFER, GENERAL, SEGMENTS
from kvmdbg.x86.delivery import Event
from kvmdbg.x86.faults import GP
from kvmdbg.x86.modes import CR0_PE, CR0_PG, CR4_PAE, EFER_LMA, EFER_LME

if TYPE_CHECKING:
    from kvmdbg.soft.running import Running

FROM_CR, TO_CR = b"\x0f\x20", b"\x0f\x22"
CR0_NW, CR0_CD, CS_L = 1 << 29, 1 << 30, 1 << 21
CR0_BITS = 0xE005003F
"""Those that there are; others are left 0."""
CR4_BITS = 0x1507FF
"""Those that CPUID has, or that each CPU has: up to OSXMMEXCPT, FSGSBASE, OSXSAVE and SMEP."""
PHYSICAL_BITS = 40
"""As CPUID tells (soft/system.py)."""


class ControlMoves:
    """Of the vCPU ``cpu``; ``over`` goes behind the instruction, ``do`` has unicorn do it, and both say whether that
    has led to an exit."""

    def __init__(self, cpu: Running, over: Callable[[], bool], do: Callable[[], bool]) -> None:
        self._cpu, self._go_behind, self._do = cpu, over, do

    def is_unicorns(self, writes: bool, code: bytes) -> bool:
        """Whether unicorn may do the one at hand, within a hook before it. Of one that is none, as there is no such
        register, the hook is not given all bytes."""
        self._cpu.state.save()
        if self._cpu.state.cpl or code[-3:-1] not in (FROM_CR, TO_CR):
            return True
        number, value = self._operands(code)
        return number != 8 and not (writes and (number == 2 or self._refuses(number, value) or _is_cut(number, value)))

    def execute(self, writes: bool, code: bytes) -> bool:
        """The one at hand; whether that has led to an exit."""
        cpu = self._cpu
        number, value = self._operands(code)
        if writes and self._refuses(number, value):
            return cpu.deliver(Event.exception(GP))
        if writes and _is_cut(number, value):
            return self._write_cr0(self._register(code))
        if writes and number == 2:  # fetches.py is to know what it holds
            cpu.state.u64[CR2 // 8] = value
        elif writes:
            cpu.cr8 = value
        else:
            cpu.state.u64[self._register(code)] = cpu.cr8
        return self._go_behind()

    def _write_cr0(self, register: int) -> bool:
        words = self._cpu.state.u64
        value = words[register]
        words[register] = value & CR0_BITS
        self._load()
        led_to_exit = self._do()
        words[register] = value
        self._load()
        return led_to_exit

    def _load(self) -> None:
        """What has been written to the state becomes unicorn's."""
        self._cpu.context_changed = True
        self._cpu.take_changes()

    def _register(self, code: bytes) -> int:
        return GENERAL // 8 + (code[-1] & 7 | (_rex(code) & 1) << 3)

    def _operands(self, code: bytes) -> tuple[int, int]:
        """The number of the control register, and what the other one holds."""
        value = self._cpu.state.u64[self._register(code)]
        long = bits_of(self._cpu.state) == 64
        return code[-1] >> 3 & 7 | (_rex(code) & 4) << 1, value if long else value & 0xFFFFFFFF

    def _refuses(self, number: int, value: int) -> bool:
        if number == 0:
            return self._refuses_cr0(value)
        words = self._cpu.state.u64
        long = bool(words[EFER // 8] & EFER_LMA)
        if number == 3:
            return long and bool(value >> PHYSICAL_BITS)
        if number == 4:
            return bool(value & ~CR4_BITS) or (long and not value & CR4_PAE)
        return number == 8 and value > 15

    def _refuses_cr0(self, value: int) -> bool:
        state = self._cpu.state
        words = state.u64
        if value >> 32 or (value & CR0_PG and not value & CR0_PE) or (value & CR0_NW and not value & CR0_CD):
            return True
        if not value & CR0_PG:
            return bits_of(state) == 64
        if words[CR0 // 8] & CR0_PG or not words[EFER // 8] & EFER_LME:
            return False
        return not words[CR4 // 8] & CR4_PAE or bool(state.u32[SEGMENTS["cs"] // 4 + 5] & CS_L)


def _is_cut(number: int, value: int) -> bool:
    return number == 0 and bool(value & ~CR0_BITS)


def _rex(code: bytes) -> int:
    """The REX prefix of a move with a control register, 0 where there is none."""
    return code[-4] if len(code) > 3 and code[-4] >> 4 == 4 else 0
