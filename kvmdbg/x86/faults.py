"""Why an instruction faults: deduced from registers and memory.

A triple fault leaves nothing but the state of the CPU. What is said here is what the manual says the CPU does in that
state; where several things are wrong the first that the CPU would look at is told. Source: Intel SDM volume 3A,
sections 4.7 (page faults), 5 (protection); volume 2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kvmdbg.errors import MemoryFault
from kvmdbg.masks import LOW32, LOW64
from kvmdbg.record import record
from kvmdbg.x86 import descriptors, disasm, operands, paging
from kvmdbg.x86.modes import CR0_PG, CR4_PAE, Mode, mode_of
from kvmdbg.x86.paging import EFER_NXE

CR0_WP, CR0_EM, CR0_TS = 1 << 16, 1 << 2, 1 << 3
CR4_OSFXSR, CR4_SMEP, CR4_SMAP, CR4_OSXSAVE = 1 << 9, 1 << 20, 1 << 21, 1 << 18
EFLAGS_AC, EFLAGS_IF = 1 << 18, 1 << 9
DE, UD, NM, DF, TS, NP, SS, GP, PF = 0, 6, 7, 8, 10, 11, 12, 13, 14
NAMES = {0: "#DE", 1: "#DB", 3: "#BP", 4: "#OF", 5: "#BR", 6: "#UD", 7: "#NM", 8: "#DF", 10: "#TS", 11: "#NP",
         12: "#SS", 13: "#GP", 14: "#PF", 16: "#MF", 17: "#AC"}  # fmt: skip
PRIVILEGED = frozenset((
    "hlt", "lgdt", "lidt", "lldt", "ltr", "lmsw", "clts", "invd", "wbinvd", "invlpg", "rdmsr", "wrmsr", "swapgs",
))  # fmt: skip
IO_PRIVILEGED = frozenset(("cli", "sti", "in", "out", "insb", "insw", "insd", "outsb", "outsw", "outsd"))
LOADS = {"les": "es", "lds": "ds", "lss": "ss", "lfs": "fs", "lgs": "gs"}
WITH_ERROR_CODE = frozenset((8, 10, 11, 12, 13, 14, 17, 21))
PF_PRESENT, PF_WRITE, PF_USER, PF_RESERVED, PF_FETCH = 1, 2, 4, 8, 16


@record
class Fault:
    """Exception ``vector`` and why; ``address`` is the linear address of a page fault."""

    vector: int
    why: str
    address: int | None = None
    software: bool = False
    """It is an INT instruction, which gates may forbid by their DPL."""
    error_code: int = 0
    """What the CPU pushes, where ``has_error_code`` (SDM volume 3A, 6.13; of a page fault, 4.7)."""

    @property
    def name(self) -> str:
        number = f"interrupt {self.vector:#x}"
        return number if self.software and self.vector > 4 else NAMES.get(self.vector, number)

    @property
    def has_error_code(self) -> bool:
        """Whether its frame has an error code outside of real mode (SDM volume 3A, table 6-1)."""
        return not self.software and self.vector in WITH_ERROR_CODE


class State:
    """The state of a CPU as a whole: general registers, special registers (struct kvm_sregs) and physical memory.

    ``marks_accessed``: it sets the accessed bit of a descriptor that it loads, as the SDM has it.
    """

    def __init__(
        self,
        regs: Any,
        sregs: Any,
        read_physical: Callable[[int, int], bytes],
        limits: paging.Limits = paging.ANY_CPU,
        marks_accessed: bool = True,
    ) -> None:
        self.limits = limits
        self.marks_accessed = marks_accessed
        self.regs = regs
        self.sregs = sregs
        self.read_physical = read_physical
        self.mode: Mode = mode_of(sregs.cr0, sregs.efer, regs.rflags, sregs.cs.l, sregs.cs.db)

    @property
    def long(self) -> bool:
        return self.mode.bits == 64

    @property
    def ia32e(self) -> bool:
        """Whether IA-32e mode is active: gates have 16 bytes, also under compatibility mode."""
        return bool(self.sregs.efer & 1 << 10)

    @property
    def cpl(self) -> int:
        if self.mode.name == "real":
            return 0
        return 3 if self.mode.name == "v86" else int(self.sregs.ss.dpl)

    @property
    def code_base(self) -> int:
        """What turns rip into a linear address (0 in 64-bit mode)."""
        return 0 if self.long else int(self.sregs.cs.base)

    @property
    def pc(self) -> int:
        rip = int(self.regs.rip)
        return rip if self.long else self.code_base + rip & LOW32

    def stack_mask(self) -> int:
        return LOW64 if self.long else LOW32 if self.sregs.ss.db else 0xFFFF

    def walk(self, linear: int) -> paging.Walk:
        sregs = self.sregs
        return paging.walk(self.read_physical, sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer, linear, self.limits)

    def read(self, linear: int, size: int) -> bytes:
        """Bytes at a linear address. MemoryFault."""
        found = b""
        while size > 0:
            length = min(size, 4096 - linear % 4096)
            walk = self.walk(linear)
            if walk.physical is None:
                raise MemoryFault(linear, "read", "linear", walk.fault or "not mapped")
            found += self.read_physical(walk.physical, length)
            linear, size = linear + length, size - length
        return found

    def code(self) -> bytes:
        """The bytes at pc, as many of 15 as can be read."""
        for size in (15, 4096 - self.pc % 4096):
            try:
                return self.read(self.pc, min(size, 15))
            except MemoryFault:
                continue
        return b""

    def register(self, name: str) -> int:
        """A register as x86/operands.py asks for it."""
        if name.endswith("_base"):
            return int(getattr(self.sregs, name[:2]).base)
        value = getattr(self.regs, name, None)
        if value is None:
            return int(getattr(self.sregs, name).selector) if len(name) == 2 else int(getattr(self.sregs, name))
        return int(value)


def first_fault(state: State) -> Fault | None:
    """The exception that the instruction at pc raises; None when none can be seen."""
    fetch = _fetch(state)
    if fetch is not None:
        return fetch
    code = state.code()
    insn = disasm.decode(code, state.mode.bits)
    if insn is None:
        return Fault(UD, f"{code[:4].hex(' ')} is no instruction")
    name = insn.mnemonic.split()[-1]
    return (
        _by_itself(state, insn, name)
        or _privilege(state, insn, name)
        or _memory(state, code)
        or _segments(state, insn, name)
        or _arithmetic(state, insn, name)
    )


def _fetch(state: State) -> Fault | None:
    sregs, rip = state.sregs, int(state.regs.rip)
    if state.long:
        if not canonical(rip, state.sregs.cr4):
            return Fault(GP, f"rip {rip:#x} is not canonical")
    elif rip > sregs.cs.limit:
        return Fault(GP, f"ip {rip:#x} is beyond the limit of CS, {sregs.cs.limit:#x}")
    fault = page_fault(state, state.pc, execute=True)
    if fault is not None:
        return fault
    physical = state.walk(state.pc).physical
    try:
        state.read_physical(physical or 0, 1)
    except MemoryFault:
        return Fault(GP, f"there is no memory at the instruction's physical address {physical:#x}")
    return None


def canonical(address: int, cr4: int) -> bool:
    """Whether the bits above the linear address width are copies of its top bit."""
    width = 57 if cr4 & 1 << 12 else 48
    return address >> width - 1 in (0, (1 << 65 - width) - 1)


def page_fault(
    state: State,
    linear: int,
    *,
    write: bool = False,
    execute: bool = False,
    user: bool | None = None,
    implicit: bool = False,
) -> Fault | None:
    """The page fault that an access to ``linear`` raises, with its error code.

    ``user``: as code of CPL 3 does, by default as the CPL is. ``implicit``: the CPU itself reads or writes a table or
    the stack of a more privileged handler, which no EFLAGS.AC frees from CR4.SMAP (SDM volume 3A, 4.6.1).
    """
    if not state.sregs.cr0 & CR0_PG:
        return None
    user = state.cpl == 3 if user is None else user
    doing = "fetching the instruction at" if execute else "writing to" if write else "reading"
    walk, cr4 = state.walk(linear), state.sregs.cr4
    code = PF_WRITE * write | PF_USER * user
    if execute and (cr4 & CR4_SMEP or (cr4 & CR4_PAE and state.sregs.efer & EFER_NXE)):
        code |= PF_FETCH
    if walk.physical is None:
        code |= PF_PRESENT | PF_RESERVED if walk.reserved_bits else 0
        return Fault(PF, f"{doing} {linear:#x}: {_walked(walk)}", linear, error_code=code)
    why = ""
    smap = cr4 & CR4_SMAP and (implicit or not state.regs.rflags & EFLAGS_AC)
    if user and not walk.user:
        why = "user code may not touch a supervisor page"
    elif write and not walk.writable and (user or state.sregs.cr0 & CR0_WP):
        why = "the page is read-only"
    elif execute and not walk.executable:
        why = "the page is not executable (XD)"
    elif execute and walk.user and not user and cr4 & CR4_SMEP:
        why = "it is a user page, and CR4.SMEP keeps the kernel from running it"
    elif not execute and walk.user and not user and smap:
        why = "it is a user page, and CR4.SMAP keeps the kernel from it"
    if not why:
        return None
    return Fault(PF, f"{doing} {linear:#x}: {why} ({_walked(walk)})", linear, error_code=code | PF_PRESENT)


def _walked(walk: paging.Walk) -> str:
    shown = [f"{entry.name}[{entry.index}] {entry.value:#x}" for entry in walk.entries]
    return " -> ".join([*shown, walk.fault] if walk.fault else shown)


# --- the instruction itself ----------------------------------------------------------------------------


def _by_itself(state: State, insn: Any, name: str) -> Fault | None:
    if name in ("ud0", "ud1", "ud2"):
        return Fault(UD, f"{name} always raises it")
    if name == "int3":
        return Fault(3, "int3", software=True)
    if name == "int1":
        return Fault(1, "int1")
    if name == "int":
        return Fault(insn.operands[0].imm & 0xFF, f"int {insn.operands[0].imm & 0xFF:#x}", software=True)
    if name == "into" and state.regs.rflags & 1 << 11:
        return Fault(4, "into, with OF set", software=True)
    groups = {insn.group_name(group) for group in insn.groups}
    cr0, cr4 = state.sregs.cr0, state.sregs.cr4
    avx = any(group.startswith(("avx", "fma")) for group in groups)
    sse = any(group.startswith("sse") for group in groups)
    if avx and not cr4 & CR4_OSXSAVE:
        return Fault(UD, f"{name} is AVX, and CR4.OSXSAVE is clear")
    names = [insn.reg_name(op.reg) for op in insn.operands if op.type == operands.REG]
    if sse and not avx and any(one.startswith("xmm") for one in names):
        if cr0 & CR0_EM:
            return Fault(UD, f"{name} is SSE, and CR0.EM is set")
        if not cr4 & CR4_OSFXSR:
            return Fault(UD, f"{name} is SSE, and CR4.OSFXSR is clear")
        if cr0 & CR0_TS:
            return Fault(NM, f"{name} is SSE, and CR0.TS is set")
    if "fpu" in groups and cr0 & (CR0_EM | CR0_TS):
        return Fault(NM, f"{name} is x87, and CR0.{'EM' if cr0 & CR0_EM else 'TS'} is set")
    return None


def _privilege(state: State, insn: Any, name: str) -> Fault | None:
    if state.cpl == 0:
        return None
    moves = name == "mov" and any(
        insn.reg_name(op.reg).startswith(("cr", "dr")) for op in insn.operands if op.type == operands.REG
    )
    if name in PRIVILEGED or moves:
        return Fault(GP, f"{name} is for CPL 0, and CPL is {state.cpl}")
    if name in IO_PRIVILEGED and state.regs.rflags >> 12 & 3 < state.cpl:
        return Fault(GP, f"{name} at CPL {state.cpl} with IOPL {state.regs.rflags >> 12 & 3}")
    return None


def _memory(state: State, code: bytes) -> Fault | None:
    bits = state.mode.bits
    stack_bits = 64 if bits == 64 else 32 if state.sregs.ss.db else 16
    for access in operands.accesses(code, state.pc, bits, state.register, stack_bits):
        fault = memory_fault(state, access.linear, access.size, access.segment, write=access.write)
        if fault is not None:
            return fault
    return None


def memory_fault(state: State, linear: int, size: int, segment: str, *, write: bool) -> Fault | None:
    """The exception that an access through a segment raises."""
    vector = SS if segment == "ss" else GP
    if state.long:
        if not canonical(linear, state.sregs.cr4):
            return Fault(vector, f"the address {linear:#x} is not canonical")
    else:
        loaded = getattr(state.sregs, segment)
        offset = linear - loaded.base & LOW32
        doing = f"{'writing to' if write else 'reading'} {segment.upper()}:{offset:#x}"
        if loaded.unusable or (not state.mode.segmented and not loaded.present):
            return Fault(vector, f"{doing}: {segment.upper()} holds a null selector")
        if not state.mode.segmented and write and (loaded.type & 8 or not loaded.type & 2):
            return Fault(vector, f"{doing}: the segment is not writable")
        down = loaded.type & 12 == 4 and not state.mode.segmented
        outside = offset <= loaded.limit if down else offset + size - 1 > loaded.limit
        if outside:
            of_real_mode = (loaded.base, loaded.limit) == (loaded.selector << 4, 0xFFFF) and not state.mode.segmented
            why = f"; {segment.upper()} has not been loaded since real mode" if of_real_mode else ""
            return Fault(vector, f"{doing}: it is beyond the segment's limit, {loaded.limit:#x}{why}")
    for at in (linear, linear + size - 1):
        fault = page_fault(state, at, write=write)
        if fault is not None:
            return fault
    return None


def _segments(state: State, insn: Any, name: str) -> Fault | None:
    """A selector that the instruction loads and that is bad."""
    if state.mode.segmented:
        return None
    ops = insn.operands
    if name in ("mov", "pop") and ops and ops[0].type == operands.REG:
        target = insn.reg_name(ops[0].reg)
        if target in ("ds", "es", "ss", "fs", "gs"):
            selector = _source(state, insn, name)
            return None if selector is None else selector_fault(state, selector, target)
    if name in ("ljmp", "lcall") and len(ops) == 2 and ops[0].type == operands.IMM:
        return selector_fault(state, int(ops[0].imm) & 0xFFFF, "cs")
    if name in ("retf", "retfq", "iret", "iretd", "iretq"):
        slot = 8 if insn.mnemonic.endswith("q") else 2 if insn.prefix[2] == 0x66 and state.mode.bits != 16 else 4
        slot = 2 if state.mode.bits == 16 and insn.prefix[2] != 0x66 else slot
        try:
            at = int(state.sregs.ss.base) * (not state.long) + (int(state.regs.rsp) & state.stack_mask())
            selector = int.from_bytes(state.read(at + slot, 2), "little")
        except MemoryFault:
            return None
        return selector_fault(state, selector, "cs")
    if name == "ltr":
        selector = _source(state, insn, name)
        return None if selector is None else selector_fault(state, selector, "tr")
    return None


def _source(state: State, insn: Any, name: str) -> int | None:
    try:
        if name == "pop":
            at = int(state.sregs.ss.base) * (not state.long) + (int(state.regs.rsp) & state.stack_mask())
            return int.from_bytes(state.read(at, 2), "little")
        operand = insn.operands[-1]
        if operand.type == operands.REG:
            from kvmdbg.x86.registers import extract, lookup

            register = lookup(insn.reg_name(operand.reg))
            return None if register is None else extract(register, state.register(register.parent)) & 0xFFFF
        at = operands.effective(insn, operand, state.pc, state.mode.bits, state.register)
        return int.from_bytes(state.read(at, 2), "little")
    except MemoryFault:
        return None


def selector_fault(state: State, selector: int, target: str) -> Fault | None:
    """The exception of loading ``selector`` into a segment register (SDM volume 2B, MOV; 3A, 5.4 to 5.8)."""
    doing = f"loading {target.upper()} with {selector:#x}"
    code = selector & 0xFFFC
    if not selector & ~3:
        if target in ("ds", "es", "fs", "gs") or (target == "ss" and state.long and selector == state.cpl != 3):
            return None
        return Fault(GP, f"{doing}: it is the null selector")
    found = descriptor(state, selector)
    if isinstance(found, str):
        return Fault(GP, f"{doing}: {found}", error_code=code)
    text = f"{doing}: its descriptor is {found.describe()}"
    if target == "tr":
        if found.s or found.type not in (1, 9):
            return Fault(GP, text, error_code=code)
    elif target == "cs":
        if not found.is_code:
            return Fault(GP, text, error_code=code)
        if state.ia32e and found.l and found.db:
            return Fault(GP, f"{text}, with both L and D set", error_code=code)
    elif target == "ss":
        if not found.is_writable or found.dpl != state.cpl or selector & 3 != state.cpl:
            return Fault(GP, text, error_code=code)
    elif not found.s or (found.is_code and not found.type & 2):
        return Fault(GP, text, error_code=code)
    if not found.present:
        return Fault(SS if target == "ss" else NP, text, error_code=code)
    return None


def descriptor(state: State, selector: int) -> descriptors.Segment | str:
    """The descriptor of a selector, or why there is none."""
    sregs = state.sregs
    table, name = (sregs.ldt, "LDT") if selector & 4 else (sregs.gdt, "GDT")
    offset = selector & ~7
    if name == "LDT" and (table.unusable or not table.present or not table.selector & ~3):
        return "it is one of an LDT, and LDTR holds none"
    if offset + 7 > table.limit:
        return f"it is beyond the {name}'s limit, {int(table.limit):#x}"
    try:
        raw = int.from_bytes(state.read(table.base + offset, 8), "little")
        found = descriptors.segment(raw)
        if state.ia32e and not found.s and offset + 15 <= table.limit:
            found = descriptors.segment(int.from_bytes(state.read(table.base + offset, 16), "little"))
    except MemoryFault as fault:
        return f"the {name} at {int(table.base):#x} cannot be read ({fault.why})"
    return found


def _arithmetic(state: State, insn: Any, name: str) -> Fault | None:
    if name not in ("div", "idiv", "aam"):
        return None
    if name == "aam":
        return Fault(DE, "aam with base 0") if insn.operands and insn.operands[0].imm == 0 else None
    operand = insn.operands[0]
    size = operand.size
    if operand.type == operands.REG:
        from kvmdbg.x86.registers import extract, lookup

        register = lookup(insn.reg_name(operand.reg))
        divisor = extract(register, state.register(register.parent)) if register else 1
    else:
        try:
            at = operands.effective(insn, operand, state.pc, state.mode.bits, state.register)
            divisor = int.from_bytes(state.read(at, size), "little")
        except MemoryFault:
            return None
    if not divisor:
        return Fault(DE, f"{name} by zero")
    bits = size * 8
    mask = (1 << bits) - 1
    rax, rdx = state.register("rax"), state.register("rdx")
    dividend = rax & 0xFFFF if size == 1 else (rdx & mask) << bits | rax & mask
    if name == "idiv":
        divisor, dividend = _signed(divisor, bits), _signed(dividend, 2 * bits)
        quotient = abs(dividend) // abs(divisor) * (1 if (dividend < 0) == (divisor < 0) else -1)
        fits = -(1 << bits - 1) <= quotient < 1 << bits - 1
    else:
        fits = dividend // divisor <= mask
    return None if fits else Fault(DE, f"{name}: the quotient does not fit {bits} bits")


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> bits - 1 else value
