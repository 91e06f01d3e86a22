"""The guest's runs, as one user of it has them: what lets it go, and who is told where it stops."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from enum import Enum, auto
from typing import TYPE_CHECKING

from kvmdbg.commands.foreground import sigint_stops

if TYPE_CHECKING:
    from kvmdbg.commands.results import Result
    from kvmdbg.core.session import Session
    from kvmdbg.engine.stops import Stop

    Then = Callable[[Stop], Result | None]


class _Run(Enum):
    """Whose the guest's run is, or its last one."""

    OTHERS = auto()
    FOREGROUND = auto()  # a command waits for its stop
    BACKGROUND = auto()
    TOLD = auto()  # it was in the background, and its stop has been told


class Runs:
    """What one user knows of the guest's runs.

    ``on_background_stop`` is called with the Stop of a guest that was started with ``continue &``, ``on_foreign_stop``
    with one that another user of the session let run; ``attended`` is entered while it runs in the foreground.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.on_background_stop: Callable[[Stop], None] | None = None
        self.on_foreign_stop: Callable[[Stop], None] | None = None
        self.attended: Callable[[], AbstractContextManager[object]] = nullcontext
        self.last_stop: Stop | None = None
        self.interrupted = False
        """The user has interrupted the guest while it ran for the line that was typed."""
        self.stops = 0
        self.stopped_at: set[int] = set()  # linear addresses known to start an instruction
        self._unreported: tuple[Stop, Then | None] | None = None
        self._run = _Run.OTHERS
        self._lock = threading.Lock()
        session.listeners.on_stop(self._stopped)
        if session.state == "stopped":
            self.remember_place()

    def close(self) -> None:
        """Stop listening to the session."""
        self._session.listeners.remove(self._stopped)

    def go(self, action: Callable[[], Stop | None], then: Then | None = None) -> None:
        """Run the guest through ``action`` (session.run, step, …) in the foreground; its stop is reported afterwards.

        ``then`` is given the stop and has what is to be shown behind its report.
        """
        with self._lock:
            if self._run is not _Run.BACKGROUND:  # else ``action`` refuses
                self._run = _Run.FOREGROUND
        try:
            with self.attended(), sigint_stops(self._session, self._told):
                stop = action()
            self._unreported = None if stop is None else (stop, then)
        finally:
            with self._lock:
                if self._run is _Run.FOREGROUND:
                    self._run = _Run.OTHERS

    def _told(self) -> None:
        self.interrupted = True

    def go_background(self) -> None:
        """Let the guest run on; its stop goes to ``on_background_stop``."""
        self._run = _Run.BACKGROUND
        try:
            self._session.resume()
        except BaseException:
            self._run = _Run.OTHERS
            raise

    @contextmanager
    def taken_over(self) -> Iterator[bool]:
        """While inside, a guest that has been running is the caller's, who waits for its stop or ends its run.

        Gives False when its stop has been told to ``on_background_stop`` already.
        """
        with self._lock:
            before, self._run = self._run, _Run.FOREGROUND
        try:
            yield before is not _Run.TOLD
        finally:
            self._run = _Run.OTHERS

    @property
    def has_unreported(self) -> bool:
        return self._unreported is not None

    def take_unreported(self) -> tuple[Stop, Then | None] | None:
        """The stop of :meth:`go` that is to be reported now, if there is one, and what is to be shown behind it."""
        found, self._unreported = self._unreported, None
        return found

    def remember_place(self) -> None:
        """Keep where the guest stands, for the view of the code before it later on."""
        if len(self.stopped_at) > 10_000:
            self.stopped_at.clear()
        self.stopped_at.add(self._session.vcpu.pc)

    def _stopped(self, stop: Stop) -> None:
        if self._session.made("calls") and self._session.calls.calling:
            return
        self.stops += 1
        with self._lock:
            if self._run is _Run.FOREGROUND:
                return
            if self._run is _Run.BACKGROUND:
                tell = self.on_background_stop
                self._run = _Run.TOLD if tell is not None else _Run.OTHERS
            else:
                tell = self.on_foreign_stop
                self._run = _Run.OTHERS
        if tell is not None:
            tell(stop)
