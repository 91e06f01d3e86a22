"""What is worked out for the delivery of an event is what this KVM does."""

from __future__ import annotations

import pytest

from kvmdbg.core.session import Session
from kvmdbg.kvm import abi
from kvmdbg.lockstep import state as lockstep
from kvmdbg.record import replace
from kvmdbg.x86.delivery import Event
from kvmdbg.x86.exceptions import Dispatched, dispatch
from kvmdbg.x86.faults import State, first_fault
from kvmdbg.x86.registers import EFLAGS_RF
from tests.differential.program import LAYOUTS, MODES, Program, assembled
from tests.lockstep.harness import sessions

pytestmark = [pytest.mark.kvm, pytest.mark.kvm_alone, pytest.mark.timeout(120)]

LAYOUT = LAYOUTS[0]
RESUMES = {"real": "mov word ptr cs:", "prot": "mov dword ptr ", "long": "mov qword ptr "}
FAULTS = {
    "real": ("ud2", "div bl", "int 0x21", "int3"),
    "prot": ("ud2", "div bl", "mov ds, cx"),
    "long": ("ud2", "div bl", "mov fs, cx", "mov qword ptr [rdi], rax", "mov al, byte ptr [r9]"),
}
"""With rbx 0, rdi where nothing is mapped, r9 not canonical, and a selector beyond the GDT in cx."""
ACCESSED = 1


def program(mode: str) -> Program:
    cell = f"{RESUMES[mode]}[{LAYOUT.resume:#x}]"
    blocks = tuple((f"{cell}, {{after}}", line, "after:") for line in FAULTS[mode])
    registers = {"rdi": 1 << 40, "rbx": 0, "rcx": 0xFFF0, "r9": 1 << 47, "r11": 0, "rsp": LAYOUT.stack}
    return Program(1, mode, LAYOUT, blocks, True, "retf", registers=tuple(registers.items()))


def expected(session: Session) -> tuple[int, abi.kvm_regs, abi.kvm_sregs, tuple[tuple[int, bytes], ...]] | None:
    """Vector, registers and writes, where the instruction at pc leads to a handler."""
    regs = abi.kvm_regs.from_buffer_copy(lockstep.general(session))
    sregs = abi.kvm_sregs.from_buffer_copy(bytes(session.runner.sregs))
    state = State(regs, sregs, session.physical.read)
    fault = first_fault(state)
    if fault is None:
        return None
    event = Event.of(fault)
    if fault.software:
        event = replace(event, return_to=int(regs.rip) + session.disassemble(state.pc)[0].size)
    found = dispatch(state, event)
    assert isinstance(found, Dispatched)
    found.change.apply(regs, sregs, lambda linear, data: None)
    stack = int(sregs.ss.base) + found.change.regs["rsp"]
    frame = tuple((linear, data) for linear, data in found.change.writes if stack <= linear < stack + 64)
    return fault.vector, regs, sregs, frame


@pytest.mark.parametrize("mode", MODES)
def test_deliveries(mode: str) -> None:
    """Registers, CR2, CS and SS, the frame. The accessed bit of the handler's segment is left out: some KVMs forget it.

    So is EFLAGS.RF, which QEMU's SVM has in few frames.
    """
    found, wanted = [], program(mode)
    with sessions(wanted, ("kvm", "kvm")) as (session, _):
        while session.vcpu.pc != assembled(wanted).end:
            after, before = expected(session), session.registers.rflags
            stop = session.step()
            assert stop.reason == "step", stop.describe()
            if after is None:
                continue
            vector, regs, sregs, frame = after
            found.append(vector)
            now = lockstep.named(lockstep.general(session))
            mine = lockstep.named(bytes(regs))
            for one in (now, mine):
                one["rflags"] &= ~EFLAGS_RF
            assert now == mine, (vector, [(name, now[name], mine[name]) for name in now if now[name] != mine[name]])
            width = len(frame[0][1])
            flags = (before | EFLAGS_RF).to_bytes(8, "little")[:width]
            for linear, data in frame:
                there = session.memory.read(linear, len(data))
                values = [int.from_bytes(one, "little") for one in (there, data)]
                if data == flags:
                    values = [one & ~EFLAGS_RF for one in values]
                assert values[0] == values[1], (vector, hex(linear))
            assert sregs.cr2 == session.runner.sregs.cr2
            for name in ("cs", "ss"):
                for field in ("selector", "base", "limit", "type", "dpl", "db", "l"):
                    values = [int(getattr(getattr(one, name), field)) for one in (sregs, session.runner.sregs)]
                    ignored = ACCESSED if field == "type" else 0
                    assert values[0] | ignored == values[1] | ignored, (vector, name, field)
    assert found == {
        "real": [6, 0, 0x21, 3], "prot": [6, 0, 13], "long": [6, 0, 13, 14, 13],
    }[mode]  # fmt: skip
