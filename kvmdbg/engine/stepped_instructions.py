"""Instructions that a step meets with care, and those that hooks want to see."""

from __future__ import annotations

from kvmdbg.engine.events import CpuidEvent, MagicEvent, RdtscEvent
from kvmdbg.engine.probe import HLT
from kvmdbg.kvm import abi, exits
from kvmdbg.masks import LOW32, LOW64
from kvmdbg.x86.disasm import decode

PREFIXES = frozenset((0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF2, 0xF3))
PUSHF, POPF, IRET, RETF, RETF_IMM = 0x9C, 0x9D, 0xCF, 0xCB, 0xCA
WITH_CARE = frozenset((PUSHF, POPF, IRET, RETF, RETF_IMM, HLT))
WITH_CARE_AND_PREFIXES = PREFIXES | set(range(0x40, 0x50)) | WITH_CARE
MOV_TO_DR, SYSCALL, SYSRET, SYSEXIT = 0x23, 0x05, 0x07, 0x35  # behind 0F
REP, NOP = 0xF3, 0x90
RUN_NATIVELY = frozenset((0x01, 0x19, 0x1C, 0x1D, 0x1E, 0xAE, 0xC7))
"""Opcodes behind 0F of fences, endbr64, swapgs, serialize, fxsave, rdfsbase, rdrand and no-operations."""
CAREFUL_BEHIND_0F = RUN_NATIVELY | {MOV_TO_DR, SYSCALL, SYSRET, SYSEXIT}


def instruction_event(code: bytes, regs: abi.kvm_regs, bits: int) -> tuple[exits.Exit | None, int]:
    """What the instruction at the start of ``code`` is to hooks, and its length: ``cpuid``, ``rdtsc``, ``vmcall``,
    ``vmmcall`` or ``xchg bx, bx``."""
    at = 0
    while at < len(code) and (code[at] in PREFIXES or (bits == 64 and code[at] & 0xF0 == 0x40)):
        at += 1
    if code[at : at + 2] == b"\x0f\xa2":
        return CpuidEvent(regs.rax & LOW32, regs.rcx & LOW32), at + 2
    if code[at : at + 2] == b"\x0f\x31":
        return RdtscEvent(), at + 2
    if code[at : at + 2] == b"\x87\xdb" and (0x66 in code[:at]) == (bits != 16):
        return MagicEvent(), at + 2
    if code[at : at + 3] in (b"\x0f\x01\xc1", b"\x0f\x01\xd9"):
        mask = LOW64 if bits == 64 else LOW32
        args = tuple(value & mask for value in (regs.rbx, regs.rcx, regs.rdx, regs.rsi))
        return exits.HypercallExit(regs.rax & mask, args, bits == 64), at + 3
    return None, 0


def needs_care(code: memoryview | bytes, at: int) -> bool:
    """Whether the instruction at ``code[at]`` is stepped with care.

    It saves or loads EFLAGS (pushf, popf, iret, syscall, sysret), may return to user code, halts, pauses, writes to a
    debug register, or a KVM in software may let the CPU run it.
    """
    while (byte := code[at]) in WITH_CARE_AND_PREFIXES:
        if byte in WITH_CARE:
            return True
        at += 1
        if at == len(code):
            return True
    if byte == NOP:
        return at > 0 and code[at - 1] == REP  # pause
    return byte == 0x0F and (at + 1 == len(code) or code[at + 1] in CAREFUL_BEHIND_0F)


def native_size(code: bytes, bits: int) -> int | None:
    """The size of the instruction at the start of ``code`` if it is one of RUN_NATIVELY that KVM does not emulate.

    The CPU that runs it is not in a 16-bit mode: its operands are those of 32-bit addresses.
    """
    at = 0
    while at < len(code) and (code[at] in PREFIXES or (bits == 64 and code[at] & 0xF0 == 0x40)):
        at += 1
    if len(code) < at + 3 or code[at] != 0x0F or code[at + 1] not in RUN_NATIVELY:
        return None
    if _emulated(code[at + 1], code[at + 2], bits, wide=bits == 64 and any(byte & 0xF8 == 0x48 for byte in code[:at])):
        return None
    found = decode(code, max(bits, 32))
    if found is None and code[at + 2] < 0xC0:
        return None
    return found.size if found is not None else at + 3


def _emulated(opcode: int, modrm: int, bits: int, *, wide: bool) -> bool:
    """Whether KVM's emulator knows this one of RUN_NATIVELY; ``wide``: with REX.W."""
    group, in_memory = modrm >> 3 & 7, modrm < 0xC0
    if opcode == 0x01:  # sgdt, sidt, lgdt, lidt, smsw, lmsw, invlpg
        return group in (4, 6) or (in_memory and group != 5)
    if opcode == 0xAE:  # fxsave, fxrstor, clflush
        return in_memory and (group == 7 or (group < 2 and bits != 64))
    return opcode == 0xC7 and in_memory and group == 1 and not wide  # cmpxchg8b
