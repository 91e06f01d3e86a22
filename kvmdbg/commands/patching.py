"""Changing the guest's code: asm, patch, unpatch, info patches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from kvmdbg.commands.examine import read
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import AddressArg, FlagsType, NumbersType, RestType
from kvmdbg.commands.places import Place
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Message, Result, Table
from kvmdbg.commands.searching import byte_values
from kvmdbg.core.patches import Patch
from kvmdbg.errors import MemoryFault, UsageError
from kvmdbg.x86 import disasm

NOP = b"\x90"
CodeArg = Annotated[str, RestType("INSTRUCTION[; INSTRUCTION]...")]
BytesArg = Annotated[str, RestType('BYTE... | "TEXT"')]
NumbersArg = Annotated[list[int], NumbersType("NUMBER", lambda dbg: [one.number for one in dbg.session.patches])]


@command(
    "asm",
    group="data",
    example=('asm/p 0x1000 "mov dx, 0x3f8; hlt"', "asm/n 0x1000 jmp 0x1000", "x/3i 0x1000"),
    py="dbg.assemble({address}, {code})",
)
def asm(
    dbg: Interpreter,
    flags: Annotated[str, FlagsType("np", "/np")] = "",
    address: AddressArg | None = None,
    code: CodeArg = "",
) -> Iterator[Result]:
    """Assemble instructions (Intel syntax, for the mode the CPU is in) and patch them in; unpatch takes them back.

    Several are separated by ; and may stand in quotes. /n fills up with nop to the end of the last instruction that was
    overwritten, /p shows the bytes and writes nothing. It needs keystone: pip install 'kvmdbg[asm]'.
    """
    if address is None:
        raise UsageError("asm needs an ADDRESS and instructions, as in: asm $pc mov eax, 1")
    text = code.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1]
    data = dbg.session.assembled(address.address, text)
    if "p" in flags:
        yield Message(data.hex(" "), data={"data": data.hex()})
        return
    left = _cut(dbg, address, len(data))
    if "n" in flags:
        data += NOP * left
    yield _made(dbg.session.patches.write(address.address, data, address.space))
    if left and "n" not in flags:
        yield Message(
            f"The last instruction there was overwritten in part, {left} byte{'s' if left > 1 else ''} of it are left; "
            "asm/n fills up with nop.",
            "warning",
            {"left": left},
        )


def _cut(dbg: Interpreter, place: Place, size: int) -> int:
    """How many bytes of the last old instruction would be left behind ``size`` new bytes."""
    try:
        old = read(dbg, place, size + 15)
    except MemoryFault:
        return 0
    at = 0
    for one in disasm.disassemble(old, place.address, dbg.session.vcpu.mode.bits):
        if at >= size:
            break
        at += one.size
    return at - size


def _made(patch: Patch) -> Message:
    return Message(
        f"Patch {patch.number}: {len(patch.data)} bytes at {patch.address:#x}.",
        data={"number": patch.number, "address": patch.address, "before": patch.before.hex(), "data": patch.data.hex()},
    )


@command(
    "patch",
    group="data",
    example=("patch 0x1003 90 90", 'patch 0x2000 "text"', "x/2i 0x1003"),
    py="dbg.patches.write({address}, data)",
)
def patch(dbg: Interpreter, address: AddressArg, data: BytesArg) -> Result:
    """Write bytes, given as two hexadecimal digits each, or a text in quotes, and keep what was there for unpatch."""
    return _made(dbg.session.patches.write(address.address, byte_values(data), address.space))


@command(
    "unpatch",
    group="data",
    example=("patch 0x1003 90 90", "patch 0x1005 90 90", "unpatch 1", "unpatch"),
    py="dbg.patches.undo(number)",
)
def unpatch(dbg: Interpreter, numbers: NumbersArg | None = None) -> Iterator[Result]:
    """Take patches back, all without a number: memory is what it was before. `run` does away with them, too."""
    made = [one.number for one in dbg.session.patches]
    if not made:
        yield Message("There are no patches.")
    for number in sorted(numbers if numbers is not None else made, reverse=True):
        held = dbg.session.patches.undo(number)
        yield Message(f"Patch {number} is taken back.", data={"number": number})
        if not held:
            yield Message(f"Memory did not hold patch {number} any more; what was there is lost.", "warning")


@command("info patches", group="info", example=("patch 0x1003 90 90", "info patches"), py="dbg.patches")
def info_patches(dbg: Interpreter) -> Result:
    """List the patches, with what was there before."""
    made: tuple[Patch, ...] = tuple(dbg.session.patches)
    bits = dbg.session.vcpu.mode.bits if dbg.session.state == "stopped" else 64
    rows, data = [], []
    for one in made:
        code = "; ".join(
            f"{i.mnemonic} {i.operands}".strip() for i in disasm.disassemble(one.data, one.address, bits)[:4]
        )
        where = f"{'phys:' if one.space == 'phys' else ''}{one.address:#x}"
        rows.append((str(one.number), where, one.before.hex(" "), one.data.hex(" "), code))
        data.append({"number": one.number, "address": one.address, "before": one.before.hex(), "data": one.data.hex()})
    return Table("patches", ("No.", "Address", "Before", "Now", "Code"), tuple(rows), "No patches.", tuple(data))
