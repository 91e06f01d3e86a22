"""Non-stop mode (gdb manual, "Remote Non-Stop"): each thread runs and stops by itself.

Made of what every target can: when something is asked while threads run, all are stopped for a moment, it is done, and
those that the client believes to be running go on. The client never learns of such a pause.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gdbstub.errors import TargetError
from gdbstub.target import SIGINT, Exited, Killed, Resume, Stop, Stopped

if TYPE_CHECKING:
    from gdbstub.client import Client

Span = tuple[int, int]
PAUSES_WITHIN = 10
"""Seconds that the target has to stop."""
LOOKS_EVERY = 50e-6
SETTLED = (b"g", b"p", b"m", b"x", b"G", b"P", b"M", b"X", b"Z", b"z")
"""Packets that a client sends when it has taken the stop that ``?`` told it of."""


class NonStop:
    """What the client believes of each thread. ``collect`` hands over stops that have come meanwhile."""

    def __init__(self, client: Client, collect: Callable[[], None]) -> None:
        self._client = client
        self._collect = collect
        self._running: dict[int, Span | None] = {}
        """The threads that run, and the range in which each steps, if it does."""
        self._told: deque[Stop] = deque()
        """Stops that the client has not fetched; of the first it has been notified."""
        self._later: list[Stopped] = []
        self._attached = False
        self._notified = False
        self._pausing = False
        self._expecting = False
        """The target was resumed and has not stopped since."""

    # --- packets -----------------------------------------------------------------------------------

    def why(self) -> bytes:
        """The reply to ``?``: one stop. The others are told one by one, when the client has been through with it.

        A gdb (13 and 18 as well) that knows of two stops before it has attached ends in an internal error.
        """
        target = self._client.target
        last = target.last_stop()
        if not isinstance(last, Stopped):
            return self._client.render(last)
        others = [Stopped(thread, 0) for thread in target.threads() if thread != last.thread]
        stand = [stop for stop in (last, *others) if stop.thread not in self._running]
        self._told, self._later = deque(stand[:1]), stand[1:]
        self._attached = False
        self._notified = bool(self._told)
        return self._client.render(self._told[0]) if self._told else b"OK"

    def attach(self) -> None:
        """The client attaches: it takes all threads to be running, and stops them itself."""
        target = self._client.target
        if target.running:
            self._running, self._expecting = dict.fromkeys(target.threads()), True
        else:
            self._told = deque((target.last_stop(),))
            self._later = [Stopped(one, 0) for one in target.threads() if one != target.current()]

    def next(self) -> bytes:
        """The reply to vStopped: the next stop, or OK."""
        if self._told:
            self._told.popleft()
        self._notified = bool(self._told)
        if self._told:
            return self._client.render(self._told[0])
        return b"OK"

    def resume(self, actions: Mapping[int, Span | None], stay: Iterable[int]) -> None:
        """Let threads run, or step in a range; those of ``stay`` stop.

        What runs already goes on as it does. A thread whose stop the client has not fetched stays: the client believes
        that it runs.
        """
        self._told += self._later
        self._later.clear()
        waiting = {stop.thread for stop in self._told if isinstance(stop, Stopped)}
        new = {thread: span for thread, span in actions.items() if thread not in self._running.keys() | waiting}
        halt = [thread for thread in stay if thread in self._running]
        if not new and not halt:
            return
        with self.paused():
            for thread in halt:
                if thread in self._running:  # it has not stopped by itself in the meantime
                    del self._running[thread]
                    self._told.append(Stopped(thread, 0))
            self._running |= new

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Inside, nothing runs."""
        self._pause()
        try:
            yield
        finally:
            self._go()

    def _pause(self) -> None:
        target = self._client.target
        self._pausing = True
        try:
            end = time.monotonic() + PAUSES_WITHIN
            if target.running:
                target.interrupt()
            while target.running or self._expecting:
                if time.monotonic() > end:
                    raise TargetError("the guest does not stop")
                self._collect()
                time.sleep(LOOKS_EVERY)
        finally:
            self._pausing = False

    def _go(self) -> None:
        if not self._running:
            return
        steps = {thread: span for thread, span in self._running.items() if span is not None}
        self._expecting = True
        try:
            self._client.target.resume(Resume(steps, frozenset(self._running) - frozenset(steps)))
        except TargetError:
            self._expecting = False
            self._all_stopped(0)
            raise

    # --- the target speaks -------------------------------------------------------------------------

    def stopped(self, stop: Stop) -> None:
        """The target has stopped: the thread that did it stays, the others go on."""
        if not self._expecting:
            return  # somebody else had let it run
        self._expecting = False
        if isinstance(stop, Exited | Killed):
            self._running.clear()
            self._told.append(stop)
        elif stop.signal == SIGINT:
            if not self._pausing:
                self._all_stopped(SIGINT)
        else:
            self._running.pop(stop.thread, None)
            self._told.append(stop)
            if not self._pausing:
                self._go()
        self.tell()

    def _all_stopped(self, signal: int) -> None:
        self._told += [Stopped(thread, signal) for thread in sorted(self._running)]
        self._running.clear()

    def end(self) -> None:
        """The client leaves non-stop mode: all stop."""
        self._pause()
        self._running.clear()

    def forget(self) -> None:
        """The guest is killed or begins anew: no thread runs, and there is nothing to tell."""
        self._running.clear()
        self._told.clear()
        self._later.clear()
        self._expecting = self._notified = False

    def after(self, packet: bytes) -> None:
        """A packet has been handled: what there is to tell may be told now."""
        self._attached |= packet[:1] in SETTLED
        if self._later and not self._told and self._attached:
            self._told.append(self._later.pop(0))
        self.tell()

    def tell(self) -> None:
        """Notify the client of the first stop that it does not know of."""
        if self._told and not self._notified and not self._client.handling:
            self._notified = True
            self._client.wire.notify(b"Stop:" + self._client.render(self._told[0]))
