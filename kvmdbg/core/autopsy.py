"""What killed the guest, in words: triple faults, refused entries, instructions that KVM cannot run."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kvmdbg.core.replay import Trail, replay
from kvmdbg.errors import MemoryFault
from kvmdbg.kvm import abi
from kvmdbg.record import record
from kvmdbg.x86 import disasm, entry_checks, faults, operands
from kvmdbg.x86.faults import Fault, State
from kvmdbg.x86.modes import CR0_PG, EFER_LMA, mode_of

if TYPE_CHECKING:
    from kvmdbg.core.runner import Runner

CONTRIBUTORY = frozenset((faults.DE, faults.TS, faults.NP, faults.SS, faults.GP))
RESET_RIP, RESET_BASE = 0xFFF0, 0xFFFF0000
PATIENCE = 5.0
"""Seconds that the search for the way to a shutdown may take."""


@record
class Autopsy:
    """``cause`` in one sentence; ``account`` in order, what happened; ``instructions`` (linear address, text) the last
    ones, oldest first; ``exits`` the last exits in words, oldest first."""

    cause: str
    account: tuple[str, ...]
    instructions: tuple[tuple[int, str], ...] = ()
    exits: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "cause": self.cause,
            "account": list(self.account),
            "instructions": [{"address": address, "text": text} for address, text in self.instructions],
            "exits": list(self.exits),
        }


def of_shutdown(runner: Runner) -> tuple[Autopsy, State | None]:
    """The account of a triple fault, and the state before the instruction that began it, where it is known."""
    session = runner.session
    read = session.physical.read
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
            return Autopsy(text, (text,), _shown(session, trail), exits), None
        regs, sregs = trail.steps[-1], trail.sregs
    state = State(regs, sregs, read, session.machine.paging_limits)
    cause, account = explain(state)
    if _paging_is_the_reason(state):
        cause = (
            "This KVM cannot run a guest with paging outside of long mode and ends it in a shutdown at once; "
            "one on hardware virtualization (kvm_intel, kvm_amd) can."
        )
        account = (cause,)
    instructions = _shown(session, trail) if trail is not None and trail.ended else _one(state)
    return Autopsy(cause, account, instructions, exits), state


def undelivered(state: State) -> Fault | None:
    """The exception that the instruction raises and that the CPU cannot deliver, None where it can."""
    fault = faults.first_fault(state)
    return fault if fault is not None and faults.delivery_fault(state, fault) is not None else None


def _trail(runner: Runner, final: abi.kvm_regs | None) -> Trail | None:
    """The way from the last exit to the end; only one that arrives where the vCPU stands, where that is known."""
    if len(runner.session.runners) > 1:
        return None
    last = runner.recent_state()
    if last is None:
        return None
    regs, sregs = last
    mode = mode_of(runner.sregs.cr0, runner.sregs.efer, regs.rflags, runner.sregs.cs.l, runner.sregs.cs.db)
    if not runner.session.profile.behaviour(mode, runner.cpl).step:
        return None
    session = runner.session
    cpuid, under = runner.vcpu.get_cpuid(), session.traps.under
    end = time.monotonic() + PATIENCE

    def give_up() -> bool:
        return session.world.hurried or time.monotonic() > end

    alarm = threading.Timer(PATIENCE, runner.kick)  # for a step that KVM never ends
    alarm.start()
    try:
        for start in [sregs] if sregs is not None else [runner.sregs_at_start, runner.sregs]:
            if start is None:
                continue
            found = replay(session.machine, under, regs, start, cpuid, give_up)
            if found is not None and (final is None or (found.ended and found.steps[-1].rip == final.rip)):
                return found
        return None
    finally:
        alarm.cancel()


def explain(state: State) -> tuple[str, tuple[str, ...]]:
    """Why this state ends in a triple fault: the cause in a sentence, and the account step by step."""
    code = state.code()
    found = disasm.disassemble(code, state.pc, state.mode.bits, 1) if code else []
    at = f"{found[0].text} at {state.pc:#x}" if found else f"the instruction at {state.pc:#x}"
    fault = faults.first_fault(state)
    if fault is None:
        return _unknown(state, at)
    account = [f"{at} raised {fault.name} (vector {fault.vector}): {fault.why}."]
    first, reason = fault, ""
    for _ in range(4):
        refused = faults.delivery_fault(state, fault)
        if refused is None:
            account.append(f"{fault.name} could be delivered from here: the rest happened in its handler.")
            break
        account.append(f"{fault.name} could not be delivered: {refused.why}.")
        reason = reason or refused.why
        if fault.vector == faults.DF:
            account.append("A double fault that cannot be delivered is a triple fault: the CPU shut down.")
            break
        fault = _both(fault, refused)
        if fault.vector == faults.DF:
            account.append(f"That is {refused.name} while another exception was being delivered: a double fault, #DF.")
        else:
            account.append(f"That raised {fault.name} in its place.")
    cause = f"{at}: {first.name}, {first.why}" + (f"; not handled, as {reason}" if reason else "")
    return f"{cause}.", tuple(account)


def _both(first: Fault, second: Fault) -> Fault:
    """What a fault during the delivery of another makes (SDM volume 3A, table 6-5)."""
    double = (first.vector in CONTRIBUTORY and second.vector in CONTRIBUTORY) or (
        first.vector == faults.PF and (second.vector in CONTRIBUTORY or second.vector == faults.PF)
    )
    return Fault(faults.DF, "a fault while another was delivered") if double else second


def _unknown(state: State, at: str) -> tuple[str, tuple[str, ...]]:
    text = f"Nothing wrong can be seen with {at}"
    if state.regs.rflags & faults.EFLAGS_IF:
        interrupt = faults.delivery_fault(state, Fault(32, "an interrupt"))
        if interrupt is not None:
            text += f"; interrupts are enabled, and one could not be delivered: {interrupt.why}"
    if state.sregs.cr2 and state.sregs.cr0 & CR0_PG:
        text += f"; CR2 is {int(state.sregs.cr2):#x}"
    return f"{text}.", (f"{text}.",)


def _paging_is_the_reason(state: State) -> bool:
    if not state.sregs.cr0 & CR0_PG or state.sregs.efer & EFER_LMA:
        return False
    from kvmdbg.core.probe import legacy_paging_works

    return not legacy_paging_works()


def _shown(session: Any, trail: Trail | None) -> tuple[tuple[int, str], ...]:
    if trail is None:
        return ()
    found: list[tuple[int, str]] = []
    for regs in trail.steps:
        found += _one(State(regs, trail.sregs, session.physical.read, session.machine.paging_limits))
    return tuple(found)


def _one(state: State) -> tuple[tuple[int, str], ...]:
    code = state.code()
    found = disasm.disassemble(code, state.pc, state.mode.bits, 1) if code else []
    return ((state.pc, found[0].text if found else "(cannot be read)"),)


def of_failed_entry(runner: Runner) -> Autopsy:
    """Which of the conditions for entering a guest its state breaks."""
    broken = entry_checks.violations(runner.vcpu.regs, runner.sregs)
    if not broken:
        text = "The state breaks no condition that is checked here (Intel SDM volume 3C, 26.3.1)."
        return Autopsy(text, (text,), exits=tuple(runner.last_exits()))
    account = tuple(f"{_sentence(one)}." for one in broken)
    return Autopsy(account[0], account, exits=tuple(runner.last_exits()))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def of_emulation_failure(runner: Runner) -> Autopsy:
    """What the instruction is that KVM cannot run, and what it touches."""
    session = runner.session
    state = State(runner.vcpu.regs, runner.sregs, session.physical.read, session.machine.paging_limits)
    account = tuple(_emulation(state))
    return Autopsy(account[0], account, _one(state), tuple(runner.last_exits()))


def _emulation(state: State) -> Iterator[str]:
    code = state.code()
    insn = disasm.decode(code, state.mode.bits) if code else None
    if insn is None:
        fault = faults.first_fault(state)
        yield f"No instruction can be read at {state.pc:#x}" + (f": {fault.why}." if fault else ".")
        return
    text = f"{insn.mnemonic} {insn.op_str}".rstrip()
    bits = state.mode.bits
    outside = []
    for access in operands.accesses(code, state.pc, bits, state.register, bits):
        physical = state.walk(access.linear).physical
        try:
            if physical is not None:
                state.read_physical(physical, 1)
        except MemoryFault:
            outside.append(f"{access.linear:#x} (physical {physical:#x})")
    if outside:
        yield f"{text} touches {', '.join(outside)}, where no memory is: KVM has to emulate it, and cannot do this one."
    else:
        groups = sorted({insn.group_name(group) for group in insn.groups} - {"privilege", "mode64", "not64bitmode"})
        kind = f" ({', '.join(groups)})" if groups else ""
        yield f"This KVM runs such code by emulating instructions, and its emulator lacks {text}{kind}."
    fault = faults.first_fault(state)
    if fault is not None and not fault.software:
        yield f"On a CPU it would raise {fault.name}: {fault.why}."
