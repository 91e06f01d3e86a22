"""What killed the guest, in words: triple faults, refused entries, instructions that KVM cannot run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kvmdbg.errors import MemoryFault
from kvmdbg.record import record
from kvmdbg.x86 import disasm, entry_checks, faults, operands
from kvmdbg.x86.delivery import Event, delivery_fault
from kvmdbg.x86.exceptions import following
from kvmdbg.x86.faults import Fault, State
from kvmdbg.x86.modes import CR0_PG


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


def undelivered(state: State) -> Fault | None:
    """The exception that the instruction raises and that the CPU cannot deliver, None where it can."""
    fault = faults.first_fault(state)
    return fault if fault is not None and delivery_fault(state, fault) is not None else None


def explain(state: State) -> tuple[str, tuple[str, ...]]:
    """Why this state ends in a triple fault: the cause in a sentence, and the account step by step."""
    code = state.code()
    found = disasm.disassemble(code, state.pc, state.mode.bits, 1, base=state.code_base) if code else []
    at = f"{found[0].text} at {state.pc:#x}" if found else f"the instruction at {state.pc:#x}"
    fault = faults.first_fault(state)
    if fault is None:
        return _unknown(state, at)
    why = "" if fault.software else f": {fault.why}"
    account = [f"{at} raised {fault.name} (vector {fault.vector}){why}."]
    first, reason = fault, ""
    for _ in range(4):
        refused = delivery_fault(state, fault)
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
    cause = at if first.software else f"{at}: {first.name}, {first.why}"
    cause += f"; not handled, as {reason}" if reason else ""
    return f"{cause}.", tuple(account)


def _both(first: Fault, second: Fault) -> Fault:
    """What a fault during the delivery of another makes."""
    after = following(Event.of(first), second)
    double = after is None or after.vector == faults.DF
    return Fault(faults.DF, "a fault while another was delivered") if double else second


def _unknown(state: State, at: str) -> tuple[str, tuple[str, ...]]:
    text = f"Nothing wrong can be seen with {at}"
    if state.regs.rflags & faults.EFLAGS_IF:
        interrupt = delivery_fault(state, Fault(32, "an interrupt"))
        if interrupt is not None:
            text += f"; interrupts are enabled, and one could not be delivered: {interrupt.why}"
    if state.sregs.cr2 and state.sregs.cr0 & CR0_PG:
        text += f"; CR2 is {int(state.sregs.cr2):#x}"
    return f"{text}.", (f"{text}.",)


def instruction_of(state: State) -> tuple[tuple[int, str], ...]:
    """The instruction that a state stands before: its linear address and its text."""
    code = state.code()
    found = disasm.disassemble(code, state.pc, state.mode.bits, 1, base=state.code_base) if code else []
    return ((state.pc, found[0].text if found else "(cannot be read)"),)


def of_failed_entry(state: State, exits: tuple[str, ...]) -> Autopsy:
    """Which of the conditions for entering a guest its state breaks; ``exits`` are the last ones in words."""
    broken = entry_checks.violations(state.regs, state.sregs)
    if not broken:
        text = "The state breaks no condition that is checked here (Intel SDM volume 3C, 26.3.1)."
        return Autopsy(text, (text,), exits=exits)
    account = tuple(f"{_sentence(one)}." for one in broken)
    return Autopsy(account[0], account, exits=exits)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def of_emulation_failure(state: State, exits: tuple[str, ...]) -> Autopsy:
    """What the instruction is that KVM cannot run, and what it touches."""
    account = tuple(_emulation(state))
    return Autopsy(account[0], account, instruction_of(state), exits)


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
    if fault is None:
        return
    if not fault.software:
        yield f"On a CPU it would raise {fault.name}: {fault.why}."
    elif (refused := delivery_fault(state, fault)) is not None:
        yield f"On a CPU it would raise {refused.name}: {refused.why}."
