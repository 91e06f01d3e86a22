"""Stretches of the guest's user code on a KVM that cannot step it: each is run as one step, with the instruction that
leads there, to the entry of a handler.

Such a KVM, one in software, hands the #DB of a step at CPL 3 to the guest, and knows no way from there to CPL 0 but
exceptions and interrupts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvmdbg.errors import MemoryFault
from kvmdbg.kvm import exits

if TYPE_CHECKING:
    from kvmdbg.engine import stops
    from kvmdbg.engine.exit_loop import ExitLoop
    from kvmdbg.engine.guest import Guest
    from kvmdbg.engine.handler_traps import HandlerTraps

FAR_RETURNS = {"iretd": 4, "iretq": 8, "retf": 4, "retfq": 8}
"""Bytes of what each pops at a time, in code of 32 and 64 bits."""
SYSTEM_RETURNS = ("sysret", "sysretq", "sysexit", "sysexitq")


class UserStretches:
    """Of the vCPU of ``runner``."""

    def __init__(self, runner: ExitLoop, guest: Guest, handlers: HandlerTraps) -> None:
        self._runner = runner
        self._guest = guest
        self._handlers = handlers

    @property
    def needed(self) -> bool:
        profile = self._runner.host.profile
        return not (profile.by_mode["user"].step or profile.steps_into_handlers)

    @property
    def here(self) -> bool:
        """Whether pc is in one."""
        return self.needed and self._runner.cpl == 3

    @property
    def begins(self) -> bool:
        """Whether one is here, or the instruction at pc returns to one."""
        runner = self._runner
        if not self.needed or runner.step_trap is None or runner.mode.segmented:
            return False
        if runner.cpl == 3:
            return True
        info = self._guest.space.classify_at(runner, runner.pc)
        if info is None or not info.is_ret:
            return False
        if info.mnemonic in SYSTEM_RETURNS:
            return True
        width = FAR_RETURNS.get(info.mnemonic)
        if width is None:
            return False
        try:
            selector = self._guest.space.read_linear(runner, runner.on_stack(width), 1)
        except MemoryFault:
            return False
        return selector[0] & 3 == 3

    def run(self) -> stops.Stop | None:
        """To the entry of a handler, unless something stops the vCPU before it. Interrupts come in."""
        runner = self._runner
        vcpu, arrivals = runner.vcpu, runner.arrivals
        request = runner.to_handlers()
        runner.debug(request)
        arrivals.begin()
        try:
            while True:
                if arrivals.call_for_it or vcpu.wants_window:
                    stop = arrivals.meet()
                    if stop is not None or self._guest.world.stopping:
                        return stop
                try:
                    vcpu.run()
                except InterruptedError:
                    runner.forget()
                    arrivals.begin()
                    if runner.park():
                        return None
                    runner.debug(request)
                    continue
                except OSError as error:
                    runner.forget()
                    return runner.refused(error)
                runner.note_exit()
                if vcpu.reason == exits.KVM_EXIT_IRQ_WINDOW_OPEN:
                    arrivals.begin()
                    continue
                if self._handlers.points and self._handlers.at_entry(vcpu.reason):
                    return None
                stop = runner.serve() or runner.complete() or runner.spend()
                if stop is not None:
                    return stop
        finally:
            vcpu.wants_window = False
            runner.debug_for_stepping()
