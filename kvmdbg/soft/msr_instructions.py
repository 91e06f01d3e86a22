"""RDMSR and WRMSR, of which unicorn does not tell, and which it lets pass for any MSR (held_places.py finds them).

MSRs that unicorn has it reads and writes itself; what somebody wants to see becomes an exit, the others are done here,
as KVM does them: #GP where there is no such MSR.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import c_uint64
from typing import TYPE_CHECKING

from kvmdbg.kvm import abi, exits
from kvmdbg.soft import library
from kvmdbg.soft.registers import UNICORNS_MSRS, takes
from kvmdbg.soft.state import GENERAL
from kvmdbg.x86.delivery import Event
from kvmdbg.x86.faults import GP

if TYPE_CHECKING:
    from kvmdbg.soft.running import Running

RDMSR, WRMSR = b"\x0f\x32", b"\x0f\x30"


class MsrInstructions:
    """Of the vCPU ``cpu``; ``over`` goes behind the instruction, and says whether that has led to an exit."""

    def __init__(self, cpu: Running, over: Callable[[], bool]) -> None:
        self._cpu, self._vm, self._go_behind = cpu, cpu.vm, over
        self._library, self._uc = cpu.vm.library, cpu.vm.uc
        self._register = c_uint64()
        self._at_register = ctypes.byref(self._register)

    def _read(self, register: int) -> int:
        self._library.quick.uc_reg_read(self._uc, register, self._at_register)
        return self._register.value

    def is_unicorns(self, writes: bool) -> bool:
        """Whether unicorn may do the one at hand, within a hook before it."""
        index = self._read(library.REG_RCX) & 0xFFFFFFFF
        if index not in UNICORNS_MSRS or self._vm.exits_at_msr(index):
            return False
        value = (self._read(library.REG_RDX) & 0xFFFFFFFF) << 32 | self._read(library.REG_RAX) & 0xFFFFFFFF
        return not writes or takes(index, value)

    def execute(self, writes: bool) -> bool:
        """The one at hand; whether that has led to an exit."""
        cpu, state = self._cpu, self._cpu.state
        if state.cpl:
            return cpu.deliver(Event.exception(GP, 0))
        index = state.u64[GENERAL // 8 + 1] & 0xFFFFFFFF
        value = self._value() if writes else None
        if not self._vm.exits_at_msr(index):
            return self._do(index, value)
        cpu.leave(exits.KVM_EXIT_X86_RDMSR if value is None else exits.KVM_EXIT_X86_WRMSR)
        msr = cpu.kvm_run.msr
        msr.error, msr.reason, msr.index, msr.data = 0, abi.KVM_MSR_EXIT_REASON_FILTER, index, value or 0
        cpu.answered_by(lambda: self._answered(value is not None))
        return True

    def _value(self) -> int:
        words, first = self._cpu.state.u64, GENERAL // 8
        return (words[first + 2] & 0xFFFFFFFF) << 32 | words[first] & 0xFFFFFFFF

    def _do(self, index: int, value: int | None) -> bool:
        cpu = self._cpu
        if value is None:
            found = cpu.get_msr(index)
        else:
            found = value if cpu.set_msr(index, value) else None
        if found is None:
            return cpu.deliver(Event.exception(GP, 0))
        return self._over(None if value is not None else found)

    def _answered(self, writes: bool) -> bool:
        msr = self._cpu.kvm_run.msr
        if msr.error:
            return self._cpu.deliver(Event.exception(GP, 0))
        return self._over(None if writes else msr.data)

    def _over(self, value: int | None) -> bool:
        """The instruction has been done, and has read ``value``."""
        words, first = self._cpu.state.u64, GENERAL // 8
        if value is not None:
            words[first], words[first + 2] = value & 0xFFFFFFFF, value >> 32
        return self._go_behind()
