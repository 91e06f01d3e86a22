"""Steps over iretq on a KVM that would step one instruction further."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvmdbg.errors import MemoryFault
from kvmdbg.kvm import abi
from kvmdbg.x86.registers import EFLAGS_RF

if TYPE_CHECKING:
    from kvmdbg.engine.exit_loop import ExitLoop
    from kvmdbg.engine.guest import Guest


class OverIret:
    """Of the vCPU of ``runner``; on its thread."""

    def __init__(self, runner: ExitLoop, guest: Guest) -> None:
        self._runner = runner
        self._guest = guest

    def arm(self) -> tuple[int, bytes] | None:
        """Arm for an iretq to run to where it returns, on a KVM that would step one instruction further.

        An execute breakpoint at the return address takes the place of the step. Address and value of the flags in the
        frame, to be put back afterwards; None when it is no such instruction.
        """
        runner = self._runner
        if runner.host.profile.steps_iret or runner.mode.bits != 64:
            return None
        info = self._guest.space.classify_at(runner, runner.pc)
        if info is None or info.mnemonic not in ("iretq", "iretd"):
            return None
        width = 8 if info.mnemonic == "iretq" else 4
        try:
            back = self._guest.space.read_linear(runner, runner.stack_pointer, 2 * width)
        except MemoryFault:
            return None
        if back[width] & 3 or not runner.host.profile.kernel_execute_dr:
            return None  # to user code, where it cannot be held
        at = runner.stack_pointer + 2 * width
        try:
            flags = self._guest.space.read_linear(runner, at, width)
            without_rf = int.from_bytes(flags, "little") & ~EFLAGS_RF  # which would hide the breakpoint
            self._guest.space.write_linear(runner, at, without_rf.to_bytes(width, "little"))
        except MemoryFault:
            return None
        returns = int.from_bytes(back[:width], "little")
        runner.debug((abi.KVM_GUESTDBG_ENABLE | abi.KVM_GUESTDBG_USE_HW_BP, (returns, 0, 0, 0, 0, 0, 0, 0x402)))
        return at, flags
