"""The parts of the context view: registers, code around $pc, source, stack, and what stopped the guest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from kvmdbg.commands.pointers import chain, kind_of, pointers_part
from kvmdbg.commands.results import (
    CodeLine,
    Disassembly,
    Fields,
    Group,
    Message,
    Part,
    Registers,
    RegisterValue,
    Result,
    SourceText,
    Stack,
    StackSlot,
    Table,
)
from kvmdbg.commands.values import address_label
from kvmdbg.engine.breakpoints import Breakpoint
from kvmdbg.engine.stops import WatchpointStop
from kvmdbg.errors import KvmdbgError, MemoryFault, UsageError

if TYPE_CHECKING:
    from kvmdbg.commands.interpreter import Interpreter
    from kvmdbg.engine.stops import Stop
    from kvmdbg.observe.autopsy import Autopsy

#: How many instructions before the current one the context view shows where they can be known.
BEFORE = 3
SELECTORS = ("cs", "ss", "ds", "es", "fs", "gs")
ARGUMENTS = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")
"""Registers of the first arguments (System V ABI for x86-64, section 3.2.3)."""
#: The longest x86 instruction (SDM volume 2A, section 2.3.11).
LONGEST = 15
MOST_INSTRUCTIONS = 1 << 17


MORE_PARTS: dict[str, Callable[[Interpreter], Result | None]] = {"pointers": pointers_part}
"""Parts of the context that modules of commands add."""


def why_part(dbg: Interpreter, autopsy: Autopsy) -> Group:
    """What killed the guest: the account, the last instructions and the last exits."""
    import textwrap

    numbered = len(autopsy.account) > 1
    account = [
        textwrap.fill(f"{n}. {text}" if numbered else text, max(dbg.columns() - 1, 40), subsequent_indent="   ")
        for n, text in enumerate(autopsy.account, 1)
    ]
    results: list[Result] = [Message("\n".join(account), data={"account": list(autopsy.account)})]
    if autopsy.instructions:
        rows = tuple((f"{at:#x}", address_label(dbg, at), text) for at, text in autopsy.instructions)
        data = tuple(
            {"address": at, "symbol": dbg.session.symbols.format(at), "text": text} for at, text in autopsy.instructions
        )
        results.append(Table("last instructions", ("Last instructions", "", ""), rows, data=data))
    if autopsy.exits:
        results.append(Table("last exits", ("Last exits",), tuple((text,) for text in autopsy.exits)))
    return Group(tuple(results))


def context(dbg: Interpreter, names: tuple[str, ...], stop: Stop | None = None) -> tuple[Part, ...]:
    """The named parts of the context of the current vCPU; none for a guest that is gone."""
    if dbg.session.state == "dead":
        return ()
    makers: dict[str, Callable[[Interpreter], Result | None]]
    makers = {"regs": registers_part, "source": source_part, "code": code_part, "stack": stack_part, **MORE_PARTS}
    parts: list[Part] = []
    for name in names:
        try:
            if name in makers:
                part = makers[name](dbg)
                if part is not None:
                    parts.append(Part(name, part))
            elif name == "stop" and stop is not None:
                parts.append(Part(name, stop_part(dbg, stop)))
        except KvmdbgError as error:
            parts.append(Part(name, Message(str(error), "warning")))
    return tuple(parts)


def source_part(dbg: Interpreter, count: int = 5) -> Result | None:
    """``count`` lines of the source around $pc; None where no line is known."""
    line = dbg.session.source.quick_at(dbg.session.vcpu.pc)
    if line is None:
        return None
    if not dbg.source_lines(line.file):
        return Message(f"{line.file}:{line.line}")
    return source_text(dbg, line.file, line.line - count // 2, count)


def source_text(dbg: Interpreter, file: str, first: int, count: int) -> SourceText:
    """``count`` lines of a file from ``first`` on; the line at pc is marked. UsageError where the file is shorter."""
    text = dbg.source_lines(file)
    first = max(1, first)
    if first > len(text):
        raise UsageError(f"{file} has {len(text)} lines")
    here = dbg.session.source.at(dbg.session.vcpu.pc)
    last = min(len(text), first + count - 1)
    marked = here.line if here is not None and here.file == file else 0
    return SourceText(file, tuple((number, text[number - 1], number == marked) for number in range(first, last + 1)))


def register_value(dbg: Interpreter, name: str, changed: set[str]) -> RegisterValue:
    """One register of the current vCPU with its meaning. ``name`` must be known."""
    from kvmdbg.x86 import flags, registers

    row = registers.lookup(name)
    assert row is not None
    value = dbg.session.registers.get(name)
    known = dbg.session.frames.register(dbg.session.runner, row.name)
    value = value if known is None else known
    storage = row.parent or row.name
    decoded = " ".join(flags.decode(storage, value)) if storage in flags.DECODED else ""
    if storage == "rflags":
        decoded = flags.format_flags(value)
    pointer = kind_of(dbg, value) if not decoded and storage not in SELECTORS else ""
    return RegisterValue(name, value, row.bits, bool({name, row.name, storage} & changed), decoded, pointer)


def registers_part(dbg: Interpreter) -> Registers:
    """The general registers at the mode's width, selectors, and the flags decoded."""
    from kvmdbg.x86 import registers

    mode = dbg.session.vcpu.mode
    names = list(registers.general_names(mode.bits))
    wide = mode.bits == 64
    names = [name for name in names if name not in ("rflags", "eflags", "flags", "rip", "eip", "ip")]
    names += ["cs", "ss", "ds", "es", "fs", "gs"]
    names += ["rip", "rflags"] if wide else ["eip", "eflags"]
    changed = dbg.session.registers.changed()
    return Registers(tuple(register_value(dbg, name, changed) for name in names), "grid")


def read_code(dbg: Interpreter, address: int, size: int, space: str = "linear") -> bytes:
    """Up to ``size`` bytes at ``address``; fewer where memory ends. Raises MemoryFault when there is none at all."""
    memory = dbg.session.physical if space == "phys" else dbg.session.memory
    try:
        return memory.read(address, size)
    except MemoryFault as fault:
        have = fault.address - address
        if not 0 < have < size:
            have = min(size, 0x1000 - address % 0x1000)
            if have == size:
                raise
        return memory.read(address, have)


def code_lines(
    dbg: Interpreter, address: int, count: int = 0, *, end: int | None = None, space: str = "linear"
) -> tuple[CodeLine, ...]:
    """``count`` instructions from ``address`` on, or those that start before ``end``.

    UsageError where they are more than MOST_INSTRUCTIONS, or it is to end.
    """
    from kvmdbg.x86 import disasm

    vcpu = dbg.session.vcpu
    bits = vcpu.mode.bits
    size = end - address + LONGEST if end is not None else count * LONGEST
    if size > (MOST_INSTRUCTIONS + 1) * LONGEST:
        raise UsageError(f"that is more than {MOST_INSTRUCTIONS:,} instructions: ask for less at a time")
    code = read_code(dbg, address, max(size, 1), space)
    syntax, base = dbg.settings["disassembly-flavor"], dbg.session.runner.cs_base
    found = disasm.one_by_one(code, address, bits, count if end is None else None, syntax, base)
    points: dict[int, list[int]] = {}
    for point in dbg.session.breakpoints.held():
        if point.enabled and point.space == space:
            points.setdefault(point.address, []).append(point.number)
    lines = []
    for one in found:
        if end is not None and one.address >= end:
            break
        if dbg.user.cancelled:
            raise UsageError("interrupted")
        info = disasm.classify(one.data, one.address, bits, base) if one.mnemonic != ".byte" else None
        target = info.target if info else None
        current = one.address == vcpu.pc and space == "linear"
        branch = ""
        if current and info and info.is_conditional:
            taken = disasm.branch_taken(one.data, one.address, bits, dbg.session.registers.get)
            branch = "" if taken is None else "taken" if taken else "not taken"
        lines.append(
            CodeLine(
                one.address,
                one.data,
                one.mnemonic,
                one.operands,
                label=address_label(dbg, one.address) if space == "linear" else "",
                seg_off=segment_offset(dbg, one.address) if space == "linear" else "",
                current=current,
                branch=branch,
                target=target,
                target_label=address_label(dbg, target) if target is not None else "",
                breakpoints=tuple(points.get(one.address, ())),
                values=values_at(dbg, one.data, target) if current and dbg.settings["operand-values"] else (),
            )
        )
    return tuple(lines)


def values_at(dbg: Interpreter, code: bytes, target: int | None) -> tuple[tuple[str, int | None, str], ...]:
    """What the instruction at pc reads, or writes to; of a call also the arguments of the function, by their names."""
    from kvmdbg.x86 import disasm

    found = operand_values(dbg, code)
    info = disasm.classify(code, dbg.session.vcpu.pc, dbg.session.vcpu.mode.bits)
    if info is not None and info.is_call:
        with suppress(KvmdbgError):
            function = target if target is not None else called_through(dbg, code)
            found += tuple(call_arguments(dbg, function)) if function is not None else ()
    return found


def called_through(dbg: Interpreter, code: bytes) -> int | None:
    """The function that a call at pc finds in a register or in memory; None for one in another segment."""
    from kvmdbg.x86 import operands

    session = dbg.session
    size = session.vcpu.mode.bits // 8
    for access in session.space.accesses_at(session.runner):
        if access.read and not access.write:
            if access.size != size:
                return None
            return int.from_bytes(session.memory.read(access.linear, size), "little")
    names = operands.registers_read(code, session.vcpu.mode.bits)
    return session.registers.get(names[0]) if names else None


def call_arguments(dbg: Interpreter, function: int) -> Iterator[tuple[str, int | None, str]]:
    """The arguments that are ready for the function at ``function``, as the System V ABIs hand over whole numbers."""
    session = dbg.session
    bits = session.vcpu.mode.bits
    if bits == 16 or not session.c_variables.known:
        return
    stack = session.registers.get("sp") + (0 if bits == 64 else session.registers.get("ss_base"))
    for number, one in enumerate(session.c_variables.seen_from(function).visible(parameters=True)):
        if one.type.size > bits // 8:
            return
        if bits == 64:
            if number == len(ARGUMENTS):
                return
            value = session.registers.get(ARGUMENTS[number])
        else:
            value = int.from_bytes(session.memory.read(stack + 4 * number, 4), "little")
        value &= (1 << 8 * one.type.size) - 1
        yield one.name, value, address_label(dbg, value) if value > 0xFFF else ""


def operand_values(dbg: Interpreter, code: bytes) -> tuple[tuple[str, int | None, str], ...]:
    """The registers and the memory that the instruction at pc reads, or writes to, with what they hold before it."""
    from kvmdbg.x86 import operands

    session = dbg.session
    found: list[tuple[str, int | None, str]] = []
    for name in operands.registers_read(code, session.vcpu.mode.bits):
        value = session.registers.get(name)
        found.append((name, value, address_label(dbg, value) if value > 0xFFF else ""))
    for access in session.space.accesses_at(session.runner):
        where = f"{access.linear:#x} {address_label(dbg, access.linear)}".rstrip()
        if access.size > 8 or (access.write and not access.read and access.segment == "ss"):
            continue  # vectors, and what a push or a call puts on the stack
        try:
            number = int.from_bytes(session.memory.read(access.linear, access.size), "little")
        except MemoryFault:
            found.append((f"[{where}]", None, ""))
            continue
        label = address_label(dbg, number) if number > 0xFFF and access.size * 8 >= session.vcpu.mode.bits else ""
        found.append((f"[{where}]", number, label))
    return tuple(found)


def segment_offset(dbg: Interpreter, address: int) -> str:
    """``0100:0003`` with the current CS, in real and virtual-8086 mode and where it fits; else ""."""
    vcpu = dbg.session.vcpu
    if not vcpu.mode.segmented:
        return ""
    cs, ip = vcpu.cs_ip
    offset = address - (vcpu.pc - ip)
    return f"{cs:04x}:{offset:04x}" if 0 <= offset <= 0xFFFF else ""


def code_part(dbg: Interpreter) -> Disassembly:
    """The instructions around $pc."""
    pc = dbg.session.vcpu.pc
    before = instructions_before(dbg, pc, BEFORE)
    start = before[0] if before else pc
    lines = code_lines(dbg, start, len(before) + max(1, dbg.settings["code-lines"]))
    return Disassembly(lines, raw=True, syntax=dbg.settings["disassembly-flavor"])


def instructions_before(dbg: Interpreter, pc: int, count: int) -> list[int]:
    """Where up to ``count`` instructions before ``pc`` start; x86 code cannot be decoded backwards for certain.

    Starts tried: the symbol that ``pc`` lies in, addresses where the guest stopped before, then each byte; one is
    taken when decoding from it arrives at ``pc`` exactly through real instructions.
    """
    from kvmdbg.x86 import disasm

    bits = dbg.session.vcpu.mode.bits
    near = dbg.session.symbols.nearest(pc)
    starts = []
    if near is not None and 0 < near[1] <= 0x1000:
        starts.append(near[0].address)
    starts += sorted(at for at in dbg.runs.stopped_at if 0 < pc - at <= count * LONGEST)
    known = len(starts)
    starts += range(pc - min(pc, count * 5), pc)
    for number, start in enumerate(starts):
        try:
            code = read_code(dbg, start, pc - start)
        except MemoryFault:
            continue
        found = disasm.disassemble(code, start, bits)
        if not found or found[-1].address + found[-1].size != pc:
            continue
        if number >= known and any(one.mnemonic == ".byte" or one.data == b"\0\0" for one in found):
            continue
        if any(one.mnemonic == ".byte" for one in found[-count:]):
            continue
        return [one.address for one in found[-count:]]
    return []


def stack_part(dbg: Interpreter) -> Stack:
    """The top of the stack, in slots of the mode's width, at SS:SP."""
    session = dbg.session
    bits = session.vcpu.mode.bits
    size = bits // 8
    pointer = session.registers.get("sp")
    base = 0 if bits == 64 else session.registers.get("ss_base")
    mask = (1 << bits) - 1
    slots, note = [], ""
    for number in range(dbg.settings["stack-lines"]):
        offset = (pointer + number * size) & mask
        address = base + offset
        try:
            value = int.from_bytes(session.memory.read(address, size), "little")
        except MemoryFault as fault:
            note = str(fault)
            break
        pieces = chain(dbg, value) if bits != 16 else [("", "")]
        slots.append(
            StackSlot(address, number * size, value, address_label(dbg, value), pieces[0][0], tuple(pieces[1:]))
        )
        if offset + size > mask:
            note = "(end of the stack segment)"
            break
    return Stack(tuple(slots), bits, note)


def stop_part(dbg: Interpreter, stop: Stop) -> Fields:
    """Details of what stopped the guest: the breakpoints with their condition and hits, mode and place."""
    vcpu = dbg.session.vcpu
    cs, ip = vcpu.cs_ip
    label = address_label(dbg, vcpu.pc)
    values = {"where": f"{cs:04x}:{ip:04x}, linear {vcpu.pc:#x} {label}".rstrip() + f", {vcpu.mode.name}"}
    for point in stop.breakpoints:
        about = [f"at {point.location}"] if isinstance(point, Breakpoint) else [point.describe()]
        about += [f"if {point.condition}"] if point.condition else []
        about.append(f"hit {point.hits} time{'s' if point.hits != 1 else ''}")
        about += [f"held by {point.held_by}"] if point.held_by else []
        values[f"{type(point).__name__.lower()} {point.number}"] = ", ".join(about)
    if isinstance(stop, WatchpointStop) and stop.instruction is not None:
        one = code_lines(dbg, stop.instruction, 1)[0]
        where = " ".join(part for part in (f"{one.address:#x}", one.label) if part)
        values["instruction"] = f"{where}: {one.mnemonic} {one.operands}".rstrip()
    return Fields("", values)
