"""Letting the guest run and step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import BackgroundArg, LocationArg, NumberType
from kvmdbg.commands.places import Place
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Message, Result
from kvmdbg.engine.stops import StepStop
from kvmdbg.errors import UsageError

if TYPE_CHECKING:
    from kvmdbg.engine.stops import Stop

StepsArg = Annotated[int, NumberType("COUNT", least=1)]


def continue_guest(dbg: Interpreter, background: bool) -> Result | None:
    """Let the guest go on, in the foreground until it stops or at once back to the prompt."""
    if background:
        dbg.runs.go_background()
        return Message("The guest runs in the background; interrupt stops it.")
    settings = dbg.settings
    limits = {
        "timeout": settings["limit-time"] or None,
        "exits": settings["limit-exits"] or None,
        "instructions": settings["limit-instructions"] or None,
    }
    dbg.runs.go(lambda: dbg.session.run(**limits))
    return None


@command(
    "continue",
    aliases=("c", "fg", "cont"),
    group="running",
    example=("break 0x100a", "run", "continue"),
    repeat=True,
    py="dbg.run()",
)
def continue_(dbg: Interpreter, count: StepsArg = 1, background: BackgroundArg = False) -> Result | None:
    """Let the guest run until something stops it.

    With COUNT the breakpoint that it stands on is passed COUNT-1 times more. With & the prompt comes back at once;
    the stop is shown when it happens, and `interrupt` brings it about.
    """
    if dbg.session.state == "running":
        _wait(dbg)
        return None
    if count > 1:
        points = dbg.runs.last_stop.breakpoints if dbg.runs.last_stop else ()
        if points:
            points[0].ignore = count - 1
        else:
            dbg.tell(Message("Not stopped at any breakpoint; argument ignored.", "warning"))
    return continue_guest(dbg, background)


def move(
    dbg: Interpreter, action: Callable[[], Stop | None], then: Callable[[Stop], Result | None] | None = None
) -> None:
    """Let the guest go through steps in the foreground, for as long as set limit-time allows in all."""

    def limited() -> Stop | None:
        with dbg.session.world.limited(dbg.settings["limit-time"]):
            return action()

    dbg.runs.go(limited, then)


def _wait(dbg: Interpreter) -> None:
    """A guest that runs in the background comes to the foreground."""

    def wait() -> Stop | None:
        try:
            return dbg.session.wait()
        except KeyboardInterrupt:
            return dbg.session.interrupt()

    with dbg.runs.taken_over() as untold:
        if untold:
            dbg.runs.go(wait)


@command("run", aliases=("r",), group="running", example="run", py="dbg.run()")
def run(dbg: Interpreter, background: BackgroundArg = False) -> Result | None:
    """Start the guest from its image's entry and let it run until something stops it.

    A guest that has run before is loaded again first, after asking; breakpoints stay. Registers and memory changed
    by hand before the first run stay changed.
    """
    return continue_guest(dbg, background) if _from_the_beginning(dbg) else None


def _from_the_beginning(dbg: Interpreter) -> bool:
    """Load a guest again that has run before; whether the user agrees."""
    if not dbg.session.fresh:
        if dbg.session.state != "dead" and not dbg.asks("Start the guest again from the beginning?"):
            return False
        _load_again(dbg)
    return True


def _load_again(dbg: Interpreter) -> None:
    """Breakpoints count from 0 again, as in gdb."""
    with dbg.runs.taken_over():
        dbg.session.restart()
    for point in dbg.session.breakpoints:
        point.hits = 0


@command(
    "start",
    group="running",
    example="start",
    guest="guests/kernel-O0.elf",
    py="dbg.break_at(place, temporary=True); dbg.run()",
)
def start(dbg: Interpreter, background: BackgroundArg = False) -> Iterator[Result]:
    """Set a temporary breakpoint at the guest's main function, then do what run does.

    That is main, or kmain or kernel_main where nothing is called main. `tbreak PLACE` and `run` do the same with
    another place, `starti` stops before the first instruction.
    """
    from kvmdbg.commands.breakpoints import set_breakpoint
    from kvmdbg.core.locations import MAIN_FUNCTIONS

    name = next((one for one in MAIN_FUNCTIONS if dbg.session.locations.is_function(one)), None)
    if name is None:
        names = ", ".join(MAIN_FUNCTIONS)
        raise UsageError(
            f"this guest has no main function ({names}): starti stops before the first instruction; "
            "tbreak PLACE and run stop at another place"
        )
    if _from_the_beginning(dbg):
        yield set_breakpoint(dbg, name, temporary=True)
        continued = continue_guest(dbg, background)
        if continued is not None:
            yield continued


@command("starti", group="running", example=("run", "starti"), py="dbg.restart()")
def starti(dbg: Interpreter) -> Result | None:
    """Load the guest again and stop before its first instruction (the same as restart)."""
    return restart(dbg)


@command("restart", group="running", example=("run", "restart"), py="dbg.restart()")
def restart(dbg: Interpreter) -> Result | None:
    """Load the image again and stop at its entry; breakpoints, watchpoints and displays stay."""
    if not dbg.session.fresh and dbg.session.state == "running" and not dbg.asks("Restart the guest that runs?"):
        return None
    _load_again(dbg)
    dbg.runs.remember_place()
    dbg.runs.last_stop = None
    return Message(f"The guest is loaded again and stands at {dbg.session.vcpu.pc:#x}.")


@command("kill", aliases=("k",), group="running", example="kill", py="dbg.kill()")
def kill(dbg: Interpreter) -> Result | None:
    """End the guest. Its image can be started again with run or restart; breakpoints stay."""
    if dbg.session.state != "dead" and not dbg.asks("Kill the guest?"):
        return None
    with dbg.runs.taken_over():
        dbg.session.kill()
    dbg.runs.last_stop = None
    return Message("The guest is gone; run starts it again.")


@command("stepi", aliases=("si",), group="running", example=("stepi", "si 5"), repeat=True, py="dbg.step({count})")
def stepi(dbg: Interpreter, count: StepsArg = 1) -> None:
    """Execute one instruction, or COUNT of them; a breakpoint on the way stops it earlier."""
    move(dbg, lambda: dbg.session.step(count))


@command(
    "step",
    aliases=("s",),
    group="running",
    example=("break run_tasks", "run", "step", "step 6"),
    guest="guests/kernel-O0.elf",
    repeat=True,
    py="dbg.step_line()",
)
def step(dbg: Interpreter, count: StepsArg = 1) -> None:
    """Step to another source line, COUNT times, into functions that have lines; where none is known, as stepi."""
    _lines(dbg, count, over=False)


@command(
    "nexti",
    aliases=("ni",),
    group="running",
    example=("advance again", "nexti", "ni 3"),
    guest="--symbols guests/boot16.elf guests/boot16.bin",
    repeat=True,
    py="dbg.next({count})",
)
def nexti(dbg: Interpreter, count: StepsArg = 1) -> None:
    """Execute one instruction, or COUNT of them, taking a call, a software interrupt or a rep as one."""
    move(dbg, lambda: dbg.session.next(count))


@command(
    "next",
    aliases=("n",),
    group="running",
    example=("break run_tasks", "run", "next", "next 2"),
    guest="guests/kernel-O0.elf",
    repeat=True,
    py="dbg.step_line(over=True)",
)
def next_(dbg: Interpreter, count: StepsArg = 1) -> None:
    """Step to another source line, COUNT times, over calls; where none is known, as nexti.

    The handlers of exceptions that a line raises, a page fault say, are run over, too; step goes into them.
    """
    _lines(dbg, count, over=True)


def _lines(dbg: Interpreter, count: int, *, over: bool) -> None:
    if dbg.session.state != "running" and dbg.session.source.at(dbg.session.vcpu.pc) is None:
        move(dbg, lambda: dbg.session.next(count) if over else dbg.session.step(count))
        return

    control = dbg.session.control
    asked = control.interrupts

    def steps() -> Stop | None:
        for _ in range(count):
            stop = dbg.session.step_line(over=over)
            if not isinstance(stop, StepStop) or control.interrupts != asked:
                break
        return stop

    move(dbg, steps)


@command(
    "finish",
    aliases=("fin",),
    group="running",
    example=("break divide", "run", "finish"),
    guest="guests/kernel-O0.elf",
    py="dbg.finish()",
)
def finish(dbg: Interpreter) -> None:
    """Run until the function of the selected frame has returned to its caller, and show what it returned.

    That is known of functions with debug information; it is kept as $1, $2, …
    """
    chosen = dbg.session.frame
    frame = dbg.session.backtrace(chosen.number + 1).frames[-1]
    returns = None if frame.inlined else dbg.session.contexts.source_of(frame).result_type()

    def returned(stop: Stop) -> Result | None:
        through = isinstance(stop, StepStop) or dbg.session.calls.have_returned()
        if returns is None or not returns.size or not through:
            return None  # or something else came in between
        from kvmdbg.core.calls import returned_value
        from kvmdbg.language.floats import Extended
        from kvmdbg.language.types import raw_of

        try:
            data = returned_value(dbg.session, returns)
        except UsageError as error:
            return Message(f"Value returned: {error}.")
        shown = dbg.session.c_variables.show(returns, data)
        value = raw_of(data, returns)
        number = dbg.session.add_to_history(value, returns)
        said: dict[str, object] = {"number": number, "value": value}
        if isinstance(value, bytes | Extended):
            said |= {"value": shown, "bytes": data.hex()}
        return Message(f"Value returned is ${number} = {shown}", data=said)

    move(dbg, dbg.session.finish, returned)


@command(
    "until",
    aliases=("u",),
    group="running",
    example=("break count", "run", "until", "until run_tasks"),
    guest="guests/kernel-O0.elf",
    repeat=True,
    py="dbg.until({location})",
)
def until(dbg: Interpreter, location: LocationArg | None = None) -> None:
    """Run until a place is reached in this frame or in one that called it, or the current function returns.

    Without a place: to a later line of the function, as next, but lines before this one are run through, so that a loop
    is run to its end; where no lines are known one instruction, and a jump backwards is run to its other side.
    """
    if location is None:
        move(dbg, dbg.session.until)
    else:
        addresses = _linear(location)
        move(dbg, lambda: dbg.session.until(*addresses))


@command(
    "advance",
    group="running",
    example="advance func",
    guest="--symbols guests/boot16.elf guests/boot16.bin",
    py="dbg.advance({location})",
)
def advance(dbg: Interpreter, location: LocationArg) -> None:
    """Run until a place is reached, whatever function it is in, or the current function returns.

    When a function returns is known by call frame information (DWARF).
    """
    addresses = _linear(location)
    move(dbg, lambda: dbg.session.advance(*addresses))


def _linear(location: Place) -> list[int]:
    if location.space != "linear":
        raise UsageError("the guest can run to a linear address only, not to a physical one")
    return [one.address for one in location.found.locations] if location.found is not None else [location.address]


@command(
    "interrupt", group="running", example=("asm/n 0x1000 jmp 0x1000", "continue &", "interrupt"), py="dbg.interrupt()"
)
def interrupt(dbg: Interpreter) -> Result | None:
    """Stop a guest that runs in the background."""
    if dbg.session.state != "running":
        return Message("The guest does not run.")
    with dbg.runs.taken_over() as untold:
        if untold:
            dbg.runs.go(dbg.session.interrupt)
    return None
