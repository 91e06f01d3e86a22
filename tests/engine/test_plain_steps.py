"""Instructions that raise nothing are stepped without traps at handlers' entries."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kvmdbg.engine.probe import INT1
from kvmdbg.engine.stops import HaltedStop, StepStop
from kvmdbg.kvm import exits
from kvmdbg.x86.registers import DR6_BS
from tests.scripted.cpu import Play, ScriptedCpu
from tests.scripted.machine import START, ScriptedSession, profile, scripted_session
from tests.scripted.plays import HALT, debugs

HANDLER = 0x2000
INC, PUSH, NOP, HLT = 0x40, 0x50, 0x90, 0xF4


@pytest.fixture
def dbg() -> Iterator[ScriptedSession]:
    with scripted_session(b"\x90" * 8) as session:
        session.let_probe_find(profile(INT1, steps_into_handlers=False))
        session.physical.write(0, HANDLER.to_bytes(4, "little") * 256)
        session.physical.write(HANDLER, b"\x43\xcf")  # inc bx; iret
        session.regs.set("rsp", 0x8000)
        yield session


def stepped_with(dbg: ScriptedSession, instruction: int) -> bool:
    """Whether the handler's entry is trapped while this is stepped."""
    dbg.physical.write(START, bytes((instruction,)))
    found: list[bytes] = []

    def step(cpu: ScriptedCpu) -> None:
        found.append(dbg.machine.memory.read(HANDLER, 1))
        debugs(START + 1, DR6_BS)(cpu)

    dbg.cpu.plays = [step]
    dbg.regs.set("rip", START)
    dbg.step()
    return found == [bytes((INT1,))]


def test_only_what_may_raise_something_has_traps(dbg: ScriptedSession) -> None:
    assert [stepped_with(dbg, code) for code in (INC, PUSH, NOP, PUSH)] == [False, True, False, True]


def test_they_go_on_at_every_place_of_a_page() -> None:
    program = {address: (1, lambda cpu: None) for address in range(START, START + 0x1010)}
    with scripted_session(b"\x90" * 0x1010, program) as dbg:
        assert dbg.step(0x1010).pc == START + 0x1010


def test_a_guest_with_breakpoints_of_its_own_has_traps(dbg: ScriptedSession) -> None:
    debugregs = dbg.cpu.get_debugregs()
    debugregs.dr7 = 2
    dbg.cpu.set_debugregs(debugregs)
    assert stepped_with(dbg, INC)


@pytest.mark.parametrize(("instruction", "steps"), [(NOP, 0), (INC, 1)])
def test_a_false_condition(dbg: ScriptedSession, instruction: int, steps: int) -> None:
    """A nop is passed without a step."""
    dbg.physical.write(START + 2, bytes((instruction, HLT)))
    point = dbg.break_at(START + 2, when="0 == 1")
    trap: Play = lambda cpu: cpu.leave(exits.InternalErrorExit(exits.SUBERROR_EMULATION, (), b""), to=START + 2)  # noqa: E731
    dbg.cpu.plays = [trap, *[debugs(START + 3, DR6_BS)] * steps, HALT]
    assert isinstance(dbg.run(), HaltedStop)
    assert (dbg.cpu.plays, point.hits) == ([], 0)


@pytest.mark.parametrize("length", [1, 3, 7])
def test_a_range_is_stepped_to_the_first_instruction_outside_of_it(length: int) -> None:
    with scripted_session(b"\x90" * 0x40) as dbg:
        dbg.cpu.plays = [debugs(START + number, DR6_BS) for number in range(1, 0x20)]
        for first, end in ((START, START + length), (START + length, START + length)):
            dbg.go({0: (first, end)}, ())
            stop = dbg.wait(timeout=20)
            assert isinstance(stop, StepStop) and stop.pc == max(end, first + 1), "an empty range is one step"
