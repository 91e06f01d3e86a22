"""Ways to run a program with watchpoints, catchpoints, hooks and traces."""

from __future__ import annotations

from kvmdbg.core.session import Session
from kvmdbg.engine.breakpoints import Watchpoint
from kvmdbg.engine.stops import CaughtStop, Stop, WatchpointStop
from kvmdbg.kvm import abi
from tests.differential.break_variants import break_at, check_hits
from tests.differential.machine import MEMORY, TIME_LIMIT, Wrong
from tests.differential.program import SOFTWARE_VECTORS, TIMER
from tests.differential.trace import match, physical, touches
from tests.differential.trial import FRAME, PAGE, UNUSED, Trial, variant

# --- watchpoints -----------------------------------------------------------------------------------


def ranges(trial: Trial) -> tuple[int, int]:
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


def _used_by(trial: Trial, vector: int, counter: int) -> set[int]:
    """The pages that an event and its handler need."""
    program, entry = trial.runnable.program, trial.runnable.code.entries[vector]
    layout = program.layout
    stack = (program.ist or layout.stack) - 1
    places = (stack, counter, layout.idt, layout.idt + 16 * vector, layout.gdt, layout.gdt + 0x20, entry)
    return {place & -PAGE for place in places}


def _used_by_timer(trial: Trial) -> set[int]:
    """Guarded, they might make a tick take longer than the time to the next, on a slow machine."""
    return _used_by(trial, TIMER, trial.runnable.program.layout.ticks)


def _brings_traps_for_ever(trial: Trial, address: int, length: int) -> bool:
    """Whether each #DB would meet the guard, for which KVM maps pages anew, for which there is one #DB more."""
    counter = trial.runnable.count_of_debug_exceptions.start
    pages = range(address & -PAGE, address + length, PAGE)
    return trial.gets_more_traps and not _used_by(trial, 1, counter).isdisjoint(pages)


def watch(trial: Trial, when: str | None = None) -> Watchpoint:
    address, length = ranges(trial)
    kind = trial.rng.choice(["write", "write", "read", "access"])
    if trial.runnable.program.timer:
        layout = trial.runnable.program.layout
        start, end = layout.data, layout.data_end
        if {start & -PAGE, end & -PAGE} & _used_by_timer(trial):
            start, end = UNUSED, UNUSED + PAGE
        address, kind = trial.rng.randrange(start, end), "write"
        length = min(length, end - address)
    elif _brings_traps_for_ever(trial, address, length):
        address = UNUSED
    by_address = trial.rng.random() < 0.2
    place = physical(address)
    what = f"phys:{place:#x}" if by_address else f"{address:#x}"
    trial.note(f"watch {kind} {what},{length}" + (f" if {when}" if when else ""))
    where = f"phys:{place:#x}" if by_address else address
    return trial.session.watch(where, length, kind, when)


def own_to_the_cpu(trial: Trial, point: Watchpoint) -> bool:
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


def check_value(trial: Trial, stop: WatchpointStop) -> None:
    if stop.kind != "write":
        return
    point = stop.hits[0]
    at = point.address if len(stop.new) == point.length <= 8 else stop.address
    now = trial.session.physical.read(physical(at), len(stop.new)) if physical(at) < MEMORY else stop.new
    if stop.new != now:
        raise Wrong(f"{stop.describe()}: memory is {now.hex(' ')}")


@variant
def watchpoints(trial: Trial) -> Stop:
    points = [watch(trial) for _ in range(trial.rng.choice([1, 1, 2, 3, 6]))]
    extras = [own_to_the_cpu(trial, point) for point in points]
    breakpoints = break_at(trial, trial.places(3)) if trial.rng.random() < 0.3 else []
    found: list[WatchpointStop] = []
    while True:
        stop = trial.go()
        if isinstance(stop, WatchpointStop):
            check_value(trial, stop)
            found.append(stop)
        elif stop.reason != "breakpoint" and trial.runnable.ends(stop):
            break
    for point, extra in zip(points, extras, strict=True):
        wanted = touches(trial.steps, point.address, point.length, point.kind, point.space)
        problem = match([one for one in found if point in one.hits], wanted, extra)
        if problem and trial.steps:
            raise Wrong(f"watchpoint {point.kind} {point.describe()}, held by {point.held_by}: {problem}")
    check_hits(trial, breakpoints, found)
    return stop


@variant
def false_watchpoints(trial: Trial) -> Stop:
    for _ in range(trial.rng.choice([1, 2, 4])):
        watch(trial, trial.rng.choice(["0", "$sp != $sp", "$ax == 0x1234567"]))
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


def can_be_caught(session: Session, kind: str) -> bool:
    """Whether the host has such exits: not all have those for MSRs."""
    return kind not in ("msr", "any") or bool(session.machine.system.check_extension(abi.KVM_CAP_X86_MSR_FILTER))


@variant
def catchpoints(trial: Trial) -> Stop:
    for kind in trial.rng.sample(CATCHES, trial.rng.choice([1, 2, 3])):
        if not can_be_caught(trial.session, kind):
            continue
        trial.note(f"catch {kind}")
        trial.session.catch(kind)
    return trial.run("exit", "unhandled-exit")


@variant
def caught_exceptions(trial: Trial) -> Stop:
    """Each exception is caught, once, and nothing else."""
    layout, entries = trial.runnable.program.layout, trial.runnable.code.entries
    caught: list[int] = []
    trial.session.catch("exception")
    while True:
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
        address, length = ranges(trial)
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
