"""The last exits of a vCPU, and the ends to which they lead: how a run came to it is kept for the account of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kvmdbg.engine import stops
from kvmdbg.engine.empty_vectors import lost_in, without_gate
from kvmdbg.engine.events import ExceptionEvent
from kvmdbg.engine.exit_loop import RESUMED, ExitLoop
from kvmdbg.engine.outside import PortEntry
from kvmdbg.engine.probe import INT1, INT3
from kvmdbg.engine.retreat import GuardSpoilt
from kvmdbg.kvm import abi, exits
from kvmdbg.kvm.saved_regs import RIP
from kvmdbg.kvm.saved_regs import SIZE as REGS_SIZE

if TYPE_CHECKING:
    from kvmdbg.engine.post_mortem import LastRun
    from kvmdbg.x86.faults import Fault, State

UD2 = b"\x0f\x0b"
TRAPS = {INT3: 3, INT1: 1}
"""Instructions of one byte, and the exceptions that they raise."""


class LastExits(ExitLoop):
    """Of the run at hand."""

    told_vectors: set[int]
    """Vectors that lead nowhere, of which the user has been told."""
    _sregs_at_start: abi.kvm_sregs | None = None
    _died_of: tuple[Fault, int] | None = None
    """The exception, and where, that was told as caught though it had ended the guest."""

    def _note_start(self) -> None:
        """Before a free run: what is needed to tell afterwards what killed the guest."""
        vcpu = self.vcpu
        self._sregs_at_start = self.sregs
        if self.host.shutdown_resets:
            vcpu.share_sregs(self.sregs)
        else:
            vcpu.unshare_sregs()
        self.note_resumed()

    def _last_run(self) -> LastRun:
        """What is known of this run, for the account of its end."""
        from kvmdbg.engine.post_mortem import LastRun

        regs = sregs = None
        if self.recent:
            state = self.recent[-1][1]
            regs = abi.kvm_regs.from_buffer_copy(state)
            if len(state) > REGS_SIZE:
                sregs = abi.kvm_sregs.from_buffer_copy(state, REGS_SIZE)
        return LastRun(tuple(self.last_exits()), regs, sregs, self._sregs_at_start)

    def last_exits(self) -> Iterator[str]:
        """The last exits in words, oldest first."""
        for what, state in self.recent:
            rip = int.from_bytes(state[RIP : RIP + 8], "little")
            if isinstance(what, PortEntry):
                value = int.from_bytes(state[:8], "little") & what.ones
                data = f", value {value:#x}" if what.writes else ""
                size = f"{what.size} byte{'s' if what.size > 1 else ''}"
                yield f"{what.word} port {what.port:#x}, {size}{data}; rip {rip:#x}"
            elif what != RESUMED:
                yield f"{exits.BY_NUMBER[what].kind if what in exits.BY_NUMBER else what}; rip {rip:#x}"

    def _on_internal_error(self) -> stops.Stop | None:
        exit = self.vcpu.exit()
        assert isinstance(exit, exits.InternalErrorExit)
        if exit.suberror != exits.SUBERROR_EMULATION:
            return self.stop(stops.ExitStop, exit=exit)
        if self.plan.trap == INT1 and self.trap_at() is not None:
            return self.hit()
        self._require_guards_apart()
        if self.guards.may_be_cause():
            return self.guards.step_without_guards()
        own = self.own_trap()
        if own is not None:
            return self.deliver(own, 1 if own in TRAPS.values() else 0)
        code = self.guest.space.code_at(self, self.pc, 15) or exit.instruction
        self.tell_of_empty_vector(stuck=True)
        text, size = self.guest.space.instruction_text(self, code)
        from kvmdbg.engine import post_mortem

        account, state = post_mortem.of_emulation_failure(self, self.guest, self._last_run())
        self._tell_of_missing_gate(state)
        return self.stop(stops.EmulationFailureStop, instruction=code[:size], text=text, autopsy=account)

    def own_trap(self) -> int | None:
        """At an emulation failure: the vector of the guest's own int3, int1 or ud2, which this KVM does not run."""
        exit = self.vcpu.exit()
        assert isinstance(exit, exits.InternalErrorExit)
        if exit.suberror != exits.SUBERROR_EMULATION:
            return None
        code = self.guest.space.code_at(self, self.pc, 15) or exit.instruction
        from kvmdbg.x86.faults import UD  # what knows all faults takes long to import

        return UD if code[:2] == UD2 else TRAPS.get(code[0] if code else 0)

    def tell_of_empty_vector(self, *, stuck: bool) -> None:
        """Where the guest got lost by an interrupt that nobody serves: say so, once for each vector."""
        lost = lost_in(self, self.guest.space, stuck=stuck)
        if lost is None or lost.vector in self.told_vectors:
            return
        from kvmdbg.engine import post_mortem

        states = [abi.kvm_regs.from_buffer_copy(state) for _, state in self.recent]
        before = post_mortem.registers_at(self, self.guest, states, self._sregs_at_start, lost.cs, lost.ip)
        self._tell_vector(lost.vector, lost.sentence(before or self.vcpu.regs, exact=before is not None))

    def _tell_vector(self, vector: int, sentence: str) -> None:
        if vector not in self.told_vectors:
            self.told_vectors.add(vector)
            self.guest.listeners.tell_warning(sentence)

    def _tell_of_missing_gate(self, state: State) -> None:
        found = without_gate(state)
        if found is not None:
            self._tell_vector(*found)

    def _on_shutdown(self) -> stops.Stop:
        self._require_guards_apart()
        from kvmdbg.engine import post_mortem

        account, end = post_mortem.of_shutdown(self, self.guest, self._last_run())
        if end is not None:
            self._tell_of_missing_gate(end)
        caught = self._undelivered(end) if end is not None and self.guest.vectors.active else None
        return caught or stops.ShutdownStop(vcpu=self.index, pc=self.pc if end is None else end.pc, autopsy=account)

    def _undelivered(self, end: State) -> stops.Stop | None:
        """The stop for the exception that ended the guest, where exceptions are caught: no handler will tell of it.

        The vCPU stands before the instruction then. When it goes on, it dies there, and that is told.
        """
        from kvmdbg.observe import autopsy

        fault = autopsy.undelivered(end)
        if fault is None or self._died_of == (fault, end.pc):
            return None
        self._died_of = fault, end.pc
        event = ExceptionEvent(fault.vector, end.pc, address=fault.address)
        if not self.guest.vectors.wants(event.kind, fault.vector):
            return None
        if bytes(end.regs) != bytes(self.vcpu.regs):  # where a shutdown resets the vCPU
            self.set_sregs(end.sregs)
            self.write_regs(bytes(end.regs))
        return self.guest.judge.offer(self, event)[1]

    def _require_guards_apart(self) -> None:
        """GuardSpoilt where an event may have failed for a guard made of slots, on a stack or a table of the CPU's."""
        pages = self.guest.holding.guarded_of_cpu(self)
        if pages:
            raise GuardSpoilt(pages, done=True)

    def _on_fail_entry(self) -> stops.Stop:
        exit = self.vcpu.exit()
        from kvmdbg.engine import post_mortem

        assert isinstance(exit, exits.FailEntryExit)
        account = post_mortem.of_failed_entry(self, self.guest, self._last_run())
        return self.stop(stops.FailEntryStop, hardware_reason=exit.hardware_reason, autopsy=account)
