"""save: what a session has, as commands that `source` takes."""

from __future__ import annotations

from collections.abc import Iterator

from kvmdbg.commands.info import subcommand_table
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import FileArg
from kvmdbg.commands.printf import Dprintfs
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Message, Result
from kvmdbg.engine.breakpoints import Breakpoint, Catchpoint, Point, Watchpoint
from kvmdbg.errors import KvmdbgError, UsageError


@command("save", group="support", example="save")
def save(dbg: Interpreter) -> Result:
    """Write what the session has into files; the words that may follow are listed without one."""
    return subcommand_table(dbg, "save")


@command(
    "save breakpoints",
    group="support",
    example=("break 0x1003 if $al == 4", "commands\nprint $al\nend", "save breakpoints mine.txt", "shell cat mine.txt"),
)
def save_breakpoints(dbg: Interpreter, file: FileArg) -> Result:
    """Write all breakpoints, watchpoints and catchpoints into a file that `source` reads.

    Conditions, ignore counts, commands and what is disabled are in it. Hooks of scripts are not: a remark says so.
    """
    points = list(dbg.session.breakpoints)
    if not points:
        raise UsageError("there is nothing to save: no breakpoints, watchpoints or catchpoints")
    lines: list[str] = []
    left_out = 0
    for one in points:
        made = _made_by(dbg, one)
        if made is None:
            left_out += 1
            continue
        lines += [made, *_details(one)]
    try:
        with open(file, "w", encoding="utf-8", errors="surrogateescape") as out:
            out.writelines(f"{line}\n" for line in lines)
    except OSError as error:
        raise KvmdbgError(f"cannot write {file}: {error.strerror}") from None
    text = f"Saved {len(points) - left_out} of {len(points)} to {file}."
    if left_out:
        text += " Hooks are functions of scripts, which are not in the file."
    return Message(text, data={"file": file, "saved": len(points) - left_out, "left_out": left_out})


def _made_by(dbg: Interpreter, one: Point) -> str | None:
    """The command that makes such a point, without its condition; None of a script's function."""
    if isinstance(one, Breakpoint):
        where = one.location or one.describe()
        if where[0].isdigit() and ":" not in where:
            where = f"*{where}"
        if one.function is not None:
            typed = dbg.kept(Dprintfs).typed.get(one.number)
            return f"dprintf {where},{typed}" if typed is not None else None
        return f"{'t' if one.temporary else ''}{'h' if one.hardware else ''}break {where}"
    if one.function is not None:
        return None
    if isinstance(one, Watchpoint):
        word = {"write": "watch", "read": "rwatch", "access": "awatch"}[one.kind]
        return f"{word} {one.location or one.describe().partition(',')[0]},{one.length}"
    if isinstance(one, Catchpoint):
        if not one.stops or one.prints or not one.passes:
            actions = ("stop" if one.stops else "nostop", "print" if one.prints else "noprint")
            passes = () if one.passes else ("nopass",)
            return " ".join(["handle", one.kind, *_values(one), *actions, *passes])
        filters = _catch_words(one)
        return None if filters is None else " ".join(["tcatch" if one.temporary else "catch", *filters])
    return None


def _values(one: Catchpoint) -> Iterator[str]:
    """The number and the count of a filter, as `catch` and `handle` take them."""
    for value in one.filters.values():
        if isinstance(value, range):
            yield f"{value.start:#x} {len(value)}"
        else:
            yield f"{value:#x}" if isinstance(value, int) else str(value)


def _catch_words(one: Catchpoint) -> list[str] | None:
    if any(callable(value) or not isinstance(value, int | str | range) for value in one.filters.values()):
        return None
    return [*one.kind.split("_", 1), *_values(one)] if one.kind.startswith("msr_") else [one.kind, *_values(one)]


def _details(one: Point) -> Iterator[str]:
    """The commands that give the point made last all else."""
    if one.condition:
        yield f"condition $bpnum {one.condition}"
    if one.ignore:
        yield f"ignore $bpnum {one.ignore}"
    if one.commands:
        yield "commands $bpnum"
        yield from one.commands
        yield "end"
    if not one.enabled:
        yield "disable $bpnum"
