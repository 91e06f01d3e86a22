"""Bytes that may be an instruction that unicorn is to be ended before (held_places.py)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kvmdbg.soft.nothing_done import REPEATS
from kvmdbg.soft.refusals import LOCK as LOCK_PREFIX
from kvmdbg.soft.refusals import lock_is_refused
from kvmdbg.x86.disasm import PREFIXES, engine

IRET = b"\xcf"
HLT = 0xF4
CHECKED, SS_LOAD, LOCK, PORTS, INTERRUPT, FAR = b"checked", b"ss", b"lock", b"ports", b"interrupt", b"far"
CORRECTED, END, ALONE = b"corrected", b"end", b"alone"
JUMP, SEGMENT, ALIGNED, POINT = b"jump", b"segment", b"aligned", b"point"
"""What goes by more than an opcode: see refusals.py and corrections.py; repeated INS and OUTS; INT, INT3 and INTO
behind a prefix; far jumps, calls and returns but IRET; what lies across the end of the code segment, or behind it;
what is to be run alone; see end_of_code.py, segment_rights.py, sse_alignment.py and execute_registers.py."""

FIRST = re.compile(rb"[\x0f\x6c-\x6f\x8e\xc4\xcc-\xce\xf0]")
FIRST_IN_IA32E = re.compile(rb"[\x0f\x6c-\x6f\x8e\x9a\xc4\xca-\xce\xea\xf0\xff]")
BY_OPCODE = frozenset(b"\x0f" + bytes((byte,)) for byte in b"\x05\x07\x20\x21\x22\x23\x30\x32\x34\x35")


def found_in(code: bytes, bits: int, *, ia32e: bool) -> Iterator[tuple[int, bytes]]:
    """Where there may be one, or its last prefix, and which: its opcode of two bytes, or a word of those above."""
    for match in (FIRST_IN_IA32E if ia32e else FIRST).finditer(code):
        at = match.start()
        byte, modrm = code[at], code[at + 1] if at + 1 < len(code) else 0
        if byte == 0x0F:
            if code[at : at + 2] in BY_OPCODE:
                yield at, code[at : at + 2]
            elif modrm == 0xB2:
                yield at, SS_LOAD
            elif _is_corrected(modrm, code[at + 2 : at + 3], bits, ia32e=ia32e):
                yield at, CORRECTED
            elif modrm < 2 and _is_checked(code[at + 1 : at + 3]):
                yield at, CHECKED
        elif byte == 0xC4:
            if _is_of_bits(code[at : at + 5]):
                yield at, CORRECTED
        elif byte == 0x8E:
            if modrm >> 3 & 7 == 2:
                yield at, SS_LOAD
        elif byte == LOCK_PREFIX:
            if lock_is_refused(code[at:], bits):
                yield at, LOCK
        elif 0x6C <= byte <= 0x6F:
            if not REPEATS.isdisjoint(code[first_prefix(code, at) : at]):
                yield at, PORTS
        elif 0xCC <= byte <= 0xCE:
            if first_prefix(code, at) < at:
                yield at - 1, INTERRUPT
        elif byte != 0xFF or (modrm < 0xC0 and modrm >> 3 & 7 in (3, 5)):
            yield at, FAR


def lengths(code: bytes, bits: int) -> dict[int, int]:
    """Of the instructions of a piece of code that begins with one, by where they begin, as far as they are known."""
    found, at = dict[int, int](), 0
    for _, size, _, _ in engine(bits).disasm_lite(code, 0):
        found[at] = size
        at += size
    return found


def _is_corrected(opcode: int, modrm: bytes, bits: int, *, ia32e: bool) -> bool:
    """Behind 0f: CMPXCHG of registers in 64-bit code, POPCNT in 16-bit code, LAR and LSL in IA-32e mode."""
    if opcode == 0xB1:
        return bits == 64 and modrm >= b"\xc0"
    return (opcode == 0xB8 and bits == 16) or (opcode in (2, 3) and ia32e)


def _is_checked(code: bytes) -> bool:
    """Behind 0f: LTR; LGDT and LIDT, which have an operand in memory; XSETBV."""
    if len(code) < 2:
        return False
    number = code[1] >> 3 & 7
    return number == 3 if code[0] == 0 else code[1] == 0xD1 or (code[1] < 0xC0 and number in (2, 3))


def _is_of_bits(code: bytes) -> bool:
    """BLSI, BEXTR, BZHI, PDEP or PEXT, by VEX's three bytes, opcode and ModR/M."""
    if len(code) < 5 or code[1] & 31 != 2:
        return False
    return code[3] == 0xF5 or (code[2] & 3 == 0 and (code[3] == 0xF7 or (code[3] == 0xF3 and code[4] >> 3 & 7 == 3)))


def first_prefix(code: bytes, at: int) -> int:
    """Where an instruction may begin whose opcode is ``at`` there."""
    while at and (code[at - 1] in PREFIXES or code[at - 1] >> 4 == 4):
        at -= 1
    return at
