"""Where a value leads, if it is an address: to code, to the stack, to data, and on from there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kvmdbg.commands.results import Piece, Result, Table
from kvmdbg.commands.values import address_label
from kvmdbg.errors import LoadError, MemoryFault

if TYPE_CHECKING:
    from kvmdbg.commands.interpreter import Interpreter

CHAIN = 5
"""So many addresses are followed."""
LEAST = 0x400
"""What is less is a number."""
RED_ZONE, STACK = 128, 64 << 10
"""Bytes below and above the stack pointer that count as stack."""
CODE, ON_STACK, DATA = "code-pointer", "stack-pointer", "data-pointer"
"""Roles of addresses, by what lies there; "" for what is none."""


class CodeRanges:
    """Linear addresses of code, as the image and the symbol files have them; kept until there are other files."""

    def __init__(self) -> None:
        self._files: list[tuple[str, int]] = []
        self._ranges: list[tuple[int, int]] = []

    def of(self, files: list[tuple[str, int]]) -> list[tuple[int, int]]:
        """Start and end of each; none where no file tells code from data."""
        if files != self._files:
            from kvmdbg.debuginfo.linked import code_ranges

            self._files, self._ranges = list(files), []
            for path, base in files:
                try:
                    self._ranges += [(start + base, end + base) for start, end in code_ranges(path)]
                except LoadError:  # it is gone, or damaged
                    continue
        return self._ranges


def in_function(dbg: Interpreter, address: int) -> bool:
    """Whether a function is there; texts stand between those of assembly, too."""
    near = dbg.session.symbols.nearest(address)
    return near is not None and near[0].kind == "function"


def kind_of(dbg: Interpreter, address: int) -> str:
    """The role of a value that may be an address. The near pointers of 16-bit code are none: no segment is known."""
    session = dbg.session
    if address < LEAST or session.vcpu.mode.bits == 16:
        return ""
    try:
        session.memory.read(address, 1)
    except MemoryFault:
        return ""
    ranges = dbg.kept(CodeRanges).of(session.files.placed)
    if any(start <= address < end for start, end in ranges):
        return CODE
    sp = session.vcpu.stack
    if sp - RED_ZONE <= address < sp + STACK:
        return ON_STACK
    if not ranges and any(one.linear <= address < one.linear + one.size for one in session.image.segments):
        return CODE
    return DATA


def chain(dbg: Interpreter, value: int) -> list[Piece]:
    """The value and its label, what lies there if it is an address of data, and so on; a text where one lies there."""
    size, seen = dbg.pointer_size(), set[int]()
    found: list[Piece] = []
    while len(found) < CHAIN:
        role = kind_of(dbg, value)
        found.append((role, f"{value:#x} {address_label(dbg, value)}".rstrip()))
        if value in seen or value < LEAST or (role == CODE and in_function(dbg, value)):
            break
        seen.add(value)
        try:
            raw = dbg.session.memory.read(value, size)
        except MemoryFault:
            break
        if text := text_at(dbg, value):
            found.append(("", repr(text)))
            break
        value = int.from_bytes(raw, "little")
    return found


def text_at(dbg: Interpreter, address: int) -> str:
    """The text at an address, if there are four printable characters or more."""
    try:
        data = dbg.session.memory.read(address, min(40, 0x1000 - address % 0x1000))
    except MemoryFault:
        return ""
    match = re.match(rb"[\x20-\x7e\t\n]{4,}", data)
    return match[0].decode() if match else ""


def joined(pieces: list[Piece]) -> tuple[Piece, ...]:
    """A chain as it is shown."""
    found: list[Piece] = []
    for piece in pieces:
        found += [("note", " -> ")] * bool(found) + [piece]
    return tuple(found)


def pointers_part(dbg: Interpreter) -> Result | None:
    """The general registers that hold addresses, and where those lead; None where there are none."""
    from kvmdbg.x86 import registers

    rows, looks, data = [], [], []
    for name in registers.general_names(dbg.session.vcpu.mode.bits):
        if name.endswith(("flags", "ip")):
            continue
        pieces = chain(dbg, dbg.session.registers.get(name))
        if pieces[0][0]:
            rows.append((name, " -> ".join(text for _, text in pieces)))
            looks.append(joined(pieces))
            data.append({"register": name, "chain": [text for _, text in pieces]})
    table = Table("pointers", ("Register", "Leads to"), tuple(rows), data=tuple(data), looks=tuple(looks))
    return table if rows else None
