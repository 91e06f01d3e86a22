"""What is known of a vCPU at a fatal end, for the account of it (observe/autopsy.py): its state, and the way there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from kvmdbg.engine.replay import Trail, replay
from kvmdbg.errors import MemoryFault
from kvmdbg.kvm import abi
from kvmdbg.observe import autopsy
from kvmdbg.observe.autopsy import Autopsy
from kvmdbg.record import record
from kvmdbg.x86 import disasm
from kvmdbg.x86.faults import State
from kvmdbg.x86.modes import CR0_PG, EFER_LMA, EFER_LME, mode_of

if TYPE_CHECKING:
    from kvmdbg.engine.guest import Guest
    from kvmdbg.engine.vcpu_thread import VcpuThread

RESET_RIP, RESET_BASE = 0xFFF0, 0xFFFF0000
PATIENCE = 5.0
"""Seconds that the search for the way to a shutdown may take."""
PATIENCE_FOR_INT = 2.0
"""Seconds that the search for the way to an ``int`` may take."""


@record
class LastRun:
    """What a vCPU has kept of the run that ended it.

    ``exits`` are the last ones in words, oldest first; ``regs`` and ``sregs`` the registers at the last one before the
    end, None where there was none or they were not kept; ``sregs_at_start`` the special ones when the run began.
    """

    exits: tuple[str, ...]
    regs: abi.kvm_regs | None
    sregs: abi.kvm_sregs | None
    sregs_at_start: abi.kvm_sregs | None


def _state(guest: Guest, regs: abi.kvm_regs, sregs: abi.kvm_sregs) -> State:
    return State(regs, sregs, guest.physical.read, guest.machine.paging_limits)


def of_failed_entry(thread: VcpuThread, guest: Guest, last: LastRun) -> Autopsy:
    """Why KVM has not entered the guest."""
    return autopsy.of_failed_entry(_state(guest, thread.vcpu.regs, thread.sregs), last.exits)


def of_emulation_failure(thread: VcpuThread, guest: Guest, last: LastRun) -> tuple[Autopsy, State]:
    """What the instruction is that KVM cannot run, and the state before it."""
    state = _state(guest, thread.vcpu.regs, thread.sregs)
    return autopsy.of_emulation_failure(state, last.exits), state


def of_shutdown(thread: VcpuThread, guest: Guest, last: LastRun) -> tuple[Autopsy, State | None]:
    """The account of a triple fault, and the state before the instruction that began it, where it is known."""
    regs = abi.kvm_regs.from_buffer_copy(thread.vcpu.regs)
    sregs = thread.sregs
    lost = (regs.rip, sregs.cs.base) == (RESET_RIP, RESET_BASE)
    trail = _trail(thread, guest, last, None if lost else regs)
    if lost:
        if trail is None or not trail.ended:
            where = f"; at its last exit rip was {last.regs.rip:#x}" if last.regs is not None else ""
            text = f"This KVM resets the vCPU at a triple fault, so that its registers are lost{where}."
            return Autopsy(text, (text,), _shown(guest, trail), last.exits), None
        regs, sregs = trail.steps[-1], trail.sregs
    state = _state(guest, regs, sregs)
    cause, account = autopsy.explain(state)
    if _paging_is_the_reason(guest, state):
        cause = (
            "This KVM cannot run a guest with paging outside of long mode and ends it in a shutdown at once; "
            "one on hardware virtualization (kvm_intel, kvm_amd) can, and so can --engine soft."
        )
        account = (cause,)
    instructions = _shown(guest, trail) if trail is not None and trail.ended else autopsy.instruction_of(state)
    return Autopsy(cause, account, instructions, last.exits), state


def registers_at(
    thread: VcpuThread, guest: Guest, states: list[abi.kvm_regs], start: abi.kvm_sregs | None, cs: int, ip: int
) -> abi.kvm_regs | None:
    """The registers with which a vCPU in real mode has come to the ``int`` at this place; None where they are lost.

    It is gone on its way once more, from one of ``states``, oldest first; what it has pushed there says whether that
    was its way.
    """
    if len(guest.world.runners) > 1 or start is None or not guest.host.profile.behaviour(thread.mode, 0).step:
        return None
    cpuid, under = thread.vcpu.get_cpuid(), guest.traps.under

    def arrived(regs: abi.kvm_regs, sregs: abi.kvm_sregs) -> bool:
        return bool(sregs.cs.selector == cs and regs.rip == ip)

    with _patience(thread, guest, PATIENCE_FOR_INT) as give_up:
        for state in states:
            found = replay(guest.host, guest.machine, under, state, start, cpuid, give_up, arrived)
            if found is None or not arrived(found.steps[-1], found.sregs):
                continue
            regs = found.steps[-1]
            frame = (ip + 2 & 0xFFFF, cs, regs.rflags & 0xFFFF)
            pushed = b"".join(word.to_bytes(2, "little") for word in frame)
            with suppress(MemoryFault):
                if guest.physical.read(found.sregs.ss.base + (regs.rsp - len(pushed) & 0xFFFF), len(pushed)) == pushed:
                    return regs
    return None


@contextmanager
def _patience(thread: VcpuThread, guest: Guest, seconds: float) -> Iterator[Callable[[], bool]]:
    """Whether to give up what is replayed inside; the thread is kicked then, for a step that KVM never ends."""
    end = time.monotonic() + seconds
    alarm = threading.Timer(seconds, thread.kick)
    alarm.start()
    try:
        yield lambda: guest.world.hurried or time.monotonic() > end
    finally:
        alarm.cancel()


def _trail(thread: VcpuThread, guest: Guest, last: LastRun, final: abi.kvm_regs | None) -> Trail | None:
    """The way from the last exit to the end; only one that arrives where the vCPU stands, where that is known."""
    if len(guest.world.runners) > 1 or last.regs is None:
        return None
    now = thread.sregs
    mode = mode_of(now.cr0, now.efer, last.regs.rflags, now.cs.l, now.cs.db)
    if not guest.host.profile.behaviour(mode, thread.cpl).step:
        return None
    cpuid, under = thread.vcpu.get_cpuid(), guest.traps.under
    with _patience(thread, guest, PATIENCE) as give_up:
        for start in [last.sregs] if last.sregs is not None else [last.sregs_at_start, now]:
            if start is None:
                continue
            found = replay(guest.host, guest.machine, under, last.regs, start, cpuid, give_up)
            if found is not None and (final is None or (found.ended and found.steps[-1].rip == final.rip)):
                return found
    return None


def _paging_is_the_reason(guest: Guest, state: State) -> bool:
    if state.sregs.efer & (EFER_LMA | EFER_LME) or not (state.sregs.cr0 & CR0_PG or _switches_paging_on(state)):
        return False
    return not guest.host.legacy_paging_works


def _switches_paging_on(state: State) -> bool:
    """Whether the instruction at pc is a MOV to CR0 that sets CR0.PG."""
    code = state.code()
    insn = disasm.decode(code, state.mode.bits) if code else None
    if insn is None or insn.mnemonic != "mov" or not insn.op_str.startswith("cr0, e"):
        return False
    return bool(state.register("r" + insn.op_str[-2:]) & CR0_PG)


def _shown(guest: Guest, trail: Trail | None) -> tuple[tuple[int, str], ...]:
    if trail is None:
        return ()
    found: list[tuple[int, str]] = []
    for regs in trail.steps:
        found += autopsy.instruction_of(_state(guest, regs, trail.sregs))
    return tuple(found)
