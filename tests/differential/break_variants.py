"""Ways to run a program with steps, limits and breakpoints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress

from kvmdbg.engine.arming import AUTO, HOLDS
from kvmdbg.engine.breakpoints import Breakpoint
from kvmdbg.engine.stops import Stop
from kvmdbg.errors import NotSupportedHere
from tests.differential.machine import TIME_LIMIT, Wrong, in_time
from tests.differential.trace import MOST_STEPS, match_order, physical, visits
from tests.differential.trial import MOST_STOPS, Trial, steps_only, variant

# --- steps and limits ------------------------------------------------------------------------------


@variant
@steps_only
def steps(trial: Trial) -> Stop:
    while True:
        stop = trial.step(trial.rng.choice([1, 2, 3, 7, 50, 500]))
        if trial.at_end(stop):
            return stop


@variant
def step_then_run(trial: Trial) -> Stop:
    """Steps to anywhere, then free: nothing of the last step may be left."""
    for _ in range(trial.rng.choice([1, 1, 2, 3])):
        count = trial.steps_to_go()
        trial.note(f"step {count}")
        stop = trial.step(count)
        if trial.at_end(stop):
            return stop
    return trial.run()


@variant
@steps_only
def step_over(trial: Trial) -> Stop:
    while True:
        stop = trial.next(trial.rng.choice([1, 2, 5]))
        if trial.at_end(stop):
            return stop


@variant
@steps_only
def instruction_limit(trial: Trial) -> Stop:
    while True:
        stop = trial.session.run(instructions=trial.rng.choice([1, 5, 100, MOST_STEPS]), timeout=TIME_LIMIT)
        if stop.reason != "limit" and trial.runnable.ends(stop):
            return stop


@variant
def exit_limit(trial: Trial) -> Stop:
    limit = trial.rng.choice([1, 2, 5])
    while True:
        stop = trial.session.run(exits=limit, timeout=TIME_LIMIT)
        if stop.reason != "limit" and trial.runnable.ends(stop):
            return stop
        if stop.reason == "limit" and "exit" not in stop.describe():
            raise Wrong(f"it hangs: {stop.describe()}")


@variant
def interrupted(trial: Trial) -> Stop:
    """Stopped from outside at any moments."""
    for _ in range(20):
        trial.session.resume()
        stop = trial.session.wait(trial.rng.choice([0, 0, 0.0001, 0.0005, 0.002]))
        if stop is None:
            stop = trial.session.interrupt()
        assert stop is not None
        if stop.reason != "interrupted" and trial.runnable.ends(stop):
            return stop
    return trial.run()


# --- breakpoints -----------------------------------------------------------------------------------


def break_at(trial: Trial, places: Iterable[int], **options: object) -> list[Breakpoint]:
    points = []
    for place in places:
        where = f"phys:{place:#x}" if trial.rng.random() < 0.2 else place
        points.append(trial.session.break_at(where, **options))  # type: ignore[arg-type]
        trial.note(f"break {where if isinstance(where, str) else hex(where)} {options or ''}")
    return points


def in_registers(points: Iterable[Breakpoint]) -> set[int]:
    return {point.address for point in points if point.held_by.startswith("debug register")}


def check_order(trial: Trial, points: list[Breakpoint], order: list[int]) -> None:
    """``order``: where breakpoints stopped the guest."""
    places = [(point.address, point.space) for point in points]
    problem = match_order(order, visits(trial.steps, places, in_registers(points)))
    if problem and trial.steps:
        raise Wrong(f"{problem}; held by {', '.join(sorted({point.held_by for point in points}))}")


def check_hits(trial: Trial, points: list[Breakpoint], others: Sequence[Stop] | None = None) -> None:
    """``others``: stops of watchpoints that were set, too, behind which a breakpoint is passed without a hit."""
    for point in points if trial.steps else ():
        found = visits(trial.steps, [(point.address, point.space)], in_registers([point]))
        passed = [physical(stop.pc) if point.space == "phys" else stop.pc for stop in others or ()].count(point.address)
        wanted = sum(visit.certain for visit in found) - passed
        places = {visit.pc for visit in found}
        most = sum(step.pc in places for step in trial.steps)
        if others is not None and any(step.pc in places and step.text.startswith("rep") for step in trial.steps):
            most = MOST_STOPS  # beside a watchpoint each element may be a step
        if not wanted <= point.hits <= most:
            raise Wrong(f"breakpoint {point.address:#x}, held by {point.held_by}: {point.hits} hits, not {wanted}")


@variant
def breakpoints(trial: Trial) -> Stop:
    places = trial.places(trial.rng.choice([1, 2, 4, 5, 8, 20, MOST_STEPS]))
    points = break_at(trial, places)
    order: list[int] = []
    while True:
        stop = trial.go()
        if stop.reason == "breakpoint":
            order.append(stop.pc)
        elif trial.runnable.ends(stop):
            break
    check_order(trial, points, order)
    check_hits(trial, points)
    return stop


@variant
def held_otherwise(trial: Trial) -> Stop:
    """Breakpoints held in one way only, as the user may ask for."""
    with suppress(NotSupportedHere):
        trial.session.breakpoint_hold = trial.rng.choice([hold for hold in HOLDS if hold != AUTO])
    trial.note(f"hold {trial.session.breakpoint_hold}")
    points = []
    for place in trial.places(trial.rng.choice([1, 3, 4, 10])):
        with suppress(NotSupportedHere):
            points.append(trial.session.break_at(place))
            trial.note(f"break {place:#x}")
    order: list[int] = []
    while True:
        try:
            stop = trial.go()
        except NotSupportedHere:  # told when the guest is to run
            trial.session.breakpoints.clear()
            return trial.run()
        if stop.reason == "breakpoint":
            order.append(stop.pc)
        elif trial.runnable.ends(stop):
            break
    check_order(trial, points, order)
    return stop


@variant
def false_conditions(trial: Trial) -> Stop:
    conditions = ["$ax == 0x1234567", "0", "$sp != $sp", f"*(u8*){trial.runnable.program.layout.data:#x} == 0x100"]
    for place in trial.places(8):
        break_at(trial, [place], when=trial.rng.choice(conditions))
    return trial.run()


@variant
def true_conditions(trial: Trial) -> Stop:
    places = trial.places(trial.rng.choice([1, 3, 6]))
    points = []
    for place in places:
        points += break_at(trial, [place], when=trial.rng.choice(["1", "$sp == $sp", f"$pc == {place:#x}"]))
    stop = trial.run("breakpoint")
    check_hits(trial, points)
    return stop


@variant
def ignored(trial: Trial) -> Stop:
    """Breakpoints that only count, and some that go away after the first time."""
    for place in trial.places(4):
        break_at(trial, [place], ignore=trial.rng.choice([1, 2, 1000]))
    for place in trial.places(4):
        break_at(trial, [place], temporary=True)
    return trial.run("breakpoint")


@variant
def advance(trial: Trial) -> Stop:
    for place in trial.places(4):
        trial.note(f"advance {place:#x}")
        with in_time(trial.session):
            stop = trial.session.advance(place)
        if stop.reason != "breakpoint" and trial.runnable.ends(stop):
            return stop
    return trial.run()


@variant
@steps_only
def moves(trial: Trial) -> Stop:
    """The commands that step and run in one."""
    session = trial.session
    for _ in range(15):
        move = trial.rng.choice([session.finish, session.until, lambda: session.next(2), lambda: session.step(2)])
        with in_time(session):
            stop = move()
        trial.note(f"{getattr(move, '__name__', 'move')} to {session.regs.pc:#x}")
        if stop.reason not in ("step", "breakpoint") and trial.runnable.ends(stop):
            return stop
    return trial.run()
