"""watch, rwatch, awatch."""

from __future__ import annotations

import re
from typing import Annotated

from kvmdbg.commands.breakpoints import about as about_condition
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import ConditionArg, ExpressionType, NumberType
from kvmdbg.commands.places import Place, value_place
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Message, Result
from kvmdbg.errors import UsageError
from kvmdbg.language.ctype import ADDRESS

LengthArg = Annotated[int | None, NumberType("LENGTH", least=1)]

_DASH = re.compile(r"-(l|location)\s+")


class WatchedType(ExpressionType):
    """What to watch; gdb's ``-l`` before it: the place, also when the frame of its variables is gone."""

    def parse(self, text: str, pos: int, dbg: Interpreter) -> tuple[str, int] | None:
        match = _DASH.match(text, pos)
        found = super().parse(text, match.end() if match is not None else pos, dbg)
        return found if found is None or match is None else (f"-l {found[0]}", found[1])


WatchArg = Annotated[str, WatchedType("ADDRESS")]


_ADDRESS = re.compile(r"\s*(0[xX][0-9a-fA-F]+|[0-9]+|phys:.*|[\w$]+:[\w$]+)\s*", re.DOTALL)
"""What can be nothing but an address."""


def watched(dbg: Interpreter, text: str, length: int | None = None) -> Place:
    """What an expression names: an lvalue's own address and size, a symbol's, else what is an address.

    UsageError for other values, unless their ``length`` says that an address is meant: gdb watches whether they change.
    """
    found = dbg.session.evaluate(text)
    lvalue = found.lvalue
    address = getattr(lvalue, "address", None)
    if address is not None:
        space = "phys" if getattr(lvalue, "space", "") == "phys" else "linear"
        return Place(text, address, space, found.type.size)
    if lvalue is not None and getattr(lvalue, "name", None) is not None:
        raise UsageError(f"{text} is no place in memory; give an address, as in watch *(u8*)0x5000 or watch 0x5000,2")
    if length is None and (held := dbg.session.contexts.bits(text)) is not None:
        return Place(text, held[0].address, "phys" if held[0].space == "phys" else "linear", held[0].size)
    place = value_place(text, found)
    symbol = dbg.session.symbols.lookup(text.strip())
    if length is None and found.type.kind == "function":
        code = f"watch {place.address:#x},{symbol.size if symbol is not None and symbol.size else 1}"
        raise UsageError(f"{text} is a function, no variable: {code} watches its code")
    if length is None and found.type is not ADDRESS and symbol is None and not _ADDRESS.fullmatch(text):
        hint = f"watch *({text}) watches what it points to"
        if found.type.kind != "pointer":
            hint = f"name a variable, as in watch counter if counter > 10, or say how many bytes: watch {text},4"
        raise UsageError(f"{text} is a value, no place in memory: {hint}")
    size = 1 if symbol is None else symbol.size or dbg.pointer_size()
    return Place(text, place.address, place.space, size)


def _is_of_frame(dbg: Interpreter, text: str) -> bool:
    """Whether an expression names variables that live in the selected frame, on its stack or in its registers."""
    variables = dbg.session.c_variables
    for name in re.findall(r"(?<![\w$.>])[A-Za-z_]\w*", text) if variables.known else ():
        found = variables.find(name)
        static = found is not None and isinstance(found.location, bytes) and found.location[:1] == DW_OP_ADDR
        if found is not None and found.owner and not static:
            return True
    return False


DW_OP_ADDR = b"\x03"


def _watch(dbg: Interpreter, kind: str, text: str, length: int | None, condition: str | None) -> Result:
    lasting = text.startswith("-l ")
    text = text.removeprefix("-l ")
    place = watched(dbg, text, length)
    held = dbg.session.contexts.bits(text) if length is None else None
    size = length or place.size
    where: int | str = f"phys:{place.address:#x}" if place.space == "phys" else place.address
    made = dbg.session.watch(where, size, kind=kind, when=condition)
    made.location = text
    if not lasting and _is_of_frame(dbg, text):
        dbg.session.moves.end_with_frame(made)
    dbg.session.variables["bpnum"] = made.number
    name = {"write": "Watchpoint", "read": "Read watchpoint", "access": "Access watchpoint"}[kind]
    shown = f"{'phys:' if place.space == 'phys' else ''}{place.address:#x}"
    lead = f"{name} {made.number}: {text}"
    about = f"{size} byte{'s' if size > 1 else ''}" + ("" if text == shown else f" at {shown}")
    sentence = f"{lead}, {about}" + (f", if {condition}" if condition else "") + "." + about_condition(made)
    if not condition and held is not None and held[1] != (1 << 8 * size) - 1:
        sentence += f" Other bits are there, too: if ($old ^ $new) & {held[1]:#x} leaves them out."
    data = {"number": made.number, "address": place.address, "length": size, "kind": kind, "space": place.space}
    return Message(sentence, data=data)


@command(
    "watch",
    aliases=("wa",),
    group="breakpoints",
    example=("watch counter", "watch *(u16*)phys:0x5000 if $ax == 1", "run"),
    guest="--symbols guests/boot16.elf guests/boot16.bin",
    py="dbg.watch({what}, {length}, when={condition})",
)
def watch(dbg: Interpreter, what: WatchArg, length: LengthArg = None, condition: ConditionArg = None) -> Result:
    """Stop the guest after it has written to memory, and show the old and the new bytes and the instruction.

    ADDRESS is a place (*(u16*)0x5000, a symbol, with the size of its own) or a bare address; `,LENGTH` gives a
    length in bytes. There is no limit to their number or length. One on a local variable ends when its function
    returns, and the guest stops there; -l before it (-location) keeps the place watched. Writes of the value that is
    there already stop, too (gdb passes them): `if $old != $new` leaves them out. Of a bit field the bytes that hold it
    are watched. What a pointer leads to (*p) is watched where it is now; gdb follows the pointer.
    """
    return _watch(dbg, "write", what, length, condition)


@command(
    "rwatch",
    aliases=("rw",),
    group="breakpoints",
    example=('asm/n 0x1000 "mov al, [0x5000]; hlt"', "rwatch *(u8*)0x5000", "continue"),
    py="dbg.watch({what}, {length}, 'read', when={condition})",
)
def rwatch(dbg: Interpreter, what: WatchArg, length: LengthArg = None, condition: ConditionArg = None) -> Result:
    """Stop the guest after it has read memory; as watch otherwise."""
    return _watch(dbg, "read", what, length, condition)


@command(
    "awatch",
    aliases=("aw",),
    group="breakpoints",
    example=("awatch counter", "run"),
    guest="--symbols guests/boot16.elf guests/boot16.bin",
    py="dbg.watch({what}, {length}, 'access', when={condition})",
)
def awatch(dbg: Interpreter, what: WatchArg, length: LengthArg = None, condition: ConditionArg = None) -> Result:
    """Stop the guest after it has read or written memory; as watch otherwise."""
    return _watch(dbg, "access", what, length, condition)
