"""Instructions that unicorn does and a CPU refuses (refusals.py), and INT, INT3 and INTO behind prefixes, of whose
beginning unicorn does not tell."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from kvmdbg.kvm import abi
from kvmdbg.soft import library
from kvmdbg.soft.looked_for import CHECKED, FAR, INTERRUPT, LOCK, PORTS, SS_LOAD
from kvmdbg.soft.nothing_done import bits_of, mask_of, repeats_zero_times
from kvmdbg.soft.port_rights import may_use_port
from kvmdbg.soft.refusals import refusal
from kvmdbg.soft.state import GDT, GENERAL, HFLAGS, LMA, SEGMENTS
from kvmdbg.x86.delivery import INT, INT3, INTO, Event
from kvmdbg.x86.disasm import prefixes_of
from kvmdbg.x86.faults import GP
from kvmdbg.x86.faults import State as CpuState
from kvmdbg.x86.operands import EFLAGS_OF
from kvmdbg.x86.registers import EFLAGS_RF

if TYPE_CHECKING:
    from kvmdbg.soft.running import Running

KINDS = frozenset((CHECKED, SS_LOAD, LOCK, PORTS, INTERRUPT, FAR))
XSTATE_LEAF = 0xD
L_AND_D = 3 << 53
OPCODE_INT, OPCODE_INT3, OPCODE_INTO = 0xCD, 0xCC, 0xCE


class RefusedInstructions:
    """Of the vCPU ``cpu``."""

    def __init__(self, cpu: Running) -> None:
        self._cpu = cpu
        self._descriptor = ctypes.create_string_buffer(8)

    def is_unicorns(self, kind: bytes, code: bytes) -> bool:
        """Whether unicorn may do the one at hand, within a hook before it."""
        if kind not in (SS_LOAD, PORTS):
            return False
        state = self._cpu.state
        state.save()
        if kind == SS_LOAD:
            return bits_of(state) != 64
        return not repeats_zero_times(code, state) or self._may_use_port(code)

    def may_refuse_code(self, selector: int) -> bool:
        """Whether a descriptor has both L and D set, and may so not be CS in IA-32e mode, within a hook."""
        cpu, state = self._cpu, self._cpu.state
        if not state.u32[HFLAGS // 4] & LMA:
            return False
        table = SEGMENTS["ldt"] if selector & 4 else GDT
        base, limit = state.u64[table // 8 + 1], state.u32[table // 4 + 4]
        if selector | 7 > limit:
            return False
        read = cpu.vm.library.quick.uc_vmem_read
        if read(cpu.vm.uc, base + (selector & ~7), library.READ, self._descriptor, 8):
            return False
        return int.from_bytes(self._descriptor.raw, "little") & L_AND_D == L_AND_D

    def execute(self, code: bytes, length: int) -> bool | None:
        """The one at hand; whether that has led to an exit. None where it is not refused."""
        cpu, bits = self._cpu, bits_of(self._cpu.state)
        at = prefixes_of(code, bits)
        if at >= len(code):
            return None
        opcode = code[at]
        if opcode in (OPCODE_INT, OPCODE_INT3, OPCODE_INTO):
            return self._software_interrupt(code, at, length)
        if 0x6C <= opcode <= 0x6F and repeats_zero_times(code, cpu.state) and not self._may_use_port(code):
            return cpu.deliver(Event.exception(GP))
        cpu.show()
        state = CpuState(cpu.regs, cpu.get_sregs(), cpu.vm.memory.read)
        eax, _, _, edx = cpu.vm.leaf(cpu.cpuid, XSTATE_LEAF, 0)
        fault = refusal(state, edx << 32 | eax)
        return None if fault is None else cpu.deliver(Event.of(fault))

    def _may_use_port(self, code: bytes) -> bool:
        cpu, state = self._cpu, self._cpu.state
        bits = bits_of(state)
        at = prefixes_of(code, bits)
        size = 1 if not code[at] & 1 else 2 if (0x66 in code[:at]) == (bits != 16) else 4
        return may_use_port(cpu, state.u64[GENERAL // 8 + 2] & 0xFFFF, size)

    def _software_interrupt(self, code: bytes, at: int, length: int) -> bool | None:
        cpu, state = self._cpu, self._cpu.state
        if code[at] == OPCODE_INTO and (bits_of(state) == 64 or not state.flags & EFLAGS_OF):
            return None
        if code[at] == OPCODE_INT3 and cpu.control & abi.KVM_GUESTDBG_USE_SW_BP:
            return None
        number, kind = {OPCODE_INT: (code[-1], INT), OPCODE_INT3: (3, INT3), OPCODE_INTO: (4, INTO)}[code[at]]
        cpu.instructions += 1
        state.flags &= ~EFLAGS_RF
        cpu.context_changed = True
        mask = mask_of(state)
        return cpu.deliver(Event.software(number, state.rip + length & mask, kind))
