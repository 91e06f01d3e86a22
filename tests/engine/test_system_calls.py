"""Steps over SYSCALL and SYSRET where the CPU loses or leaks a step's trap flag there: Intel SDM volume 2B."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kvmdbg.engine.probe import MSR_FMASK, MSR_LSTAR, MSR_STAR
from kvmdbg.x86.modes import EFER_LMA
from kvmdbg.x86.registers import DR6_BS, EFLAGS_IF, EFLAGS_TF
from tests.scripted.cpu import ScriptedCpu
from tests.scripted.machine import START, ScriptedSession, profile, scripted_session
from tests.scripted.plays import debugs

KERNEL, USER = 0x3000, 0x4000
SYSCALL, SYSRET, IN_R11 = "0f05", "480f07", 0x246


@pytest.fixture
def dbg() -> Iterator[ScriptedSession]:
    """In long mode, at CPL 3, with TF and IF masked in system calls."""
    with scripted_session(bytes(16)) as session:
        session.let_probe_find(profile(steps_system_calls=False))
        sregs = session.runner.sregs
        sregs.cr0, sregs.efer = 1, EFER_LMA | 1
        sregs.cs.l, sregs.cs.base, sregs.cs.selector = 1, 0, 0x33
        sregs.cs.dpl = sregs.ss.dpl = 3
        session.runner.set_sregs(sregs)
        for number, value in ((MSR_STAR, 0x10 << 32), (MSR_LSTAR, KERNEL), (MSR_FMASK, EFLAGS_TF | EFLAGS_IF)):
            session.cpu.set_msr(number, value)
        session.regs.set("rip", START)
        session.regs.set("rflags", 0x10246)
        session.regs.set("rcx", USER)
        session.regs.set("r11", IN_R11)
        yield session


@pytest.mark.parametrize("code", [SYSCALL, f"48{SYSCALL}"])
def test_a_step_over_syscall_ends_where_it_leads_and_leaves_no_trap_flag_in_r11(
    dbg: ScriptedSession, code: str
) -> None:
    dbg.physical.write(START, bytes.fromhex(code))
    assert dbg.step().pc == KERNEL
    assert (dbg.regs.rcx, dbg.regs.r11, dbg.regs.rflags) == (START + len(code) // 2, 0x246, 0x46)
    sregs = dbg.runner.sregs
    assert (sregs.cs.selector, sregs.cs.dpl, sregs.cs.l) == (0x10, 0, 1)
    assert (sregs.ss.selector, sregs.ss.dpl, sregs.ss.db) == (0x18, 0, 1)


@pytest.mark.parametrize(("masked", "trapped"), [(EFLAGS_TF, False), (EFLAGS_IF, True)])
def test_the_guests_own_trap_flag_traps_behind_syscall_unless_masked(
    dbg: ScriptedSession, masked: int, trapped: bool
) -> None:
    dbg.cpu.set_msr(MSR_FMASK, masked)
    dbg.physical.write(START, bytes.fromhex(SYSCALL))
    dbg.regs.set("rflags", 0x146)
    dbg.step()
    assert (dbg.regs.r11, bool(dbg.regs.rflags & EFLAGS_TF)) == (0x146, trapped)
    assert bool(dbg.cpu.get_events().exception.injected) is trapped


def test_without_system_calls_it_is_left_to_kvm(dbg: ScriptedSession) -> None:
    sregs = dbg.runner.sregs
    sregs.efer &= ~1
    dbg.runner.set_sregs(sregs)
    dbg.physical.write(START, bytes.fromhex(SYSCALL))
    dbg.cpu.plays = [debugs(0x5000, DR6_BS)]
    assert dbg.step().pc == 0x5000


@pytest.mark.parametrize("own", [0, EFLAGS_TF])
def test_sysret_traps_behind_itself_by_what_is_in_r11_which_is_as_it_was_afterwards(
    dbg: ScriptedSession, own: int
) -> None:
    dbg.physical.write(START, bytes.fromhex(SYSRET))
    dbg.regs.set("r11", IN_R11 | own)
    found = []

    def sysret(cpu: ScriptedCpu) -> None:
        found.append(cpu.regs.r11)
        debugs(USER, DR6_BS)(cpu)

    dbg.cpu.plays = [sysret]
    assert dbg.step().pc == USER
    assert found == [IN_R11 | EFLAGS_TF] and dbg.regs.r11 == IN_R11 | own
    assert bool(dbg.cpu.get_events().exception.injected) is bool(own)


def test_a_trap_before_sysret_is_not_the_end_of_its_step(dbg: ScriptedSession) -> None:
    """As kvm_intel brings one behind an entry that a guard has refused."""
    dbg.physical.write(START, bytes.fromhex(SYSRET))
    dbg.cpu.plays = [debugs(START, DR6_BS), debugs(USER, DR6_BS)]
    assert dbg.step().pc == USER
    assert dbg.cpu.plays == [] and dbg.regs.r11 == IN_R11
