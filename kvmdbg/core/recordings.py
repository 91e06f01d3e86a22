"""``record`` and ``replay`` of a session."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kvmdbg.engine import stops
from kvmdbg.engine.control import Control
from kvmdbg.engine.outside import Live
from kvmdbg.errors import NotSupportedHere, SessionStateError, UsageError

if TYPE_CHECKING:
    from kvmdbg.core.recording import Recording
    from kvmdbg.core.replaying import Replaying
    from kvmdbg.timeline.log import Log


class Recordings:
    def __init__(self, control: Control) -> None:
        self._control = control
        control.at_load.append(self._see_what_is_wanted)

    def _require_recordable(self) -> None:
        control = self._control
        control.require_stopped()
        control.require_waiting()
        machine = control.guest.machine
        if machine.irqchip:
            raise NotSupportedHere(
                "a guest with interrupt controllers in the kernel (--irqchip, --cpus above 1) cannot be recorded or "
                "replayed: its interrupts and timers enter it where kvmdbg does not see them"
            )

    def _enter(self, outside: Recording | Replaying) -> None:
        judge = self._control.guest.judge
        self._control.guest.door.outside = outside
        judge.sees_all = True
        judge.always_inspected = outside.log.inspected

    def _leave(self, outside: Recording | Replaying) -> None:
        outside.end()
        self._control.guest.door.outside = Live()
        self._see_what_is_wanted()

    def _see_what_is_wanted(self) -> None:
        """A machine that has just been made is neither recorded nor replayed."""
        judge = self._control.guest.judge
        judge.sees_all = False
        judge.always_inspected = frozenset()

    @contextmanager
    def record(self) -> Iterator[Log]:
        """While inside, what enters the guest is recorded; for ``replay``.

        NotSupportedHere for a guest with interrupt controllers in the kernel.
        """
        from kvmdbg.core.recording import Recording

        self._require_recordable()
        if type(self._control.guest.door.outside) is not Live:
            raise SessionStateError("the guest is being recorded or replayed already")
        recording = Recording(self._control)
        self._enter(recording)
        try:
            yield recording.log
        finally:
            self._control.interrupt()
            self._leave(recording)

    def replay(self, log: Log) -> stops.Stop:
        """Run what was recorded once more, from where it began; called again, on from a stop in between.

        Gives ReplayedStop at the end, DivergedStop where the guest does something else, or the stop of whatever stops
        it before. UsageError where this guest does not stand where the recording began.
        """
        from kvmdbg.core.recording import Observer
        from kvmdbg.core.replaying import Replaying
        from kvmdbg.timeline.log import Log

        if not isinstance(log, Log):
            raise UsageError(f"what is replayed is a recording, as `with dbg.record() as log` gives it, not {log!r}")
        self._require_recordable()
        control = self._control
        outside = control.guest.door.outside
        if not isinstance(outside, Replaying) or outside.log is not log:
            if log.end is None or log.flaw:
                raise UsageError(f"this recording cannot be replayed: {log.flaw or 'it has not ended yet'}")
            if type(outside) is not Live:
                raise SessionStateError("the guest is being recorded or replayed already")
            if not Observer(control).moment(0).same_as(log.start):
                raise UsageError(
                    "this guest does not stand where the recording began: replay on a fresh one of the same image"
                )
            outside = Replaying(control, log)
            self._enter(outside)
        stop = outside.go_on()
        if isinstance(stop, stops.ReplayedStop | stops.DivergedStop):
            self._leave(outside)
            control.last_stop = stop
        return stop
