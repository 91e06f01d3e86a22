"""Breakpoints and watchpoints."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gdbstub.agent import Expression
from gdbstub.errors import BadPacket
from gdbstub.registry import Reply, packet
from gdbstub.target import HasBreakpoints, Point
from gdbstub.wire import hexadecimal

if TYPE_CHECKING:
    from gdbstub.client import Client

KINDS = {b"0": "sw", b"1": "hw", b"2": "write", b"3": "read", b"4": "access"}


def expressions(text: bytes) -> tuple[Expression, ...]:
    """The agent expressions of a list ``X LENGTH,CODE…``."""
    found = []
    while text:
        if text[:1] != b"X":
            raise BadPacket("an agent expression begins with X")
        length, comma, text = text[1:].partition(b",")
        if not comma:
            raise BadPacket("an agent expression needs its length")
        size = hexadecimal(length)
        code = bytes.fromhex(text[: 2 * size].decode())
        if len(code) != size:
            raise BadPacket("an agent expression is shorter than it says")
        found.append(Expression(code))
        text = text[2 * size :]
    return tuple(found)


def parse(rest: bytes) -> Point:
    """TYPE,ADDRESS,KIND with ``;conditions`` and ``;cmds:PERSIST,COMMANDS``."""
    first, *more = rest.split(b";")
    kind, address, length = first.split(b",")
    if kind not in KINDS:
        raise BadPacket(f"no kind of breakpoint is {kind.decode('latin-1')!r}")
    conditions: tuple[Expression, ...] = ()
    commands: tuple[Expression, ...] = ()
    persist = False
    for part in more:
        if part.startswith(b"cmds:"):
            flag, _, text = part[5:].partition(b",")
            persist, commands = hexadecimal(flag) == 1, commands + expressions(text)
        elif part:
            conditions += expressions(part)
    size = hexadecimal(length) if KINDS[kind] not in ("sw", "hw") else 1
    return Point(KINDS[kind], hexadecimal(address), size, conditions, commands, persist)


@packet("Z", needs=HasBreakpoints, offers=("ConditionalBreakpoints+", "BreakpointCommands+"))
def insert(client: Client, rest: bytes) -> Reply:
    """Insert a breakpoint (Z0, Z1) or a watchpoint (Z2 write, Z3 read, Z4 access), with conditions and commands."""
    assert isinstance(client.target, HasBreakpoints)
    point = replace(parse(rest), layout=client.layout)
    if point.kind not in ("sw", "hw") and not point.length:
        raise BadPacket("a watchpoint has at least one byte")
    with client.paused():
        client.target.insert(point)
    return b"OK"


@packet("z", needs=HasBreakpoints)
def remove(client: Client, rest: bytes) -> Reply:
    """Remove one."""
    assert isinstance(client.target, HasBreakpoints)
    point = parse(rest)
    with client.paused():
        client.target.remove(point.kind, point.address, point.length)
    return b"OK"
