"""The x86 state in words: control registers, segments, descriptor tables, MSRs, FPU, CPUID, interrupt controllers."""

from __future__ import annotations

import struct
from typing import Annotated, Any

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import NumberType, WordType
from kvmdbg.commands.registry import Later, command
from kvmdbg.commands.results import Fields, Group, Message, Result, Table
from kvmdbg.commands.values import address_label
from kvmdbg.errors import UsageError
from kvmdbg.language.formats import floating
from kvmdbg.x86 import descriptors, flags, msrs

LeafArg = Annotated[int | None, NumberType("LEAF")]
VECTORS = tuple(f"{kind}{number}" for kind in ("xmm", "ymm") for number in range(16))
VectorArg = Annotated[str, WordType("REGISTER", VECTORS, strict=False)]
ValueArg = Annotated[int | None, NumberType("VALUE")]


NO_IRQCHIP = Message("This guest has no interrupt controllers of KVM's: start it with --irqchip.")
NO_CONTROLLERS = Message("This guest has no interrupt controllers: start it with --irqchip kernel or user.")


class MsrType(NumberType):
    """An MSR: its name (efer, IA32_EFER) or a number."""

    def parse(self, text: str, pos: int, dbg: Interpreter) -> tuple[int | Later, int] | None:
        word = text[pos:].split()[0]
        index = msrs.index_of(word)
        return (index, pos + len(word)) if index is not None else super().parse(text, pos, dbg)

    def complete(self, prefix: str, dbg: Interpreter) -> list[str]:
        return [name for name in sorted(msrs.NAMES) if name.startswith(prefix.lower())]


MsrArg = Annotated[int, MsrType("NAME|INDEX")]


def _bits(register: str, value: int) -> str:
    return " ".join(flags.decode(register, value))


@command(
    "info cr",
    group="info",
    example=("advance long64", "info cr"),
    guest="--symbols guests/modes.elf guests/modes.bin",
    py="dbg.regs.cr0, dbg.regs.cr3, dbg.regs.cr4",
)
def info_cr(dbg: Interpreter) -> Result:
    """Show the control registers and EFER with the names of the bits that are set."""
    regs = dbg.session.registers
    rows = []
    for name in ("cr0", "cr2", "cr3", "cr4", "cr8", "efer"):
        value = regs.get(name)
        meaning = _bits(name, value) if name in flags.DECODED else ""
        if name == "cr3":
            meaning = f"page tables at {value & ((1 << 52) - 1) & ~0xFFF:#x}"
        rows.append((name, f"{value:#x}", meaning))
    data = tuple({"name": name, "value": regs.get(name), "flags": meaning} for name, _, meaning in rows)
    return Table("control registers", ("Register", "Value", "Set"), tuple(rows), data=data)


@command(
    "info efer",
    group="info",
    example=("advance long64", "info efer"),
    guest="--symbols guests/modes.elf guests/modes.bin",
    py="dbg.regs.efer",
)
def info_efer(dbg: Interpreter) -> Result:
    """Show EFER, each of its bits with what it means."""
    value = dbg.session.registers.get("efer")
    rows = tuple((name, str(bit), "1" if value >> bit & 1 else "0", what) for name, bit, what in flags.DECODED["efer"])
    return Table(f"efer = {value:#x}", ("Bit", "No.", "Set", "What it is"), rows)


@command(
    "info segments",
    aliases=("seg",),
    group="info",
    example=("advance long64", "info segments"),
    guest="--symbols guests/modes.elf guests/modes.bin",
    py="dbg.runner.sregs",
)
def info_segments(dbg: Interpreter) -> Result:
    """Show what is loaded into the segment registers: selector, base, limit, kind, privilege."""
    sregs = dbg.session.runner.sregs
    rows, data = [], []
    for name in ("cs", "ss", "ds", "es", "fs", "gs", "tr", "ldt"):
        one: Any = getattr(sregs, name)
        raw = (
            one.type << 40 | one.s << 44 | one.dpl << 45 | one.present << 47 | one.l << 53 | one.db << 54 | one.g << 55
        )
        text = descriptors.segment(raw).describe() if not one.unusable else "unusable"
        if dbg.session.vcpu.mode.segmented and name not in ("tr", "ldt"):
            text = "real mode" if not one.unusable else "unusable"
        shown = "ldtr" if name == "ldt" else name
        rows.append((shown, f"{one.selector:04x}", f"{one.base:#x}", f"{one.limit:#x}", text, str(one.selector & 3)))
        data.append({"name": shown, "selector": one.selector, "base": one.base, "limit": one.limit, "kind": text})
    columns = ("Register", "Selector", "Base", "Limit", "Kind", "RPL")
    return Table("segments", columns, tuple(rows), data=tuple(data))


def _descriptor_table(dbg: Interpreter, name: str) -> Result:
    rows, data = [], []
    for one in dbg.session.state_of.descriptors(name):
        segment = one.segment
        if not segment.raw:
            text = "null"
        else:
            text = segment.describe()
        wrong = "; ".join(one.problems)
        rows.append(
            (
                str(one.index),
                f"{one.selector:#06x}",
                f"{segment.base:#x}",
                f"{segment.limit:#x}",
                text,
                wrong and f"! {wrong}",
            )
        )
        data.append(
            {"index": one.index, "selector": one.selector, "address": one.address, "raw": segment.raw,
             "base": segment.base, "limit": segment.limit, "kind": text, "problems": list(one.problems)}
        )  # fmt: skip
    columns = ("No.", "Selector", "Base", "Limit", "Kind", "")
    table = dbg.session.runner.sregs.gdt if name == "gdt" else dbg.session.runner.sregs.ldt
    title = f"{name} at {table.base:#x}, limit {table.limit:#x}"
    return Table(title, columns, tuple(rows), f"The {name.upper()} is empty.", tuple(data))


@command(
    "info gdt",
    group="info",
    example=("advance long64", "info gdt"),
    guest="--symbols guests/modes.elf guests/modes.bin",
    py="dbg.state_of.descriptors('gdt')",
)
def info_gdt(dbg: Interpreter) -> Result:
    """Decode the global descriptor table from the guest's memory; ! marks what is malformed."""
    return _descriptor_table(dbg, "gdt")


@command("info ldt", group="info", example="info ldt", py="dbg.state_of.descriptors('ldt')")
def info_ldt(dbg: Interpreter) -> Result:
    """Decode the local descriptor table, if LDTR holds one; ! marks what is malformed."""
    if not dbg.session.state_of.has_ldt:
        return Message("There is no LDT: LDTR holds a null selector.")
    return _descriptor_table(dbg, "ldt")


@command(
    "info idt",
    aliases=("ivt",),
    group="info",
    example=("advance fill", "info idt"),
    guest="guests/kernel-O0.elf",
    py="dbg.state_of.handlers()",
)
def info_idt(dbg: Interpreter) -> Result:
    """Decode the interrupt descriptor table, or the table of real mode: the entries that are not zero.

    Each with where it leads; ! marks what is malformed.
    """
    from kvmdbg.engine.events import EXCEPTIONS

    rows, data = [], []
    for one in dbg.session.state_of.handlers():
        wrong = "; ".join(one.problems)
        name = EXCEPTIONS.get(one.vector, "")
        label = address_label(dbg, one.target) if one.target is not None else ""
        rows.append((f"{one.vector:#04x}", name, one.text, label, wrong and f"! {wrong}"))
        data.append({"vector": one.vector, "address": one.address, "target": one.target, "text": one.text,
                     "problems": list(one.problems)})  # fmt: skip
    idt = dbg.session.runner.sregs.idt
    title = f"idt at {idt.base:#x}, limit {idt.limit:#x}"
    empty = f"The table of handlers at {idt.base:#x}, limit {idt.limit:#x}, has no entries."
    return Table(title, ("Vector", "", "Leads to", "", ""), tuple(rows), empty, tuple(data))


@command("info tss", group="info", example="info tss", py="dbg.state_of.tss()")
def info_tss(dbg: Interpreter) -> Result:
    """Decode the task state segment that TR holds: the stacks for inner privilege levels, in long mode the ISTs too."""
    if not dbg.session.state_of.has_tss:
        return Message("TR holds no TSS.")
    fields = dbg.session.state_of.tss()
    base = dbg.session.runner.sregs.tr.base
    return Fields(f"tss at {base:#x}", {name: f"{value:#x}" for name, value in fields.items()}, fields)


@command(
    "msr",
    group="data",
    example=("advance long64", "msr efer", "msr 0x277", "msr star 7"),
    guest="--symbols guests/modes.elf guests/modes.bin",
    py="dbg.state_of.msr({index})",
)
def msr(dbg: Interpreter, index: MsrArg, value: ValueArg = None) -> Result:
    """Show an MSR, by name (efer, IA32_PAT) or number; with VALUE write it."""
    state = dbg.session.state_of
    if value is not None:
        state.set_msr(index, value)
    found = state.msr(index)
    name = msrs.name_of(index)
    shown = f"{name} ({index:#x})" if name else f"{index:#x}"
    meaning = f"  {_bits('efer', found)}" if name == "efer" else ""
    return Message(f"{shown} = {found:#x}{meaning}".rstrip(), data={"index": index, "name": name, "value": found})


@command("info debugregs", group="info", example="info debugregs", py="dbg.regs.dr7")
def info_debugregs(dbg: Interpreter) -> Result:
    """Show the guest's own debug registers, decoded. The debugger's own breakpoints are not in them."""
    regs = dbg.session.registers
    dr7, dr6 = regs.get("dr7"), regs.get("dr6")
    rows = []
    for number in range(4):
        enabled = [word for word, bit in (("local", 0), ("global", 1)) if dr7 >> number * 2 + bit & 1]
        kind = ("execute", "write", "I/O", "access")[dr7 >> 16 + number * 4 & 3]
        length = (1, 2, 8, 4)[dr7 >> 18 + number * 4 & 3]
        what = f"{kind}, {length} byte{'s' if length > 1 else ''}" if enabled else "off"
        hit = "hit" if dr6 >> number & 1 else ""
        rows.append((f"dr{number}", f"{regs.get(f'dr{number}'):#x}", what, " ".join(enabled), hit))
    rows += [("dr6", f"{dr6:#x}", "", "", ""), ("dr7", f"{dr7:#x}", "", "", "")]
    return Table("debug registers", ("Register", "Value", "Breaks at", "Enabled", ""), tuple(rows))


@command("info fpu", group="info", example="info fpu", py="dbg.state_of.fpu()")
def info_fpu(dbg: Interpreter) -> Result:
    """Show the x87 registers as numbers, and the control, status and tag words."""
    fpu = dbg.session.state_of.fpu()
    top = fpu.fsw >> 11 & 7
    rows = []
    for number in range(8):
        raw = bytes(fpu.fpr[number])[:10]
        used = fpu.ftwx >> ((top + number) & 7) & 1
        rows.append((f"st{number}", floating(int.from_bytes(raw, "little"), 10) if used else "empty", raw[::-1].hex()))
    control = Fields(
        "", {"fcw": f"{fpu.fcw:#06x}", "fsw": f"{fpu.fsw:#06x} (top {top})", "ftw": f"{fpu.ftwx:#04x} (abridged)",
             "mxcsr": f"{fpu.mxcsr:#x}"},
    )  # fmt: skip
    return Group((Table("x87 registers", ("Register", "Value", "Raw"), tuple(rows)), control))


ELEMENTS = (
    ("float", "f", 4), ("double", "d", 8), ("int8", "b", 1), ("int16", "h", 2), ("int32", "i", 4), ("int64", "q", 8),
)  # fmt: skip
"""What a vector register may be made of, as gdb calls it, as struct does, and its bytes."""


def vector_forms(raw: bytes) -> dict[str, str]:
    """A vector register in the forms of gdb: ``v4_float``, ``v2_double``, ``v16_int8``, … and ``uint128``."""
    forms = {}
    for name, code, size in ELEMENTS:
        count = len(raw) // size
        values = [str(value) for value in struct.unpack(f"<{count}{code}", raw)]
        if code in "fd":
            values = [floating(int.from_bytes(raw[at : at + size], "little"), size) for at in range(0, len(raw), size)]
        forms[f"v{count}_{name}"] = f"{{{', '.join(values)}}}"
    wide = [str(int.from_bytes(raw[at : at + 16], "little")) for at in range(0, len(raw), 16)]
    forms["uint128" if len(wide) == 1 else "v2_int128"] = wide[0] if len(wide) == 1 else f"{{{', '.join(wide)}}}"
    return forms


def vector_register(dbg: Interpreter, name: str) -> bytes | None:
    """The bytes of ``xmm0`` to ``ymm15``; None for another name. UsageError for YMM without AVX."""
    if name not in VECTORS:
        return None
    raw = dbg.session.state_of.vectors()[int(name[3:])]
    if name.startswith("ymm") and len(raw) < 32:
        raise UsageError("the vCPU has no AVX, and so no YMM registers")
    return raw[:16] if name.startswith("xmm") else raw


@command(
    "info vectors",
    aliases=("vector", "xmm", "ymm"),
    group="info",
    example="info vectors xmm0",
    py="dbg.state_of.vectors()",
)
def info_vectors(dbg: Interpreter, register: VectorArg = "") -> Result:
    """Show XMM0 to XMM15, or YMM where the vCPU has AVX: as one number, and the lower half as floats and doubles.

    Of one register, xmm0 to ymm15, all forms of gdb are shown; `print $xmm0` and `info registers xmm0` do the same.
    """
    if register:
        raw = vector_register(dbg, register.lstrip("$"))
        if raw is None:
            raise UsageError(f"there is no vector register {register}; there are xmm0 to xmm15 and ymm0 to ymm15")
        return Fields("", vector_forms(raw))
    rows, data = [], []
    for number, raw in enumerate(dbg.session.state_of.vectors()):
        name = f"{'ymm' if len(raw) == 32 else 'xmm'}{number}"
        floats = ", ".join(f"{value:.6g}" for value in struct.unpack("<4f", raw[:16]))
        doubles = ", ".join(f"{value:.6g}" for value in struct.unpack("<2d", raw[:16]))
        rows.append((name, f"{int.from_bytes(raw, 'little'):#x}", f"{{{floats}}}", f"{{{doubles}}}"))
        data.append({"name": name, "value": raw[::-1].hex()})
    return Table("vector registers", ("Register", "Value", "v4_float", "v2_double"), tuple(rows), data=tuple(data))


@command("info events", group="info", example="info events", py="dbg.state_of.events()")
def info_events(dbg: Interpreter) -> Result:
    """Show what is about to be delivered to the vCPU: exceptions, interrupts, NMIs; and whether interrupts may come."""
    return Fields("", dbg.session.state_of.events())


@command(
    "info cpuid",
    group="info",
    example=("info cpuid 1", "info cpuid"),
    varies="it is what this host's KVM and CPU have",
    py="dbg.state_of.cpuid()",
)
def info_cpuid(dbg: Interpreter, leaf: LeafArg = None) -> Result:
    """Show what the guest's CPUID gives: all leaves, or LEAF with the names of its features. --cpu changes them."""
    rows: list[tuple[str, ...]] = []
    data: list[dict[str, Any]] = []
    notes: dict[int, tuple[str, ...]] = {}
    for found, subleaf, values, names in dbg.session.state_of.cpuid():
        if leaf is not None and found != leaf:
            continue
        if leaf is not None and names:
            notes[len(rows)] = tuple(_wrapped(names, dbg.columns() - 6))
        rows.append((f"{found:#x}", str(subleaf), *(f"{value:08x}" for value in values.values())))
        data.append({"leaf": found, "subleaf": subleaf, **values, "features": names})
    if leaf is not None and not rows:
        raise UsageError(f"the guest's CPUID has no leaf {leaf:#x}")
    columns = ("Leaf", "Sub", "EAX", "EBX", "ECX", "EDX")
    return Table("cpuid", columns, tuple(rows), data=tuple(data), notes=notes)


def _wrapped(words: list[str], width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(" ".join(words), max(width, 20))


@command(
    "info pic",
    group="info",
    example="info pic",
    guest="--load 0x1000 guests/hello16.bin",
    py="dbg.state_of.pic()",
)
def info_pic(dbg: Interpreter) -> Result:
    """Show the two 8259 interrupt controllers."""
    if not dbg.session.machine.board.has_interrupts:
        return NO_CONTROLLERS
    rows = []
    for name, one in dbg.session.state_of.pic().items():
        base = f"{one['irq_base']:#x}"
        rows.append((name, base, *(f"{one[key]:08b}" for key in ("irr", "isr", "imr"))))
    return Table("pic", ("Chip", "Vectors from", "IRR", "ISR", "IMR"), tuple(rows))


@command(
    "info ioapic",
    group="info",
    example="info ioapic",
    guest="--irqchip --load 0x1000 guests/hello16.bin",
    py="dbg.state_of.ioapic()",
)
def info_ioapic(dbg: Interpreter) -> Result:
    """Show the redirection entries of the IOAPIC (with --irqchip)."""
    if not dbg.session.machine.irqchip:
        return NO_IRQCHIP
    rows = []
    for line, entry in enumerate(dbg.session.state_of.ioapic()):
        delivery = ("fixed", "lowest", "SMI", "?", "NMI", "INIT", "?", "ExtINT")[entry >> 8 & 7]
        trigger = "level" if entry >> 15 & 1 else "edge"
        masked = "masked" if entry >> 16 & 1 else ""
        rows.append((str(line), f"{entry & 0xFF:#04x}", delivery, trigger, f"{entry >> 56:#x}", masked))
    return Table("ioapic", ("Line", "Vector", "Delivery", "Trigger", "To", ""), tuple(rows))


@command(
    "info lapic",
    group="info",
    example="info lapic",
    guest="--irqchip --load 0x1000 guests/hello16.bin",
    py="dbg.state_of.lapic()",
)
def info_lapic(dbg: Interpreter) -> Result:
    """Show the current vCPU's local APIC (with --irqchip)."""
    if not dbg.session.machine.irqchip:
        return NO_IRQCHIP
    found = dbg.session.state_of.lapic()
    values = {}
    for name, value in found.items():
        if name in ("isr", "irr"):
            vectors = [f"{vector:#x}" for vector in range(256) if value >> vector & 1]
            values[name] = " ".join(vectors) or "none"
        elif name.startswith("lvt"):
            values[name] = f"vector {value & 0xFF:#x}{', masked' if value >> 16 & 1 else ''} ({value:#x})"
        else:
            values[name] = f"{value:#x}"
    return Fields("lapic", values, {"svr enabled": bool(found["svr"] >> 8 & 1)})


@command(
    "info pit",
    group="info",
    example="info pit",
    guest="--load 0x1000 guests/hello16.bin",
    py="dbg.state_of.pit()",
)
def info_pit(dbg: Interpreter) -> Result:
    """Show the three channels of the timer."""
    if not dbg.session.machine.board.has_interrupts:
        return NO_CONTROLLERS
    rows = []
    for number, one in enumerate(dbg.session.state_of.pit()):
        rate = f"{1193182 / (one['count'] or 65536):,.1f} Hz"
        rows.append((str(number), str(one["count"]), str(one["mode"]), rate, "open" if one["gate"] else "closed"))
    return Table("pit", ("Channel", "Count", "Mode", "Rate", "Gate"), tuple(rows))
