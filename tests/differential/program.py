"""A program: blocks of assembly after each other, with tables, handlers and data at places that a layout gives."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random
from typing import Any

from kvmdbg.x86.registers import EFLAGS_IF

BITS = {"real": 16, "prot": 32, "long": 64}
MODES = tuple(BITS)
PC_AND_FLAGS = {"real": "ip", "prot": "eip", "long": "rip"}
IMAGE_SIZE = 0xC000
VECTORS = 0x30
WITH_ERROR_CODE = (8, 10, 11, 12, 13, 14, 17)
DEBUG, NMI = 1, 2
SOFTWARE_VECTORS = (DEBUG, NMI, 3, 4, *range(0x20, VECTORS))
"""Vectors whose handler goes on where the frame says: traps, ``int n`` and interrupts."""
CODE, DATA, CODE_AGAIN, DATA_AGAIN, TSS = 0x08, 0x10, 0x18, 0x20, 0x38
"""Selectors of the program's own GDT."""
USER = {"prot": (0x2B, 0x33), "long": (0x33, 0x2B)}
"""Code and data of CPL 3, by mode: SYSEXIT and SYSRET want them behind ``CODE_AGAIN`` and ``DATA_AGAIN``, each in its
own order."""
LEAVE = 0x2D
"""A software interrupt by which code at CPL 3 goes on at CPL 0, where the cell for resuming says."""
AT_CPL_0 = 1 << 30
"""With this added in the cell for resuming the handler goes on at CPL 0."""
TIMER = 0x20
"""The timer's vector, where the program has one."""
PIC = ((0x11, 0x20), (TIMER, 0x21), (4, 0x21), (1, 0x21), (0xFE, 0x21))
PIT = ((0x34, 0x43), (0, 0x40), (0x80, 0x40))
"""36 Hz: so slow that the program gets on between two ticks even where each of its instructions is stepped, and no
slower, as a breakpoint in a loop that waits for a tick stops some hundred times."""
TIMER_ON = tuple(line for value, port in PIC + PIT for line in (f"mov al, {value}", f"out {port}, al"))
ALIAS = 0x600000
"""Where blocks of long mode map the first 2 MiB a second time."""
LABEL = re.compile(r"\{([\w.]+)\}")
BRANCHES = re.compile(r"(j\w+|call|loop\w*|jmp|xbegin)\s+0x")


class CannotAssemble(Exception):
    """A line that is no instruction of its mode."""


@dataclass(frozen=True)
class Layout:
    """Where things lie. ``stack`` is where the stack begins, it grows down; ``cells`` holds counters and scratch."""

    name: str
    code: int
    code_end: int
    data: int
    data_end: int
    stack: int
    cells: int
    gdt: int
    tss: int
    idt: int
    handlers: int

    @property
    def resume(self) -> int:
        """Where a handler of faults goes on."""
        return self.cells

    @property
    def error(self) -> int:
        return self.cells + 8

    @property
    def table_image(self) -> int:
        """Ten bytes for LGDT, ten for LIDT, and as much to store them."""
        return self.cells + 0x10

    @property
    def counts(self) -> int:
        """How often each vector came, a word each."""
        return self.cells + 0x40

    @property
    def far_pointer(self) -> int:
        return self.cells + 0x40 + 2 * VECTORS

    @property
    def ticks(self) -> int:
        """How often the timer came; 0 at the end of the program."""
        return self.far_pointer + 0x10


LAYOUTS = (
    Layout("apart", 0x1000, 0x3F00, 0x4000, 0x4F00, 0x7000, 0x9800, 0x9000, 0x9100, 0x8000, 0xA000),
    Layout(
        "data and stack in one page", 0x1000, 0x3F00, 0x4000, 0x4800, 0x5000, 0x9800, 0x9000, 0x9100, 0x8000, 0xA000
    ),
    Layout("tables in one page", 0x1000, 0x3F00, 0x4000, 0x4F00, 0x7000, 0x9000, 0x9200, 0x9280, 0x9400, 0xA000),
    Layout("code beside data", 0x1000, 0x1A00, 0x1B00, 0x1FC0, 0x7000, 0x9800, 0x9000, 0x9100, 0x8000, 0xA000),
    Layout("all in one page", 0x1000, 0x18C0, 0x1A80, 0x1C80, 0x1FF0, 0x18C0, 0x1980, 0x19E0, 0x2000, 0x2400),
    Layout("across pages", 0x1E80, 0x3800, 0x3FC0, 0x4C00, 0x6010, 0x8FC0, 0x9FF0, 0xA100, 0x7F80, 0xAFA0),
)


def waiting_for_a_tick(layout: Layout) -> tuple[str, ...]:
    """A block that is over when the timer has come."""
    return "sti", "again:", f"cmp word ptr [{layout.ticks:#x}], 0", "je {again}", "cli"


@dataclass(frozen=True)
class Program:
    """``blocks`` are tuples of lines.

    ``returns``: how handlers end in protected mode, "iret" or "retf". ``ist``: the stack that exceptions switch to in
    long mode, 0 for none. ``timer``: the PIT interrupts, on a machine with interrupt controllers, of kvmdbg's own or in
    the kernel; when it comes must not matter, so the program wipes what its frames left on the stack. ``rings``: it
    runs at CPL 3 for stretches.
    """

    seed: int
    mode: str
    layout: Layout
    blocks: tuple[tuple[str, ...], ...]
    own_tables: bool = True
    returns: str = "iret"
    ist: int = 0
    timer: bool = False
    own_controllers: bool = False
    rings: bool = False
    accessed: bool = False
    registers: tuple[tuple[str, int], ...] = ()

    @property
    def irqchip(self) -> str:
        return ("user" if self.own_controllers else "kernel") if self.timer else "none"

    def with_blocks(self, blocks: tuple[tuple[str, ...], ...]) -> Program:
        return replace(self, blocks=blocks)

    def listing(self) -> str:
        """The program as assembly, with addresses, and what it starts with."""
        code = assembled(self)
        lines = [
            f"; seed {self.seed}, {self.mode} mode, {self.layout.name}, handlers end with {self.returns}, "
            + ("own descriptor tables" if self.own_tables else "tables of the start")
            + (f", exceptions on the stack at {self.ist:#x}" if self.ist else "")
            + (f", timer of {self.irqchip}" if self.timer else "")
            + (", also at CPL 3" if self.rings else ""),
            "; " + " ".join(f"{name}={value:#x}" for name, value in self.registers),
            f"; cells {self.layout.cells:#x}, data {self.layout.data:#x}-{self.layout.data_end:#x}, "
            f"stack {self.layout.stack:#x}, gdt {self.layout.gdt:#x}, idt {self.layout.idt:#x}",
        ]
        for address, raw, text in code.lines:
            if address >= self.layout.handlers:
                break
            lines.append(f"{address:#06x}: {raw.hex():<20} {text}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Assembled:
    """``image`` is to be loaded at 0; ``end`` is the address of the last HLT, or of what switches off.

    ``spans`` are the blocks' addresses.
    """

    image: bytes
    entry: int
    end: int
    entries: dict[int, int]
    spans: tuple[tuple[int, int], ...]
    lines: tuple[tuple[int, bytes, str], ...]


@lru_cache(maxsize=3)
def _engine(mode: str) -> Any:
    import keystone

    bits = {"real": keystone.KS_MODE_16, "prot": keystone.KS_MODE_32, "long": keystone.KS_MODE_64}
    return keystone.Ks(keystone.KS_ARCH_X86, bits[mode])


@lru_cache(maxsize=100_000)
def _encode(mode: str, text: str, address: int) -> bytes:
    import keystone

    try:
        code, _ = _engine(mode).asm(text, address, as_bytes=True)
    except keystone.KsError as error:
        raise CannotAssemble(f"{text}: {error}") from None
    if not code:
        raise CannotAssemble(text)
    return bytes(code)


def instruction(mode: str, text: str, address: int) -> bytes:
    """Machine code of one line. ``db`` takes bytes in hexadecimal; ``farjmp``, ``farcall`` SELECTOR ADDRESS."""
    word, _, rest = text.partition(" ")
    if word == "db":
        return bytes.fromhex(rest)
    if word in ("farjmp", "farcall"):
        selector, target = (int(part, 0) for part in rest.split())
        opcode = {"farjmp": b"\xea", "farcall": b"\x9a"}[word]
        return opcode + struct.pack("<HH" if mode == "real" else "<IH", target & 0xFFFFFFFF, selector)
    if mode == "long":  # keystone takes [0x1234] for an offset from rip; r11 is always 0
        text = text.replace("[0x", "[r11+0x")
    return _encode(mode, text, address if BRANCHES.match(text) else 0)


def assemble(
    mode: str, lines: list[str], start: int, known: dict[str, int]
) -> tuple[list[tuple[int, bytes, str]], dict[str, int]]:
    """(address, machine code, text) of each line, and the labels. CannotAssemble.

    Labels are lines that end with a colon, and are used in braces.
    """
    labels = dict(known)
    lengths: dict[int, int] = {}
    for _ in range(10):
        found: list[tuple[int, bytes, str]] = []
        before, at = dict(labels), start
        for index, line in enumerate(lines):
            if line.endswith(":"):
                labels[line[:-1]] = at
                continue
            text = LABEL.sub(lambda match: hex(labels.get(match[1], start + 0x40)), line)
            raw = instruction(mode, text, at)
            if len(raw) < lengths.get(index, 0):  # jumps only grow, so that this ends
                raw += b"\x90" * (lengths[index] - len(raw))
            lengths[index] = len(raw)
            found.append((at, raw, line))
            at += len(raw)
        if labels == before:
            return found, labels
    raise CannotAssemble("labels do not settle")


def joined(lines: list[tuple[int, bytes, str]]) -> bytes:
    return b"".join(raw for _, raw, _ in lines)


def _prologue(program: Program) -> list[str]:
    layout, mode = program.layout, program.mode
    lidt = "db 0f011c25" if mode == "long" else "db 0f011d" if mode == "prot" else "db 0f011e"
    lgdt = "db 0f011425" if mode == "long" else "db 0f0115" if mode == "prot" else "db 0f0116"
    width = "<H" if mode == "real" else "<I"

    def at(address: int) -> str:
        return struct.pack(width, address).hex()

    if mode == "real":
        lines = ["xor ax, ax", "mov ds, ax", "mov es, ax", "mov ss, ax", f"mov sp, {layout.stack:#x}"]
        return [*lines, "mov fs, ax", "mov gs, ax", *(TIMER_ON if program.timer else ())]
    lines = [lidt + at(layout.table_image + 10)]
    if program.own_tables:
        lines += [lgdt + at(layout.table_image)]
        if mode == "prot":
            lines += [f"farjmp {CODE} {{start}}", "start:", f"mov eax, {DATA}"]
        else:
            lines += [f"mov eax, {DATA}"]
        lines += ["mov ds, ax", "mov es, ax", "mov ss, ax"]
    lines += [f"mov {'esp' if mode == 'prot' else 'rsp'}, {layout.stack:#x}"]
    if program.ist or program.rings:
        lines += [f"mov eax, {TSS}", "ltr ax"]
    return [*lines, *(TIMER_ON if program.timer else ())]


def _switch_off(program: Program) -> list[str]:
    """The end where a HLT would sleep in the kernel; nothing is left of when the timer came."""
    layout = program.layout
    cx, di = {"real": ("cx", "di"), "prot": ("ecx", "edi"), "long": ("rcx", "rdi")}[program.mode]
    wipe = [f"mov {cx}, 0x100", f"mov {di}, {layout.stack - 0x100:#x}", "xor eax, eax", "cld", "rep stosb"]
    return ["cli", f"mov word ptr [{layout.ticks:#x}], 0", *wipe, "mov dx, 0x604", "mov ax, 0x2000", "out dx, ax"]


def _fault_handler(program: Program) -> list[str]:
    """Goes on where the cell says, and makes the program end at the next fault that has not said where."""
    layout = program.layout
    end = "{end}"
    if program.rings:
        return _fault_handler_of_rings(program)
    if program.mode == "real":
        return [
            "fault:",
            "push bp",
            "mov bp, sp",
            "push ax",
            f"mov ax, word ptr cs:[{layout.resume:#x}]",
            "mov word ptr ss:[bp+2], ax",
            "mov word ptr ss:[bp+4], 0",
            f"mov ax, {end}",
            f"mov word ptr cs:[{layout.resume:#x}], ax",
            "pop ax",
            "pop bp",
            "iret",
        ]
    if program.mode == "prot":
        lines = [
            "fault:",
            "push eax",
            f"mov eax, dword ptr ss:[{layout.resume:#x}]",
            "mov dword ptr ss:[esp+4], eax",
            f"mov eax, {end}",
            f"mov dword ptr ss:[{layout.resume:#x}], eax",
        ]
        if program.returns == "iret":
            return [*lines, "pop eax", "iretd"]
        return [*lines, "push dword ptr ss:[esp+12]", "popfd", "pop eax", "db ca0400"]
    return [
        "fault:",
        "push rax",
        f"mov rax, qword ptr [{layout.resume:#x}]",
        "mov qword ptr [rsp+8], rax",
        f"mov rax, {end}",
        f"mov qword ptr [{layout.resume:#x}], rax",
        "pop rax",
        "iretq",
    ]


def _fault_handler_of_rings(program: Program) -> list[str]:
    """The same, and it goes on at CPL 0 where the cell says so. And what else gets there from CPL 3."""
    layout, long = program.layout, program.mode == "long"
    ax, sp, width, word, segment = ("rax", "rsp", 8, "qword ptr", "") if long else ("eax", "esp", 4, "dword ptr", "ss:")
    resume = f"{word} {segment}[{layout.resume:#x}]"
    frame = [f"{word} {segment}[{sp}+{width * n}]" for n in range(6)]
    kernel = [f"mov {frame[2]}, {CODE}"]
    if program.timer:  # the stack may lie in the data there
        kernel.append(f"and {frame[3]}, {~EFLAGS_IF}")
    if long:  # else IRET takes no stack from it
        kernel += [f"mov {frame[5]}, {DATA}", f"mov {frame[4]}, {layout.stack:#x}"]
    end = f"mov {resume}, {{end}}+{AT_CPL_0:#x}"
    fault = [f"push {ax}", f"mov {ax}, {resume}", f"btr {ax}, 30", "jnc {same_ring}", *kernel, "same_ring:"]
    fault += [f"mov {frame[1]}, {ax}", end, f"pop {ax}", "iretq" if long else "iretd"]
    leave = [f"mov {ax}, {resume}", end, f"mov edx, {DATA}", "mov ss, dx", "nop", f"mov {sp}, {layout.stack:#x}"]
    leave += [f"btr {ax}, 30", f"jmp {ax}"]
    count = f"inc word ptr {segment}[{layout.counts + 2 * LEAVE:#x}]"
    call = ["push r11", "mov r11d, 0", count, "pop r11", "db 480f07"] if long else [count, "db 0f35"]
    return ["fault:", *fault, "leave:", *leave, "system_call:", *call]


@lru_cache(maxsize=64)
def _assembled_handlers(
    mode: str, layout: Layout, returns: str, timer: bool, rings: bool
) -> tuple[list[tuple[int, bytes, str]], dict[str, int]]:
    program = Program(0, mode, layout, (), returns=returns, timer=timer, rings=rings)
    return assemble(mode, _handlers(program), layout.handlers, {})


def _timer_handler(program: Program, segment: str, end: list[str]) -> list[str]:
    accumulator = {"real": "ax", "prot": "eax", "long": "rax"}[program.mode]
    tick = [f"inc word ptr {segment}[{program.layout.ticks:#x}]", f"push {accumulator}", "mov al, 0x20", "out 0x20, al"]
    return [*tick, f"pop {accumulator}", *end]


def _handlers(program: Program) -> list[str]:
    layout, mode = program.layout, program.mode
    segment = {"real": "cs:", "prot": "ss:", "long": ""}[mode]
    off = _switch_off(program) if program.timer else []
    lines = ["end:", *off, "hlt", "db ebfd", *_fault_handler(program)]
    plain = {"real": ["iret"], "prot": ["iretd"], "long": ["iretq"]}[mode]
    if mode == "prot" and program.returns == "retf":
        plain = ["push dword ptr ss:[esp+8]", "popfd", "db ca0400"]
    for vector in range(VECTORS):
        if vector == TIMER and program.timer:
            back = plain
            if len(plain) > 1:  # no next tick before the frame of this one is gone: sti keeps it out of one instruction
                back = ["and byte ptr ss:[esp+9], 0xfd", *plain[:-1], "sti", plain[-1]]
            lines += [f"vector{vector}:", *_timer_handler(program, segment, back)]
            continue
        lines += [f"vector{vector}:", f"inc word ptr {segment}[{layout.counts + 2 * vector:#x}]"]
        if vector == DEBUG and mode == "prot" and program.returns == "retf":
            lines += ["and byte ptr ss:[esp+9], 0xfe"]  # with EFLAGS.TF given back, RETF is trapped itself, for ever
        if vector == LEAVE and program.rings:
            lines += ["jmp {leave}"]
            continue
        if vector in SOFTWARE_VECTORS:
            lines += plain
            continue
        if mode == "prot" and vector in WITH_ERROR_CODE:
            lines += [f"pop dword ptr ss:[{layout.error:#x}]"]
        if mode == "long" and vector in WITH_ERROR_CODE:
            lines += [f"pop qword ptr [{layout.error:#x}]"]
        lines += ["jmp {fault}"]
    return lines


def _gate(mode: str, address: int, ist: int, privilege: int) -> bytes:
    if mode == "real":
        return struct.pack("<HH", address, 0)
    low = struct.pack("<HHBBH", address & 0xFFFF, CODE, ist, 0x8E | privilege << 5, address >> 16)
    return low if mode == "prot" else low + bytes(8)


def _descriptors(program: Program, rng: Random) -> bytes:
    """Null, code, data, code, data, those of CPL 3, TSS; which of them are marked as accessed is left to chance."""
    long = program.mode == "long"

    def flat(code: bool, privilege: int = 0) -> bytes:
        access = (0x9A if code else 0x92) | privilege << 5 | rng.randrange(2) | (program.accessed and privilege == 3)
        flags = 0xAF if long and code else 0xCF
        return struct.pack("<HHBBBB", 0xFFFF, 0, 0, access, flags, 0)

    table = bytes(8) + flat(True) + flat(False) + flat(True) + flat(False) + flat(not long, 3) + flat(long, 3)
    table += struct.pack("<HHBBBB", 0x67, program.layout.tss, 0, 0x89, 0, 0)
    return table + (bytes(8) if long else b"")


@lru_cache(maxsize=16)
def _assembled(program: Program) -> Assembled:
    mode, layout = program.mode, program.layout
    rng = Random(f"image {program.seed}")
    image = bytearray(IMAGE_SIZE)
    handlers, labels = _assembled_handlers(mode, layout, program.returns, program.timer, program.rings)
    known = {name: labels[name] for name in ("end", "system_call") if name in labels}
    prologue, _ = assemble(mode, _prologue(program), layout.code, {})
    at = layout.code + len(joined(prologue))
    lines, spans = [*prologue], []
    for block in program.blocks:
        made, _ = assemble(mode, list(block), at, known)
        spans.append((at, at + len(joined(made))))
        at = spans[-1][1]
        lines += made
    last, _ = assemble(mode, ["jmp {end}"], at, {"end": labels["end"]})
    lines += last
    code = joined(lines)
    if layout.code + len(code) > layout.code_end:
        raise CannotAssemble("the program is too long for its layout")
    image[layout.data : layout.data_end] = rng.randbytes(layout.data_end - layout.data)
    image[layout.stack - 0x80 : layout.stack + 0x10] = rng.randbytes(0x90)
    image[layout.handlers : layout.handlers + len(joined(handlers))] = joined(handlers)
    struct.pack_into("<Q", image, layout.resume, labels["end"] + AT_CPL_0 * program.rings)
    entries = {vector: labels[f"vector{vector}"] for vector in range(VECTORS)}
    table = b"".join(
        _gate(mode, entry, int(program.ist > 0 and vector < 0x20), 3 * (program.rings and vector in SOFTWARE_VECTORS))
        for vector, entry in entries.items()
    )
    if mode == "real":
        image[: len(table)] = table
    else:
        gdt = _descriptors(program, rng)
        image[layout.idt : layout.idt + len(table)] = table
        image[layout.gdt : layout.gdt + len(gdt)] = gdt
        base = "<HQ" if mode == "long" else "<HI"
        struct.pack_into(base, image, layout.table_image, len(gdt) - 1, layout.gdt)
        struct.pack_into(base, image, layout.table_image + 10, len(table) - 1, layout.idt)
        struct.pack_into("<H", image, layout.tss + 0x66, 0x68)
        # No I/O permission bitmap. An emulator of CPUs looks for it where KVM has not set TR, and only there.
        if mode == "prot":
            struct.pack_into("<II", image, layout.tss + 4, layout.stack, DATA)
        else:
            struct.pack_into("<Q", image, layout.tss + 4, layout.stack)
            struct.pack_into("<Q", image, layout.tss + 0x24, program.ist)
    image[layout.code : layout.code + len(code)] = code
    return Assembled(bytes(image), layout.code, labels["end"], entries, tuple(spans), (*lines, *handlers))


def assembled(program: Program) -> Assembled:
    """The program's image. CannotAssemble."""
    return _assembled(program)
