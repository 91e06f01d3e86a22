"""What stepping uses of the exit loop: exits are served there, and kicks and refusals met."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from kvmdbg.engine import stops
from kvmdbg.engine.debugged_vcpu import DebuggedVcpu
from kvmdbg.kvm.abi import KVM_MP_STATE_RUNNABLE

if TYPE_CHECKING:
    from kvmdbg.engine.arrivals import Arrivals
    from kvmdbg.engine.breakpoints import Breakpoint, Point, Watchpoint
    from kvmdbg.engine.guest import Guest
    from kvmdbg.engine.outside import PortEntry


RESUMED = -1
"""In ``ExitLoop.recent``: not an exit but the start of a run."""


class Guards(Protocol):
    """How an instruction is executed that a guard has refused."""

    def register_hit(self, fired: list[tuple[int, int, Breakpoint | Watchpoint]]) -> stops.Stop | None:
        """The stop for data debug registers that have fired."""

    def of_input(self, elements: int = 1) -> stops.Stop | None:
        """After a read that has been answered: finish its instruction, where it touches what debug registers watch."""

    def of_output(self, data: memoryview, elements: int = 1) -> stops.Stop | None:
        """After a write to a port that has been told: the same, for ``outs``."""

    def values_of(self, watches: Sequence[Watchpoint]) -> dict[Watchpoint, bytes]:
        """What those watch for writes that are enabled."""

    def of_service(self, writes: list[tuple[int, int]], values: Mapping[Watchpoint, bytes]) -> stops.Stop | None:
        """Behind a service of the BIOS that wrote these bytes (address, size); ``values`` are those before it."""

    def may_be_cause(self) -> bool:
        """Whether KVM may have failed to emulate the instruction at pc for a guard."""

    def step_without_guards(self) -> stops.Stop | None:
        """Execute it with the guards lifted."""

    def through_guards(self, step: Callable[[], stops.Stop | None]) -> stops.Stop | None:
        """Run ``step`` with the guards lifted, and judge its accesses as the guards would have."""

    def guarded_at_pc(self) -> set[int]:
        """The pages that are guarded from the instruction at pc: from its accesses, or from being fetched."""

    def unguarded(self) -> AbstractContextManager[None]:
        """While inside, no page is guarded, no breakpoint's trap lies in memory, and no other vCPU is in the guest."""

    def noting_device_reads(self) -> AbstractContextManager[dict[int, bytes]]:
        """While inside, what devices give for reads of memory addresses goes there, by guest-physical address."""


class Steps(Protocol):
    """How a breakpoint is passed, and how the vCPU is stepped where it cannot run."""

    @property
    def not_begun(self) -> bool:
        """The last step was ended from outside before it began."""

    def pass_breakpoint(self, check: bool = True, waits: bool | None = None) -> stops.Stop | None:
        """Execute the instruction at pc with its breakpoint disarmed; ``check`` whether this KVM can step here,
        ``waits``: whether an event waits to be delivered (None: that is not known)."""

    def once(self, tries: int) -> stops.Stop | None:
        """Execute the instruction at pc; given up after so many ``tries`` without progress."""

    def run(self, count: int | None, *, limit: bool) -> stops.Stop | None:
        """Step so many instructions; ``limit`` says that ``count`` is the limit of a free run."""

    def event_waits(self) -> bool:
        """Whether an exception or interrupt is about to be delivered, before the instruction at pc."""


class ExitLoop(DebuggedVcpu):
    """The loop that runs a vCPU of ``guest``."""

    guest: Guest
    stepper: Steps
    arrivals: Arrivals
    recent: deque[tuple[PortEntry | int, bytes]]
    """The last exits: the port's entry or the reason, and the registers there (with the special ones where KVM
    loses them at a shutdown)."""

    def debug_for_running(self) -> None:
        if self._debug_set != self._for_running:
            super().debug_for_running()
            self.note_resumed()

    def note_resumed(self) -> None:
        """A free run goes on from here."""
        if self.recent and self.recent[-1][0] == RESUMED:
            self.recent.pop()
        self.recent.append((RESUMED, self.vcpu.registers_at_exit()))

    @property
    @abstractmethod
    def guards(self) -> Guards: ...

    @abstractmethod
    def serve(self) -> stops.Stop | None:
        """Answer the last exit; the stop that it asks for, if any."""

    @abstractmethod
    def complete(self) -> stops.Stop | None:
        """Let KVM finish the instruction whose exit was just served, without running the next."""

    @abstractmethod
    def spend(self) -> stops.Stop | None:
        """One exit more: the stop when it was the last that the limit allows."""

    @abstractmethod
    def park(self) -> bool:
        """After a kick: wait while another vCPU has the world to itself; whether to stop."""

    @abstractmethod
    def refused_by_guard(self, error: OSError) -> bool:
        """Whether KVM_RUN has failed at an access to a guarded page, of whose instruction nothing is done."""

    @abstractmethod
    def refused(self, error: OSError) -> stops.Stop: ...

    def kicked_by_watchdog(self) -> bool:
        """Whether the watchdog has kicked since this was last asked, and no halt is what the vCPU waits in."""
        due, self.look_up_due = self.look_up_due, False
        return due and self.mp_state() == KVM_MP_STATE_RUNNABLE

    def does_not_get_on(self) -> stops.Stop:
        """The stop for an instruction that KVM has tried again and again."""
        space = self.guest.space
        text, _ = space.instruction_text(self, space.code_at(self, self.pc, 15))
        tried = f"the guest does not get on: this KVM neither runs nor leaves the instruction {text}"
        message = f"{tried}; {stops.WHO_MAY}"
        return self.stop(stops.ErrorStop, message=message)

    @abstractmethod
    def tell_of_empty_vector(self, *, stuck: bool) -> None:
        """Where the guest got lost by an interrupt that nobody serves: say so, once for each vector."""

    @abstractmethod
    def trap_at(self) -> int | None:
        """The guest-physical address of our trap that the last exit stands for, or None."""

    @abstractmethod
    def points_at(self, pc: int) -> list[Point]:
        """The armed breakpoints for an instruction at linear ``pc``."""

    @abstractmethod
    def hit(self, judged: bool = False, trapped: bool = True) -> stops.Stop | None:
        """A breakpoint's address was reached (its instruction has not run): stop, or step past it and go on.

        Where the step leads to another breakpoint, that is taken here as well: EFLAGS.RF
        may hide it from a debug register. ``judged``: do not ask the first one again. ``trapped``: it was reached by
        an exit, and not where a run began.
        """

    @abstractmethod
    def serve_debug(self) -> stops.Stop | None:
        """Answer a debug exit: a breakpoint, a watchpoint, or a trap of the guest's own."""

    @abstractmethod
    def at_int1(self) -> bool:
        """Whether a debug exit that nothing of ours caused stands at the int1 that did."""
