"""Exits of ports, limits, and entries that are ended or refused."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from kvmdbg.devices.uart import COM1
from kvmdbg.engine import stops
from kvmdbg.engine.arming import STEPPING
from kvmdbg.errors import UsageError
from kvmdbg.kvm import exits
from tests.scripted.cpu import Play, ScriptedCpu
from tests.scripted.machine import START, ScriptedSession, profile
from tests.scripted.plays import HALT, fails, leaves, played, port_in, port_out


def test_a_write_to_a_device(dbg: ScriptedSession) -> None:
    stop = played(dbg, port_out(COM1, b"4"), port_out(COM1, b"\n"), HALT)
    assert isinstance(stop, stops.HaltedStop), stop.describe()
    assert stop.pc == START + 4
    assert dbg.output == b"4\n"
    assert dbg.exits.by_port == {("out", COM1): 2}
    assert dbg.exits.by_reason == {"io": 2, "hlt": 1}


def test_a_quiet_port_is_counted_without_a_look_at_it(dbg: ScriptedSession) -> None:
    stop = played(dbg, *[port_out(0x80)] * 5, HALT)
    assert isinstance(stop, stops.HaltedStop), stop.describe()
    assert dbg.exits.by_port == {("out", 0x80): 5}


@pytest.mark.parametrize(("number", "size", "expected"), [(COM1 + 5, 1, b"\x60"), (COM1 + 6, 2, b"\xb0\x00")])
def test_a_read_from_a_device(dbg: ScriptedSession, number: int, size: int, expected: bytes) -> None:
    read: list[bytes] = []

    def after(cpu: ScriptedCpu) -> None:
        read.append(bytes(cpu.io_data))
        HALT(cpu)

    played(dbg, port_in(number, size), after)
    assert read == [expected]


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_read_that_nobody_answers_gives_all_ones(dbg: ScriptedSession, size: int, count: int) -> None:
    stop = played(dbg, port_in(0x80, size, count), HALT)
    assert isinstance(stop, stops.HaltedStop), stop.describe()
    assert bytes(dbg.cpu.io_data) == b"\xff" * size * count


def test_string_output_sends_each_item(dbg: ScriptedSession) -> None:
    played(dbg, port_out(COM1, b"hello"), port_out(0x80, bytes(16), size=4), HALT)
    assert dbg.output == b"hello"
    assert dbg.exits.by_port == {("out", COM1): 1, ("out", 0x80): 1}


def test_a_caught_port_stops_after_its_instruction(dbg: ScriptedSession) -> None:
    dbg.catch("io", port=0x80)
    stop = played(dbg, port_out(0x81), port_in(0x80, 2, 2))
    assert isinstance(stop, stops.CaughtStop), stop.describe()
    assert stop.exit == exits.IoExit("in", 0x80, 2, 2, b"\xff" * 4)
    assert dbg.cpu.completions == 1


def test_a_device_that_fails_is_a_stop(dbg: ScriptedSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dbg.devices[0], "sink", lambda data: 1 // 0)
    stop = played(dbg, port_out(COM1))
    assert isinstance(stop, stops.ErrorStop)
    assert "ZeroDivisionError" in stop.message


# --- limits, signals, errors -----------------------------------------------------------------------------


@pytest.mark.parametrize("port", [0x10, COM1])
def test_a_limit_of_exits(dbg: ScriptedSession, port: int) -> None:
    stop = played(dbg, *[port_out(port)] * 3, exits=3)
    assert isinstance(stop, stops.LimitStop), stop.describe()
    assert stop.limit == "3 exits"
    assert (dbg.cpu.entries, dbg.cpu.completions) == (3, 1)
    assert dbg.exits.total == 3


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ({"exits": 0}, "cannot run 0 exits"),
        ({"exits": -1}, "cannot run -1 exits"),
        ({"exits": 1.5}, "cannot run 1.5 exits"),
        ({"exits": "3"}, "cannot run '3' exits"),
        ({"instructions": 0}, "cannot run 0 instructions"),
        ({"instructions": 2.5}, "cannot run 2.5 instructions"),
        ({"timeout": float("nan")}, "nan is no time to wait"),
        ({"timeout": "x"}, "'x' is no time to wait"),
    ],
)
def test_what_is_no_limit_of_a_run(dbg: ScriptedSession, limit: dict[str, Any], said: str) -> None:
    """It ran for ever, or ended with an internal error."""
    dbg.cpu.plays = [HALT]
    with pytest.raises(UsageError, match=said):
        dbg.run(**limit)
    assert dbg.cpu.entries == 0


@pytest.mark.parametrize("count", [0, -1, 1.5, "2"])
def test_what_is_no_count_of_steps(dbg: ScriptedSession, count: Any) -> None:
    for step in (dbg.step, dbg.next):
        with pytest.raises(UsageError, match=f"cannot step {count!r} instructions"):
            step(count)
    assert dbg.cpu.entries == 0


def test_other_exits_count_for_the_limit_too(dbg: ScriptedSession) -> None:
    stop = played(dbg, port_out(COM1), leaves(exits.SetTprExit(0)), exits=2)
    assert isinstance(stop, stops.LimitStop), stop.describe()


def test_a_limit_holds_while_a_breakpoint_is_stepped_to(dbg: ScriptedSession) -> None:
    dbg.let_probe_find(profile(None))
    point = dbg.break_at(0x2000)
    stop = played(dbg, *[port_out(0x10)] * 3, exits=3)
    assert point.held_by == STEPPING
    assert isinstance(stop, stops.LimitStop), stop.describe()


def test_eintr_while_all_stop_ends_the_run_without_a_stop(dbg: ScriptedSession) -> None:
    runner = dbg.runner
    dbg.world.stopping = True
    dbg.cpu.plays = [fails(errno.EINTR)]
    assert runner.call(runner.go) is None
    runner.call(runner.drain)


def test_eintr_for_nothing_goes_on(dbg: ScriptedSession) -> None:
    stop = played(dbg, port_out(COM1, b"a"), fails(errno.EINTR), port_out(COM1, b"b"), HALT)
    assert isinstance(stop, stops.HaltedStop), stop.describe()
    assert dbg.output == b"ab"


def test_eintr_keeps_the_limit(dbg: ScriptedSession) -> None:
    stop = played(dbg, port_out(0x10), fails(errno.EINTR), port_out(0x10), port_out(0x10), exits=3)
    assert isinstance(stop, stops.LimitStop), stop.describe()


def test_an_interrupt(dbg: ScriptedSession) -> None:
    def interrupted(cpu: ScriptedCpu) -> None:
        dbg.world.stop()
        raise InterruptedError(errno.EINTR, "kicked")

    stop = played(dbg, port_out(COM1), interrupted)
    assert isinstance(stop, stops.InterruptedStop), stop.describe()
    assert stop.pc == START


def test_eagain_is_tried_again(dbg: ScriptedSession) -> None:
    stop = played(dbg, fails(errno.EAGAIN), fails(errno.EAGAIN), HALT)
    assert isinstance(stop, stops.HaltedStop), stop.describe()
    assert dbg.exits.total == 1


@pytest.mark.parametrize(("number", "text"), [(errno.EFAULT, "Bad address"), (errno.EIO, "Input/output error")])
@pytest.mark.parametrize("before", [(), (port_out(0x80),)], ids=["at once", "behind an exit"])
def test_a_refused_run_says_why(dbg: ScriptedSession, number: int, text: str, before: tuple[Play, ...]) -> None:
    stop = played(dbg, *before, fails(number))
    assert isinstance(stop, stops.ErrorStop)
    assert stop.message == f"KVM_RUN failed: {text}"
    assert dbg.state == "stopped"


def test_a_refused_step_says_why(dbg: ScriptedSession) -> None:
    dbg.cpu.plays = [fails(errno.EIO)]
    stop = dbg.step()
    assert isinstance(stop, stops.ErrorStop)
    assert stop.message == "KVM_RUN failed: Input/output error"
