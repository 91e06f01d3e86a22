"""Going elsewhere in the guest's code: jump, return, and what calls of its functions leave behind."""

from __future__ import annotations

from typing import Annotated

from kvmdbg.commands.frames import frame
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import LocationArg, RestType
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Result
from kvmdbg.commands.running import continue_guest
from kvmdbg.errors import UsageError

ValueArg = Annotated[str, RestType("[EXPRESSION]", "expression")]


@command(
    "jump",
    aliases=("j",),
    group="running",
    example=("break divide", "run", "delete", "jump divide"),
    guest="guests/kernel-O0.elf",
    py="dbg.regs.rip = address",
)
def jump(dbg: Interpreter, location: LocationArg) -> Result | None:
    """Let the guest go on at another place; the stack and all registers stay as they are.

    A breakpoint at that place stops it there at once.
    """
    if location.found is not None and len(location.found.locations) > 1:
        places = ", ".join(f"{one.address:#x}" for one in location.found.locations)
        raise UsageError(f"{location.text} is at {places}: jump *ADDRESS says to which")
    if location.space != "linear":
        raise UsageError("the guest can go on at a linear address only, not at a physical one")
    regs = dbg.session.regs
    base = 0 if dbg.session.vcpu.mode.bits == 64 else regs.get("cs_base")
    regs.set("rip", location.address - base)
    dbg.session.runner.unreported.leave_breakpoint(dbg.session.runner.pc)
    return continue_guest(dbg, False)


@command(
    "return",
    group="running",
    example=("break divide", "run", "return 5", "print $rax"),
    guest="guests/kernel-O0.elf",
    py="dbg.calls.leave(value)",
)
def return_(dbg: Interpreter, value: ValueArg = "") -> Result | None:
    """Leave the function of the selected frame at once, as if it had returned the value: the rest of it is not run.

    The frame of its caller is known by call frame information (DWARF) or by frame pointers.
    """
    number = dbg.number(value) if value else None
    if not dbg.asks("Make the selected function return now?"):
        return None
    dbg.session.calls.leave(number)
    dbg.runs.remember_place()
    return frame(dbg)
