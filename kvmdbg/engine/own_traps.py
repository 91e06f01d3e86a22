"""Which #DBs the guest's own EFLAGS.TF brings on the KVM at hand, alone: not all that a CPU would raise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kvmdbg.kvm import exits
from kvmdbg.kvm.saved_regs import RFLAGS, RIP

if TYPE_CHECKING:
    from kvmdbg.engine.exit_loop import ExitLoop

ROUNDS_AT_ONCE = 1024
"""KVM's emulator does the rounds of a string instruction until RCX is a multiple of this, or others have to run."""


class OwnTraps:
    """What is known of the instruction that a step of ``runner`` runs."""

    def __init__(self, runner: ExitLoop) -> None:
        self._runner = runner
        self._set = 0
        """The guest has set EFLAGS.TF itself."""
        self._wrote = False
        self._rounds: int | None = None

    def begin(self, before: bytes) -> int:
        """A step begins at registers ``before``; whether the guest has set EFLAGS.TF."""
        self._set, self._wrote = before[RFLAGS + 1] & 1, False
        return self._set

    def forgotten(self, before: bytes) -> bool:
        """Whether the guest alone gets no #DB behind the step that began at ``before``."""
        return self._wrote or self._in_rounds(before)

    def behind_int(self) -> int | None:
        """Where the instruction at pc ends, if it is an ``int`` behind which KVM raises the guest's own #DB."""
        if not (self._set and self._runner.host.profile.emulates):
            return None
        pc = self._runner.pc
        info = self._runner.guest.space.classify_at(self._runner, pc)
        return pc + info.size if info is not None and info.is_int else None

    def _in_rounds(self, before: bytes) -> bool:
        """Whether the step has ended within a repeated string instruction, of which KVM's emulator alone does up to
        ``ROUNDS_AT_ONCE`` before a trap of the guest's own."""
        runner = self._runner
        regs = runner.vcpu.regs
        unmoved = regs.rip == int.from_bytes(before[RIP : RIP + 8], "little")
        left = regs.rcx if self._rounds is None else self._rounds - 1
        if not (self._set and unmoved and left % ROUNDS_AT_ONCE and runner.host.profile.emulates):
            return False
        info = runner.guest.space.classify_at(runner, runner.pc)
        return info is not None and info.is_rep

    @contextmanager
    def one_of(self, rounds: int) -> Iterator[None]:
        """While inside, the instruction is given one round of these."""
        self._rounds = rounds
        try:
            yield
        finally:
            self._rounds = None

    def note_write(self) -> None:
        """After an exit: note a write to a port or device, behind which KVM's emulator forgets the guest's own trap.

        Every KVM emulates a write to a device's memory (x86_emulate_instruction() traps only where it need not exit).
        """
        if not self._set:
            return
        runner = self._runner
        vcpu, guest, emulates = runner.vcpu, runner.guest, runner.host.profile.emulates
        if vcpu.reason == exits.KVM_EXIT_IO and vcpu.io_key & 1:
            self._wrote |= emulates or any(guest.space.string_outputs(runner, 1))
        elif vcpu.reason == exits.KVM_EXIT_MMIO:
            address, _, write = vcpu.mmio
            memory = guest.machine.memory
            self._wrote |= write and (memory.find(address) is None or memory.is_covered(address))
