"""Breakpoints: set, delete, switch, conditions, ignore counts, commands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import ConditionArg, LocationArg, NumberArg, NumbersArg, NumberType, RestType
from kvmdbg.commands.places import Place
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Message, Result
from kvmdbg.errors import UsageError

if TYPE_CHECKING:
    from kvmdbg.engine.breakpoints import Point

IgnoreArg = Annotated[int, NumberType("COUNT")]


def point(dbg: Interpreter, number: int) -> Point:
    """The breakpoint, watchpoint or catchpoint of this number. Raises UsageError."""
    return dbg.session.breakpoints.get(number)


def _chosen(dbg: Interpreter, numbers: tuple[list[int], ...]) -> list[Point]:
    if not numbers:
        return list(dbg.session.breakpoints)
    return [point(dbg, number) for some in numbers for number in some]


def _set(
    dbg: Interpreter, location: Place | None, condition: str | None, *, temporary: bool = False, hardware: bool = False
) -> Result:
    if location is None:
        where: int | str = dbg.session.vcpu.pc
        text = f"{where:#x}"
    else:
        text = location.text
        where = location.text if location.space == "phys" else location.address
    made = dbg.session.break_at(where, when=condition, temporary=temporary, hardware=hardware)
    made.location = text
    dbg.session.variables["bpnum"] = made.number
    kind = "Temporary breakpoint" if temporary else "Hardware breakpoint" if hardware else "Breakpoint"
    place = f"phys:{made.address:#x}" if made.space == "phys" else f"{made.address:#x}"
    shown = f"{text} ({place})" if text not in (place, place[2:]) and _is_name(text) else place
    sentence = f"{kind} {made.number} at {shown}" + (f" if {condition}" if condition else "") + "."
    return Message(sentence, data={"number": made.number, "address": made.address, "condition": condition})


def _is_name(text: str) -> bool:
    return not text[:1].isdigit()


@command(
    "break",
    aliases=("b", "br", "brea", "bre"),
    group="breakpoints",
    example=("break func if $cx == 3", "break *0x7c12", "run"),
    guest="--symbols guests/boot16.elf guests/boot16.bin",
    py="dbg.break_at({location}, when={condition})",
)
def break_(dbg: Interpreter, location: LocationArg | None = None, condition: ConditionArg = None) -> Result:
    """Stop the guest before it executes the instruction at LOCATION ($pc without one).

    LOCATION is a linear address, a symbol, seg:off, any expression, or phys:ADDRESS; gdb's *ADDRESS is the same.
    With a condition it only stops when that is not 0.
    """
    return _set(dbg, location, condition)


@command(
    "tbreak",
    aliases=("tb", "tbr"),
    group="breakpoints",
    example=("tbreak 0x1003", "run", "info breakpoints"),
    py="dbg.break_at({location}, when={condition}, temporary=True)",
)
def tbreak(dbg: Interpreter, location: LocationArg | None = None, condition: ConditionArg = None) -> Result:
    """Set a breakpoint that is deleted when it stops the guest."""
    return _set(dbg, location, condition, temporary=True)


@command(
    "hbreak",
    aliases=("hb",),
    group="breakpoints",
    example=("hbreak 0x1003", "run"),
    varies="a KVM whose debug registers do not fire refuses it, and says what to use",
    py="dbg.break_at({location}, when={condition}, hardware=True)",
)
def hbreak(dbg: Interpreter, location: LocationArg | None = None, condition: ConditionArg = None) -> Result:
    """Set a breakpoint held by a debug register, so that no byte of the guest is changed."""
    return _set(dbg, location, condition, hardware=True)


@command(
    "thbreak",
    aliases=("thb",),
    group="breakpoints",
    example=("thbreak 0x1003", "run"),
    varies="a KVM whose debug registers do not fire refuses it, and says what to use",
    py="dbg.break_at({location}, when={condition}, hardware=True, temporary=True)",
)
def thbreak(dbg: Interpreter, location: LocationArg | None = None, condition: ConditionArg = None) -> Result:
    """Set a breakpoint held by a debug register that is deleted when it stops the guest."""
    return _set(dbg, location, condition, temporary=True, hardware=True)


@command(
    "delete",
    aliases=("d", "del"),
    group="breakpoints",
    example=("break 0x1003", "break 0x1007", "delete 1", "info breakpoints"),
    py="dbg.breakpoints.delete(number)",
)
def delete(dbg: Interpreter, *numbers: NumbersArg) -> Result | None:
    """Delete breakpoints, watchpoints and catchpoints by number or range; without numbers all, after asking."""
    points = _chosen(dbg, numbers)
    if not numbers and points and not dbg.asks("Delete all breakpoints?"):
        return None
    for one in points:
        dbg.session.breakpoints.delete(one.number)
    return None


@command(
    "delete breakpoints",
    group="breakpoints",
    example=("break 0x1003", "delete breakpoints 1", "info breakpoints"),
    py="dbg.breakpoints.delete(number)",
)
def delete_breakpoints(dbg: Interpreter, *numbers: NumbersArg) -> Result | None:
    """Delete breakpoints, watchpoints and catchpoints (the same as delete)."""
    return delete(dbg, *numbers)


@command(
    "clear",
    aliases=("cl",),
    group="breakpoints",
    example=("break 0x1003", "clear 0x1003"),
    py="dbg.breakpoints.discard(point)",
)
def clear(dbg: Interpreter, location: LocationArg | None = None) -> Result:
    """Delete the breakpoints at LOCATION ($pc without one)."""
    address = dbg.session.vcpu.pc if location is None else location.address
    space = "linear" if location is None else location.space
    gone = [one.number for one in dbg.session.breakpoints.breakpoints() if (one.address, one.space) == (address, space)]
    if not gone:
        raise UsageError(f"there is no breakpoint at {address:#x}")
    for number in gone:
        dbg.session.breakpoints.delete(number)
    shown = " ".join(map(str, gone))
    return Message(f"Deleted breakpoint{'s' if len(gone) > 1 else ''} {shown}.", data={"numbers": gone})


@command(
    "disable",
    aliases=("dis", "disa"),
    group="breakpoints",
    example=("break 0x1003", "disable 1", "run"),
    py="dbg.breakpoints.get(number).enabled = False",
)
def disable(dbg: Interpreter, *numbers: NumbersArg) -> None:
    """Keep breakpoints, but do not stop at them; without numbers all."""
    for one in _chosen(dbg, numbers):
        one.enabled = False


@command(
    "enable",
    aliases=("en",),
    group="breakpoints",
    example=("break 0x1003", "disable 1", "enable 1", "run"),
    py="dbg.breakpoints.get(number).enabled = True",
)
def enable(dbg: Interpreter, *numbers: NumbersArg) -> None:
    """Stop at breakpoints again that were disabled; without numbers at all."""
    for one in _chosen(dbg, numbers):
        one.enabled = True


@command(
    "condition",
    aliases=("cond",),
    group="breakpoints",
    example=("break func", "condition 1 $cx == 3", "run", "print $cx"),
    guest="--symbols guests/boot16.elf guests/boot16.bin",
    py="dbg.breakpoints.get(number).condition = {expression}",
)
def condition(
    dbg: Interpreter, number: NumberArg, expression: Annotated[str, RestType("EXPRESSION", "expression")] = ""
) -> Result:
    """Give a breakpoint a condition: it only stops when the expression is not 0. Without one it stops always."""
    one = point(dbg, number[0])
    one.condition = expression.removeprefix("if ") or None
    if not expression:
        return Message(f"{type(one).__name__} {one.number} is now unconditional.", data={"number": one.number})
    return Message(f"{type(one).__name__} {one.number} stops only if {one.condition}.", data={"number": one.number})


@command(
    "ignore",
    aliases=("ign",),
    group="breakpoints",
    example=("break func", "ignore 1 5", "run", "print $cx"),
    guest="--symbols guests/boot16.elf guests/boot16.bin",
    py="dbg.breakpoints.get(number).ignore = {count}",
)
def ignore(dbg: Interpreter, number: NumberArg, count: IgnoreArg) -> Result:
    """Pass a breakpoint COUNT times before it stops the guest again."""
    one = point(dbg, number[0])
    one.ignore = count
    times = "next time it is reached" if not count else f"after {count} more crossing{'s' if count > 1 else ''}"
    return Message(
        f"{type(one).__name__} {one.number} will stop {times}.", data={"number": one.number, "ignore": count}
    )


@command(
    "commands",
    aliases=("comm",),
    group="breakpoints",
    example=("break func", "commands 1\nsilent\nprint $ecx\nend", "run", "continue"),
    guest="--symbols guests/boot16.elf guests/boot16.bin",
    body="commands",
    py="dbg.breakpoints.get(number).commands = [...]",
)
def commands(dbg: Interpreter, *numbers: NumbersArg, body: list[str]) -> Iterator[Result]:
    """Give breakpoints commands that run when they stop the guest; the lines follow, up to `end`.

    Without a number it is the last breakpoint made. `silent` as the first line keeps the stop from being shown;
    `continue` as the last lets the guest go on. No lines at all take the commands away.
    """
    chosen = _chosen(dbg, numbers) if numbers else _chosen(dbg, ())[-1:]
    if not chosen:
        raise UsageError("commands: there is no breakpoint yet")
    for one in chosen:
        one.commands = [line for line in body if line]
    return iter(())


@command("silent", group="breakpoints", example=("break 0x1007", "commands\nsilent\nprint $al\nend", "run"))
def silent(dbg: Interpreter) -> None:
    """As the first of a breakpoint's commands: do not show the stop. Elsewhere it does nothing."""
