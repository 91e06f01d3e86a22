"""Instructions that raise no exception, whatever is in registers: they use registers alone, or a port.

That is so where they are fetched from memory without paging, in code that may use all ports, with code segments that
are not left by a jump. A step over one of them needs no traps at the entries of handlers.
"""

from __future__ import annotations

ALWAYS, REGISTERS, UNARY, INCREMENT, SHIFT, ADDRESS, TWO_BYTES = range(1, 8)
"""Plain in any form; with a register as operand; those of group 3 but for div and idiv, of groups 4 and 5 only inc and
dec, of group 2 (Intel SDM volume 2, table A-6); lea; what the second byte says."""
LONGEST = 16
"""So many bytes have to be there from the instruction's first on."""
LAST = 4096 - LONGEST
"""So far behind the start of a page they are."""


def _kinds() -> bytes:
    kinds = bytearray(256)
    for first in range(0x00, 0x40, 8):  # add, or, adc, sbb, and, sub, xor, cmp
        kinds[first : first + 4] = bytes((REGISTERS,)) * 4
        kinds[first + 4 : first + 6] = bytes((ALWAYS,)) * 2
    for first, last, kind in (
        (0x40, 0x4F, ALWAYS),  # inc, dec
        (0x69, 0x69, REGISTERS),  # imul
        (0x6B, 0x6B, REGISTERS),
        (0x70, 0x7F, ALWAYS),  # jcc
        (0x80, 0x81, REGISTERS),
        (0x83, 0x8B, REGISTERS),  # test, xchg, mov
        (0x8D, 0x8D, ADDRESS),
        (0x90, 0x99, ALWAYS),  # nop, xchg, cbw, cwd
        (0x9E, 0x9F, ALWAYS),  # sahf, lahf
        (0xA8, 0xA9, ALWAYS),
        (0xB0, 0xBF, ALWAYS),  # mov
        (0xC0, 0xC1, SHIFT),
        (0xD0, 0xD3, SHIFT),
        (0xE0, 0xE7, ALWAYS),  # loop, jcxz, in, out
        (0xE9, 0xE9, ALWAYS),  # jmp
        (0xEB, 0xEF, ALWAYS),  # jmp, in, out
        (0xF5, 0xF5, ALWAYS),  # cmc
        (0xF6, 0xF7, UNARY),
        (0xF8, 0xFA, ALWAYS),  # clc, stc, cli
        (0xFC, 0xFD, ALWAYS),  # cld, std
        (0xFE, 0xFF, INCREMENT),
        (0x0F, 0x0F, TWO_BYTES),
    ):
        kinds[first : last + 1] = bytes((kind,)) * (last + 1 - first)
    return bytes(kinds)


KINDS = _kinds()
"""By the first byte; 0 for all others."""
PREFIXED = 0x66
NOP, JMP_NEAR, JMP_SHORT = 0x90, 0xE9, 0xEB
NOT_PREFIXED = frozenset((*range(0x70, 0x80), *range(0xE0, 0xE4), 0xE9, 0xEB))
"""Jumps, which with an operand size of their own may leave the segment."""
ON_REGISTERS = frozenset((0xAF, 0xB6, 0xB7, 0xBE, 0xBF))
"""Behind 0F: imul, movzx, movsx; setcc lies before them."""


def raises_nothing(code: memoryview | bytes, at: int) -> bool:
    """Whether the instruction at ``code[at]`` is one of them; from there on ``code`` has LONGEST bytes or more."""
    byte = code[at]
    prefixed = byte == PREFIXED
    if prefixed:
        at += 1
        byte = code[at]
        if byte in NOT_PREFIXED:
            return False
    kind = KINDS[byte]
    if kind <= ALWAYS:
        return kind == ALWAYS
    operand = code[at + 1]
    group = operand >> 3 & 7
    if kind == REGISTERS:
        return operand >= 0xC0
    if kind == ADDRESS:
        return operand < 0xC0
    if kind == UNARY:
        return operand >= 0xC0 and group in (0, 2, 3, 4, 5)
    if kind == INCREMENT:
        return operand >= 0xC0 and group < 2
    if kind == SHIFT:
        return operand >= 0xC0 and group != 6
    if 0x80 <= operand <= 0x8F:  # jcc
        return not prefixed
    return (0x90 <= operand <= 0x9F or operand in ON_REGISTERS) and code[at + 2] >= 0xC0


def touches_port(code: memoryview | bytes, at: int) -> bool:
    """Whether one of them is in or out."""
    byte = code[at + 1] if code[at] == PREFIXED else code[at]
    return byte & 0xF4 == 0xE4


def goes_to(code: memoryview | bytes, at: int, rip: int, bits: int) -> int | None:
    """Where a nop or a jmp in code of 16 or 32 bits goes on that lies at ``rip``; None for all other instructions.

    None also where the segment ends, behind which a CPU may go on in one way or another.
    """
    byte, width = code[at], bits // 8
    if byte == NOP:
        size = away = 1
    elif byte == JMP_SHORT:
        size = 2
        away = 2 + int.from_bytes(code[at + 1 : at + 2], "little", signed=True)
    elif byte == JMP_NEAR:
        size = 1 + width
        away = size + int.from_bytes(code[at + 1 : at + size], "little", signed=True)
    else:
        return None
    last = (1 << bits) - 1
    return rip + away & last if rip + size <= last else None
