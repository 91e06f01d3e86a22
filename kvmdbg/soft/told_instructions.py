"""Instructions whose results are not unicorn's to say: CPUID, RDTSC and RDTSCP.

Each ends unicorn's run: of the flags that the instructions behind it make in the same run it would lose those that are
not made from a result (CF of bt and cmc, what sahf and das leave).
"""

from __future__ import annotations

import ctypes
from ctypes import c_uint64
from typing import TYPE_CHECKING

from kvmdbg.soft import library
from kvmdbg.soft.state import MSRS

if TYPE_CHECKING:
    from kvmdbg.soft.running import Running

TSC_AUX = 0xC0000103
OSXSAVE, CR4_OSXSAVE = 1 << 27, 1 << 18


class ToldInstructions:
    """Of the vCPU ``cpu``."""

    def __init__(self, cpu: Running) -> None:
        self._cpu = cpu
        self._library, self._uc = cpu.vm.library, cpu.vm.uc
        hooks = (
            (library.INSN_CPUID, self._on_cpuid),
            (library.INSN_RDTSC, self._on_rdtsc),
            (library.INSN_RDTSCP, self._on_rdtscp),
        )
        self._callbacks = [library.FOR_INSN(function) for _, function in hooks]
        for (instruction, _), callback in zip(hooks, self._callbacks, strict=True):
            self._library.hook(self._uc, library.HOOK_INSN, callback, instruction=instruction)

    def _write(self, register: int, value: int) -> None:
        self._library.quick.uc_reg_write(self._uc, register, ctypes.byref(c_uint64(value)))

    def _read(self, register: int) -> int:
        value = c_uint64()
        self._library.quick.uc_reg_read(self._uc, register, ctypes.byref(value))
        return value.value

    def _on_cpuid(self, uc: int, data: int) -> int:
        leaf, index = self._read(library.REG_RAX) & 0xFFFFFFFF, self._read(library.REG_RCX) & 0xFFFFFFFF
        eax, ebx, ecx, edx = self._cpu.vm.leaf(self._cpu.cpuid, leaf, index)
        if leaf == 1:
            ecx = ecx & ~OSXSAVE | (OSXSAVE if self._read(library.REG_CR4) & CR4_OSXSAVE else 0)
        registers = (library.REG_RAX, library.REG_RBX, library.REG_RCX, library.REG_RDX)
        for register, value in zip(registers, (eax, ebx, ecx, edx), strict=True):
            self._write(register, value)
        self._cpu.end_with("told")
        return 1

    def _on_rdtsc(self, uc: int, data: int) -> int:
        tsc = self._cpu.tsc()
        self._write(library.REG_RAX, tsc & 0xFFFFFFFF)
        self._write(library.REG_RDX, tsc >> 32)
        self._cpu.end_with("told")
        return 1

    def _on_rdtscp(self, uc: int, data: int) -> int:
        state = self._cpu.state
        state.save()
        self._write(library.REG_RCX, state.u64[MSRS[TSC_AUX] // 8] & 0xFFFFFFFF)
        return self._on_rdtsc(uc, data)
