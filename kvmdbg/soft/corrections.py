"""Instructions of which unicorn makes another result or other flags than a CPU (SDM volume 2): BLSI, BEXTR, BZHI, PDEP
and PEXT, CMPXCHG of a register of 32 bits in 64-bit code, POPCNT in 16-bit code, LAR and LSL in IA-32e mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kvmdbg.errors import MemoryFault
from kvmdbg.soft.nothing_done import bits_of
from kvmdbg.soft.state import GENERAL
from kvmdbg.x86 import disasm, operands
from kvmdbg.x86.descriptors import Segment
from kvmdbg.x86.faults import State as CpuState
from kvmdbg.x86.faults import descriptor
from kvmdbg.x86.registers import extract, insert, lookup

if TYPE_CHECKING:
    from kvmdbg.soft.running import Running

CF, PF, AF, ZF, SF, OF = 0x1, 0x4, 0x10, 0x40, 0x80, 0x800
LEGACY_TYPES = frozenset((1, 3, 4, 5))
"""TSSs and call gates of 16 bits, task gates: IA-32e mode has none (LAR's and LSL's tables)."""
NUMBERS = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", *(f"r{number}" for number in range(8, 16)))


def corrected(name: str, bits: int, first: int, second: int, flags: int) -> tuple[int, int]:
    """The result of so many bits, and the flags, of an instruction with these sources."""
    mask = (1 << bits) - 1
    if name == "pdep":
        places = [bit for bit in range(bits) if second >> bit & 1]
        return sum((first >> number & 1) << bit for number, bit in enumerate(places)), flags
    if name == "pext":
        places = [bit for bit in range(bits) if second >> bit & 1]
        return sum((first >> bit & 1) << number for number, bit in enumerate(places)), flags
    if name == "popcnt":
        return first.bit_count(), flags & ~(CF | PF | AF | ZF | SF | OF) | (0 if first else ZF)
    carry = 0
    if name == "blsi":
        result, carry = first & -first, CF if first else 0
    elif name == "bzhi":
        count = second & 0xFF
        result, carry = first & (1 << count) - 1, CF if count >= bits else 0
    else:  # bextr
        result = first >> (second & 0xFF) & (1 << (second >> 8 & 0xFF)) - 1
    result &= mask
    signs = (0 if result else ZF) | (SF if result >> bits - 1 else 0)
    return result, flags & ~(CF | ZF | SF | OF) | carry | signs


class CorrectedInstructions:
    """Of the vCPU ``cpu``; ``do`` has unicorn do the one at hand, and says whether that has led to an exit."""

    def __init__(self, cpu: Running, do: Callable[[], bool]) -> None:
        self._cpu, self._do = cpu, do

    def execute(self, code: bytes) -> bool | None:
        """The one at hand; whether that has led to an exit. None where it is none of these."""
        bits = bits_of(self._cpu.state)
        insn = disasm.decode(code, bits)
        name = insn.mnemonic if insn is not None else ""
        if name == "cmpxchg" and bits == 64 and insn.operands[0].type == operands.REG and insn.operands[0].size == 4:
            return self._cmpxchg(NUMBERS.index(_register(insn, insn.operands[0]).parent))
        if name in ("blsi", "bextr", "bzhi", "pdep", "pext") or (name == "popcnt" and bits == 16):
            return self._compute(insn, name)
        if name in ("lar", "lsl"):
            return self._describe(insn)
        return None

    def _cmpxchg(self, number: int) -> bool:
        """Where the comparison fails the register is left alone: unicorn clears its upper half."""
        words = self._cpu.state.u64
        before = words[GENERAL // 8 + number]
        led_to_exit = self._do()
        if self._is_done() and words[GENERAL // 8 + number] == before & 0xFFFFFFFF and not self._cpu.state.flags & ZF:
            self._write(number, before)
        return led_to_exit

    def _compute(self, insn: Any, name: str) -> bool:
        cpu, state = self._cpu, self._cpu.state
        cpu.show()
        now = CpuState(cpu.regs, cpu.get_sregs(), cpu.vm.memory.read)
        target = _register(insn, insn.operands[0])
        number, size = NUMBERS.index(target.parent), insn.operands[0].size
        before, flags = state.u64[GENERAL // 8 + number], state.flags
        try:
            first, second = (*(_value(now, insn, operand) for operand in insn.operands[1:]), 0)[:2]
        except MemoryFault:
            return self._do()
        led_to_exit = self._do()
        if self._is_done():
            result, flags = corrected(name, size * 8, first, second, flags)
            self._write(number, result if size > 2 else insert(target, before, result))
            state.flags = state.flags & ~(CF | PF | AF | ZF | SF | OF) | flags & (CF | PF | AF | ZF | SF | OF)
        return led_to_exit

    def _describe(self, insn: Any) -> bool:
        """Of a type that IA-32e mode has none of nothing is told but ZF."""
        cpu, state = self._cpu, self._cpu.state
        cpu.show()
        now = CpuState(cpu.regs, cpu.get_sregs(), cpu.vm.memory.read)
        number = NUMBERS.index(_register(insn, insn.operands[0]).parent)
        before = state.u64[GENERAL // 8 + number]
        try:
            found = descriptor(now, _value(now, insn, insn.operands[1]) & 0xFFFF)
        except MemoryFault:
            return self._do()
        led_to_exit = self._do()
        if self._is_done() and isinstance(found, Segment) and not found.s and found.type in LEGACY_TYPES:
            self._write(number, before)
            state.flags &= ~ZF
        return led_to_exit

    def _is_done(self) -> bool:
        """Whether it has raised nothing but the trap of the guest's own EFLAGS.TF."""
        return self._cpu.why is None or self._cpu.why[:2] == ("exception", 1)

    def _write(self, number: int, value: int) -> None:
        self._cpu.state.u64[GENERAL // 8 + number] = value
        self._cpu.context_changed = True


def _register(insn: Any, operand: Any) -> Any:
    return lookup(insn.reg_name(operand.reg))


def _value(state: CpuState, insn: Any, operand: Any) -> int:
    """MemoryFault."""
    if operand.type == operands.MEM:
        at = operands.effective(insn, operand, state.pc, state.mode.bits, state.register)
        return int.from_bytes(state.read(at, operand.size), "little")
    register = _register(insn, operand)
    return extract(register, state.register(register.parent))
