"""The ways to run a program. Each runs it to its end and raises Wrong when a stop was lost, made up, or told wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from random import Random

from kvmdbg.core.session import Session
from kvmdbg.engine.arming import AUTO, HOLDS
from kvmdbg.engine.breakpoints import Breakpoint, Watchpoint
from kvmdbg.engine.stops import CaughtStop, Stop, WatchpointStop
from kvmdbg.errors import NotSupportedHere
from kvmdbg.x86.registers import EFLAGS_RF
from tests.differential.machine import MEMORY, TIME_LIMIT, Observation, Runnable, Wrong, in_time, observe, witness
from tests.differential.program import SOFTWARE_VECTORS, TIMER
from tests.differential.trace import MOST_STEPS, Step, match, match_order, physical, touches, visits

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

    def steps_to_go(self) -> int:
        """How many steps lead to anywhere in the program."""
        return self.rng.randrange(1, max(2, len(self.steps) or 40))

    def run(self, *allowed: str) -> Stop:
        """Run until a stop that is not of the reasons ``allowed``, nor a HLT on the way."""
        for _ in range(MOST_STOPS):
            stop = self.go()
            if (stop.reason not in allowed or self.runnable.halted(stop)) and self.runnable.ends(stop):
                return stop
        raise Wrong("it stops for ever")

    def go(self) -> Stop:
        """To the next stop."""
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


def _break_at(trial: Trial, places: Iterable[int], **options: object) -> list[Breakpoint]:
    points = []
    for place in places:
        where = f"phys:{place:#x}" if trial.rng.random() < 0.2 else place
        points.append(trial.session.break_at(where, **options))  # type: ignore[arg-type]
        trial.note(f"break {where if isinstance(where, str) else hex(where)} {options or ''}")
    return points


def _check_hits(trial: Trial, points: list[Breakpoint], others: Sequence[Stop] = ()) -> None:
    """``others``: stops for another reason, behind which a breakpoint is passed without a hit."""
    for point in points if trial.steps else ():
        found = visits(trial.steps, [(point.address, point.space)])
        passed = [physical(stop.pc) if point.space == "phys" else stop.pc for stop in others].count(point.address)
        wanted = sum(visit.certain for visit in found) - passed
        places = {visit.pc for visit in found}
        most = sum(step.pc in places for step in trial.steps)
        if others and any(step.pc in places and step.text.startswith("rep") for step in trial.steps):
            most = MOST_STOPS  # beside a watchpoint each element may be a step
        if not wanted <= point.hits <= most:
            raise Wrong(f"breakpoint {point.address:#x}, held by {point.held_by}: {point.hits} hits, not {wanted}")


@variant
def breakpoints(trial: Trial) -> Stop:
    places = trial.places(trial.rng.choice([1, 2, 4, 5, 8, 20, MOST_STEPS]))
    points = _break_at(trial, places)
    order: list[int] = []
    for _ in range(MOST_STOPS):
        stop = trial.go()
        if stop.reason == "breakpoint":
            order.append(stop.pc)
        elif trial.runnable.ends(stop):
            break
    problem = match_order(order, visits(trial.steps, [(point.address, point.space) for point in points]))
    if problem and trial.steps:
        raise Wrong(f"{problem}; held by {', '.join(sorted({point.held_by for point in points}))}")
    _check_hits(trial, points)
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
    for _ in range(MOST_STOPS):
        try:
            stop = trial.go()
        except NotSupportedHere:  # told when the guest is to run
            trial.session.breakpoints.clear()
            return trial.run()
        if stop.reason == "breakpoint":
            order.append(stop.pc)
        elif trial.runnable.ends(stop):
            break
    problem = match_order(order, visits(trial.steps, [(point.address, "linear") for point in points]))
    if problem and trial.steps:
        raise Wrong(f"{problem}; held by {', '.join(sorted({point.held_by for point in points}))}")
    return stop


@variant
def false_conditions(trial: Trial) -> Stop:
    conditions = ["$ax == 0x1234567", "0", "$sp != $sp", f"*(u8*){trial.runnable.program.layout.data:#x} == 0x100"]
    for place in trial.places(8):
        _break_at(trial, [place], when=trial.rng.choice(conditions))
    return trial.run()


@variant
def true_conditions(trial: Trial) -> Stop:
    places = trial.places(trial.rng.choice([1, 3, 6]))
    points = []
    for place in places:
        points += _break_at(trial, [place], when=trial.rng.choice(["1", "$sp == $sp", f"$pc == {place:#x}"]))
    stop = trial.run("breakpoint")
    _check_hits(trial, points)
    return stop


@variant
def ignored(trial: Trial) -> Stop:
    """Breakpoints that only count, and some that go away after the first time."""
    for place in trial.places(4):
        _break_at(trial, [place], ignore=trial.rng.choice([1, 2, 1000]))
    for place in trial.places(4):
        _break_at(trial, [place], temporary=True)
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


# --- watchpoints -----------------------------------------------------------------------------------


def _ranges(trial: Trial) -> tuple[int, int]:
    """A place to watch, on any page that the program uses, and how many bytes."""
    rng, layout = trial.rng, trial.runnable.program.layout
    accessed = [one.linear for step in trial.steps for one in step.accesses if physical(one.linear) < MEMORY]
    places = [
        rng.randrange(layout.data, layout.data_end),
        layout.data,
        layout.stack - rng.choice([2, 4, 8, 16, 32]),
        layout.resume,
        layout.counts + 2 * rng.choice([0, 3, 6, 13, 14, 0x20]),
        *trial.places(1),
        (layout.data & -PAGE) + rng.choice([0, 0xFFC, 0xFFF]),
        layout.gdt + rng.choice([0, 8, 0x10, 0x18, 0x25]),
        layout.idt,
        layout.tss,
        layout.handlers,
        trial.session.regs.cr3 & -PAGE or layout.data,
    ]
    if accessed:
        places += [rng.choice(accessed) for _ in range(6)]
    return rng.choice(places), rng.choice([1, 1, 2, 4, 4, 8, 16, 64, 300, 0x1000])


def _used_by_timer(trial: Trial) -> set[int]:
    """The pages that a tick needs: guarded, one might take longer than the time to the next, on a slow machine."""
    layout, entry = trial.runnable.program.layout, trial.runnable.code.entries[TIMER]
    places = (layout.stack - 1, layout.ticks, layout.idt, layout.idt + 16 * TIMER, layout.gdt, layout.gdt + 0x20, entry)
    return {place & -PAGE for place in places}


def _watch(trial: Trial, when: str | None = None) -> Watchpoint:
    address, length = _ranges(trial)
    kind = trial.rng.choice(["write", "write", "read", "access"])
    if trial.runnable.program.timer:
        layout = trial.runnable.program.layout
        start, end = layout.data, layout.data_end
        if {start & -PAGE, end & -PAGE} & _used_by_timer(trial):
            start, end = UNUSED, UNUSED + PAGE
        address, kind = trial.rng.randrange(start, end), "write"
        length = min(length, end - address)
    by_address = trial.rng.random() < 0.2
    place = physical(address)
    what = f"phys:{place:#x}" if by_address else f"{address:#x}"
    trial.note(f"watch {kind} {what},{length}" + (f" if {when}" if when else ""))
    where = f"phys:{place:#x}" if by_address else address
    return trial.session.watch(where, length, kind, when)


def _own_to_the_cpu(trial: Trial, point: Watchpoint) -> bool:
    """Whether the CPU itself may access what is watched: tables, and the stack for the frames of events."""
    layout, start = trial.runnable.program.layout, physical(point.address)
    end = start + point.length
    cr3 = trial.session.regs.cr3 & -PAGE
    tables = [(layout.gdt, 0x60), (layout.idt, 0x300), (layout.tss, 0x68), (cr3, 6 * PAGE if cr3 else 0)]
    tables += [(0, 4 * 0x30 if trial.runnable.program.mode == "real" else 0)]
    stack = [at for step in trial.steps for at in step.implicit]
    if any(start < at + size and at < end for at, size in tables):
        return True
    return any(start - FRAME < at < end + FRAME for at in stack)  # what a frame leaves as it was is written, too


def _check_value(trial: Trial, stop: WatchpointStop) -> None:
    if stop.kind != "write":
        return
    point = stop.hits[0]
    at = point.address if len(stop.new) == point.length <= 8 else stop.address
    now = trial.session.physical.read(physical(at), len(stop.new)) if physical(at) < MEMORY else stop.new
    if stop.new != now:
        raise Wrong(f"{stop.describe()}: memory is {now.hex(' ')}")


@variant
def watchpoints(trial: Trial) -> Stop:
    points = [_watch(trial) for _ in range(trial.rng.choice([1, 1, 2, 3, 6]))]
    extras = [_own_to_the_cpu(trial, point) for point in points]
    breakpoints = _break_at(trial, trial.places(3)) if trial.rng.random() < 0.3 else []
    found: list[WatchpointStop] = []
    for _ in range(MOST_STOPS):
        stop = trial.go()
        if isinstance(stop, WatchpointStop):
            _check_value(trial, stop)
            found.append(stop)
        elif stop.reason != "breakpoint" and trial.runnable.ends(stop):
            break
    else:
        raise Wrong(f"it stops for ever: {stop.describe()}")
    for point, extra in zip(points, extras, strict=True):
        wanted = touches(trial.steps, point.address, point.length, point.kind, point.space)
        problem = match([one for one in found if point in one.hits], wanted, extra)
        if problem and trial.steps:
            raise Wrong(f"watchpoint {point.kind} {point.describe()}, held by {point.held_by}: {problem}")
    _check_hits(trial, breakpoints, found)
    return stop


@variant
def false_watchpoints(trial: Trial) -> Stop:
    for _ in range(trial.rng.choice([1, 2, 4])):
        _watch(trial, trial.rng.choice(["0", "$sp != $sp", "$ax == 0x1234567"]))
    return trial.run()


@variant
def watched_tables(trial: Trial) -> Stop:
    """What the CPU uses by itself is watched, often before the guest has told it so."""
    layout = trial.runnable.program.layout
    gate = layout.idt + 0x10 * trial.rng.randrange(14)
    stack = trial.rng.choice([layout.stack, trial.runnable.program.ist or layout.stack])
    place = trial.rng.choice([layout.idt, layout.idt, gate, layout.gdt + 8, layout.tss + 4, stack - 8])
    if trial.runnable.program.timer and place & -PAGE in _used_by_timer(trial):
        place = UNUSED
    kind = trial.rng.choice(["access", "access", "access", "write"])
    trial.note(f"watch {kind} {place:#x},4 if 0")
    trial.session.watch(place, 4, kind, "0")
    return trial.run()


# --- catchpoints, hooks, traces --------------------------------------------------------------------

CATCHES = ("io", "mmio", "exception", "interrupt", "msr", "any", "hlt", "mode", "cpuid")


@variant
def catchpoints(trial: Trial) -> Stop:
    for kind in trial.rng.sample(CATCHES, trial.rng.choice([1, 2, 3])):
        trial.note(f"catch {kind}")
        trial.session.catch(kind)
    return trial.run("exit", "unhandled-exit")


@variant
def caught_exceptions(trial: Trial) -> Stop:
    """Each exception is caught, once, and nothing else."""
    layout, entries = trial.runnable.program.layout, trial.runnable.code.entries
    caught: list[int] = []
    trial.session.catch("exception")
    for _ in range(MOST_STOPS):
        stop = trial.go()
        if isinstance(stop, CaughtStop):
            caught.append(int(getattr(stop.exit, "vector", -1)))
        elif trial.runnable.ends(stop):
            break
    faults = {at: vector for vector, at in entries.items() if vector not in SOFTWARE_VECTORS}
    wanted = [faults[step.next] for step in trial.steps if step.next in faults]
    found = [vector for vector in caught if vector not in SOFTWARE_VECTORS]
    if trial.steps and stop.reason == "halted" and found != wanted:
        raise Wrong(f"exceptions {found} were caught, {wanted} were raised (counts at {layout.counts:#x})")
    return stop


@variant
def fork(trial: Trial) -> Stop:
    """Runs from one point, each undone; then the guest goes on."""
    session = trial.session
    stop = trial.step(trial.steps_to_go())
    if trial.at_end(stop):
        return stop

    def prepare(_: Session, limit: int) -> None:
        session.physical.write(trial.runnable.program.layout.data, bytes([limit]))

    for _, _ in session.fork([1, 2, 3], prepare, exits=trial.rng.choice([1, 3]), timeout=TIME_LIMIT):
        pass
    return trial.run()


@variant
def hooks(trial: Trial) -> Stop:
    """Functions that look on."""
    seen: list[object] = []
    on = trial.session.on
    kinds = [on.io_out, on.io_in, on.mmio_read, on.mmio_write, on.exception, on.interrupt, on.cpuid]
    for hook in trial.rng.sample(kinds, 2):
        trial.note(f"on {hook.__name__}")
        hook()(lambda event: seen.append(event.pc))
    for place in trial.places(trial.rng.choice([0, 1, 3])):
        trial.note(f"on insn {place:#x}")
        on.insn(place)(lambda event: seen.append(event.pc))
    if trial.rng.random() < 0.3 and trial.steps:
        address, length = _ranges(trial)
        trial.note(f"on memory {address:#x},{length}")
        on.memory(address, length=length)(lambda event: seen.append(event.value))
    return trial.run()


@variant
def traces(trial: Trial) -> Stop:
    if trial.rng.random() < 0.5:
        trial.note("trace instructions")
        trial.session.trace_instructions()
    else:
        trial.note("trace exits")
        trial.session.trace_exits()
    return trial.run()


# --- snapshots -------------------------------------------------------------------------------------


@variant
def snapshot(trial: Trial) -> Stop:
    """Taken on the way; the rest runs twice."""
    session = trial.session
    count = trial.steps_to_go()
    trial.note(f"step {count}, save, run, restore, run")
    stop = trial.step(count)
    if trial.at_end(stop):
        return stop
    session.snapshots.save("middle")
    if trial.rng.random() < 0.5:
        _break_at(trial, trial.places(trial.rng.choice([1, 6])))
    if trial.rng.random() < 0.5:
        trial.step(trial.rng.randrange(1, 30))
    else:
        trial.run("breakpoint")
    session.snapshots.restore("middle")
    return trial.run("breakpoint")


@variant
def snapshot_file(trial: Trial) -> Stop:
    """Written to a file, read by another session."""
    session = trial.session
    count = trial.steps_to_go()
    trial.note(f"step {count}, write, read elsewhere, run")
    stop = trial.step(count)
    if trial.at_end(stop):
        return stop
    path = trial.runnable.folder / "program.snapshot"
    session.snapshots.save("middle")
    session.snapshots.write("middle", path)
    with trial.runnable.open() as other:
        other.snapshots.read(path, "there")
        other.snapshots.restore("there")
        there = Trial(other, trial.runnable, trial.rng, trial.steps)
        stop = there.run()
        trial.observed = observe(other, stop)
    return stop


@variant
def recorded(trial: Trial) -> Stop:
    """Recorded with a change on the way, which is taken back at the end; replayed by another session."""
    session = trial.session
    if session.machine.irqchip:
        trial.note("run")  # nobody can record that
        return trial.run()
    count = trial.steps_to_go()
    trial.note(f"record: step {count}, change, run; replay elsewhere")
    before = session.physical.read(MEMORY - 4, 4)
    with session.record() as log:
        stop = trial.step(count)
        if not trial.at_end(stop):
            session.physical.write(MEMORY - 4, b"seen")
            stop = trial.run()
            session.physical.write(MEMORY - 4, before)
    with trial.runnable.open() as other, in_time(other):
        again = other.replay(log)
        if again.reason != "replayed":
            raise Wrong(again.describe())
        found, alone = observe(other, again), observe(session, stop)
        found.registers["rflags"] |= alone.registers["rflags"] & EFLAGS_RF  # which moments leave out
        trial.observed = replace(found, end=stop.reason)
    return stop


@variant
def restart(trial: Trial) -> Stop:
    session = trial.session
    trial.step(trial.steps_to_go())
    session.restart()
    witness(session)
    before = len(session.output)  # what came before the restart stays
    stop = trial.run()
    found = observe(session, stop)
    trial.observed = replace(found, output=found.output[before:])
    return stop


# --- everything ------------------------------------------------------------------------------------


@variant
def mixture(trial: Trial) -> Stop:
    """Points come and go between steps, runs and returns to snapshots."""
    session, rng = trial.session, trial.rng
    saved = False
    for turn in range(MOST_STEPS):
        if turn == 60:
            session.breakpoints.clear()
            trial.note("clear, run")
            return trial.run()
        choice = rng.randrange(14)
        if choice == 0:
            _break_at(trial, trial.places(1), temporary=rng.random() < 0.3)
        elif choice == 1 and len(session.breakpoints):
            point = rng.choice(list(session.breakpoints))
            session.breakpoints.discard(point)
            trial.note(f"delete {point.number}")
        elif choice == 2:
            _watch(trial)
        elif choice == 3:
            kind = rng.choice(CATCHES)
            session.catch(kind)
            trial.note(f"catch {kind}")
        elif choice == 4:
            session.snapshots.save("one")
            saved = True
            trial.note("save")
        elif choice == 5 and saved and turn < 50:
            session.snapshots.restore("one")
            trial.note("restore")
        elif choice == 6:
            session.snapshots.save("two")
            if rng.random() < 0.5:
                trial.step(rng.choice([1, 3, 20]))
            else:
                trial.go()
            session.snapshots.restore("two")
            trial.note("there and back")
        else:
            stop = _move(trial)
            if trial.runnable.halted(stop) or (
                stop.reason not in ("step", "breakpoint", "watchpoint", "limit", "exit") and trial.runnable.ends(stop)
            ):
                return stop
    raise Wrong("it does not end")


def _move(trial: Trial) -> Stop:
    session, rng = trial.session, trial.rng
    what = rng.choice(["step", "steps", "next", "run", "run", "instructions"])
    if what == "step":
        stop = trial.step(1)
    elif what == "steps":
        stop = trial.step(rng.randrange(1, 30))
    elif what == "next":
        stop = trial.next(rng.randrange(1, 5))
    elif what == "run":
        stop = trial.go()
    else:
        stop = session.run(instructions=rng.randrange(1, 30), timeout=TIME_LIMIT)
    trial.note(f"{what}: {stop.reason} at {session.regs.pc:#x}")
    return stop
