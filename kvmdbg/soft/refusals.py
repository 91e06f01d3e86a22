"""What a CPU refuses and unicorn does not: as pure functions of the CPU's state (SDM volume 2)."""

from __future__ import annotations

from kvmdbg.errors import MemoryFault
from kvmdbg.masks import LOW32
from kvmdbg.x86 import descriptors, disasm, operands
from kvmdbg.x86.disasm import prefixes_of
from kvmdbg.x86.faults import GP, Fault, State, canonical, descriptor
from kvmdbg.x86.registers import extract, lookup

LOCK = 0xF0
LOCKABLE = {opcode: range(8) for opcode in (*(at + row for row in range(0, 0x38, 8) for at in (0, 1)), 0x86, 0x87)}
"""ADD, OR, ADC, SBB, AND, SUB, XOR, XCHG: an opcode, and the numbers that its ModR/M byte may have as the register."""
LOCKABLE |= {0x80: range(7), 0x81: range(7), 0x82: range(7), 0x83: range(7)}
LOCKABLE |= {0xF6: range(2, 4), 0xF7: range(2, 4), 0xFE: range(2), 0xFF: range(2)}
LOCKABLE_0F = dict.fromkeys((0xAB, 0xB3, 0xBB, 0xB0, 0xB1, 0xC0, 0xC1), range(8))
LOCKABLE_0F |= {0xBA: range(5, 8), 0xC7: range(1, 2)}
"""BTS, BTR, BTC, CMPXCHG, XADD; CMPXCHG8B."""
SSE_STATE, AVX_STATE = 2, 4
CR4_OSXSAVE = 1 << 18
FAR = (b"\xea", b"\x9a", b"\xff", b"\xca", b"\xcb", b"\xcf")
"""Jumps, calls and returns."""


def lock_is_refused(code: bytes, bits: int) -> bool:
    """Whether these bytes are, or begin with, an instruction that has a LOCK prefix and may have none (#UD)."""
    at = prefixes_of(code, bits)
    if LOCK not in code[:at]:
        return False
    opcodes = LOCKABLE
    if code[at : at + 1] == b"\x0f":
        opcodes, at = LOCKABLE_0F, at + 1
    numbers = opcodes.get(code[at]) if at < len(code) else None
    if numbers is None or at + 1 >= len(code):
        return True
    return code[at + 1] >= 0xC0 or code[at + 1] >> 3 & 7 not in numbers


def refusal(state: State, xcr0: int) -> Fault | None:
    """The exception of the instruction at hand at CPL 0, where CPUID lets these bits of XCR0 be set: what unicorn does
    not raise of LTR, LGDT, LIDT, XSETBV, loads of SS in 64-bit mode, and loads of CS in IA-32e mode."""
    code = state.code()
    at = prefixes_of(code, state.mode.bits)
    opcode, modrm = code[at : at + 2], code[at + 2 : at + 3]
    try:
        if state.mode.segmented:
            return None
        if opcode == b"\x0f\x01" and modrm == b"\xd1":
            return _xsetbv(state, xcr0) if state.sregs.cr4 & CR4_OSXSAVE and not state.regs.rcx & LOW32 else None
        if opcode == b"\x0f\x01" and state.long:
            base = int.from_bytes(_memory(state)[2:10], "little")
            return None if canonical(base, state.sregs.cr4) else Fault(GP, f"the base {base:#x} is not canonical")
        if opcode == b"\x0f\x00":
            return None if _selector(state) & ~3 else Fault(GP, "loading TR with the null selector")
        if (opcode[:1] == b"\x8e" or opcode == b"\x0f\xb2") and state.long:
            selector = _selector(state)
            if selector & ~3 or selector == state.cpl:
                return None
            return Fault(GP, f"loading SS with {selector:#x} at CPL {state.cpl}")
        if opcode[:1] in FAR and state.ia32e:
            return _of_code(state, _far_selector(state, code, at))
    except MemoryFault:
        pass  # unicorn raises what that brings
    return None


def _xsetbv(state: State, xcr0: int) -> Fault | None:
    value = (state.regs.rdx & LOW32) << 32 | state.regs.rax & LOW32
    if not value & 1 or value & ~xcr0 or value & (SSE_STATE | AVX_STATE) == AVX_STATE:
        return Fault(GP, f"XCR0 cannot be {value:#x}")
    return None


def _accesses(state: State) -> list[operands.Access]:
    bits = state.mode.bits
    stack_bits = 64 if bits == 64 else 32 if state.sregs.ss.db else 16
    return operands.accesses(state.code(), state.pc, bits, state.register, stack_bits)


def _memory(state: State) -> bytes:
    """What the memory operand holds. MemoryFault."""
    first = _accesses(state)[0]
    return state.read(first.linear, first.size)


def _selector(state: State) -> int:
    """The one that LTR, MOV to a segment register or LSS load. MemoryFault."""
    insn = disasm.decode(state.code(), state.mode.bits)
    operand = insn.operands[-1]
    if operand.type == operands.MEM:
        return int.from_bytes(_memory(state)[-2:], "little")
    register = lookup(insn.reg_name(operand.reg))
    assert register is not None
    return extract(register, state.register(register.parent)) & 0xFFFF


def _far_selector(state: State, code: bytes, at: int) -> int:
    """The one that a far jump, call or return loads into CS, whose opcode lies ``at`` so many bytes. MemoryFault."""
    size = 2 if (0x66 in code[:at]) == (state.mode.bits != 16) else 4
    if state.long and at and code[at - 1] >> 3 == 0x48 >> 3:
        size = 8
    if code[at] in (0xEA, 0x9A):
        return int.from_bytes(code[at + 1 + size : at + 3 + size], "little")
    return int.from_bytes(state.read(_accesses(state)[0].linear + size, 2), "little")


def _of_code(state: State, selector: int) -> Fault | None:
    found = descriptor(state, selector)
    if isinstance(found, descriptors.Segment) and found.is_code and found.l and found.db:
        return Fault(GP, f"{found.describe()}, with both L and D set", error_code=selector & 0xFFFC)
    return None
