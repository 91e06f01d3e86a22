"""MOV to and from the debug registers, which unicorn would do with less of the checks (SDM volume 2B, MOV; volume 3B,
17.2), and with points of its own that nothing here sees.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kvmdbg.soft.nothing_done import mask_of
from kvmdbg.soft.state import CR4, DR, DR6, DR7, GENERAL
from kvmdbg.x86.delivery import Event
from kvmdbg.x86.faults import GP, UD

if TYPE_CHECKING:
    from kvmdbg.soft.running import Running

CR4_DE, DR6_BD, DR7_GD = 1 << 3, 1 << 13, 1 << 13
DR6_TAKEN, DR6_FIXED = 0xE00F, 0xFFFF0FF0
DR7_TAKEN, DR7_FIXED = 0xFFFF2BFF, 0x400


class DebugMoves:
    """Of the vCPU ``cpu``; ``over`` goes behind the instruction, and says whether that has led to an exit."""

    def __init__(self, cpu: Running, over: Callable[[], bool]) -> None:
        self._cpu, self._go_behind = cpu, over

    def execute(self, writes: bool, rex: int, modrm: int) -> bool:
        """The one at hand; whether that has led to an exit."""
        cpu, words = self._cpu, self._cpu.state.u64
        number, register = modrm >> 3 & 7, GENERAL // 8 + (modrm & 7 | (rex & 1) << 3)
        if rex & 4 or (number in (4, 5) and words[CR4 // 8] & CR4_DE):
            return cpu.deliver(Event.exception(UD))
        if cpu.state.cpl:
            return cpu.deliver(Event.exception(GP))
        if words[DR7 // 8] & DR7_GD:
            words[DR6 // 8] |= DR6_BD
            return cpu.deliver(Event.exception(1))
        if number in (4, 5):
            number += 2
        mask = mask_of(cpu.state)
        if not writes:
            words[register] = words[DR // 8 + number] & mask
            return self._go_behind()
        value = words[register] & mask
        if number > 3:
            if value >> 32:
                return cpu.deliver(Event.exception(GP))
            value = value & DR6_TAKEN | DR6_FIXED if number == 6 else value & DR7_TAKEN | DR7_FIXED
        words[DR // 8 + number] = value
        return self._go_behind()
