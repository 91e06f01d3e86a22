"""Z and z taken apart: kinds, lengths, conditions, commands (gdb manual, node Packets)."""

from __future__ import annotations

import pytest

from gdbstub.agent import Expression
from gdbstub.errors import BadPacket
from gdbstub.packets.points import expressions, parse
from gdbstub.target import SIGINT, SIGSEGV, SIGTRAP, Exited, Killed, Point, Resume, Stopped
from gdbstub.testing import FakeTarget, Loop

END, ONE = Expression(b"\x27"), Expression(b"\x22\x01\x27")


@pytest.mark.parametrize(
    ("body", "point"),
    [
        (b"0,1f0,1", Point("sw", 0x1F0, 1)), (b"0,1f0,4", Point("sw", 0x1F0, 1)), (b"1,10,2", Point("hw", 0x10, 1)),
        (b"2,10,8", Point("write", 0x10, 8)), (b"3,10,a", Point("read", 0x10, 10)),
        (b"4,10,1", Point("access", 0x10, 1)),
        (b"0,10,1;X1,27", Point("sw", 0x10, 1, (END,))), (b"0,10,1;X1,27X3,220127", Point("sw", 0x10, 1, (END, ONE))),
        (b"0,10,1;X1,27;X3,220127", Point("sw", 0x10, 1, (END, ONE))), (b"0,10,1;;", Point("sw", 0x10, 1)),
        (b"0,10,1;cmds:0,X1,27", Point("sw", 0x10, 1, (), (END,))),
        (b"0,10,1;cmds:1,X1,27X3,220127", Point("sw", 0x10, 1, (), (END, ONE), True)),
        (b"0,10,1;cmds:2,X1,27", Point("sw", 0x10, 1, (), (END,), False)),
        (b"1,10,1;X3,220127;cmds:1,X1,27", Point("hw", 0x10, 1, (ONE,), (END,), True)),
    ],
)  # fmt: skip
def test_points(body: bytes, point: Point) -> None:
    assert parse(body) == point


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"27", "begins with X"), (b"X27", "needs its length"), (b"X2,27", "shorter than it says"),
        (b"X1,27Y", "begins with X"), (b"X1,27X", "needs its length"),
    ],
)  # fmt: skip
def test_expressions_that_are_none(text: bytes, says: str) -> None:
    with pytest.raises(BadPacket, match=says):
        expressions(text)


def test_expressions_one_after_the_other() -> None:
    assert expressions(b"") == () and expressions(b"X1,27X1,27X3,220127") == (END, END, ONE)


@pytest.mark.parametrize("body", [b"5,10,1", b"9,10,1", b"s,10,1", b",10,1"])
def test_kinds_that_are_none(body: bytes) -> None:
    with pytest.raises(BadPacket, match="no kind of breakpoint is "):
        parse(body)


def test_watchpoints_have_a_length_and_breakpoints_need_none() -> None:
    target = FakeTarget()
    loop = Loop(target)
    for kind in (2, 3, 4):
        assert loop.ask(b"Z%d,100,0" % kind)[:1] == b"E"
        assert loop.ask(b"Z%d,100,1" % kind) == b"OK"
    for kind in (0, 1):
        assert loop.ask(b"Z%d,100,0" % kind) == b"OK"
    assert set(target.points) == {(kind, 0x100, 1) for kind in ("sw", "hw", "write", "read", "access")}
    assert all(point.layout is loop.client.layout for point in target.points.values())
    for kind in range(5):
        assert loop.ask(b"z%d,100,1" % kind) == b"OK"
    assert target.points == {} and loop.ask(b"z0,100,1") == b"OK"


def test_what_is_left_out_of_stops_and_points() -> None:
    assert Stopped(3) == Stopped(3, 5, "", 0, "") and Exited() == Exited(0, "") and Killed() == Killed(9, "")
    assert Point("sw", 1, 1) == Point("sw", 1, 1, (), (), False, None) and Resume() == Resume({}, frozenset())
    assert (SIGINT, SIGTRAP, SIGSEGV) == (2, 5, 11)
