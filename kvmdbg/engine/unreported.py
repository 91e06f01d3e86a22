"""What a vCPU's last stop has left unreported."""

from __future__ import annotations

from kvmdbg.engine.stops import Stop


class Unreported:
    """It is reported first when the vCPU goes on from where it stands."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.stop: Stop | None = None
        """A stop that was not reported, as another vCPU had stopped first."""
        self.breakpoint_fired = False
        """Stopped from outside on a breakpoint that has fired and is yet to be passed."""
        self._breakpoint_at: int | None = None
        self._moved_from: tuple[int, int | None] | None = None

    def take_stop(self) -> Stop | None:
        stop, self.stop = self.stop, None
        return stop

    def leave_breakpoint(self, pc: int | None) -> None:
        """The vCPU stands at ``pc``, where a breakpoint has not fired yet; None where there is none."""
        self._breakpoint_at = pc

    def take_breakpoint(self, pc: int) -> bool:
        """Whether a breakpoint at ``pc``, where the vCPU goes on now, is to fire first."""
        at, self._breakpoint_at = self._breakpoint_at, None
        return at == pc

    def moved(self, before: int, pc: int) -> None:
        """The user has moved pc: a breakpoint there has not fired yet; one at the first place is as it was."""
        self._moved_from = self._moved_from or (before, self._breakpoint_at)
        place, waits = self._moved_from
        self._breakpoint_at = waits if pc == place else pc

    def goes_on(self) -> None:
        """The vCPU leaves the place where it was."""
        self.breakpoint_fired = False
        self._moved_from = None
