"""How a vCPU is entered under the debugger: KVM_SET_GUEST_DEBUG for runs and steps, and injected exceptions."""

from __future__ import annotations

from collections.abc import Callable

from kvmdbg.engine import stops
from kvmdbg.engine.arming import Plan
from kvmdbg.engine.host import Host
from kvmdbg.engine.probe import INT3
from kvmdbg.engine.vcpu_thread import VcpuThread
from kvmdbg.errors import NotSupportedHere
from kvmdbg.kvm import abi, exits
from kvmdbg.kvm.saved_regs import RIP
from kvmdbg.machine import kick
from kvmdbg.machine.cpu import Cpu
from kvmdbg.machine.snapshot import resume_flag_of_fault
from kvmdbg.x86.registers import BY_INSTRUCTION, DR6_HITS, EFLAGS_RF, EFLAGS_TF, NO_FAULTS

GuestDebug = tuple[int, tuple[int, ...]]
"""What ``Cpu.set_guest_debug`` takes."""
PLAIN: GuestDebug = abi.KVM_GUESTDBG_ENABLE | abi.KVM_GUESTDBG_SINGLESTEP, ()
PLAIN_AND_QUIET: GuestDebug = PLAIN[0] | abi.KVM_GUESTDBG_BLOCKIRQ, ()
"""For steps without traps at handlers."""


class DebuggedVcpu(VcpuThread):
    """``blocks_interrupts``: whether KVM has KVM_GUESTDBG_BLOCKIRQ."""

    def __init__(
        self, vcpu: Cpu, *, host: Host, irqchip: bool, blocks_interrupts: bool, unforeseen: Callable[[Exception], None]
    ) -> None:
        self.host = host
        self.plan = Plan()
        self.holds_data = False
        """Whether the plan has data watchpoints in debug registers."""
        self.armed = 0
        """How often a plan was taken."""
        self.deliveries = 0
        """How often an event of the guest's own was handed to it."""
        self.untold_event = False
        """KVM_GET_VCPU_EVENTS does not tell of the last one until it is delivered: what is saved now lacks it."""
        self._postponed: tuple[bytes, bytes] | None = None
        self.stepping = False
        self.handed: int | None = None
        """The vector of the last interrupt from the machine's own controllers, up to a handler that it may lead to."""
        self.handler_told: tuple[int, int, bytes] | None = None
        """The handler that this vCPU last came to, with its stack pointer and the frame there."""
        self.look_up_due = False
        """The watchdog wants to know whether this vCPU gets on."""
        self.halted_for_good = False
        """With interrupts off, where KVM has the controllers, as seen at the watchdog's last kick."""
        self.tables_touched = False
        """The guest has written to a table of handlers."""
        self._blocks_interrupts = blocks_interrupts
        self._quiet = True
        self._held = False
        """No interrupt is to come into the step that is next."""
        self._step_trap: int | None = None
        self._step_entries: tuple[int, ...] = ()
        self._debug_set: GuestDebug | None = None
        self._for_running: GuestDebug = 0, ()
        self._for_stepping: GuestDebug | None = None
        super().__init__(vcpu, irqchip=irqchip, unforeseen=unforeseen)

    def arm(self, plan: Plan) -> None:
        """Take the plan of a resume; its debug registers are set when the vCPU is entered."""
        self.plan = plan
        self.holds_data = plan.holds_data_in_registers
        self.armed += 1
        hardware = abi.KVM_GUESTDBG_USE_HW_BP if plan.debug_registers else 0
        software = abi.KVM_GUESTDBG_USE_SW_BP if plan.traps and plan.trap == INT3 else 0
        enable = abi.KVM_GUESTDBG_ENABLE if hardware or software else 0
        self._for_running = self._request(enable | hardware | software, plan.dr7)
        self._arm_steps()

    def _arm_steps(self) -> None:
        """What steps need is another now; it is made when the next one begins."""
        self._for_stepping = None

    def _step_request(self) -> GuestDebug:
        control = abi.KVM_GUESTDBG_ENABLE | abi.KVM_GUESTDBG_SINGLESTEP | self._to_handlers
        if self.holds_data:
            control |= abi.KVM_GUESTDBG_USE_HW_BP
        if self.keeps_interrupts_out:
            control |= abi.KVM_GUESTDBG_BLOCKIRQ
        return self._request(control, self.plan.dr7_data_only(), self._step_entries)

    @property
    def _to_handlers(self) -> int:
        """What of KVM_GUESTDBG_* the traps at the entries of handlers need."""
        software = abi.KVM_GUESTDBG_USE_SW_BP if self._step_trap == INT3 else 0
        return software | (abi.KVM_GUESTDBG_USE_HW_BP if self._step_entries else 0)

    def to_handlers(self) -> GuestDebug:
        """What is needed to run to the entry of a handler: without single-stepping."""
        control = self._to_handlers
        if self.holds_data:
            control |= abi.KVM_GUESTDBG_USE_HW_BP
        enable = abi.KVM_GUESTDBG_ENABLE if control else 0
        return self._request(enable | control, self.plan.dr7_data_only(), self._step_entries)

    def to_address(self, linear: int) -> GuestDebug:
        """The same to a breakpoint at a linear address as well; interrupts wait, where this KVM can keep them out."""
        control = abi.KVM_GUESTDBG_ENABLE | abi.KVM_GUESTDBG_USE_HW_BP | self._to_handlers
        if self._blocks_interrupts:
            control |= abi.KVM_GUESTDBG_BLOCKIRQ
        return self._request(control, self.plan.dr7_data_only(), (linear, *self._step_entries))

    @property
    def keeps_interrupts_out(self) -> bool:
        return (self._quiet or self._held) and self._blocks_interrupts

    @property
    def lets_interrupts_in(self) -> bool:
        """Whether an interrupt may come into the steps at hand."""
        return not (self._quiet or self._held)

    @property
    def free_debug_registers(self) -> int:
        """How many debug registers no data watchpoint of the plan needs."""
        return 4 - sum(bool(bits & 3) for _, bits, _ in self.plan.debug_registers)

    def _request(self, control: int, dr7: int, entries: tuple[int, ...] = ()) -> GuestDebug:
        """``control`` with the plan's addresses in DR0 to DR3; ``entries`` in place of those not in DR7."""
        if not control & abi.KVM_GUESTDBG_USE_HW_BP:
            return control, ()
        addresses = [address for address, _, _ in self.plan.debug_registers]
        addresses += [0] * (4 - len(addresses))
        left = list(entries)
        for number in range(4):
            if left and not dr7 >> 2 * number & 3:
                addresses[number] = left.pop(0)
                dr7 |= 2 << 2 * number
        return control, (*addresses, 0, 0, 0, dr7)

    def step_quietly(self, quiet: bool) -> None:
        """Whether steps let no interrupt in, where this KVM can keep them out."""
        if quiet != self._quiet:
            self._quiet = quiet
            self._arm_steps()

    def hold_interrupts(self, held: bool) -> None:
        """Whether the next step lets no interrupt in, though steps may."""
        if held != self._held:
            self._held = held
            self._arm_steps()
            self.debug_for_stepping(again=False)

    @property
    def step_trap(self) -> int | None:
        """The byte planted at handlers' entries during steps, if any."""
        return self._step_trap

    @step_trap.setter
    def step_trap(self, trap: int | None) -> None:
        if trap != self._step_trap:
            self._step_trap = trap
            self._arm_steps()

    @property
    def step_entries(self) -> tuple[int, ...]:
        """Handlers' entries that execute debug registers hold during steps."""
        return self._step_entries

    @step_entries.setter
    def step_entries(self, entries: tuple[int, ...]) -> None:
        if entries != self._step_entries:
            self._step_entries = entries
            self._arm_steps()

    def debug(self, wanted: GuestDebug) -> None:
        """KVM_SET_GUEST_DEBUG, after registers that were written: it looks at rip."""
        vcpu = self.vcpu
        vcpu.flush_regs()
        vcpu.set_guest_debug(*wanted)
        self._debug_set = wanted
        if vcpu.regs.rflags & EFLAGS_TF:  # the guest's own, which KVM drops when it ends its own steps
            vcpu.write_regs()

    def debug_for_running(self) -> None:
        if self._debug_set != self._for_running:
            self.debug(self._for_running)

    def debug_for_stepping(self, again: bool = True) -> None:
        """Unless ``again``, not when that is what is set."""
        if self._for_stepping is None:
            self._for_stepping = self._step_request()
        if again or self._debug_set != self._for_stepping:
            self.debug(self._for_stepping)

    def debug_for_plain_steps(self) -> None:
        """For steps over instructions that lead to no handler."""
        wanted = PLAIN_AND_QUIET if self.keeps_interrupts_out else PLAIN
        if self._debug_set != wanted:
            self.debug(wanted)

    def take_waiting_trap(self, nowhere: int) -> None:
        """After steps: take the trap of the last one where it may still wait in the CPU, for the guest would get it.

        It is met by a run that can execute nothing: from the state after a reset, with no memory at pc, which lies in
        the 64 KiB from ``nowhere`` on. By no step: where no trap waits, its own would wait afterwards. An event of the
        guest's that waits, and a hlt, are put aside meanwhile: the one would be delivered, the other has no end.
        """
        vcpu = self.vcpu
        activity = self.mp_state()
        if activity not in (abi.KVM_MP_STATE_RUNNABLE, abi.KVM_MP_STATE_HALTED):
            return
        vcpu.flush_regs()
        regs = abi.kvm_regs.from_buffer_copy(vcpu.regs)
        sregs, events = vcpu.get_sregs(), vcpu.get_events()
        regs.rflags |= resume_flag_of_fault(events)
        there = abi.kvm_sregs.from_buffer_copy(vcpu.sregs_at_reset)
        there.cs.base = nowhere
        there.apic_base, there.cr8 = sregs.apic_base, sregs.cr8
        vcpu.unshare_sregs()
        kicked = kick.take()
        vcpu.set_sregs(there)
        vcpu.set_regs(abi.kvm_regs(rip=0xFFF0, rflags=2))
        vcpu.set_events(abi.kvm_vcpu_events(flags=abi.KVM_VCPUEVENT_VALID_SHADOW))
        if activity == abi.KVM_MP_STATE_HALTED:
            vcpu.set_mp_state(abi.KVM_MP_STATE_RUNNABLE)
        vcpu.set_guest_debug(abi.KVM_GUESTDBG_ENABLE | abi.KVM_GUESTDBG_USE_HW_BP | abi.KVM_GUESTDBG_BLOCKIRQ)
        while True:
            try:
                vcpu.run()
            except InterruptedError:
                kicked = True
                self.drain()
                continue
            except OSError:
                pass
            break
        if self._debug_set is not None:
            self.debug(self._debug_set)
        vcpu.set_sregs(sregs)
        vcpu.set_regs(regs)
        vcpu.set_events(events)
        if activity == abi.KVM_MP_STATE_HALTED:
            vcpu.set_mp_state(activity)
        vcpu.show_regs(bytes(regs))
        self.forget()
        if kicked:
            self.kick()

    def note_exit(self) -> None:
        super().note_exit()
        if self.vcpu.reason != exits.KVM_EXIT_INTR:  # the guest has run
            self.untold_event = False

    def deliver(self, vector: int, length: int, *, dr6: int = 0) -> stops.Stop | None:
        """Hand an exception of the guest's own to the guest, its ip moved on by ``length``.

        ``dr6`` is set in DR6, where the hits of debug registers are cleared with it, as KVM does.
        """
        self.deliveries += 1
        self.untold_event = vector in BY_INSTRUCTION
        if dr6:
            debugregs = self.vcpu.get_debugregs()
            debugregs.dr6 = debugregs.dr6 & ~DR6_HITS | dr6
            self.vcpu.set_debugregs(debugregs)
        if length:
            self.set_general("rip", self.vcpu.regs.rip + length)
        if vector not in NO_FAULTS:
            self.set_general("rflags", self.vcpu.regs.rflags | EFLAGS_RF)
        self.vcpu.flush_regs()
        events = self.vcpu.get_events()
        events.exception.injected = 1
        events.exception.pending = 0
        events.exception.nr = vector
        events.exception.has_error_code = 0
        events.flags &= ~abi.KVM_VCPUEVENT_VALID_PAYLOAD
        self.vcpu.set_events(events)
        return None

    def postpone_changes(self, before: bytes) -> None:
        """Put general registers that a hook has written back to ``before``, until the instruction is done.

        KVM drops what a read gave where registers are written before it has completed that.
        """
        self._postponed = before, self.vcpu.copy_of_regs()
        self.vcpu.show_regs(before)
        self.forget()

    def make_changes(self) -> None:
        """The instruction is done: write what was postponed, but where its own result is."""
        assert self._postponed is not None
        (before, wanted), self._postponed = self._postponed, None
        done = self.vcpu.copy_of_regs()
        merged = bytes(new if old == now else now for old, new, now in zip(before, wanted, done, strict=True))
        rip = slice(RIP, RIP + 8)
        if wanted[rip] != before[rip]:
            merged = merged[: rip.start] + wanted[rip] + merged[rip.stop :]
        self.write_regs(merged)

    def write_regs(self, regs: bytes) -> None:
        """Give the vCPU these general registers (struct kvm_regs)."""
        self.vcpu.write_regs(regs)
        self.forget()

    def require_step(self) -> None:
        """NotSupportedHere where this KVM cannot single-step the code at pc."""
        if not self.host.profile.behaviour(self.mode, self.cpl).step:
            raise NotSupportedHere(
                f"this KVM cannot single-step code at CPL {self.cpl}: break in the kernel and continue to it, "
                "or use a host with hardware virtualization"
            )
