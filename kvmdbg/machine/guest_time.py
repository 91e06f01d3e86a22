"""The guest's own time: it stands still while the guest is stopped, and devices have their deadlines in it."""

from __future__ import annotations

import time
from bisect import insort
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SECOND = 1_000_000_000
"""Nanoseconds."""


class Deadline:
    """``call`` is called once, on the vCPU's thread, when guest time has come to ``when`` (ns), unless cancelled."""

    __slots__ = ("call", "time", "when")

    def __init__(self, time: GuestTime, when: int, call: Callable[[], None]) -> None:
        self.time = time
        self.when = when
        self.call = call

    def __lt__(self, other: Deadline) -> bool:
        return self.when < other.when

    def cancel(self) -> None:
        self.time.forget(self)


class GuestTime:
    """In nanoseconds since the machine was made; ``host`` is a clock that never goes back.

    It is on the machine's bus as a device without ports, before all others, so that snapshots have it.
    """

    name = "time"

    def __init__(self, host: Callable[[], int] = time.monotonic_ns) -> None:
        self.rate = 1.0
        """Seconds of the guest's for one of the host's."""
        self.changed: Callable[[], None] = lambda: None
        """Called when the first deadline is another one."""
        self._host = host
        self._now = 0
        """What it was at ``_since``, a time of the host's; None there: it stands still."""
        self._since: int | None = None
        self._deadlines: list[Deadline] = []
        self._held: int | None = None
        """What it is while something happens at one moment of it, or is driven."""
        self.driven = False
        """Somebody gives it its values, and it goes on by itself no more."""

    @property
    def runs(self) -> bool:
        """Whether it goes on, as the guest does."""
        return self._since is not None

    def now(self) -> int:
        if self._held is not None:
            return self._held
        if self._since is None:
            return self._now
        passed = self._host() - self._since
        return self._now + (passed if self.rate == 1 else int(passed * self.rate))

    def at(self, when: int, call: Callable[[], None]) -> Deadline:
        """Have ``call`` called at ``when``, or soon when that is past."""
        deadline = Deadline(self, when, call)
        insort(self._deadlines, deadline)
        if self._deadlines[0] is deadline:
            self.changed()
        return deadline

    def forget(self, deadline: Deadline) -> None:
        """Have it never called; nothing where that has happened already."""
        if deadline in self._deadlines:
            self._deadlines.remove(deadline)

    @property
    def next(self) -> int | None:
        """When the first deadline is."""
        return self._deadlines[0].when if self._deadlines else None

    @property
    def next_on_host(self) -> int | None:
        """That as a time of the host's clock; None also while guest time stands still."""
        if not self._deadlines or self._since is None or self.driven:
            return None
        left = self._deadlines[0].when - self._now
        return self._since + (left if self.rate == 1 else int(left / self.rate) + 1)

    @property
    def due(self) -> bool:
        """Whether a deadline is past."""
        return bool(self._deadlines) and not self.driven and self._deadlines[0].when <= self.now()

    def pass_to(self, when: int) -> None:
        """Call what is due at ``when``, which it is meanwhile."""
        with self.held(when):
            while self._deadlines and self._deadlines[0].when <= when:
                self._deadlines.pop(0).call()
        if self.driven:
            self._held = when

    @contextmanager
    def held(self, when: int | None = None) -> Iterator[int]:
        """While inside it is ``when``, or else what it is now; gives that."""
        before = self._held
        self._held = self.now() if when is None else when
        try:
            yield self._held
        finally:
            self._held = before

    def drive_to(self, when: int) -> None:
        """It is ``when``, until it is driven on or let go; nothing is called for it."""
        self.driven, self._held = True, when

    def let_go(self) -> None:
        """It goes on by itself from what it is."""
        if self.driven:
            self._now, self._since = self.now(), None if self._since is None else self._host()
            self.driven, self._held = False, None
            self.changed()

    def start(self, rate: float = 1.0) -> None:
        """The guest runs from here on, ``rate`` seconds of its time (more than 0) for one of the host's."""
        self.stop()
        if rate != self.rate:
            self.rate = rate
            self.changed()
        self._since = self._host()

    def stop(self) -> None:
        """The guest stands still from here on."""
        self._now, self._since = self.now(), None

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """While inside, as the debugger does what the guest alone would not have taken time for."""
        running = self.runs
        self.stop()
        try:
            yield
        finally:
            if running:
                self.go_on()

    def go_on(self) -> None:
        """The guest runs again after ``stop``, as it did before."""
        self._since = self._host()

    # --- as a device -------------------------------------------------------------------------------

    def read(self, offset: int, size: int) -> int:
        raise NotImplementedError("it has no ports")

    def write(self, offset: int, size: int, value: int) -> None:
        raise NotImplementedError("it has no ports")

    def describe(self) -> str:
        pace = "" if self.rate == 1 else f", {self.rate:g} times the host's"
        return f"guest time, {self.now() / SECOND:.3f} s{pace}"

    def details(self) -> dict[str, str]:
        following = self.next
        return {
            "now": f"{self.now() / SECOND:.6f} s",
            "next deadline": "none" if following is None else f"{following / SECOND:.6f} s",
            "pace": "the host's" if self.rate == 1 else f"{self.rate:g} times the host's",
        }

    def save(self) -> Any:
        return self.now()

    def load(self, state: Any) -> None:
        """Devices set their deadlines again when they are loaded, after this."""
        if type(state) is not int:
            raise ValueError(f"a time is a number of nanoseconds, not {state!r:.40}")
        self._now = state
        self._since = None if self._since is None else self._host()
        self._deadlines.clear()
