"""A fault that waits to be delivered, where the state of the vCPU is put aside and given back meanwhile."""

from __future__ import annotations

import pytest

from kvmdbg.kvm import abi, exits
from kvmdbg.x86.registers import EFLAGS_RF
from tests.scripted.machine import profile, scripted_session
from tests.scripted.plays import leaves

GP, DB = 13, 1


@pytest.mark.parametrize(("vector", "flag"), [(GP, EFLAGS_RF), (DB, 0)])
def test_a_fault_that_waits_while_a_steps_trap_is_taken_gets_rf_into_its_frame(vector: int, flag: int) -> None:
    with scripted_session(b"\x0f\x32") as dbg:  # rdmsr
        dbg.let_probe_find(profile(step_trap_waits=True))
        events = abi.kvm_vcpu_events()
        events.exception.pending, events.exception.nr = 1, vector
        dbg.cpu.set_events(events)
        dbg.cpu.plays = [leaves(exits.InternalErrorExit(exits.SUBERROR_EMULATION, (), b""))]
        dbg.runner.take_waiting_trap(dbg.machine.memory.nowhere())
        assert dbg.cpu.get_events().exception.nr == vector
        assert dbg.cpu.get_regs().rflags & EFLAGS_RF == flag
