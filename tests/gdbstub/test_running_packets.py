"""The packets that let a target run, and what is told of its stops and its end."""

from __future__ import annotations

from gdbstub.errors import TargetError
from gdbstub.target import Stopped
from gdbstub.testing import EXIT, FREE_RUN, HALT, WRITE, FakeTarget, Loop
from tests.gdbstub.expedited import bare

GDB = b"qSupported:multiprocess+;swbreak+;hwbreak+;exec-events+;error-message+;binary-upload+"


def test_stepping_and_breakpoints(gdb: Loop, target: FakeTarget) -> None:
    assert gdb.ask(b"vCont?") == b"vCont;c;C;s;S;t;r"
    assert bare(gdb.ask(b"s")) == b"T05thread:1;"
    assert target.values[1][0] == 0x101
    assert gdb.ask(b"Z0,108,1") == b"OK"
    assert bare(gdb.ask(b"vCont;c")) == b"T05thread:1;swbreak:;"
    assert target.values[1][0] == 0x108
    assert gdb.ask(b"z0,108,1") == b"OK"
    assert gdb.ask(b"Z1,10a,1") == b"OK"
    assert bare(gdb.ask(b"c")) == b"T05thread:1;hwbreak:;"
    assert bare(gdb.ask(b"vCont;r10b,120:1;t")) == b"T05thread:1;"
    assert target.values[1][0] == 0x120
    assert bare(gdb.ask(b"vCont;r10b,120:1")) == b"T05thread:1;"
    assert target.values[1][0] == 0x121  # one step there is always
    assert bare(gdb.ask(b"S05")) == b"T05thread:1;"
    assert gdb.ask(b"Hc2") == b"OK"
    assert bare(gdb.ask(b"s")) == b"T05thread:2;"
    assert bare(gdb.ask(b"s300")) == b"T05thread:2;"
    assert target.values[2][0] == 0x301


def test_stop_replies_bring_the_registers_that_are_asked_for_first(gdb: Loop, target: FakeTarget) -> None:
    """pc and sp of the toy; by the numbers that the client knows."""
    assert gdb.ask(b"s") == b"T05thread:1;00:01010000;01:00ff0000;"
    assert gdb.ask(b"?") == b"T05thread:1;00:01010000;01:00ff0000;"
    assert gdb.ask(b"vCont;s:2") == b"T05thread:2;00:01020000;01:00fe0000;"


def test_a_thread_that_has_no_action_stays(gdb: Loop, target: FakeTarget) -> None:
    assert bare(gdb.ask(b"vCont;s:1")) == b"T05thread:1;"
    assert (target.values[1][0], target.values[2][0]) == (0x101, 0x200)
    assert gdb.ask(b"vCont;t")[:1] == b"E"


def test_watchpoints(gdb: Loop, target: FakeTarget) -> None:
    target.ram[0x100:0x106] = bytes((WRITE, 4, 9, WRITE, 5, 9))
    assert gdb.ask(b"Z2,9004,2") == b"OK"
    assert bare(gdb.ask(b"c")) == b"T05thread:1;watch:9004;"
    assert gdb.ask(b"z2,9004,2") == b"OK"
    assert gdb.ask(b"Z4,9005,1") == b"OK"
    assert bare(gdb.ask(b"c")) == b"T05thread:1;awatch:9005;"


def test_conditions_and_commands(gdb: Loop, target: FakeTarget) -> None:
    """reg 2 == 7; and a command that prints, after which it goes on."""
    target.console = True
    assert gdb.ask(b"Z0,108,1;X7,26000222071327") == b"OK"
    assert gdb.send(b"c") == []
    gdb.interrupt()
    target.values[1][2] = 7
    target.values[1][0] = 0x100
    assert bare(gdb.ask(b"c")) == b"T05thread:1;swbreak:;"
    text = b"hit\n\0"
    code = b"\x22\x00\x22\x00\x34\x00" + len(text).to_bytes(2, "big") + text + b"\x27"
    assert gdb.ask(b"Z0,10a,1;cmds:1,X%x,%b" % (len(code), code.hex().encode())) == b"OK"
    assert target.points["sw", 0x10A, 1].persist
    assert gdb.send(b"vCont;c:1") == [b"O" + b"hit\n".hex().encode()]


def test_interrupting(gdb: Loop, target: FakeTarget) -> None:
    assert gdb.interrupt() == []  # it does not run
    assert gdb.send(b"c") == []
    assert target.values[1][0] == 0x100 + FREE_RUN
    assert [bare(one) for one in gdb.interrupt()] == [b"T02thread:1;"]
    gdb.send(b"c")
    assert [bare(one) for one in gdb.send(b"?")] == [b"T02thread:1;"]
    assert gdb.interrupt() == []
    gdb.send(b"c")
    assert [bare(one) for one in gdb.send(b"vCtrlC")] == [b"T02thread:1;", b"OK"]


def test_what_is_said_while_it_runs(gdb: Loop, target: FakeTarget) -> None:
    gdb.send(b"c")
    target.print(b"quiet")
    target.console = True
    target.print(b"loud\n")
    assert [bare(one) for one in gdb.interrupt()] == [b"O" + b"loud\n".hex().encode(), b"T02thread:1;"]
    target.print(b"nobody waits")
    target.ram[target.values[1][0] + 1] = HALT
    assert [bare(one) for one in gdb.send(b"vCont;c:1")] == [b"O" + b"halted\n".hex().encode(), b"T00thread:1;"]
    gdb.send(b"vCont;c:1")
    target.print(b"no end")
    target._end(Stopped(1, 0, text="halted"))
    gdb.client.receive(b"")
    said = [b"O" + text.hex().encode() for text in (b"no end", b"\nhalted\n")]
    assert [bare(one) for one in gdb.wire.feed(gdb.client.take())] == [*said, b"T00thread:1;"]


def test_the_guests_end(gdb: Loop, target: FakeTarget) -> None:
    target.ram[0x100:0x102] = bytes((EXIT, 3))
    assert gdb.ask(b"c") == b"W03"


def test_kill_restart_detach(target: FakeTarget) -> None:
    loop = Loop(target)
    assert loop.ask(b"!") == b"OK"
    assert loop.send(b"k") == []
    assert target.killed
    assert loop.send(b"R00") == []
    assert target.restarts == 1
    assert bare(loop.ask(b"vRun;name")) == b"T05thread:1;"
    assert loop.ask(b"qfThreadInfo") == b"m1,2"
    assert loop.ask(b"vKill;1") == b"OK"
    assert loop.ask(b"qfThreadInfo") == b"l"
    assert loop.ask(b"?") == b"X09"
    assert loop.ask(b"vAttach;1") == b"X09"


def test_detach(target: FakeTarget) -> None:
    loop = Loop(target)
    loop.ask(b"Z0,100,1")
    assert loop.ask(b"D;2")[:1] == b"E"
    assert loop.ask(b"D;1") == b"OK"
    assert target.detached and not target.points and loop.client.ended
    assert loop.send(b"g") == []


def test_detach_in_extended_mode_keeps_the_connection(target: FakeTarget) -> None:
    """The guest runs; nobody is told of its stops until the client attaches again (gdbserver --multi)."""
    loop = Loop(target)
    loop.ask(b"!")
    loop.ask(b"Z0,100,1")
    for _ in range(2):
        assert loop.ask(b"D;1") == b"OK"
        assert target.running and not target.points and not loop.client.ended
        assert loop.ask(b"?") == b"W00"
        assert loop.ask(b"qfThreadInfo") == b"l"
        assert loop.interrupt() == []
        assert loop.ask(b"vAttach;2")[:1] == b"E"
        target.console = True
        assert bare(loop.ask(b"vAttach;1")) == b"T02thread:1;"
        assert not target.running
        assert loop.ask(b"qfThreadInfo") == b"m1,2"
    loop.ask(b"D")
    target._end(Stopped(2, 0, text="halted"))  # by itself, and the attaching client is told of it
    assert bare(loop.ask(b"vAttach;1")) == b"T00thread:2;"
    loop.ask(b"D")
    assert bare(loop.ask(b"vRun;")) == b"T05thread:1;"
    assert loop.ask(b"qfThreadInfo") == b"m1,2"


def test_a_new_mode_is_told_as_a_new_program(gdb: Loop, target: FakeTarget) -> None:
    gdb.ask(b"qXfer:features:read:target.xml:0,1000")
    target.bits = 64
    name = b"64 bits".hex().encode()
    assert bare(gdb.ask(b"vCont;s:1")) == b"T05thread:1;exec:" + name + b";"
    assert len(gdb.ask(b"g")) == 4 * 8  # as the client knows them, until it asks
    assert b'bitsize="64"' in gdb.ask(b"qXfer:features:read:target.xml:0,1000")
    assert len(gdb.ask(b"g")) == 4 * 16
    assert bare(gdb.ask(b"?")) == b"T05thread:1;"
    before = target.values[1][0]
    assert bare(gdb.ask(b"vCont;c")) == b"T05thread:1;"  # the stop itself: nothing has run
    assert target.values[1][0] == before
    assert bare(gdb.ask(b"vCont;s:1")) == b"T05thread:1;"
    assert target.values[1][0] == before + 1


def test_a_new_mode_where_it_is_not_to_be_told(target: FakeTarget) -> None:
    for features, follow in ((b"", True), (b"exec-events+", False)):
        target.bits, target.follow_mode = 32, follow
        loop = Loop(target)
        loop.ask(b"qSupported:" + features)
        target.bits = 64
        assert bare(loop.ask(b"s")) == b"T05thread:1;"
        assert len(loop.ask(b"g")) == 4 * 8


def test_a_stop_of_a_target_that_somebody_else_let_run_again(target: FakeTarget) -> None:
    """Its registers cannot be read any more; the stop is told all the same."""

    def refuse(*_: object) -> bytes:
        raise TargetError("it runs")

    for first in (b"qSupported:exec-events+", b"QListThreadsInStopReply"):
        loop = Loop(target)
        loop.ask(first)
        loop.send(b"vCont;c")
        target.description = target.read_register = refuse  # type: ignore[assignment, method-assign]
        assert loop.interrupt()[0].startswith(b"T02thread:1;")
        del target.description, target.read_register


def test_what_is_said_is_heard_only_by_a_client_that_waits_for_a_stop_and_may_be_told_more(gdb: Loop) -> None:
    client = gdb.client
    client.say("too early\n")
    assert gdb.ask(b"qC") == b"QC1"
    client.waiting = True
    client.say("now\n")
    assert gdb.raw(b"") == [b"O" + b"now\n".hex().encode()]
    client.plain = True
    client.say("in front of a reply that is to be the first\n")
    assert gdb.raw(b"") == []
    client.plain, client.ended = False, True
    client.say("too late\n")
    assert gdb.raw(b"") == []
