"""Non-stop mode, against a fake target."""

from __future__ import annotations

import pytest

from gdbstub import nonstop
from gdbstub.errors import TargetError
from gdbstub.target import Exited, Resume, Stopped
from gdbstub.testing import EXIT, HALT, FakeTarget, Loop
from tests.gdbstub.expedited import bare


@pytest.fixture
def loop() -> Loop:
    """Both threads stopped, the first's stop told."""
    found = Loop(FakeTarget())
    assert b"QNonStop+" in found.ask(b"qSupported:swbreak+")
    assert found.ask(b"QNonStop:1") == b"OK"
    assert bare(found.ask(b"?")) == b"T05thread:1;"
    assert found.send(b"vStopped") == [b"OK"]
    assert found.send(b"QPassSignals:") == [b"OK"]  # a gdb that heard of the other before now would end in an error
    assert bare(found.send(b"m100,1")[1]) == b"%Stop:T00thread:2;"
    assert found.ask(b"vStopped") == b"OK"
    return found


def runs(loop: Loop) -> frozenset[int]:
    """The threads that the fake was last told to run."""
    assert isinstance(loop.target, FakeTarget)
    return loop.target.resumed.runs if loop.target.running else frozenset()


def test_threads_run_and_stop_one_by_one(loop: Loop) -> None:
    assert loop.send(b"vCont;c:1") == [b"OK"]
    assert runs(loop) == {1}
    assert loop.send(b"vCont;c:2") == [b"OK"]
    assert runs(loop) == {1, 2}
    assert [bare(one) for one in loop.send(b"vCont;t:1")] == [b"OK", b"%Stop:T00thread:1;"]
    assert runs(loop) == {2}
    assert loop.ask(b"vStopped") == b"OK"
    assert [bare(one) for one in loop.send(b"vCont;t")] == [b"OK", b"%Stop:T00thread:2;"]
    assert loop.ask(b"vStopped") == b"OK"
    assert not loop.target.running


def test_a_step_of_one_while_the_other_runs(loop: Loop) -> None:
    loop.send(b"vCont;c:2")
    assert [bare(one) for one in loop.send(b"vCont;s:1")] == [b"OK", b"%Stop:T05thread:1;"]
    assert runs(loop) == {2}
    assert loop.ask(b"vStopped") == b"OK"


def test_a_stop_of_one_leaves_the_others_running(loop: Loop) -> None:
    assert isinstance(loop.target, FakeTarget)
    loop.target.ram[0x180] = HALT
    assert [bare(one) for one in loop.send(b"vCont;c")] == [b"OK", b"%Stop:T00thread:1;"]
    assert runs(loop) == {2}


def test_breakpoints_are_changed_while_threads_run(loop: Loop) -> None:
    assert isinstance(loop.target, FakeTarget)
    loop.send(b"vCont;c:2")
    resumed = loop.target.resumes
    assert loop.send(b"Z0,100,1") == [b"OK"]
    assert (runs(loop), loop.target.resumes) == ({2}, resumed + 1)
    assert loop.send(b"z0,100,1") == [b"OK"]
    assert runs(loop) == {2}


def test_one_notification_at_a_time(loop: Loop) -> None:
    loop.send(b"vCont;c")
    assert [bare(one) for one in loop.send(b"vCont;t")] == [b"OK", b"%Stop:T00thread:1;"]
    assert bare(loop.ask(b"vStopped")) == b"T00thread:2;"
    assert loop.ask(b"vStopped") == b"OK"


def test_an_interrupt_stops_all(loop: Loop) -> None:
    loop.send(b"vCont;c")
    assert [bare(one) for one in loop.send(b"vCtrlC")] == [b"OK", b"%Stop:T02thread:1;"]
    assert bare(loop.ask(b"vStopped")) == b"T02thread:2;"
    assert loop.ask(b"vStopped") == b"OK"
    loop.send(b"vCont;c:2")
    assert [bare(one) for one in loop.interrupt()] == [b"%Stop:T02thread:2;"]


def test_the_end_of_the_guest_ends_all(loop: Loop) -> None:
    assert isinstance(loop.target, FakeTarget)
    loop.target.ram[0x180:0x182] = bytes((EXIT, 7))
    assert loop.send(b"vCont;c") == [b"OK", b"%Stop:W07"]
    assert loop.ask(b"vStopped") == b"OK"
    assert not loop.target.running


def test_what_is_asked_while_some_run(loop: Loop) -> None:
    loop.send(b"vCont;c:2")
    assert bare(loop.ask(b"?")) == b"T05thread:1;"
    assert loop.ask(b"vStopped") == b"OK"
    loop.send(b"vCont;c:1")
    assert loop.ask(b"?") == b"OK"


def test_the_stops_at_the_beginning_are_told_before_anything_runs() -> None:
    """To a client that looks at nothing first."""
    loop = Loop(FakeTarget())
    loop.ask(b"QNonStop:1")
    assert bare(loop.ask(b"?")) == b"T05thread:1;"
    assert loop.send(b"vStopped") == [b"OK"]
    assert [bare(one) for one in loop.send(b"vCont;c")] == [b"OK", b"%Stop:T00thread:2;"]
    assert runs(loop) == {1}
    assert loop.ask(b"vStopped") == b"OK"
    assert loop.send(b"vCont;c:2") == [b"OK"]
    assert runs(loop) == {1, 2}


def test_a_thread_whose_stop_was_not_fetched_stays(loop: Loop) -> None:
    assert [bare(one) for one in loop.send(b"vCont;s:1")] == [b"OK", b"%Stop:T05thread:1;"]
    assert loop.send(b"vCont;c") == [b"OK"]
    assert runs(loop) == {2}
    assert loop.ask(b"vStopped") == b"OK"
    assert loop.send(b"vCont;c:1") == [b"OK"]
    assert runs(loop) == {1, 2}


def test_back_to_all_stop(loop: Loop) -> None:
    loop.send(b"vCont;c")
    assert loop.ask(b"QNonStop:0") == b"OK"
    assert not loop.target.running
    assert loop.ask(b"vStopped").startswith(b"E")
    assert loop.ask(b"QNonStop:2").startswith(b"E")
    assert loop.ask(b"vCont;s:1").startswith(b"T05")


def test_stops_that_the_client_did_not_ask_for_are_not_told(loop: Loop) -> None:
    loop.target.on_stop(Stopped(2))
    assert loop.raw(b"") == []


def test_detach_lets_all_go(loop: Loop) -> None:
    assert isinstance(loop.target, FakeTarget)
    loop.send(b"vCont;c:2")
    assert loop.ask(b"D") == b"OK"
    assert loop.target.detached and loop.client.ended


@pytest.mark.parametrize("body", [b"vKill;1", b"R00"])
def test_a_guest_that_is_killed_or_restarted_has_nothing_to_tell(loop: Loop, body: bytes) -> None:
    loop.ask(b"!")
    loop.send(b"vCont;c")
    assert loop.send(body) == ([b"OK"] if body[:1] == b"v" else [])
    assert loop.ask(b"vStopped") == b"OK"
    assert not loop.target.running


def test_restart_begins_with_all_stopped(loop: Loop) -> None:
    loop.ask(b"!")
    loop.send(b"vCont;c")
    assert loop.ask(b"vRun;").startswith(b"T05thread:1;")
    assert loop.send(b"vCont;c:1") == [b"OK"]
    assert runs(loop) == {1}


def test_detach_and_attach_in_extended_mode(loop: Loop) -> None:
    assert isinstance(loop.target, FakeTarget)
    loop.ask(b"!")
    loop.send(b"vCont;c:2")
    assert loop.ask(b"D;1") == b"OK"
    assert loop.target.running
    assert loop.send(b"vAttach;1") == [b"OK"]  # the client stops the threads itself
    assert [bare(one) for one in loop.send(b"vCont;t")] == [b"OK", b"%Stop:T00thread:1;"]
    assert bare(loop.ask(b"vStopped")) == b"T00thread:2;"
    assert loop.ask(b"vStopped") == b"OK"
    assert loop.ask(b"D;1") == b"OK"
    loop.target._end(Stopped(2, 0, text="halted"))
    assert [bare(one) for one in loop.send(b"vAttach;1")] == [b"OK", b"%Stop:T00thread:2;"]
    assert [bare(one) for one in loop.send(b"vStopped")] == [b"OK", b"%Stop:T00thread:1;"]


def test_target_that_does_not_stop(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(loop.target, FakeTarget)
    loop.send(b"vCont;c:2")
    monkeypatch.setattr(nonstop, "PAUSES_WITHIN", 0.05)
    monkeypatch.setattr(loop.target, "interrupt", lambda: None)
    loop.ask(b"QEnableErrorStrings")
    assert loop.ask(b"Z0,100,1").endswith(b"the guest does not stop".hex().encode())
    assert not loop.target.points


def test_target_that_cannot_run(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that were to run stand, and the client is told."""

    def refuse(what: Resume) -> None:
        raise TargetError("it cannot", 7)

    with monkeypatch.context() as changed:
        changed.setattr(loop.target, "resume", refuse)
        replies = [bare(one) for one in loop.send(b"vCont;c")]
    assert replies == [b"E07", b"%Stop:T00thread:1;"]
    assert bare(loop.ask(b"vStopped")) == b"T00thread:2;"
    assert loop.ask(b"vStopped") == b"OK"
    assert loop.send(b"vCont;c:1") == [b"OK"] and runs(loop) == {1}


def test_steps_in_a_range(loop: Loop) -> None:
    assert isinstance(loop.target, FakeTarget)
    loop.send(b"vCont;c:2")
    assert [bare(one) for one in loop.send(b"vCont;r100,110:1")] == [b"OK", b"%Stop:T05thread:1;"]
    assert loop.target.values[1][0] == 0x110 and runs(loop) == {2}


def test_nothing_to_do_changes_nothing(loop: Loop) -> None:
    assert isinstance(loop.target, FakeTarget)
    resumes = loop.target.resumes
    assert loop.send(b"vCont;t:1") == [b"OK"] and loop.target.resumes == resumes
    loop.send(b"vCont;c:1")
    resumes = loop.target.resumes
    assert loop.send(b"vCont;c:1") == [b"OK"] and loop.target.resumes == resumes


def test_non_stop_twice_is_once(loop: Loop) -> None:
    before = loop.client.nonstop
    assert loop.ask(b"QNonStop:1") == b"OK" and loop.client.nonstop is before
    assert loop.ask(b"QNonStop:0") == b"OK" and loop.client.nonstop is None
    assert loop.ask(b"QNonStop:0") == b"OK"


def test_ended_guest_is_told_by_why(loop: Loop) -> None:
    assert isinstance(loop.target, FakeTarget)
    loop.target.stop = Exited(3)
    assert loop.ask(b"?") == b"W03"
