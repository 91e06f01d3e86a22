"""Breakpoints: set, delete, switch, conditions, ignore counts, commands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import (
    ConditionArg,
    LocationArg,
    LocationTextArg,
    NumberArg,
    NumbersArg,
    NumbersType,
    NumberType,
    RestType,
)
from kvmdbg.commands.registry import Later, command
from kvmdbg.commands.results import Message, Result
from kvmdbg.core.locations import UnknownPlace
from kvmdbg.engine.breakpoints import Breakpoint, Point
from kvmdbg.errors import UsageError
from kvmdbg.numbers import counted

IgnoreArg = Annotated[int, NumberType("COUNT")]


def point(dbg: Interpreter, number: int) -> Point:
    """The breakpoint, watchpoint or catchpoint of this number. Raises UsageError."""
    return dbg.session.breakpoints.get(number)


def told(dbg: Interpreter, numbers: tuple[list[Any], ...]) -> Iterator[Point]:
    """The breakpoints, or single locations of them, that were named; all without numbers.

    UsageError about those that there are not is raised behind the last, so that the others are done, as in gdb.
    """
    known = {one.number: one for one in dbg.session.breakpoints}
    if not numbers:
        yield from known.values()
    missing = []
    for one in dict.fromkeys(one for some in numbers for one in some):
        if isinstance(one, Point):
            yield one
        elif one in known:
            yield known[one]
        else:
            missing.append(str(one))
    if missing:
        raise UsageError(f"no breakpoint number {', '.join(missing)}")


class PlacesType(NumbersType):
    """Numbers and ranges, and those of single locations of a breakpoint: ``1.2``, ``1.2-4``."""

    metavar: str = "NUMBER[.LOCATION]"

    def parse(self, text: str, pos: int, dbg: Interpreter) -> tuple[Later, int] | None:
        match = _PLACES.match(text, pos)
        if match is None:
            return super().parse(text, pos, dbg)
        owner, low, high = (counted(one) for one in (match[1], match[2], match[3] or match[2]))
        if high < low:
            raise UsageError(f"'{match[0]}' is an inverted range")
        return Later(lambda dbg: [places_of(dbg, owner, number) for number in range(low, high + 1)]), match.end()


_PLACES = re.compile(r"([0-9]+)\.([0-9]+)(?:-([0-9]+))?(?=[\s,]|$)")
PlacesArg = Annotated[list[Any], PlacesType()]


def places_of(dbg: Interpreter, owner: int, number: int) -> Point:
    """Location ``number`` of a breakpoint, counted from 1. UsageError."""
    found = point(dbg, owner)
    held = found.held if isinstance(found, Breakpoint) else []
    if not 1 <= number <= len(held):
        raise UsageError(f"breakpoint {owner} has no location {number}: it has {len(held)}")
    return held[number - 1]


def set_breakpoint(
    dbg: Interpreter,
    location: str | None,
    condition: str | None = None,
    *,
    temporary: bool = False,
    hardware: bool = False,
) -> Result:
    """Make a breakpoint at a place ($pc for None), and say so."""
    where: int | str = dbg.session.vcpu.pc if location is None else location
    pending = dbg.settings["breakpoint-pending"]

    def set_it(may_wait: bool) -> Breakpoint:
        return dbg.session.break_at(where, when=condition, temporary=temporary, hardware=hardware, pending=may_wait)

    try:
        made = set_it(pending == "on")
    except UnknownPlace as error:
        confirm = dbg.user.confirm if pending == "auto" else None
        if confirm is None or not confirm(f"{error}. Make the breakpoint wait for symbols that have it?"):
            raise UsageError(f"{error}; with set breakpoint pending on it waits for symbols that have it") from None
        made = set_it(True)
    text = made.location if location is not None else f"{where:#x}"
    if text.startswith("*") and not text[1:].isdigit():
        text = text[1:].strip()  # it means the same
    made.location = text
    dbg.session.variables["bpnum"] = made.number
    kind = "Temporary breakpoint" if temporary else "Hardware breakpoint" if hardware else "Breakpoint"
    place = f"phys:{made.address:#x}" if made.space == "phys" else f"{made.address:#x}"
    if made.pending:
        place = "waits for symbols"
    elif made.places:
        place = f"{len(made.places)} locations"
    shown = f"{text} ({place})" if text not in (place, place[2:]) and _is_name(text) else place
    sentence = f"{kind} {made.number} at {shown}" + (f" if {condition}" if condition else "") + "." + about(made)
    data: dict[str, Any] = {"number": made.number, "address": made.address, "condition": condition}
    if made.pending or made.places:
        data["addresses"] = [one.address for one in made.held]
    return Message(sentence, data=data)


def about(made: Point) -> str:
    """What is said behind a condition that may not be what was meant."""
    return f" {made.condition} gives a value, each time; == compares." if made.assigns else ""


def _is_name(text: str) -> bool:
    return (not text.startswith("0x") and not text[:1].isdigit()) or ":" in text or text.isdigit()


@command(
    "break",
    aliases=("b", "br", "brea", "bre"),
    group="breakpoints",
    example=("break func if $cx == 3", "break *0x7c12", "run"),
    guest="--symbols guests/boot16.elf guests/boot16.bin",
    py="dbg.break_at({location}, when={condition})",
)
def break_(dbg: Interpreter, location: LocationTextArg | None = None, condition: ConditionArg = None) -> Result:
    """Stop the guest before it executes the instruction at LOCATION ($pc without one).

    LOCATION is a function, FILE:LINE, FILE:FUNCTION, FUNCTION:LABEL, where source lines are known a line N of the
    current file or +N, -N from the current one, else an address: *EXPRESSION, seg:off, phys:ADDRESS, 0x7c00, any
    expression that is no number. A place with several addresses (a function that was inlined, static functions of
    one name) is one breakpoint with locations 1.1, 1.2, …. With a condition it only stops when that is not 0.
    """
    return set_breakpoint(dbg, location, condition)


@command(
    "tbreak",
    aliases=("tb", "tbr"),
    group="breakpoints",
    example=("tbreak 0x1003", "run", "info breakpoints"),
    py="dbg.break_at({location}, when={condition}, temporary=True)",
)
def tbreak(dbg: Interpreter, location: LocationTextArg | None = None, condition: ConditionArg = None) -> Result:
    """Set a breakpoint that is deleted when it stops the guest."""
    return set_breakpoint(dbg, location, condition, temporary=True)


@command(
    "hbreak",
    aliases=("hb",),
    group="breakpoints",
    example=("hbreak 0x1003", "run"),
    varies="a KVM whose debug registers do not fire refuses it, and says what to use",
    py="dbg.break_at({location}, when={condition}, hardware=True)",
)
def hbreak(dbg: Interpreter, location: LocationTextArg | None = None, condition: ConditionArg = None) -> Result:
    """Set a breakpoint held by a debug register, so that no byte of the guest is changed."""
    return set_breakpoint(dbg, location, condition, hardware=True)


@command(
    "thbreak",
    aliases=("thb",),
    group="breakpoints",
    example=("thbreak 0x1003", "run"),
    varies="a KVM whose debug registers do not fire refuses it, and says what to use",
    py="dbg.break_at({location}, when={condition}, hardware=True, temporary=True)",
)
def thbreak(dbg: Interpreter, location: LocationTextArg | None = None, condition: ConditionArg = None) -> Result:
    """Set a breakpoint held by a debug register that is deleted when it stops the guest."""
    return set_breakpoint(dbg, location, condition, temporary=True, hardware=True)


@command(
    "delete",
    aliases=("d", "del"),
    group="breakpoints",
    example=("break 0x1003", "break 0x1007", "delete 1", "info breakpoints"),
    py="dbg.breakpoints.delete(number)",
)
def delete(dbg: Interpreter, *numbers: NumbersArg) -> Result | None:
    """Delete breakpoints, watchpoints and catchpoints by number or range; without numbers all, after asking."""
    if not numbers and dbg.session.breakpoints and not dbg.asks("Delete all breakpoints?"):
        return None
    for one in told(dbg, numbers):
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
    """Delete the breakpoints at LOCATION; of a line, without one that of the selected frame, all that stop there."""
    lines: set[tuple[str, int]] = set()
    if location is None or location.found is None:
        frame = dbg.session.frames.of(dbg.session.runner)
        addresses, space = {frame.pc}, "linear"
        here = dbg.session.locations.at(frame.place)
        lines = {(here.file, here.line)} if here.file else lines
    else:
        addresses, space = {one.address for one in location.found.locations}, location.space
    if location is not None and location.found is not None and re.search(r"(^|[:+-])[0-9]+$", location.text):
        lines = {(one.file, one.line) for one in location.found.locations if one.file}

    def there(address: int) -> bool:
        at = dbg.session.locations.at(address) if lines else None
        return address in addresses or (at is not None and (at.file, at.line) in lines)

    gone = [
        point.number
        for point in dbg.session.breakpoints.breakpoints()
        if point.function is None and any(one.space == space and there(one.address) for one in point.held)
    ]
    if not gone:
        raise UsageError(f"there is no breakpoint at {location.text if location else f'{min(addresses):#x}'}")
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
def disable(dbg: Interpreter, *numbers: PlacesArg) -> None:
    """Keep breakpoints, or single locations of them (1.2), but do not stop at them; without numbers all."""
    for one in told(dbg, numbers):
        one.enabled = False


@command(
    "enable",
    aliases=("en",),
    group="breakpoints",
    example=("break 0x1003", "disable 1", "enable 1", "run"),
    py="dbg.breakpoints.get(number).enabled = True",
)
def enable(dbg: Interpreter, *numbers: PlacesArg) -> None:
    """Stop at breakpoints again that were disabled, or at single locations of them (1.2); without numbers at all."""
    for one in told(dbg, numbers):
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
    sentence = f"{type(one).__name__} {one.number} stops only if {one.condition}.{about(one)}"
    return Message(sentence, data={"number": one.number})


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
    chosen = list(told(dbg, numbers)) if numbers else list(dbg.session.breakpoints)[-1:]
    if not chosen:
        raise UsageError("commands: there is no breakpoint yet")
    for one in chosen:
        one.commands = [line for line in body if line]
    return iter(())


@command("silent", group="breakpoints", example=("break 0x1007", "commands\nsilent\nprint $al\nend", "run"))
def silent(dbg: Interpreter) -> None:
    """As the first of a breakpoint's commands: do not show the stop. Elsewhere it does nothing."""
