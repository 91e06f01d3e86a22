"""IN and INS: an IN has been done with a made-up value when its exit is told; it is taken back, and done again with the
answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvmdbg.soft import library
from kvmdbg.soft.port_rights import may_use_port
from kvmdbg.soft.state import GENERAL

if TYPE_CHECKING:
    from kvmdbg.soft.running import Running


class InInstruction:
    """Of the vCPU ``cpu``."""

    def __init__(self, cpu: Running) -> None:
        self._cpu = cpu
        self._answer: int | None = None
        self._before = 0, 0
        self._callback = library.FOR_IN(self._on_in)
        cpu.vm.library.hook(cpu.vm.uc, library.HOOK_INSN, self._callback, instruction=library.INSN_IN)

    def _on_in(self, uc: int, port: int, size: int, data: int) -> int:
        if self._answer is not None:
            return self._answer
        state = self._cpu.state
        state.save()
        if not may_use_port(self._cpu, port & 0xFFFF, size):
            self._cpu.refuse_port()
            return 0
        self._before = state.rip, state.u64[GENERAL // 8]
        self._cpu.end_with("in", port & 0xFFFF, size)
        return 0

    def exit(self, port: int, size: int) -> None:
        cpu = self._cpu
        cpu.instructions -= 1
        cpu.state.rip, cpu.state.u64[GENERAL // 8] = self._before
        cpu.context_changed = True
        cpu.answered_by(self._answered)
        cpu.io_exit(0, port, size, 0)

    def _answered(self) -> bool:
        self._answer = int.from_bytes(self._cpu.io_data, "little")
        try:
            self._cpu.go(1)
            return self._cpu.why is not None and self._cpu.ended(False)  # INS to a device runs once more, so answered
        finally:
            self._answer = None
