"""Exceptions and software interrupts that unicorn tells of: which one it is, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvmdbg.kvm import abi
from kvmdbg.soft.alignment import accesses
from kvmdbg.soft.nothing_done import bits_of
from kvmdbg.soft.state import CR2, ERROR_CODE, IS_INT, NEXT_RIP
from kvmdbg.x86.delivery import INT, INT1, INT3, INTO, Event
from kvmdbg.x86.descriptors import Segment
from kvmdbg.x86.disasm import prefixes_of
from kvmdbg.x86.faults import GP, NP, PF, SS, TS, UD, descriptor
from kvmdbg.x86.faults import State as CpuState
from kvmdbg.x86.registers import EFLAGS_RF, NO_FAULTS

if TYPE_CHECKING:
    from kvmdbg.soft.running import Running

OPCODE_INT, OPCODE_INT1 = b"\xcd", b"\xf1"
RDPMC = b"\x0f\x33"
FAR_CALLS, FAR_RETURNS = (b"\x9a", b"\xff"), (b"\xca", b"\xcb", b"\xcf")


class ToldExceptions:
    """Of the vCPU ``cpu``. What both methods say is whether it has led to an exit."""

    def __init__(self, cpu: Running) -> None:
        self._cpu = cpu

    def raised(self, number: int, flags: int) -> bool:
        cpu, state = self._cpu, self._cpu.state
        state.flags, cpu.context_changed = flags, True
        if state.u32[IS_INT // 4]:
            return self._software_interrupt(number)
        cpu.instructions -= number not in NO_FAULTS
        code = state.u32[ERROR_CODE // 4]
        if self._is_of_the_stack(number, code):
            number = SS
        return cpu.deliver(Event.exception(number, code, state.u64[CR2 // 8] if number == PF else None))

    def _is_of_the_stack(self, number: int, code: int) -> bool:
        """Whether it is #SS: of an address that is not canonical, or of a segment that is not present."""
        if number in (NP, TS):
            return self._is_of_stack_segment(number, code)
        if number != GP or code or bits_of(self._cpu.state) != 64:
            return False
        fault = next((fault for _, fault in accesses(self._cpu) if fault is not None), None)
        return fault is not None and fault.vector == SS

    def _opcode(self, size: int) -> bytes:
        """Of the instruction at hand, so many bytes."""
        state = self._cpu.state
        code = self._cpu.vm.bytes_at(state, state.pc, 15)
        at = prefixes_of(code, bits_of(state))
        return code[at : at + size]

    def _is_of_stack_segment(self, number: int, selector: int) -> bool:
        """Whether a far return or call to another ring has found the stack's segment not present."""
        opcode = self._opcode(1)
        if opcode not in (FAR_RETURNS if number == NP else FAR_CALLS):
            return False
        self._cpu.show()
        found = descriptor(CpuState(self._cpu.regs, self._cpu.get_sregs(), self._cpu.vm.memory.read), selector)
        return isinstance(found, Segment) and found.is_writable and not found.present

    def _software_interrupt(self, number: int) -> bool:
        cpu, state = self._cpu, self._cpu.state
        behind = state.rip
        state.flags &= ~EFLAGS_RF
        code = cpu.vm.bytes_at(state, state.pc - 2, 2)
        kind = INT if code[:1] == OPCODE_INT and code[1:] == bytes((number,)) else {3: INT3, 4: INTO}.get(number, INT)
        state.rip = behind - (2 if kind == INT else 1)
        cpu.context_changed = True
        if kind == INT3 and cpu.control & abi.KVM_GUESTDBG_USE_SW_BP:
            cpu.instructions -= 1
            cpu.last_int3 = state.pc
            cpu.debug_exit(3, state.pc, 0)
            return True
        return cpu.deliver(Event.software(number, behind, kind))

    def invalid(self) -> bool:
        """An instruction that unicorn has none for, of which INT1 is one, or INT 6."""
        cpu, state = self._cpu, self._cpu.state
        if state.u32[IS_INT // 4]:
            state.rip = state.u64[NEXT_RIP // 8]
            return self._software_interrupt(UD)
        cpu.instructions -= 1
        code = cpu.vm.bytes_at(state, state.pc, 15)
        at = prefixes_of(code, bits_of(state))
        if code[at : at + 1] == OPCODE_INT1:
            return cpu.deliver(Event.software(1, state.rip + at + 1, INT1))
        return cpu.deliver(Event.exception(GP if code[at : at + 2] == RDPMC else UD))  # there are no counters
