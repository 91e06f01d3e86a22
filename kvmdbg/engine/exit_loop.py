"""What stepping uses of the exit loop: exits are served there, and kicks and refusals met."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from kvmdbg.engine import stops
from kvmdbg.engine.debugged_vcpu import DebuggedVcpu

if TYPE_CHECKING:
    from kvmdbg.engine.guest import Guest


class Guards(Protocol):
    """How an instruction is executed that a guard has refused."""

    def through_guards(self, step: Callable[[], stops.Stop | None]) -> stops.Stop | None:
        """Run ``step`` with the guards lifted, and judge its accesses as the guards would have."""

    def noting_device_reads(self) -> AbstractContextManager[dict[int, bytes]]:
        """While inside, what devices give for reads of memory addresses goes there, by guest-physical address."""


class ExitLoop(DebuggedVcpu):
    """The loop that runs a vCPU of ``guest``."""

    guest: Guest
    must_complete: bool

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

    @abstractmethod
    def serve_debug(self) -> stops.Stop | None:
        """Answer a debug exit: a breakpoint, a watchpoint, or a trap of the guest's own."""

    @abstractmethod
    def at_int1(self) -> bool:
        """Whether a debug exit that nothing of ours caused stands at the int1 that did."""
