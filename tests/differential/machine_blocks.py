"""Blocks that use devices, system registers and the timer."""

from __future__ import annotations

from tests.differential.maker import MMIO, MMIO_SIZE, NOBODY, PORT, Block, Maker, block
from tests.differential.program import ALIAS, DATA, DATA_AGAIN, TSS

# --- ports and MMIO --------------------------------------------------------------------------------


@block(weight=2)
def port_write(m: Maker) -> Block:
    port = m.pick([0x3F8, 0x3F8, 0x80, PORT, PORT + 1])
    return [
        f"mov dx, {port:#x}",
        f"mov al, {m.rng.randrange(32, 127):#x}",
        f"out dx, {m.pick(['al', 'al', 'ax', 'eax'])}",
    ]


@block()
def port_read(m: Maker) -> Block:
    return [f"mov dx, {m.pick([PORT, PORT + 1, PORT + 4, 0x3FD]):#x}", f"in {m.pick(['al', 'ax', 'eax'])}, dx"]


@block()
def serial_text(m: Maker) -> Block:
    return [
        "mov dx, 0x3f8",
        *(line for c in b"abc"[: m.rng.randrange(1, 4)] for line in (f"mov al, {c:#x}", "out dx, al")),
    ]


@block()
def string_to_port(m: Maker) -> Block:
    port = m.pick([0x3F8, PORT, PORT + 4])
    return [
        f"mov dx, {port:#x}",
        f"mov {m.si}, {m.address()}",
        f"mov {m.cx}, {m.rng.randrange(6)}",
        "cld",
        m.pick(["rep outsb", "rep outsw", "outsb"]),
    ]


@block()
def string_from_port(m: Maker) -> Block:
    return [
        f"mov dx, {PORT + 4:#x}",
        f"mov {m.di}, {m.address()}",
        f"mov {m.cx}, {m.rng.randrange(6)}",
        "cld",
        m.pick(["rep insb", "rep insw", "insb"]),
    ]


@block()
def mmio(m: Maker) -> Block:
    at = m.rng.randrange(MMIO_SIZE - 16)
    if m.mode == "real":
        place, begin = f"es:[{at:#x}]", [f"mov ax, {MMIO >> 4:#x}", "mov es, ax"]
        end = ["mov ax, 0", "mov es, ax"]
    else:
        place, begin, end = f"[{m.di}]", [f"mov {m.di}, {MMIO + at:#x}"], []
    access = m.pick(
        [
            f"mov byte ptr {place}, 0x41",
            f"mov ebx, dword ptr {place}",
            f"add dword ptr {place}, 3",
            f"mov word ptr {place}, bx",
            f"xor bl, byte ptr {place}",
        ]
    )
    return [*begin, access, *end]


@block(modes="prot long")
def flags_from_a_device(m: Maker) -> Block:
    """Any flags, or all of them, EFLAGS.TF among them; the stack is in memory again when they take effect."""
    at = m.pick([MMIO, NOBODY]) + 8 * m.rng.randrange(0x100)
    back = [f"mov {m.sp}, {m.layout.stack:#x}", "nop", "push 2", m.popf]
    return [f"mov {m.sp}, {at:#x}", m.popf, *back, *m.leaf()]


@block()
def string_to_mmio(m: Maker) -> Block:
    at = m.rng.randrange(0x100)
    begin, end = ([f"mov ax, {MMIO >> 4:#x}", "mov es, ax", f"mov di, {at:#x}"], ["mov ax, 0", "mov es, ax"])
    if m.mode != "real":
        begin, end = [f"mov {m.di}, {MMIO + at:#x}"], []
    operation = m.pick(["rep movsb", "rep movsw", "rep stosb"])
    return [*begin, f"mov {m.si}, {m.layout.data:#x}", f"mov {m.cx}, {m.rng.randrange(1, 6)}", "cld", operation, *end]


# --- the system ------------------------------------------------------------------------------------


@block(modes="prot long", weight=2)
def load_segment(m: Maker) -> Block:
    return [f"mov eax, {m.pick([DATA, DATA_AGAIN]):#x}", f"mov {m.pick(['ds', 'es', 'fs', 'gs', 'es'])}, ax"]


@block(modes="prot long")
def load_stack_segment(m: Maker) -> Block:
    return [f"mov eax, {m.pick([DATA, DATA_AGAIN]):#x}", "mov ss, ax", "nop", *m.leaf()]


@block(modes="real")
def load_segment_real(m: Maker) -> Block:
    """Reads no code: a trap that is planted there can be read (docs/limits.md)."""
    return [
        f"mov ax, {m.pick([m.layout.data >> 4, 0x10, 0x40]):#x}",
        "mov es, ax",
        f"mov bl, byte ptr es:[{m.rng.randrange(64):#x}]",
        "xor ax, ax",
        "mov es, ax",
    ]


@block(modes="real")
def stack_segment_real(m: Maker) -> Block:
    return ["mov ax, ss", "mov ss, ax", "nop", *m.leaf()]


@block(modes="real prot")
def load_far_pointer(m: Maker) -> Block:
    place, offset = m.layout.far_pointer, 2 if m.mode == "real" else 4
    selector = 0 if m.mode == "real" else m.pick([DATA, DATA_AGAIN])
    load = m.pick(["les", "lfs", "lgs"])
    return [f"mov word ptr [{place + offset:#x}], {selector:#x}", f"{load} {m.bx}, [{place:#x}]"]


@block()
def store_tables(m: Maker) -> Block:
    sgdt, sidt = ("0f0104", "0f010c") if m.mode == "real" else ("0f0106", "0f010e")  # at [si], [esi], [rsi]
    return [f"mov {m.si}, {m.layout.table_image + 20:#x}", "db " + m.pick([sgdt, sidt])]


@block(modes="prot long")
def load_tables(m: Maker) -> Block:
    return [f"mov {m.si}, {m.layout.table_image + 10:#x}", m.pick(["db 0f011e", "db 2e0f011e"])]


@block(modes="prot long", weight=0.5)
def task_register(m: Maker) -> Block:
    return [f"mov eax, {TSS:#x}", "ltr ax", "str bx"]


@block(modes="prot long")
def system(m: Maker) -> Block:
    return m.pick(
        [
            [f"mov {m.ax}, cr0"],
            [f"mov {m.ax}, cr3", f"mov cr3, {m.ax}"],
            ["wbinvd"],
            [f"invlpg [{m.layout.data:#x}]"],
            ["mov ecx, 0xc0000080", "rdmsr"],
            ["mov ecx, 0xc0000080", "rdmsr", "wrmsr"],
            [f"mov {m.ax}, dr7"],
            [f"mov {m.ax}, dr6"],
            [f"mov {m.ax}, cr4", f"mov cr4, {m.ax}"],
            ["str ax"],
            ["smsw ax"],
            ["clts"],
        ]
    )


@block()
def identify(m: Maker) -> Block:
    return [f"mov eax, {m.pick([0, 7, 0x80000000]):#x}", "xor ecx, ecx", "cpuid"]


@block()
def debug_register(m: Maker) -> Block:
    wide = "rax" if m.mode == "long" else "eax"
    return m.pick(
        [[f"mov {wide}, {m.number(4)}", f"mov dr{m.pick('0123')}, {wide}"], [f"mov {wide}, 0x400", f"mov dr7, {wide}"]]
    )


@block()
def fence(m: Maker) -> Block:
    one = m.pick(["db f30f1efa", "lfence", "mfence", "sfence", "db f30f1efb"])
    return [one, *m.leaf(), *m.leaf()]


@block(modes="long")
def second_mapping(m: Maker) -> Block:
    """The first 2 MiB are mapped once more, and used there: data, perhaps code. Page tables are written for it."""
    lines = ["mov rax, cr3", "mov qword ptr [rax+0x2018], 0x83", f"invlpg [{ALIAS:#x}]"]
    place = f"[{ALIAS + int(m.address(), 16):#x}]"
    access = m.pick([f"add byte ptr {place}, 3", f"mov ebx, dword ptr {place}", f"mov word ptr {place}, bx"])
    code = [
        f"mov eax, {ALIAS:#x}",
        "lea rax, [rax+{function}]",
        "call rax",
        "jmp {on}",
        "function:",
        *m.leaf(),
        "ret",
        "on:",
    ]
    return [*lines, access, *(code if m.rng.random() < 0.5 else []), *m.leaf()]


@block(weight=0.5)
def halt(m: Maker) -> Block:
    return ["hlt", *m.leaf()]


@block(weight=0.5)
def floating_point(m: Maker) -> Block:
    return ["fninit", m.pick(["fld1", "fldpi", "fldz"]), f"fstp {m.pick(['dword', 'qword'])} ptr [{m.address()}]"]


@block(modes="long", weight=0.5)
def vector(m: Maker) -> Block:
    at, other = m.address(), m.address()
    return [f"movdqu xmm0, xmmword ptr [{at}]", "paddb xmm0, xmm0", f"movdqu xmmword ptr [{other}], xmm0"]


@block(weight=0.5)
def save_floating_point(m: Maker) -> Block:
    return [f"fxsave [{m.layout.data & ~15:#x}]"] if m.layout.data_end - m.layout.data > 0x220 else ["nop"]


@block(weight=0.2)
def noise(m: Maker) -> Block:
    """Any bytes: what they do, if they run, is the same each time. An unforeseen fault ends the program.

    But C6 and C7: an emulator runs forms of them as MOV that no CPU has.
    """
    found = m.rng.randbytes(m.rng.randrange(1, 12))
    return ["db " + found.replace(b"\xc6", b"\x90").replace(b"\xc7", b"\x90").hex()]


# --- the timer -------------------------------------------------------------------------------------


@block(weight=3)
def wait_for_ticks(m: Maker) -> Block:
    ticks, halt = f"word ptr [{m.layout.ticks:#x}]", m.pick([["hlt"], ["pause"], []])
    count = [f"mov bx, {ticks}", f"add bx, {m.rng.choice([1, 1, 2])}", "sti"]
    return [*count, "again:", *halt, f"cmp {ticks}, bx", "jb {again}", "cli", "xor bx, bx"]


@block(weight=2)
def work_with_interrupts(m: Maker) -> Block:
    return ["sti", f"mov {m.cx}, {m.rng.randrange(1, 60)}", "again:", *m.leaves(3), f"dec {m.cx}", "jnz {again}", "cli"]
