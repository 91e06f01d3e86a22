"""``set radix``: the bases of the numbers that are typed and of those that are shown, in one."""

from __future__ import annotations

from typing import Annotated

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import RestType
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Message
from kvmdbg.commands.setting_types import number_in
from kvmdbg.errors import UsageError

Base = Annotated[str, RestType("BASE", words=("8", "10", "16"))]


@command("set radix", group="settings", example=("set radix 16", "print 10"))
def set_radix(dbg: Interpreter, base: Base = "0xa") -> None:
    """Set input-radix and output-radix, both to 8, 10 or 16; to 10 without BASE.

    BASE is read in the base so far: once it is 16, `set radix 0xa` (or `set radix` alone) makes it ten again.
    """
    value = number_in(base.strip(), dbg.settings["input-radix"])
    if value not in (8, 10, 16):
        raise UsageError(f"set radix takes 8, 10 or 16, not {value}; set input-radix and set output-radix take others")
    dbg.settings["output-radix"] = dbg.settings["input-radix"] = value


@command("show radix", group="settings", example="show radix")
def show_radix(dbg: Interpreter) -> Message:
    """Show the bases of numbers that are typed (input-radix) and shown (output-radix)."""
    typed, shown = dbg.settings["input-radix"], dbg.settings["output-radix"]
    data = {"input-radix": typed, "output-radix": shown}
    if typed == shown:
        return Message(f"Input and output radices are {_in_words(typed)}.", data=data)
    return Message(f"Input radix is {_in_words(typed)}; output radix is {_in_words(shown)}.", data=data)


def _in_words(base: int) -> str:
    return f"decimal {base}, hex {base:x}, octal {base:o}"
