"""One program in one session, run in one way, and the list of the ways."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from kvmdbg.core.session import Session
from kvmdbg.engine.stops import Stop
from tests.differential.machine import TIME_LIMIT, Observation, Runnable, Wrong, in_time
from tests.differential.trace import MOST_STEPS, Step

PAGE = 4096
MOST_STOPS = 3 * MOST_STEPS
UNUSED = 0x10000
"""A page in which no program has anything."""
FRAME = 48
"""Bytes of the largest frame of an event."""


@dataclass
class Trial:
    """One program in one session, run in one way; ``notes`` say what was done, to be told with a difference.

    ``steps`` is empty where the way of the program is not the same each time: then hits are not checked.
    """

    session: Session
    runnable: Runnable
    rng: Random
    steps: list[Step]
    keeps_resume_flag: bool = False
    """An EFLAGS.RF that ``iretq`` sets may come into the next event's frame, or not, as this CPU goes."""

    notes: list[str] = field(default_factory=list)
    observed: Observation | None = None
    """Set by a variant that ends in another session."""

    until: float = field(default_factory=lambda: time.monotonic() + 4 * TIME_LIMIT)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def places(self, most: int) -> list[int]:
        """Some addresses of instructions that run, and that no other instruction has for a byte of its own.

        Where that is not known, a few of the program's own: while the guest stands still, time does not.
        """
        within = {at for step in self.steps for at in range(step.pc + 1, step.pc + step.size)}
        known = sorted({step.pc for step in self.steps} - within)
        if not known:
            end = self.runnable.program.layout.code_end
            known, most = [at for at, _, _ in self.runnable.code.lines if at < end], min(most, 4)
        return self.rng.sample(known, min(most, len(known)))

    @property
    def gets_more_traps(self) -> bool:
        """The guest alone gets one #DB more of its own for each page that KVM maps anew (docs/limits.md)."""
        return self.session.runner.host.profile.step_trap_waits and any(step.trapped for step in self.steps)

    def steps_to_go(self) -> int:
        """How many steps lead to anywhere in the program."""
        return self.rng.randrange(1, max(2, len(self.steps) or 40))

    def run(self, *allowed: str) -> Stop:
        """Run until a stop that is not of the reasons ``allowed``, nor a HLT on the way."""
        while True:
            stop = self.go()
            if (stop.reason not in allowed or self.runnable.halted(stop)) and self.runnable.ends(stop):
                return stop

    def go(self) -> Stop:
        """To the next stop. Wrong where it stops for ever; time tells that, as a program may wait for the timer."""
        if time.monotonic() > self.until:
            raise Wrong("it stops for ever")
        stop = self.session.run(timeout=TIME_LIMIT)
        if stop.reason == "limit":
            raise Wrong(f"it hangs: {stop.describe()}")
        if stop.pc != self.session.regs.pc and stop.reason != "shutdown":  # some KVMs reset the vCPU there
            raise Wrong(f"the stop is at {stop.pc:#x}, the vCPU at {self.session.regs.pc:#x}")
        return stop

    def step(self, count: int) -> Stop:
        with in_time(self.session):
            return self.session.step(count)

    def next(self, count: int) -> Stop:
        with in_time(self.session):
            return self.session.next(count)

    def at_end(self, stop: Stop) -> bool:
        """Whether a step has come to the end."""
        return stop.reason != "step" and self.runnable.ends(stop)


Variant = Callable[[Trial], Stop]
VARIANTS: dict[str, Variant] = {}
ONLY_STEPS: set[str] = set()
"""Variants in which no interrupt comes, so that a program that waits for one never ends."""


def variant(run: Variant) -> Variant:
    """Decorator: a way to run a program, by its function's name."""
    VARIANTS[run.__name__.replace("_", "-")] = run
    return run


def steps_only(run: Variant) -> Variant:
    """Decorator: the variant does nothing but steps."""
    ONLY_STEPS.add(run.__name__.replace("_", "-"))
    return run
