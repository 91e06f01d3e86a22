"""What kvmdbg gets from this package: the function $checksum and the command bootsum."""

from __future__ import annotations

from kvmdbg import command, function
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.results import Message, Result
from kvmdbg.language.context import Context


@function("checksum")
def checksum(ctx: Context, address: int, size: int) -> int:
    """The sum of the bytes, modulo 256."""
    return sum(ctx.read(address, size, "linear")) & 0xFF


@command("bootsum", group="data", example="bootsum", py="sum(dbg.memory[0x7c00:0x7e00]) & 0xff")
def bootsum(dbg: Interpreter) -> Result:
    """Show the sum of the boot sector's bytes."""
    total = sum(dbg.session.memory.read(0x7C00, 512)) & 0xFF
    return Message(f"The boot sector's bytes add up to {total:#04x}.", data={"sum": total})
