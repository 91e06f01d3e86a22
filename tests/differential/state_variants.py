"""Ways to run a program with snapshots, recordings and restarts, and with all ways mixed."""

from __future__ import annotations

from dataclasses import replace

from kvmdbg.engine.stops import Stop
from kvmdbg.x86 import paging
from kvmdbg.x86.registers import EFLAGS_RF
from tests.differential.break_variants import break_at
from tests.differential.machine import MEMORY, SLOWNESS, TIME_LIMIT, Wrong, in_time, observe
from tests.differential.trace import MOST_STEPS
from tests.differential.trial import Trial, variant
from tests.differential.watch_variants import CATCHES, can_be_caught, watch

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
        break_at(trial, trial.places(trial.rng.choice([1, 6])))
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
    stray_flags = trial.keeps_resume_flag and any(step.sets_rf for step in trial.steps)
    if session.machine.irqchip or trial.gets_more_traps or stray_flags:
        trial.note("run")  # nobody can record that; the latter two: docs/limits.md
        return trial.run()
    session.world.guest_rate = 1 / SLOWNESS  # else a slow machine does nothing but to record ticks
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
        found.registers["rflags"] |= alone.registers["rflags"] & EFLAGS_RF  # in no moment
        memory, sregs = bytearray(found.memory), session.runner.sregs
        for page in paging.tables(session.physical.read, sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer):  # nor these
            memory[page : page + 4096] = alone.memory[page : page + 4096]
        trial.observed = replace(found, end=stop.reason, memory=bytes(memory))
    return stop


@variant
def restart(trial: Trial) -> Stop:
    session = trial.session
    trial.step(trial.steps_to_go())
    session.restart()
    trial.runnable.prepare(session)
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
            break_at(trial, trial.places(1), temporary=rng.random() < 0.3)
        elif choice == 1 and len(session.breakpoints):
            point = rng.choice(list(session.breakpoints))
            session.breakpoints.discard(point)
            trial.note(f"delete {point.number}")
        elif choice == 2:
            watch(trial)
        elif choice == 3:
            kind = rng.choice(CATCHES)
            if can_be_caught(session, kind):
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
            stop = move(trial)
            if trial.runnable.halted(stop) or (
                stop.reason not in ("step", "breakpoint", "watchpoint", "limit", "exit") and trial.runnable.ends(stop)
            ):
                return stop
    raise Wrong("it does not end")


def move(trial: Trial) -> Stop:
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
