"""enable once, enable count, enable delete: breakpoints that are enabled for a few stops only."""

from __future__ import annotations

from typing import Annotated

from kvmdbg.commands.breakpoints import told
from kvmdbg.commands.enabled import Enabled
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import NumbersArg, NumberType
from kvmdbg.commands.registry import command
from kvmdbg.errors import UsageError

CountArg = Annotated[int, NumberType("COUNT", least=1)]


def _named(numbers: tuple[list[int], ...], command: str) -> None:
    """UsageError without numbers: all breakpoints are not meant, as in gdb."""
    if not numbers:
        raise UsageError(f"{command} needs the NUMBERs of breakpoints; info breakpoints lists them")


def _for_a_while(dbg: Interpreter, numbers: tuple[list[int], ...], count: int) -> None:
    kept = dbg.kept(Enabled)
    if not kept.listening:
        kept.listening = True
        dbg.session.listeners.on_stop(kept.stopped)
    for point in told(dbg, numbers):
        point.enabled = True
        kept.left[point] = count


@command(
    "enable once",
    group="breakpoints",
    example=("break 0x1007", "enable once 1", "run", "info breakpoints"),
    py="dbg.breakpoints.get(number).enabled = True",
)
def enable_once(dbg: Interpreter, *numbers: NumbersArg) -> None:
    """Enable breakpoints until they stop the guest; then they are disabled."""
    _named(numbers, "enable once")
    _for_a_while(dbg, numbers, 1)


@command(
    "enable count",
    group="breakpoints",
    example=("break 0x1007", "enable count 2 1", "run", "info breakpoints"),
    py="dbg.breakpoints.get(number).enabled = True",
)
def enable_count(dbg: Interpreter, count: CountArg, *numbers: NumbersArg) -> None:
    """Enable breakpoints until they have stopped the guest COUNT times; then they are disabled."""
    _named(numbers, "enable count")
    _for_a_while(dbg, numbers, count)


@command(
    "enable delete",
    group="breakpoints",
    example=("break 0x1007", "enable delete 1", "info breakpoints"),
    py="dbg.breakpoints.get(number).temporary = True",
)
def enable_delete(dbg: Interpreter, *numbers: NumbersArg) -> None:
    """Enable breakpoints until they stop the guest; then they are deleted, as those of tbreak are."""
    _named(numbers, "enable delete")
    for point in told(dbg, numbers):
        point.enabled = point.temporary = True
