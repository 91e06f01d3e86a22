"""What the engine keeps between exits: ports that are written often, points that are gone, events as values."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kvmdbg.devices.uart import COM1
from kvmdbg.engine import stops
from kvmdbg.engine.coalescing import OFTEN
from kvmdbg.engine.empty_vectors import lost_in
from kvmdbg.engine.events import EVENTS
from kvmdbg.engine.exit_loop import RESUMED
from kvmdbg.kvm import exits
from tests.scripted.machine import START, ScriptedSession, profile
from tests.scripted.plays import HALT, debugs, leaves, played, port_in, port_out


@pytest.fixture
def collected(dbg: ScriptedSession, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The ports whose writes are collected from some time on."""
    ports: list[int] = []
    monkeypatch.setattr(dbg.guest.coalescing, "collect_from", ports.append)
    return ports


def test_what_a_device_is_written_often_is_collected_from_then_on(dbg: ScriptedSession, collected: list[int]) -> None:
    played(dbg, *[port_out(COM1)] * (OFTEN - 1), HALT)
    assert collected == []
    played(dbg, port_out(COM1), HALT)
    assert collected == [COM1]
    played(dbg, *[port_out(COM1)] * OFTEN, HALT)
    assert collected == [COM1]


def test_what_is_read_or_looked_at_or_goes_nowhere_is_not_collected(dbg: ScriptedSession, collected: list[int]) -> None:
    dbg.on.io_out(COM1 + 7)(lambda event: None)
    for play in (port_out(0x10), port_in(COM1 + 5), port_out(COM1 + 7)):
        played(dbg, *[play] * (OFTEN + 1), HALT)
    assert collected == []


def test_a_write_that_nobody_takes_and_nobody_looks_at_is_quiet(dbg: ScriptedSession) -> None:
    for play in (port_out(0x10), port_in(0x10), port_out(COM1)):
        played(dbg, play, HALT)
    [ports] = [runner.ports.values() for runner in dbg.runners]
    assert {(one.port, one.word): one.quiet for one in ports} == {
        (0x10, "out"): True, (0x10, "in"): False, (COM1, "out"): False,
    }  # fmt: skip
    dbg.catch("io", port=0x10)
    assert isinstance(played(dbg, port_out(0x10)), stops.CaughtStop)


def test_a_read_from_a_device_that_fails_gives_all_ones(dbg: ScriptedSession, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> int:
        dbg.cpu.io_data[:] = b"\x12"
        raise ZeroDivisionError

    monkeypatch.setattr(dbg.devices[0], "read", fails)
    stop = played(dbg, port_in(COM1))
    assert isinstance(stop, stops.ErrorStop) and "ZeroDivisionError" in stop.message
    assert bytes(dbg.cpu.io_data) == b"\xff"


def test_catchpoints_that_are_all_deleted_look_no_more(dbg: ScriptedSession) -> None:
    dbg.catch("io", port=0x80)
    assert isinstance(played(dbg, port_out(0x80)), stops.CaughtStop)
    dbg.breakpoints.clear()
    assert dbg.guest.judge.looking("io", "after") == []
    assert isinstance(played(dbg, port_out(0x80), HALT), stops.HaltedStop)


def test_going_on_without_an_exit_leaves_the_exits_before_it(dbg: ScriptedSession) -> None:
    played(dbg, port_out(0x80), HALT)
    [runner] = dbg.runners
    before = [what for what, _ in runner.recent if what != RESUMED]
    for _ in range(100):
        runner.note_resumed()
    assert [what for what, _ in runner.recent if what != RESUMED] == before
    assert runner.recent[-1][0] == RESUMED and runner.recent[-2][0] != RESUMED


@pytest.mark.parametrize("kind", sorted(EVENTS))
def test_events_are_values(kind: str) -> None:
    made = EVENTS[kind]
    values = range(len(made.__record_fields__))  # type: ignore[attr-defined]
    assert made(*values) == made(*values)
    assert hash(made(*values)) == hash(made(*values))


IDT, CODE, STACK = 0x1234, 0x7000, 0x9000


def lost(at_vector: bytes, target: bytes = bytes(16)) -> Any:
    """What is said where ``int 0x21`` at CODE was the last, with this at its vector and behind it."""
    memory = bytearray(0x20000)
    memory[CODE : CODE + 2] = b"\xcd\x21"
    memory[IDT + 4 * 0x21 : IDT + 4 * 0x21 + len(at_vector)] = at_vector
    memory[0x15000 : 0x15000 + len(target)] = target
    frame = (CODE + 2, 0, 0x0202)
    memory[STACK : STACK + 6] = b"".join(word.to_bytes(2, "little") for word in frame)
    at: Any = SimpleNamespace(
        pc=0x15000, cpl=0, mode=SimpleNamespace(bits=16, name="real"),
        sregs=SimpleNamespace(idt=SimpleNamespace(base=IDT, limit=0x3FF), cr0=0),
        on_stack=lambda offset: STACK + offset,
    )  # fmt: skip
    space: Any = SimpleNamespace(read_linear=lambda _, address, size: bytes(memory[address : address + size]))
    return lost_in(at, space, stuck=True)


def test_a_vector_is_where_idtr_says() -> None:
    found = lost(bytes.fromhex("0000 0015 ff"))
    assert found is not None and (found.vector, found.target) == (0x21, "1500:0000")
    assert lost(bytes.fromhex("0000 0015 ff"), b"\xcf" * 16) is None, "there is a handler"


@pytest.mark.parametrize(
    ("bits", "base", "ranges"),
    [
        (64, 0, [(0, 15), ((1 << 64) - 0xF0, 0xEF)]),
        (32, 0, [(0, 15), ((1 << 32) - 0xF0, 0xEF)]),
        (16, 0x90000, [(0x90000, 15), (0x9FF10, 0xEF)]),
    ],
)
def test_a_stack_goes_on_at_the_other_end(
    dbg: ScriptedSession, bits: int, base: int, ranges: list[tuple[int, int]]
) -> None:
    at: Any = SimpleNamespace(
        mode=SimpleNamespace(bits=bits),
        sregs=SimpleNamespace(ss=SimpleNamespace(db=bits == 32), tr=SimpleNamespace(selector=0)),
        vcpu=SimpleNamespace(regs=SimpleNamespace(rsp=0x10)),
        stack_pointer=base + 0x10,
    )
    assert list(dbg.guest.space.stacks(at)) == ranges
    at.vcpu.regs.rsp, at.stack_pointer = 0x100, base + 0x100
    assert list(dbg.guest.space.stacks(at)) == [(base, 0xFF)]


def test_pc_moved_away_and_back_leaves_a_breakpoint_there_as_it_was(dbg: ScriptedSession) -> None:
    unreported = dbg.runner.unreported
    dbg.regs.set("rip", START + 1)
    assert unreported.take_breakpoint(START + 1), "one where pc was moved to has not fired"
    dbg.regs.set("rip", START)
    assert not unreported.take_breakpoint(START), "one where it was has"
    unreported.goes_on()
    unreported.leave_breakpoint(START)
    for place in (START + 1, START):
        dbg.regs.set("rip", place)
    assert unreported.take_breakpoint(START), "one that had yet to fire has yet to"


def test_a_step_over_pause_does_not_enter_the_guest(dbg: ScriptedSession) -> None:
    dbg.physical.write(START, bytes.fromhex("f390 f390"))
    for number in (1, 2):
        stop = dbg.step()
        assert isinstance(stop, stops.StepStop) and stop.pc == START + 2 * number
    assert dbg.cpu.entries == 0


def test_a_step_at_hlt_enters_the_guest_unless_the_kvm_halts_too_late(dbg: ScriptedSession) -> None:
    dbg.physical.write(START, b"\xf4\xf4")
    dbg.cpu.plays = [leaves(exits.HltExit(), to=START + 1)]
    assert isinstance(dbg.step(), stops.HaltedStop) and dbg.cpu.plays == []
    dbg.let_probe_find(profile(halts_late=True))
    assert isinstance(dbg.step(), stops.HaltedStop)
    assert dbg.vcpu.pc == START + 2 and dbg.cpu.entries == 1


def test_an_int3_of_the_guests_own_is_delivered(dbg: ScriptedSession, monkeypatch: pytest.MonkeyPatch) -> None:
    delivered: list[Any] = []
    monkeypatch.setattr(dbg.runner, "deliver", lambda *what, **more: delivered.append((what, more)))
    assert isinstance(played(dbg, debugs(START + 1, 0, exception=3), HALT), stops.HaltedStop)
    assert delivered == [((3, 0), {})]
    dbg.regs.set("rip", START)
    dbg.break_at(START + 2)
    stop = played(dbg, debugs(START + 2, 0, exception=3))
    assert isinstance(stop, stops.BreakpointStop) and stop.pc == START + 2
    assert len(delivered) == 1
