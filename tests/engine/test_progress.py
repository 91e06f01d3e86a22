"""An entry to the guest that neither exits nor gets on is noticed, and told."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from kvmdbg.engine import stops, watchdog
from kvmdbg.engine.arming import STEPPING
from kvmdbg.engine.progress import STANDSTILL
from kvmdbg.kvm import abi
from tests.scripted.cpu import ScriptedCpu
from tests.scripted.machine import START, ScriptedHost, ScriptedSession, profile, scripted_session

WAIT, HLT = b"\x9b", b"\xf4"
JUMP_TO_ITSELF = b"\xeb\xfe"
SIDT, STORED = bytes.fromhex("0f010e1050"), 0x5010
"""sidt [0x5010]"""


class Stuck:
    """An instruction that is begun and not run while ``stuck`` says so: each entry ends by a kick of the watchdog's."""

    def __init__(self, stuck: Callable[[ScriptedCpu], bool]) -> None:
        self._stuck = stuck
        self.session: ScriptedSession | None = None
        self.entries = self.steps = 0

    def __call__(self, cpu: ScriptedCpu) -> None:
        if not self._stuck(cpu):
            cpu.memory.write(STORED, b"done")
            return
        if cpu.control & abi.KVM_GUESTDBG_SINGLESTEP:
            self.steps += 1
        else:
            self.entries += 1
        assert self.session is not None
        self.session.runner.look_up_due = True
        raise InterruptedError(errno.EINTR, "kicked")


@pytest.fixture(autouse=True)
def only_kicks_of_the_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "PERIOD", 3600)


@contextmanager
def guest(code: bytes, stuck: Stuck) -> Iterator[ScriptedSession]:
    """The instruction ``code``, and a hlt."""
    program = {START: (len(code), stuck)}
    with scripted_session(code + HLT, host=ScriptedHost(profile(), program)) as stuck.session:
        yield stuck.session


def test_an_instruction_that_is_neither_run_nor_left_is_told() -> None:
    stuck = Stuck(lambda cpu: True)
    with guest(WAIT, stuck) as dbg:
        stop = dbg.run(timeout=10)
        assert isinstance(stop, stops.ErrorStop), stop.describe()
        assert stop.pc == START
        assert stop.message == (
            "the guest does not get on: this KVM neither runs nor leaves the instruction wait; "
            "a KVM on hardware virtualization (kvm_intel, kvm_amd) may, and so may --engine soft"
        )
    assert (stuck.entries, stuck.steps) == (1 + STANDSTILL, STANDSTILL)


def test_one_that_a_step_runs_is_not_told() -> None:
    stuck = Stuck(lambda cpu: not cpu.control & abi.KVM_GUESTDBG_SINGLESTEP)
    with guest(WAIT, stuck) as dbg:
        stop = dbg.run(timeout=10)
    assert isinstance(stop, stops.HaltedStop), stop.describe()


def test_one_that_is_run_after_some_kicks_is_not_stepped() -> None:
    stuck = Stuck(lambda cpu: stuck.entries < STANDSTILL)
    with guest(WAIT, stuck) as dbg:
        stop = dbg.run(timeout=10)
    assert isinstance(stop, stops.HaltedStop), stop.describe()
    assert stuck.steps == 0


def test_a_jump_to_itself_gets_on() -> None:
    stuck = Stuck(lambda cpu: stuck.entries < 5 * STANDSTILL)
    with guest(JUMP_TO_ITSELF, stuck) as dbg:
        stop = dbg.run(timeout=10)
    assert isinstance(stop, stops.HaltedStop), stop.describe()
    assert stuck.steps == 0


@pytest.mark.parametrize("kind", ["write", "access"])
def test_a_page_whose_guard_keeps_the_guest_from_getting_on_is_watched_by_stepping(kind: str) -> None:
    stuck = Stuck(lambda cpu: bool(cpu.memory.guards))
    with guest(SIDT, stuck) as dbg:
        watch = dbg.watch(STORED & -0x1000, 1, kind)
        stop = dbg.run(timeout=10)
        assert isinstance(stop, stops.HaltedStop), stop.describe()
        assert (watch.held_by, watch.hits) == (STEPPING, 0)
        assert dbg.physical.read(STORED, 4) == b"done"
    assert (stuck.entries, stuck.steps) == (1 + STANDSTILL, 0)
