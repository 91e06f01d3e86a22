"""The memory accesses of one instruction, computed from its bytes and the registers.

Explicit operands come from capstone; what is implied (stack, string and table
accesses) is added here. Source: Intel SDM volume 2; volume 1, section 3.7.5
(address calculation) and 6.2 (stack).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from kvmdbg.errors import MemoryFault
from kvmdbg.record import record, replace
from kvmdbg.x86.access_kinds import NO_ACCESS, READ, REX_W, WRITE, kind_of, name_of, size_of
from kvmdbg.x86.disasm import MAX_INSTRUCTION, STRINGS, Insn, decode, disassemble

Registers = Callable[[str], int]
EFLAGS_DF = 1 << 10
EFLAGS_OF = 1 << 11
PAGE = 4096
SWEPT = 64
"""Bytes before an instruction from which it is asked where it begins: from most of them decoding leads there."""
MOST_OF_OUTS = 5
"""Bytes of ``outs`` with a prefix of each kind: REP, a segment, the size of operand and of address."""
MEM, REG, IMM = 3, 1, 2  # capstone's operand types
FAR_TRANSFERS = ("lcall", "retf", "retfq", "iret", "iretd", "iretq")
FROM_RSI = ("movs", "lods", "cmps", "outs")
AT_RDI = ("movs", "stos", "cmps", "scas", "ins")
"""Stems of string instructions, by the registers that say where."""


@record
class Access:
    """``size`` bytes at ``linear`` that an instruction reads, writes, or both, through a segment register."""

    linear: int
    size: int
    read: bool
    write: bool
    segment: str = "ds"


def _address_bits(insn: Any, bits: int) -> int:
    return int(insn.addr_size) * 8 if insn.addr_size else bits


def _mask(bits: int) -> int:
    return (1 << bits) - 1


def _base(reg: Registers, segment: str, bits: int) -> int:
    """The segment's base as it counts in address calculation."""
    if bits == 64 and segment not in ("fs", "gs"):
        return 0
    return reg(f"{segment}_base")


def _linear(base: int, offset: int, bits: int) -> int:
    return base + offset & _mask(64 if bits == 64 else 32)


def _full(name: str) -> tuple[str, int]:
    """The storage register and width of a register in an address."""
    from kvmdbg.x86.registers import lookup

    register = lookup(name)
    return (register.parent, register.bits) if register else ("", 0)


def _value(reg: Registers, name: str) -> int:
    parent, width = _full(name)
    return reg(parent) & _mask(width) if parent else 0


def effective(insn: Any, operand: Any, address: int, bits: int, reg: Registers) -> int:
    """Linear address of a memory operand; ``address`` is the instruction's own."""
    mem = operand.mem
    width = _address_bits(insn, bits)
    offset = int(mem.disp)
    base_name = insn.reg_name(mem.base) if mem.base else ""
    if base_name in ("rip", "eip", "ip"):
        offset += address + insn.size
    elif base_name:
        offset += _value(reg, base_name)
    if mem.index:
        index_name = insn.reg_name(mem.index)
        offset += _value(reg, index_name) * mem.scale
    offset &= _mask(width)
    return _linear(_base(reg, segment_of(insn, operand, bits), bits), offset, bits)


def segment_of(insn: Any, operand: Any, bits: int) -> str:
    """The segment register of a memory operand; overrides with CS, DS, ES and SS mean nothing in 64-bit code."""
    mem = operand.mem
    override = str(insn.reg_name(mem.segment)) if mem.segment else ""
    if override and (bits != 64 or override in ("fs", "gs")):
        return override
    base = insn.reg_name(mem.base) if mem.base else ""
    return "ss" if base in ("sp", "esp", "rsp", "bp", "ebp", "rbp") else "ds"


def _bit_offset(insn: Any, bits: int, reg: Registers) -> int:
    """Bytes that bt and its kin add to a memory operand for a bit number in a register."""
    source = insn.operands[1]
    if source.type != REG:
        return 0
    parent, width = _full(insn.reg_name(source.reg))
    value = reg(parent) & _mask(width)
    if value >> width - 1:
        value -= 1 << width
    size = insn.operands[0].size
    return int(value // (size * 8) * size)


def registers_read(code: bytes, bits: int) -> list[str]:
    """The registers that are operands of an instruction and read by it, not those in addresses; each once."""
    insn = decode(bytes(code[:MAX_INSTRUCTION]), bits)
    if insn is None:
        return []
    from kvmdbg.x86.registers import lookup

    names = [insn.reg_name(op.reg) for op in insn.operands if op.type == REG and op.access & READ]
    if len(names) == 2 and names[0] == names[1] and insn.mnemonic in ("xor", "sub"):
        return []  # a way to write 0
    return [name for name in dict.fromkeys(names) if (known := lookup(name)) is not None and known.bits <= 64]


def accesses(code: bytes, address: int, bits: int, reg: Registers, stack_bits: int | None = None) -> list[Access]:
    """Every memory access that the instruction at linear ``address`` will make, from the registers before it.

    ``reg`` gives rax … rflags and cs_base … gs_base; ``stack_bits`` is the width of the
    stack pointer (SS.B), that of the code when not given. A repeated string
    instruction counts one element; one that repeats zero times has none.
    """
    insn = decode(bytes(code[:MAX_INSTRUCTION]), bits)
    if insn is None:
        return []
    name = name_of(insn)
    stem = name.rstrip("bwdq") if name.rstrip("bwdq") in STRINGS else ""
    if stem and not any(op.type == REG and insn.reg_name(op.reg).startswith("xmm") for op in insn.operands):
        return _string(insn, stem, bits, reg)
    found: list[Access] = []
    if name not in NO_ACCESS:
        for operand in insn.operands:
            if operand.type != MEM:
                continue
            at = effective(insn, operand, address, bits, reg)
            if name in ("bt", "bts", "btr", "btc"):
                at = _linear(at, _bit_offset(insn, bits, reg), bits)
            size = size_of(insn, operand, name, _operand_bits(insn, bits), reg)
            kind = kind_of(insn, operand, name)
            found.append(Access(at, size, bool(kind & READ), bool(kind & WRITE), segment_of(insn, operand, bits)))
    found += _stack(insn, name, bits, reg, stack_bits or bits)
    if name in ("maskmovq", "maskmovdqu", "vmaskmovdqu"):
        segment = _override(insn)
        at = _linear(_base(reg, segment, bits), reg("rdi") & _mask(_address_bits(insn, bits)), bits)
        found.append(Access(at, int(insn.operands[0].size), False, True, segment))
    if name == "movdir64b":
        at = _linear(_base(reg, "es", bits), _value(reg, insn.reg_name(insn.operands[0].reg)), bits)
        found.append(Access(at, 64, False, True, "es"))
    if name == "xlatb" and not found:
        at = _linear(
            _base(reg, "ds", bits), _value(reg, {16: "bx", 32: "ebx", 64: "rbx"}[bits]) + (reg("rax") & 255), bits
        )
        found.append(Access(at, 1, True, False))
    return found


def _override(insn: Any) -> str:
    """The segment register of an operand at DS:SI or DS:DI, after the instruction's prefixes."""
    prefixes = {0x2E: "cs", 0x36: "ss", 0x3E: "ds", 0x26: "es", 0x64: "fs", 0x65: "gs"}
    return prefixes.get(insn.prefix[1], "ds")


def _string(insn: Any, stem: str, bits: int, reg: Registers) -> list[Access]:
    width = _address_bits(insn, bits)
    if insn.prefix[0] in (0xF2, 0xF3) and reg("rcx") & _mask(width) == 0:
        return []
    size = {"b": 1, "w": 2, "d": 4, "q": 8}[insn.mnemonic[-1]]
    override = _override(insn)
    source = _linear(_base(reg, override, bits), reg("rsi") & _mask(width), bits)
    target = _linear(_base(reg, "es", bits), reg("rdi") & _mask(width), bits)
    found = []
    if stem in FROM_RSI:
        found.append(Access(source, size, True, False, override))
    if stem in ("movs", "stos", "ins"):
        found.append(Access(target, size, False, True, "es"))
    if stem in ("cmps", "scas"):
        found.append(Access(target, size, True, False, "es"))
    return found


@record
class Repetition:
    """A string instruction that repeats: ``count`` elements are left, by the bits ``mask`` of RCX.

    ``stride`` is the way from one element to the next in bytes; ``while_zero`` the ZF that lets it go on, None where
    the count alone does. ``wraps``: offsets end before the elements do, which go on at the other end of the segment.
    """

    count: int
    mask: int
    stride: int
    while_zero: bool | None
    wraps: bool = False

    def span(self, access: Access) -> tuple[int, int]:
        """A linear range (first address, end) that has all elements in it, from the access to the first."""
        if self.wraps:
            return access.linear - self.mask, access.linear + self.mask + access.size
        way = self.stride * (self.count - 1)
        return access.linear + min(way, 0), access.linear + access.size + max(way, 0)


def repetition(code: bytes, bits: int, reg: Registers) -> Repetition | None:
    """How the instruction repeats that ``code`` begins with; None where it does not."""
    insn = decode(bytes(code[:MAX_INSTRUCTION]), bits)
    if insn is None or insn.prefix[0] not in (0xF2, 0xF3):
        return None
    name = name_of(insn)
    stem = name.rstrip("bwdq")
    if stem not in STRINGS:
        return None
    mask = _mask(_address_bits(insn, bits))
    size = {"b": 1, "w": 2, "d": 4, "q": 8}[name[-1]]
    zero = insn.prefix[0] == 0xF3 if stem in ("cmps", "scas") else None
    count, stride = reg("rcx") & mask, -size if reg("rflags") & EFLAGS_DF else size
    pointers = [name for name, stems in (("rsi", FROM_RSI), ("rdi", AT_RDI)) if stem in stems]
    wraps = count > 1 and any(not 0 <= (reg(name) & mask) + stride * (count - 1) <= mask for name in pointers)
    return Repetition(count, mask, stride, zero, wraps)


def _operand_bits(insn: Any, bits: int) -> int:
    """The operand size of an instruction that has 32 bits in 64-bit code."""
    return 16 if (bits == 16) != (insn.prefix[2] == 0x66) else 32


def _operand_bytes(insn: Any, bits: int) -> int:
    """Bytes of a stack slot for this instruction."""
    override = insn.prefix[2] == 0x66
    if bits == 64:
        if insn.rex & REX_W:
            return 8
        return 2 if override else 4 if name_of(insn) in FAR_TRANSFERS else 8
    return (2 if bits == 32 else 4) if override else bits // 8


def _stack(insn: Any, name: str, bits: int, reg: Registers, stack_bits: int) -> list[Access]:
    """What an instruction reads from and writes to the stack by itself."""
    slot = _operand_bytes(insn, bits)
    sp = reg("rsp") & _mask(stack_bits)
    base = _base(reg, "ss", bits)

    def moved(at: int, size: int, write: bool) -> list[Access]:
        """From offset ``at`` up, which goes on at 0 where the stack's offsets end."""
        first = min(size, _mask(stack_bits) + 1 - at)
        pieces = [(at, first), (0, size - first)] if first < size else [(at, size)]
        return [Access(_linear(base, at, bits), size, not write, write, "ss") for at, size in pieces]

    def pushed(count: int) -> list[Access]:
        return moved(sp - count * slot & _mask(stack_bits), count * slot, True)

    def popped(count: int) -> list[Access]:
        return moved(sp, count * slot, False)

    if name == "push" or name.startswith("pushf") or name == "call":
        return pushed(1)
    if name == "pop" or name.startswith("popf") or name == "ret":
        return popped(1)
    if name == "lcall":
        return pushed(2)
    if name in ("retf", "retfq"):
        return popped(2)
    if name in ("pushaw", "pushal", "pusha", "pushad"):
        return pushed(8)
    if name in ("popaw", "popal", "popa", "popad"):
        return popped(8)
    if name in ("iret", "iretd", "iretq"):
        return popped(5 if bits == 64 else 3)
    if name == "into" and not reg("rflags") & EFLAGS_OF:
        return []
    if name in ("int", "int3", "int1", "into"):
        return pushed(5 if bits == 64 else 3)
    if name == "enter":
        level = insn.operands[1].imm & 31
        return pushed(1 + level) if level < 2 else pushed(1 + level) + _display(level, slot, bits, reg, stack_bits)
    if name == "leave":
        at = _linear(base, reg("rbp") & _mask(stack_bits), bits)
        return [Access(at, slot, True, False, "ss")]
    return []


def _display(level: int, slot: int, bits: int, reg: Registers, stack_bits: int) -> list[Access]:
    """The frame pointers of outer procedures that ENTER copies (SDM volume 2A)."""
    start = reg("rbp") - (level - 1) * slot & _mask(stack_bits)
    return [Access(_linear(_base(reg, "ss", bits), start, bits), (level - 1) * slot, True, False, "ss")]


def _before(insn: Any, bits: int, reg: Registers, stack_bits: int) -> Registers:
    """The registers as they were before an instruction that has just run, as far as it moved them itself."""
    name = name_of(insn)
    stem = name.rstrip("bwdq")
    moved: dict[str, int] = {}
    slot = _operand_bytes(insn, bits)
    if stem in STRINGS:
        size = {"b": 1, "w": 2, "d": 4, "q": 8}.get(name[-1], 1)
        back = size if reg("rflags") & EFLAGS_DF else -size
        width = _mask(_address_bits(insn, bits))
        if stem in FROM_RSI:
            moved["rsi"] = reg("rsi") + back & width
        if stem in AT_RDI:
            moved["rdi"] = reg("rdi") + back & width
        if insn.prefix[0] in (0xF2, 0xF3):
            moved["rcx"] = reg("rcx") + 1 & width
    elif name == "push" or name.startswith("pushf") or name == "call":
        moved["rsp"] = reg("rsp") + slot
    elif name in ("pushaw", "pushal", "pusha", "pushad"):
        moved["rsp"] = reg("rsp") + 8 * slot
    elif name == "lcall":
        moved["rsp"] = reg("rsp") + 2 * slot
    elif name == "pop" or name.startswith("popf"):
        moved["rsp"] = reg("rsp") - slot
    elif name == "enter":
        moved["rsp"] = (reg("rbp") & _mask(stack_bits)) + slot
    return lambda wanted: moved[wanted] if wanted in moved else reg(wanted)


def find_accessor(
    read: Callable[[int, int], bytes],
    pc_after: int,
    bits: int,
    reg: Registers,
    linear: int,
    size: int,
    *,
    write: bool,
    stack_bits: int,
    place: Callable[[int], int | None] = lambda linear: linear,
    whole: bool = True,
) -> tuple[Insn, Access] | None:
    """The instruction that ends at linear ``pc_after`` and has just accessed ``size`` bytes at ``linear``; that access.

    ``size`` 0: how much was accessed is not known; not ``whole``: it may be more. Nor is it known where the access ends
    or begins with a page: it may cross into one that is not watched. ``reg`` gives the registers after it. Every start
    that decodes to an instruction of just that length is tried, and also the instruction AT ``pc_after`` when it is a
    repeated one (it is not done yet). Of several (a prefix may be the end of the instruction before it) that one is
    taken to which more of what lies before it leads, then the longest. ``place`` maps linear addresses into the space
    that ``linear`` is of. None when none of them made that access.
    """
    cut = not size or not whole or not linear % PAGE or not (linear + size) % PAGE
    found: list[tuple[int, Insn, Access]] = []
    for length in range(MAX_INSTRUCTION + 1):
        start = pc_after - length
        try:
            code = read(start, length or MAX_INSTRUCTION)
        except MemoryFault:
            continue
        insn = decode(code, bits)
        if insn is None or (length and insn.size != length):
            continue
        if not length and insn.prefix[0] not in (0xF2, 0xF3):
            continue
        for access in accesses_of_ended(code, start, bits, reg, stack_bits):
            at = place(access.linear)
            if at is None:
                continue
            touches = at < linear + (size or 1) and linear < at + access.size
            if not touches or not (access.write if write else access.read):
                continue
            exact = at == linear and access.size == size
            doubt = 0 if exact and not length else 1 if exact and not cut else 2
            found.append((doubt, disassemble(code[: insn.size], start, bits, 1)[0], access))
    starts = {insn.address for _, insn, _ in found}
    ways = _ways_to(read, pc_after, bits) if len(starts) > 1 else Counter[int]()
    best = min(found, key=lambda one: (one[0], -ways[one[1].address], one[1].address), default=None)
    return None if best is None else best[1:]


def accesses_of_ended(code: bytes, address: int, bits: int, reg: Registers, stack_bits: int) -> list[Access]:
    """The accesses of the instruction in ``code``; ``reg`` gives the registers after it."""
    insn = decode(code, bits)
    return [] if insn is None else accesses(code, address, bits, _before(insn, bits, reg, stack_bits), stack_bits)


def string_outputs(
    read: Callable[[int, int], bytes], pc_after: int, bits: int, reg: Registers, stack_bits: int, count: int
) -> Iterator[Access]:
    """What ``outs`` may have read, which ended at linear ``pc_after`` or goes on there: its last ``count`` elements.

    ``reg`` gives the registers after it. The longest instruction comes first: of one with prefixes the end is one, too.
    """
    for length in range(MOST_OF_OUTS, -1, -1):
        start = pc_after - length
        try:
            code = read(start, length or MAX_INSTRUCTION)
        except MemoryFault:
            continue
        insn = decode(code, bits)
        if insn is None or (insn.size != length if length else insn.prefix[0] not in (0xF2, 0xF3)):
            continue
        if name_of(insn).rstrip("bwd") != "outs":
            continue
        for last in accesses_of_ended(code, start, bits, reg, stack_bits):
            others = last.size * (count - 1)
            first = last.linear if reg("rflags") & EFLAGS_DF else last.linear - others
            yield replace(last, linear=first, size=last.size + others)


def _ways_to(read: Callable[[int, int], bytes], pc_after: int, bits: int) -> Counter[int]:
    """Of each start of an instruction that ends at ``pc_after``: from how many places before it decoding goes there."""
    last: dict[int, int] = {}
    ways = Counter[int]()
    for start in range(pc_after - 1, max(pc_after - SWEPT, 0) - 1, -1):
        try:
            insn = decode(read(start, min(MAX_INSTRUCTION, pc_after - start)), bits)
        except MemoryFault:
            break
        end = start + insn.size if insn is not None else 0
        if end == pc_after:
            last[start] = start
        elif end in last:
            last[start] = last[end]
            ways[last[end]] += 1
    return ways
