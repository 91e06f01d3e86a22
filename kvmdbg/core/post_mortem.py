"""What is known of a vCPU at a fatal end, for the account of it (observe/autopsy.py): its state, and the way there."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from kvmdbg.core.probe import host_profile, legacy_paging_works
from kvmdbg.core.replay import Trail, replay
from kvmdbg.kvm import abi
from kvmdbg.observe import autopsy
from kvmdbg.observe.autopsy import Autopsy
from kvmdbg.x86.faults import State
from kvmdbg.x86.modes import CR0_PG, EFER_LMA, mode_of

if TYPE_CHECKING:
    from kvmdbg.core.runner import Runner

RESET_RIP, RESET_BASE = 0xFFF0, 0xFFFF0000
PATIENCE = 5.0
"""Seconds that the search for the way to a shutdown may take."""


def _state(runner: Runner, regs: abi.kvm_regs, sregs: abi.kvm_sregs) -> State:
    guest = runner.guest
    return State(regs, sregs, guest.physical.read, guest.machine.paging_limits)


def _now(runner: Runner) -> State:
    return _state(runner, runner.vcpu.regs, runner.sregs)


def of_failed_entry(runner: Runner) -> Autopsy:
    """Why KVM has not entered the guest."""
    return autopsy.of_failed_entry(_now(runner), tuple(runner.last_exits()))


def of_emulation_failure(runner: Runner) -> Autopsy:
    """What the instruction is that KVM cannot run."""
    return autopsy.of_emulation_failure(_now(runner), tuple(runner.last_exits()))


def of_shutdown(runner: Runner) -> tuple[Autopsy, State | None]:
    """The account of a triple fault, and the state before the instruction that began it, where it is known."""
    regs = abi.kvm_regs.from_buffer_copy(runner.vcpu.regs)
    sregs = runner.sregs
    lost = (regs.rip, sregs.cs.base) == (RESET_RIP, RESET_BASE)
    trail = _trail(runner, None if lost else regs)
    exits = tuple(runner.last_exits())
    if lost:
        if trail is None or not trail.ended:
            last = runner.recent_state()
            where = f"; at its last exit rip was {last[0].rip:#x}" if last is not None else ""
            text = f"This KVM resets the vCPU at a triple fault, so that its registers are lost{where}."
            return Autopsy(text, (text,), _shown(runner, trail), exits), None
        regs, sregs = trail.steps[-1], trail.sregs
    state = _state(runner, regs, sregs)
    cause, account = autopsy.explain(state)
    if _paging_is_the_reason(state):
        cause = (
            "This KVM cannot run a guest with paging outside of long mode and ends it in a shutdown at once; "
            "one on hardware virtualization (kvm_intel, kvm_amd) can."
        )
        account = (cause,)
    instructions = _shown(runner, trail) if trail is not None and trail.ended else autopsy.instruction_of(state)
    return Autopsy(cause, account, instructions, exits), state


def _trail(runner: Runner, final: abi.kvm_regs | None) -> Trail | None:
    """The way from the last exit to the end; only one that arrives where the vCPU stands, where that is known."""
    if len(runner.guest.world.runners) > 1:
        return None
    last = runner.recent_state()
    if last is None:
        return None
    regs, sregs = last
    mode = mode_of(runner.sregs.cr0, runner.sregs.efer, regs.rflags, runner.sregs.cs.l, runner.sregs.cs.db)
    if not host_profile().behaviour(mode, runner.cpl).step:
        return None
    guest = runner.guest
    cpuid, under = runner.vcpu.get_cpuid(), guest.traps.under
    end = time.monotonic() + PATIENCE

    def give_up() -> bool:
        return guest.world.hurried or time.monotonic() > end

    alarm = threading.Timer(PATIENCE, runner.kick)  # for a step that KVM never ends
    alarm.start()
    try:
        for start in [sregs] if sregs is not None else [runner.sregs_at_start, runner.sregs]:
            if start is None:
                continue
            found = replay(guest.machine, under, regs, start, cpuid, give_up)
            if found is not None and (final is None or (found.ended and found.steps[-1].rip == final.rip)):
                return found
        return None
    finally:
        alarm.cancel()


def _paging_is_the_reason(state: State) -> bool:
    if not state.sregs.cr0 & CR0_PG or state.sregs.efer & EFER_LMA:
        return False
    return not legacy_paging_works()


def _shown(runner: Runner, trail: Trail | None) -> tuple[tuple[int, str], ...]:
    if trail is None:
        return ()
    found: list[tuple[int, str]] = []
    for regs in trail.steps:
        found += autopsy.instruction_of(_state(runner, regs, trail.sregs))
    return tuple(found)
