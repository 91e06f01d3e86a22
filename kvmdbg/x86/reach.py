"""Code that is reached from a place in it, by decoding ahead along its branches: what is sure to be an instruction.

Far jumps are followed too: in real mode by their segment, and once the code has set CR0 by the descriptor that its own
LGDT names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

from kvmdbg.record import record
from kvmdbg.x86 import disasm, operands

MOST_INSTRUCTIONS = 4000
HANDLER_SIZE = 48
NOTHING = b"\0\0"
"""Zeros decode as an instruction, and are none."""
CODE_SEGMENT, CODE_SEGMENT_MASK = 0x98, 0x98
"""Present, and type code, in byte 5 of a descriptor (Intel SDM volume 3A, 3.4.5)."""
Read = Callable[[int, int], bytes]
"""Up to so many bytes at a linear address; fewer, or none, where memory ends."""


@record
class Place:
    """Code at ``linear``, of ``bits``, in a segment with ``base``; ``protected``: CS is a selector."""

    linear: int
    bits: int
    base: int = 0
    protected: bool = True


def find(read: Read, mnemonic: str, starts: Iterable[Place]) -> dict[int, int]:
    """Linear address and size, prefixes included, of each such instruction that is reached from ``starts``."""
    found: dict[int, int] = {}
    tables: list[tuple[int, int]] = []
    waiting = list(starts)
    seen: set[tuple[int, int]] = set()
    while waiting:
        place = waiting.pop()
        at, protected = place.linear, place.protected
        named: set[int] = set()
        while (at, place.bits) not in seen and len(seen) < MOST_INSTRUCTIONS:
            seen.add((at, place.bits))
            code = read(at, disasm.MAX_INSTRUCTION)
            insn, info = disasm.decode(code, place.bits), disasm.classify(code, at, place.bits, place.base)
            if insn is None or info is None or code[:2] == NOTHING:
                break
            if info.mnemonic == mnemonic:
                found[at] = info.size
            elif info.mnemonic == "lgdt":
                tables += _table(read, insn, at, place)
            elif info.mnemonic == "lmsw" or (info.mnemonic == "mov" and insn.op_str.startswith("cr0")):
                protected = True
            elif info.mnemonic in ("ljmp", "lcall") and len(insn.operands) == 2:
                waiting += _far(read, insn, tables, protected)
            named |= set(_named(insn, at, place.bits))
            if info.target is not None:
                waiting.append(Place(info.target, place.bits, place.base, protected))
            at += info.size
            if _is_end(info) and not (
                info.mnemonic == "retfq" and at in named
            ):  # back into this very code: CS is loaded
                break
    return found


def _named(insn: Any, at: int, bits: int) -> Iterator[int]:
    """The addresses that an instruction loads or pushes as they are, in code of 64 bits."""
    if bits != 64 or insn.mnemonic not in ("lea", "mov", "movabs", "push"):
        return
    operand = insn.operands[-1]
    if operand.type == operands.IMM:
        yield operand.imm
    elif insn.mnemonic == "lea" and insn.reg_name(operand.mem.base) == "rip":
        yield at + insn.size + operand.mem.disp


@lru_cache(maxsize=1024)  # asked for each handler at each step
def looks_like_code(code: bytes, bits: int) -> bool:
    """Whether bytes (HANDLER_SIZE of them, or as many as there are) make sense as the beginning of a handler."""
    at = 0
    while at < len(code) - disasm.MAX_INSTRUCTION or (at == 0 and code):
        info = disasm.classify(code[at:], at, bits)
        if info is None or code[at : at + 2] == NOTHING:
            return False
        if _is_end(info):
            return True
        at += info.size
    return at > 0


def _is_end(info: disasm.InsnInfo) -> bool:
    """Whether what lies behind the instruction may be anything: many a guest ends with a hlt and data behind it."""
    return info.is_ret or info.is_hlt or (info.is_jump and not info.is_conditional)


def _table(read: Read, insn: Any, at: int, place: Place) -> list[tuple[int, int]]:
    """Base and limit of the descriptor table that an LGDT with a fixed address names, in each segment it may mean."""
    memory = insn.operands[0].mem
    if memory.base and insn.reg_name(memory.base) in ("rip", "eip"):
        places = {at + insn.size + memory.disp}
    elif memory.base or memory.index:
        return []
    else:
        places = {memory.disp, place.base + memory.disp}
    size = 10 if place.bits == 64 else 6
    found = [read(where, size) for where in sorted(places)]
    return [
        (int.from_bytes(data[2:], "little"), int.from_bytes(data[:2], "little")) for data in found if len(data) == size
    ]


def _far(read: Read, insn: Any, tables: list[tuple[int, int]], protected: bool) -> list[Place]:
    """Where a far jump or call with a fixed address leads."""
    selector, offset = insn.operands[0].imm & 0xFFFF, insn.operands[1].imm & 0xFFFFFFFF
    if not protected:
        return [Place(selector * 16 + (offset & 0xFFFF), 16, selector * 16, protected=False)]
    found = []
    for table, limit in tables:
        descriptor = read(table + (selector & ~7), 8)
        if selector | 7 <= limit and len(descriptor) == 8 and descriptor[5] & CODE_SEGMENT_MASK == CODE_SEGMENT:
            base = int.from_bytes(descriptor[2:5] + descriptor[7:], "little")
            bits = 64 if descriptor[6] & 0x20 else 32 if descriptor[6] & 0x40 else 16
            base = 0 if bits == 64 else base
            found.append(Place(base + offset, bits, base))
    return found
