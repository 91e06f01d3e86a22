"""Starting and stopping all vCPUs together, and letting one have the world to itself."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kvmdbg.engine import stops
from kvmdbg.engine.watchdog import Watchdog
from kvmdbg.errors import KvmdbgError, SessionStateError, refused_by_host

if TYPE_CHECKING:
    from kvmdbg.engine.debugged_vcpu import DebuggedVcpu


Job = Callable[[], "stops.Stop | None"]
"""What a runner does from a resume on: the stop that ended it, None when another vCPU stopped first."""


SIGNAL_LATENCY = 0.5
"""Seconds: Python acts on a signal that came just before a wait only when that wait ends."""


class World:
    """The shared state of the runners.

    On the last runner to come to rest ``finish`` is called once a stop, and ``announce``
    with what it returned when everybody may use the guest again. A runner that comes to a stop of its own
    when another has stopped before keeps it untold: its next run ends there at once.
    """

    def __init__(
        self, finish: Callable[[stops.Stop | None], stops.Stop], announce: Callable[[stops.Stop], None]
    ) -> None:
        self.condition = threading.Condition()
        self.runners: list[DebuggedVcpu] = []
        self.running: set[DebuggedVcpu] = set()
        self._at_rest = threading.Lock()
        """Of the run at hand: free when it is over. Waiting for it is faster than for a condition."""
        self.parked: set[DebuggedVcpu] = set()
        self.owner: DebuggedVcpu | None = None
        self.arriving = False
        """The guest has not run yet: a breakpoint where it stands counts in this run."""
        self.step_interrupts = False
        """Whether the user wants interrupts let in during steps."""
        self.guest_rate = 1.0
        """Seconds of guest time for one of the host's, from the next run on."""
        self.starting = False
        """Traps and vCPUs are being made ready: nothing must come in between."""
        self._stop_due = False
        """The guest is to stop as soon as it has been started."""
        self._put_off = 0
        """The signal that is to come again then."""
        self.stopping = False
        self.first: stops.Stop | None = None
        self.hurried = False
        """Somebody wants the guest to stop now, whatever is left to be found out about the stop."""
        self.seconds = 0.0
        """How long the vCPUs have run in all, without what went on at stops."""
        self._began = 0.0
        self._limit: tuple[float, str] | None = None
        """Until when steps may be made (time.monotonic), and how long that is in words."""
        self._watchdog: Watchdog | None = None
        self._finish = finish
        self._announce = announce

    def start(self, jobs: dict[DebuggedVcpu, Job]) -> None:
        """Let these runners go, each with its job."""
        if self._watchdog is None or not self._watchdog.is_alive():
            self._watchdog = Watchdog(self)
            self._watchdog.start()
        with self.condition:
            if self.running:
                raise SessionStateError("the guest is running: interrupt it first")
            self.stopping = False
            self.first = None
            self.hurried = False
            self.owner = None
            self._at_rest = threading.Lock()
            self._at_rest.acquire()
            self.running = set(jobs)
            self._began = time.perf_counter()
            for runner in jobs:
                runner.runs_guest = True
        due = set(jobs)
        """Those that have not begun."""
        try:
            self._watchdog.wake()
            for runner, job in jobs.items():
                runner.post(lambda runner=runner, job=job: self._run(runner, job, due))  # type: ignore[misc]
        except BaseException:  # a signal's, too, which may come when a job has just been posted
            with self.condition:
                for runner in due:
                    runner.runs_guest = False
                self.running -= due
                self._stop_all()
                if due and not self.running:
                    self._at_rest.release()
                due.clear()
            raise

    def _run(self, runner: DebuggedVcpu, job: Job, due: set[DebuggedVcpu]) -> None:
        with self.condition:
            if runner not in due:  # its start was broken off
                return
            due.discard(runner)
        runner.drain()
        try:
            stop = None if self.stopping else job()
        except BaseException as error:  # a bug must not leave the session waiting for ever
            stop = self._failed(runner, error)
        self._rest(runner, stop)

    @staticmethod
    def _failed(runner: DebuggedVcpu, error: BaseException) -> stops.Stop:
        try:
            if isinstance(error, KvmdbgError):
                return runner.stop(stops.ErrorStop, message=str(error))
            if isinstance(error, OSError):
                return runner.stop(stops.ErrorStop, message=str(refused_by_host(error)))
        except Exception:  # where it stands cannot be told either
            return stops.ErrorStop(vcpu=runner.index, pc=0, message=str(error))
        return stops.internal_error(error, runner.index)

    def _yields_to(self, stop: stops.Stop | None) -> bool:
        """Whether this stop is the one to tell: the first, or how the guest ended while a limit passed."""
        ended = isinstance(stop, stops.FatalStop | stops.ExitedStop)
        return self.first is None or (ended and isinstance(self.first, stops.LimitStop))

    def _rest(self, runner: DebuggedVcpu, stop: stops.Stop | None) -> None:
        with self.condition:
            if self._yields_to(stop):
                self.first = stop
            elif stop is not None:
                runner.unreported.stop = stop
            runner.runs_guest = False
            if len(self.running) > 1:
                self._stop_all(runner)
                self.running.discard(runner)
                return
            self.stopping = True
        self.seconds += time.perf_counter() - self._began
        final = self._finish(self.first)
        with self.condition:
            self.running.clear()
            self.condition.notify_all()
        self._at_rest.release()
        self._announce(final)

    def _stop_all(self, but: DebuggedVcpu | None = None) -> None:
        self.stopping = True
        for other in self.running:
            if other is not but:
                other.kick()
        self.condition.notify_all()

    def kick_others(self) -> None:
        """Have the vCPUs look up that run guest code now, on other threads than this one."""
        for runner in self.runners:
            if runner.runs_guest and runner is not threading.current_thread():
                runner.kick()

    def kick_running(self) -> None:
        """Have every vCPU that runs look up for a moment."""
        with self.condition:
            for runner in self.running:
                runner.look_up_due = True
                runner.kick()

    def close(self) -> None:
        """Nothing will run any more."""
        if self._watchdog is not None:
            self._watchdog.end()

    def stop(self, stop: stops.Stop | None = None) -> None:
        """Ask all runners to stop; ``stop`` is the reason if no other comes first, None that somebody wants it now."""
        with self.condition:
            if self.running:
                self.hurried |= stop is None
                if self.first is None:
                    self.first = stop
                self._stop_all()

    def stop_within(self, seconds: float, stop: stops.Stop | None = None) -> None:
        """The same, and wait for it. SessionStateError where a hook does not return within ``seconds``."""
        self.stop(stop)
        while not self.wait(seconds):
            for runner in self.runners:
                if runner.called is not None:
                    raise SessionStateError(f"the guest does not stop: {runner.called} does not return")

    def started(self, release: Callable[[], None]) -> None:
        """What ``starting`` was set for is over: ``release`` it, then let a signal come that was put off."""
        self.starting = False
        if self._stop_due:
            self._stop_due = False
            self.stop()
        number, self._put_off = self._put_off, 0
        release()
        if number:
            signal.raise_signal(number)

    def put_off(self, number: int) -> bool:
        """For a handler of a signal that ends kvmdbg: whether it is to come again, when the guest has been started."""
        if self.starting:
            self._put_off = number
        return self.starting

    def stop_by_signal(self) -> None:
        """For a handler of SIGINT: stop the guest, also one that is just being started.

        KeyboardInterrupt where none runs, and where it has been told to stop already.
        """
        if self.starting and not self._stop_due:
            self._stop_due = True
        elif self.running and not self.stopping:
            self.stop()
        else:
            raise KeyboardInterrupt

    @contextmanager
    def limited(self, seconds: float) -> Iterator[None]:
        """All steps and runs made inside are over together after so many seconds (LimitStop); 0: no limit."""
        self._limit = (time.monotonic() + seconds, f"{seconds:g} s") if seconds else None
        try:
            yield
        finally:
            self._limit = None

    def time_left(self, timeout: float | None) -> tuple[float | None, str]:
        """How many seconds a run of at most ``timeout`` seconds has (None: for ever), and the limit in words."""
        if self._limit is None or timeout is not None:
            return timeout, f"{timeout:g} s" if timeout is not None else ""
        return max(self._limit[0] - time.monotonic(), 0.0), self._limit[1]

    def in_time(self, stop: stops.Stop | None) -> stops.Stop | None:
        """What a stop is: the end of a step that comes too late is that of the limit."""
        if self._limit is None or not isinstance(stop, stops.StepStop) or time.monotonic() < self._limit[0]:
            return stop
        return stops.LimitStop(vcpu=stop.vcpu, pc=stop.pc, limit=self._limit[1])

    def wait(self, timeout: float | None) -> bool:
        """Whether all runners are at rest within ``timeout`` seconds (None: for ever)."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.running:
            at_rest = self._at_rest
            left = SIGNAL_LATENCY if deadline is None else min(deadline - time.monotonic(), SIGNAL_LATENCY)
            if left <= 0:
                return False
            if at_rest.acquire(timeout=left):
                at_rest.release()  # for others who wait
        return True

    def park(self, runner: DebuggedVcpu) -> bool:
        """On a kicked runner: rest while another owns the world. Whether to stop altogether."""
        with self.condition:
            if self.owner is not None and self.owner is not runner:
                self.parked.add(runner)
                self.condition.notify_all()
                while self.owner is not None and not self.stopping:
                    self.condition.wait()
                self.parked.discard(runner)
            if self.stopping:
                runner.kick()  # so that the next KVM_RUN comes straight back as well
            return self.stopping

    @contextmanager
    def exclusive(self, runner: DebuggedVcpu) -> Iterator[None]:
        """While inside, no other vCPU is in the guest."""
        if len(self.running) <= 1 or self.owner is runner:
            yield
            return
        runner.fetch_state()
        with self.condition:
            while self.owner is not None and not self.stopping:
                self.parked.add(runner)
                self.condition.notify_all()
                self.condition.wait()
                self.parked.discard(runner)
            self.owner = runner
            others = self.running - {runner}
            while not self.stopping and not others & self.running <= self.parked:
                for other in others & self.running - self.parked:
                    other.kick()
                self.condition.wait(0.01)
        try:
            yield
        finally:
            with self.condition:
                if self.owner is runner:
                    self.owner = None
                self.condition.notify_all()
