"""Exceptions and software interrupts that unicorn tells of: which one it is, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvmdbg.kvm import abi
from kvmdbg.soft.alignment import accesses
from kvmdbg.soft.nothing_done import bits_of, prefixes_of
from kvmdbg.soft.state import CR2, ERROR_CODE, IS_INT
from kvmdbg.x86.delivery import INT, INT1, INT3, INTO, Event
from kvmdbg.x86.faults import GP, PF, SS, UD
from kvmdbg.x86.registers import EFLAGS_RF, NO_FAULTS

if TYPE_CHECKING:
    from kvmdbg.soft.running import Running

OPCODE_INT, OPCODE_INT1 = b"\xcd", b"\xf1"


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
        if number == GP and not code and bits_of(state) == 64 and self._is_of_the_stack():
            number = SS
        return cpu.deliver(Event.exception(number, code, state.u64[CR2 // 8] if number == PF else None))

    def _is_of_the_stack(self) -> bool:
        """Whether the address that is not canonical is one in the stack's segment."""
        fault = next((fault for _, fault in accesses(self._cpu) if fault is not None), None)
        return fault is not None and fault.vector == SS

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
        """An instruction that unicorn has none for: INT1 is one of them."""
        cpu, state = self._cpu, self._cpu.state
        cpu.instructions -= 1
        code = cpu.vm.bytes_at(state, state.pc, 15)
        at = prefixes_of(code, bits_of(state))
        if code[at : at + 1] == OPCODE_INT1:
            return cpu.deliver(Event.software(1, state.rip + at + 1, INT1))
        return cpu.deliver(Event.exception(UD))
