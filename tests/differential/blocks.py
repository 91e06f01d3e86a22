"""Blocks of instructions at random: each is a function that gives lines, independent of all others.

A program uses only some kinds (swarm testing), so that what one KVM cannot run, or what ends a program early, leaves
room for the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from tests.differential.program import (
    ALIAS,
    CODE,
    CODE_AGAIN,
    DATA,
    DATA_AGAIN,
    LAYOUTS,
    MODES,
    TSS,
    CannotAssemble,
    Layout,
    Program,
    assemble,
    joined,
)

PORT, MMIO, MMIO_SIZE = 0x5000, 0xA0000, 0x10000
NOBODY = 0xC0000
"""There is neither memory nor a device; all ones are read."""
NAMES = {
    "real": "ax bx cx dx si di bp eax ebx ecx edx esi edi al ah bl cl dl bh ch dh",
    "prot": "eax ebx ecx edx esi edi ebp ax bx cx si al ah bl cl dl bh ch dh",
    "long": "rax rbx rcx rdx rsi rdi rbp r8 r9 r12 r13 r15 eax ebx ecx r10d r14d ax bx r9w al bl cl dl r8b sil",
}
POINTER = {1: "byte ptr", 2: "word ptr", 4: "dword ptr", 8: "qword ptr"}
WIDTH = {"real": 2, "prot": 4, "long": 8}
REGISTERS_AT_START = {"rax": 0x11223344, "rbx": 0x55667788, "rcx": 3, "rdx": 0x3F8, "rsi": 0x4100, "rdi": 0x4200}


def width_of(name: str) -> int:
    """Bytes of a register."""
    if name in ("al", "ah", "bl", "bh", "cl", "ch", "dl", "dh", "r8b", "sil"):
        return 1
    if name.startswith("e") or (name.endswith("d") and name[0] == "r" and name[1:-1].isdigit()):
        return 4
    return 8 if name.startswith("r") and not name.endswith("w") else 2


Block = list[str]


class Maker:
    """What a block is made from: a mode, a layout, chance."""

    def __init__(self, mode: str, layout: Layout, rng: Random) -> None:
        self.mode, self.layout, self.rng = mode, layout, rng
        self.pick = rng.choice
        self.width = WIDTH[mode]
        self.word = POINTER[self.width]
        prefix = {"real": "", "prot": "e", "long": "r"}[mode]
        self.ax, self.bx, self.cx, self.dx, self.si, self.di, self.bp, self.sp = (
            prefix + name for name in ("ax", "bx", "cx", "dx", "si", "di", "bp", "sp")
        )
        self.pushf = {"real": "pushf", "prot": "pushfd", "long": "pushfq"}[mode]
        self.popf = {"real": "popf", "prot": "popfd", "long": "popfq"}[mode]

    def register(self, width: int | None = None) -> str:
        names = NAMES[self.mode].split()
        return self.pick([name for name in names if width is None or width_of(name) == width])

    def address(self) -> str:
        """A place in the data: anywhere, near its start, or so that a page's end lies in the access."""
        data, end = self.layout.data, self.layout.data_end
        places = [self.rng.randrange(data, end), self.rng.randrange(data, data + 64)]
        crossing = [page - back for page in range((data & -4096) + 4096, end, 4096) for back in (1, 2, 3, 7)]
        return hex(self.pick([*places, *crossing[:2]]))

    def number(self, width: int) -> str:
        value = self.pick([0, 1, 0x7F, 0x80, 0xFF, self.rng.getrandbits(8 * width), self.rng.getrandbits(8 * width)])
        return hex(value & ((1 << 8 * width - 1) - 1 if width >= 4 else (1 << 8 * width) - 1) & 0x7FFFFFFF)

    def leaf(self) -> Block:
        """One harmless instruction that leaves cx and the stack alone."""
        name = self.pick([n for n in NAMES[self.mode].split() if n not in ("cx", "ecx", "rcx", "cl", "ch")])
        width, at = width_of(name), self.address()
        high = self.mode == "long" and name in ("ah", "bh", "ch", "dh")
        choices = [f"add {name}, {self.rng.getrandbits(7):#x}", f"inc {POINTER[self.pick([1, 2, 4])]} [{at}]"]
        if not high:
            choices += [f"{self.pick(['add', 'mov', 'xor'])} {POINTER[width]} [{at}], {name}"]
            choices += [f"mov {name}, {POINTER[width]} [{at}]", f"xor {name}, {self.register(width)}"]
        return [self.pick(choices)]

    def leaves(self, most: int) -> Block:
        return [line for _ in range(self.rng.randrange(1, most + 1)) for line in self.leaf()]

    def faulting(self, *lines: str) -> Block:
        """The last line raises an exception; the handler goes on behind it."""
        cell = f"{self.word} {'cs:' if self.mode == 'real' else ''}[{self.layout.resume:#x}]"
        return [f"mov {cell}, {{after}}", *lines, "after:"]

    def far_return(self) -> str:
        return "db 48cb" if self.mode == "long" else "db cb"

    def push_selector(self, selector: int) -> Block:
        return [f"push {selector:#x}"] if selector < 0x80 else [f"mov ax, {selector:#x}", "push ax"]


@dataclass(frozen=True)
class Kind:
    name: str
    make: Callable[[Maker], Block]
    modes: tuple[str, ...]
    weight: float


KINDS: list[Kind] = []


def block(
    modes: str = "real prot long", weight: float = 1
) -> Callable[[Callable[[Maker], Block]], Callable[[Maker], Block]]:
    """Decorator: a kind of block, for these modes, as often as ``weight`` says."""

    def register(make: Callable[[Maker], Block]) -> Callable[[Maker], Block]:
        KINDS.append(Kind(make.__name__, make, tuple(modes.split()), weight))
        return make

    return register


# --- arithmetic, loads and stores ------------------------------------------------------------------


@block(weight=4)
def arithmetic(m: Maker) -> Block:
    name = m.register()
    operation = m.pick(["add", "sub", "xor", "or", "and", "cmp", "adc", "sbb", "test"])
    return [f"{operation} {name}, {m.number(width_of(name)) if m.rng.random() < 0.5 else m.register(width_of(name))}"]


@block(weight=2)
def constant(m: Maker) -> Block:
    name = m.register()
    return [f"mov {name}, {m.number(width_of(name))}"]


@block(weight=4)
def load_or_store(m: Maker) -> Block:
    name = m.register()
    if m.mode == "long" and name in ("ah", "bh", "ch", "dh"):
        return ["nop"]
    place = f"{POINTER[width_of(name)]} [{m.address()}]"
    if m.rng.random() < 0.5:
        return [f"{m.pick(['add', 'mov', 'xor', 'sub', 'xchg', 'adc', 'or'])} {place}, {name}"]
    return [f"{m.pick(['add', 'mov', 'xor', 'cmp', 'sub'])} {name}, {place}"]


@block()
def unary(m: Maker) -> Block:
    operation = m.pick(["inc", "dec", "not", "neg", "shl", "sar", "rol", "ror"])
    shift = ", 1" if operation in ("shl", "sar", "rol", "ror") else ""
    return [f"{operation} {POINTER[m.pick([1, 2, 4])]} [{m.address()}]{shift}"]


@block()
def store_constant(m: Maker) -> Block:
    width = m.pick([1, 2, 4])
    return [f"mov {POINTER[width]} [{m.address()}], {m.number(width)}"]


@block()
def through_pointer(m: Maker) -> Block:
    name = m.pick([m.bx, m.si, m.di])
    target = m.pick(["al", "ax", "eax"])
    place = f"{POINTER[width_of(target)]} [{name}{m.pick(['', '+1', '+4'])}]"
    return [f"mov {name}, {m.address()}", m.pick([f"mov {target}, {place}", f"add {place}, {target}"])]


@block()
def bits(m: Maker) -> Block:
    at = m.address()
    return [
        m.pick(
            [
                f"cmpxchg dword ptr [{at}], ebx",
                f"xadd dword ptr [{at}], ebx",
                f"bts dword ptr [{at}], 7",
                f"btc word ptr [{at}], 3",
                f"bt dword ptr [{at}], 5",
                "bsf eax, ebx",
                "bswap ecx",
                "shld eax, ebx, 5",
                f"shrd dword ptr [{at}], eax, 3",
                "imul eax, ebx, 77",
                "mul ebx",
                f"movzx eax, byte ptr [{at}]",
                f"movsx ecx, word ptr [{at}]",
                "lea eax, [ebx+ecx*4+8]",
                f"setc byte ptr [{at}]",
                "cmovz eax, ebx",
                f"cmovnz eax, dword ptr [{at}]",
                "cdq",
                f"lock inc dword ptr [{at}]",
                f"lock cmpxchg8b qword ptr [{at}]",
                f"xchg byte ptr [{at}], bl",
            ]
        )
    ]


@block()
def small(m: Maker) -> Block:
    one = m.pick(["nop", "cbw", "cwd", "clc", "stc", "cmc", "sahf", "lahf", "xlatb", "sti; nop; cli", "cli", "pause"])
    if one == "xlatb":
        return [f"mov {m.bx}, {m.layout.data:#x}", "xlatb"]
    return one.split("; ")


@block(modes="real prot")
def decimal(m: Maker) -> Block:
    return [m.pick(["aam", "daa", "aas", "das", "aaa"])]


# --- control flow ----------------------------------------------------------------------------------


@block(weight=3)
def loop(m: Maker) -> Block:
    end = [f"dec {m.cx}", "jnz {again}"] if m.rng.random() < 0.5 else ["loop {again}"]
    return [f"mov {m.cx}, {m.rng.randrange(1, 9)}", "again:", *m.leaves(3), *end]


@block()
def branch(m: Maker) -> Block:
    condition = m.pick(["jz", "jnz", "jc", "jnc", "js", "jo", "jp", "jl", "jg", "ja"])
    return [f"{condition} {{skip}}", *m.leaf(), *m.leaf(), "skip:", *m.leaf()]


@block(weight=2)
def call(m: Maker) -> Block:
    back = m.pick(["ret", "ret", "ret 0"])
    return ["call {function}", "jmp {on}", "function:", *m.leaf(), *m.leaf(), back, "on:", *m.leaf()]


@block(weight=2)
def self_modification(m: Maker) -> Block:
    """An instruction's constant is written just before it runs, with other code between or without."""
    value = m.rng.randrange(256)
    nops = ["nop"] * m.rng.randrange(5)
    if m.rng.random() < 0.3:  # a loop that counts in its own code
        return [
            f"mov {m.cx}, {m.rng.randrange(2, 6)}",
            "again:",
            "add bl, 1",
            "next:",
            "inc byte ptr [{next}-1]",
            "loop {again}",
        ]
    return [f"mov byte ptr [{{next}}-1], {value:#x}", "jmp {here}", "here:", *nops, "mov al, 0x55", "next:"]


# --- strings ---------------------------------------------------------------------------------------

STRINGS = (
    "rep movsb", "rep stosb", "rep movsw", "rep stosd", "rep lodsb", "repe cmpsb", "repne scasb", "repe scasw", "movsb",
    "stosw", "lodsw", "cmpsb", "scasb", "rep stosw",
)  # fmt: skip


@block(weight=3)
def string(m: Maker) -> Block:
    middle = hex(m.rng.randrange(m.layout.data + 0x50, max(m.layout.data + 0x51, m.layout.data_end - 0x60)))
    places = [m.address(), middle, middle]
    return [
        f"mov {m.cx}, {m.rng.randrange(20)}",
        f"mov {m.si}, {middle}",
        f"mov {m.di}, {m.pick(places[1:])}",
        m.pick(["cld", "cld", "std"]),
        m.pick(STRINGS),
        "cld",
    ]


# --- stack -----------------------------------------------------------------------------------------


@block(weight=2)
def push_pop(m: Maker) -> Block:
    name = m.register(m.width)
    between = m.leaf() if m.rng.random() < 0.5 else []
    if m.rng.random() < 0.3:
        place = f"{m.word} [{m.address()}]"
        return m.pick([[f"push {place}", *between, f"pop {name}"], [f"push {name}", *between, f"pop {place}"]])
    return [f"push {name}", *between, f"pop {m.register(m.width)}"]


@block()
def push_flags(m: Maker) -> Block:
    return [m.pushf, f"pop {m.ax}", f"mov {m.word} [{m.address()}], {m.ax}"]


@block()
def pop_flags(m: Maker) -> Block:
    return [
        f"mov {m.ax}, {m.pick(['2', '3', '0x46', '0x8d7', '0xcd7', '0x202'])}",
        f"push {m.ax}",
        m.popf,
        "cld",
        "cli",
    ]


@block(modes="real prot")
def push_all(m: Maker) -> Block:
    narrow = m.rng.random() < 0.5
    push, pop = ("db 60", "db 61") if narrow else ("db 6660", "db 6661")
    return [push, *m.leaf(), pop]


@block()
def frame(m: Maker) -> Block:
    enter = f"enter {m.pick([0, 8, 0x10])}, {m.pick([0, 0, 0, 1])}"
    if m.rng.random() < 0.5:
        enter = f"push {m.bp}; mov {m.bp}, {m.sp}; sub {m.sp}, 8"
    local = f"{m.word} ptr [{m.bp}-{m.width}]".replace("ptr ptr", "ptr")
    return [*enter.split("; "), f"mov {local}, {m.ax}", *m.leaf(), f"add {m.ax}, {local}", "leave"]


@block()
def stack_in_data(m: Maker) -> Block:
    """The stack lies in the data, perhaps across the end of a page, for a few pushes."""
    layout = m.layout
    tops = [m.rng.randrange(layout.data + 0x40, layout.data_end) & ~1]
    tops += [page + back for page in range((layout.data & -4096) + 4096, layout.data_end, 4096) for back in (2, 4)][:2]
    return [
        f"mov {m.ax}, {m.sp}",
        f"mov {m.sp}, {m.pick(tops):#x}",
        f"push {m.register(m.width)}",
        f"push {m.register(m.width)}",
        f"pop {m.bx}",
        f"mov {m.sp}, {layout.stack:#x}",
    ]


@block(modes="real", weight=0.5)
def stack_round_the_end(m: Maker) -> Block:
    """Offsets end within what is popped and pushed again, the vectors at 0 as they were."""
    return ["mov sp, 0xfff8", "db 61", "db 60", f"mov sp, {m.layout.stack:#x}", *m.leaf()]


@block(modes="real", weight=0.5)
def string_round_the_end(m: Maker) -> Block:
    """From the end of the segment on to its start, or the other way."""
    start, direction = m.pick([(0xFFFD, "cld"), (0xFFFE, "cld"), (2, "std")])
    operation = m.pick(["db f3ac", "db f3a4", "db f3a6"])  # rep lodsb, rep movsb, repe cmpsb
    return [f"mov si, {start:#x}", f"mov di, {m.layout.data + 8:#x}", "mov cx, 6", direction, operation, "cld"]


@block()
def push_constants(m: Maker) -> Block:
    return [f"push {m.rng.randrange(0x8000):#x}", "push 0x12", f"pop {m.ax}", f"pop {m.bx}"]


@block(modes="real prot")
def segments_on_stack(m: Maker) -> Block:
    return [f"push {m.pick(['ds', 'cs', 'ss', 'es'])}", f"pop {m.ax}", "push ds", f"pop {m.pick(['es', 'fs', 'gs'])}"]


# --- far transfers ---------------------------------------------------------------------------------


@block(modes="real prot")
def far_jump(m: Maker) -> Block:
    if m.mode == "prot":
        return [f"farjmp {m.pick([CODE, CODE_AGAIN])} {{there}}", "nop", "there:", *m.leaf()]
    return ["farjmp 0 {there}", "nop", "there:", *m.leaf()]


@block()
def far_return(m: Maker) -> Block:
    selector = 0 if m.mode == "real" else m.pick([CODE, CODE_AGAIN])
    return [f"push {selector:#x}", f"mov {m.ax}, {{there}}", f"push {m.ax}", m.far_return(), "nop", "there:", *m.leaf()]


@block(modes="real prot")
def far_call(m: Maker) -> Block:
    selector = 0 if m.mode == "real" else m.pick([CODE, CODE_AGAIN])
    return [f"farcall {selector} {{function}}", "jmp {on}", "function:", *m.leaf(), m.far_return(), "on:", *m.leaf()]


@block()
def far_indirect(m: Maker) -> Block:
    """Through a pointer in memory."""
    selector = 0 if m.mode == "real" else m.pick([CODE, CODE_AGAIN])
    place = m.layout.far_pointer
    offset = 2 if m.mode == "real" else 4
    through = {"real": f"db ff2e{place & 0xFF:02x}{place >> 8:02x}", "prot": "db ff2d", "long": "db ff2c25"}[m.mode]
    if m.mode != "real":
        through += place.to_bytes(4, "little").hex()
    return [
        f"mov {POINTER[offset]} [{place:#x}], {{there}}",
        f"mov word ptr [{place + offset:#x}], {selector:#x}",
        through,
        "nop",
        "there:",
        *m.leaf(),
    ]


@block()
def interrupt_return(m: Maker) -> Block:
    """A frame made by hand."""
    code = 0 if m.mode == "real" else m.pick([CODE, CODE_AGAIN])
    lines = [f"mov {m.bx}, {m.sp}"]
    if m.mode == "long":
        lines += [f"push {m.pick([DATA, DATA_AGAIN]):#x}", "push rbx"]
    lines += [m.pushf, f"push {code:#x}", f"mov {m.ax}, {{there}}", f"push {m.ax}"]
    return [*lines, {"real": "iret", "prot": "iretd", "long": "iretq"}[m.mode], "nop", "there:", *m.leaf()]


@block(weight=2)
def software_interrupt(m: Maker) -> Block:
    return [m.pick(["int 0x20", "int 0x21", "int 0x2f", "int3", "int 0x22"]), *m.leaf()]


@block(modes="real prot")
def overflow_trap(m: Maker) -> Block:
    return ["mov al, 0x7f", f"add al, {m.pick(['0', '1'])}", "into", *m.leaf()]


# --- exceptions ------------------------------------------------------------------------------------


@block(weight=2)
def undefined_opcode(m: Maker) -> Block:
    return [*m.faulting(m.pick(["ud2", "ud2", "db 0fb9c0"])), *m.leaf()]


@block()
def division_by_zero(m: Maker) -> Block:
    if m.rng.random() < 0.5:
        return [*m.faulting("xor bl, bl", "div bl"), *m.leaf()]
    return [*m.faulting("mov dx, 0x1234", "mov bx, 1", "div bx"), *m.leaf()]


@block(modes="prot long")
def general_protection(m: Maker) -> Block:
    choices = [["mov eax, 0x33", "mov fs, ax"], ["mov eax, 0xff00", "mov es, ax"], ["mov ecx, 0x12345", "rdmsr"]]
    if m.mode == "long":
        choices += [["mov rax, 0x8000000000000000", "mov qword ptr [rax], rbx"]]
        choices += [["mov rax, 0x8000000000000000", "push qword ptr [rax]"]]
    return [*m.faulting(*m.pick(choices)), *m.leaf()]


@block(modes="real")
def segment_limit(m: Maker) -> Block:
    return [*m.faulting("mov bx, 0xffff", m.pick(["mov ax, word ptr [bx]", "mov word ptr [bx], ax"])), *m.leaf()]


@block(modes="long")
def page_fault(m: Maker) -> Block:
    line = m.pick(
        ["mov qword ptr [rax], rbx", "mov ebx, dword ptr [rax]", "inc byte ptr [rax]", "push qword ptr [rax]"]
    )
    return [*m.faulting("mov rax, 0x7f0000000000", line), *m.leaf()]


@block(modes="long")
def fault_in_string(m: Maker) -> Block:
    """rep movsb runs into an address that is not canonical after some bytes."""
    return [
        *m.faulting(
            f"mov rsi, {m.layout.data:#x}",
            f"mov rdi, {0x800000000000 - m.rng.randrange(4):#x}",
            "mov ecx, 8",
            "rep movsb",
        ),
        *m.leaf(),
    ]


@block()
def trap_flag(m: Maker) -> Block:
    """The guest steps itself for a few instructions: its #DB handler counts."""
    place = "ss:[bp+1]" if m.mode == "real" else f"[{m.sp}+1]"
    begin = [m.pushf, *(["mov bp, sp"] if m.mode == "real" else [])]
    on, off = f"or byte ptr {place}, 1", f"and byte ptr {place}, 0xfe"
    return [*begin, on, m.popf, *m.leaf(), *m.leaf(), *begin, off, m.popf, *m.leaf()]


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
    """Any bytes: what they do, if they run, is the same each time. An unforeseen fault ends the program."""
    return ["db " + m.rng.randbytes(m.rng.randrange(1, 12)).hex()]


# --- the timer -------------------------------------------------------------------------------------


@block(weight=3)
def wait_for_ticks(m: Maker) -> Block:
    ticks, halt = f"word ptr [{m.layout.ticks:#x}]", m.pick([["hlt"], ["pause"], []])
    count = [f"mov bx, {ticks}", f"add bx, {m.rng.choice([1, 1, 2])}", "sti"]
    return [*count, "again:", *halt, f"cmp {ticks}, bx", "jb {again}", "cli", "xor bx, bx"]


@block(weight=2)
def work_with_interrupts(m: Maker) -> Block:
    return ["sti", f"mov {m.cx}, {m.rng.randrange(1, 60)}", "again:", *m.leaves(3), f"dec {m.cx}", "jnz {again}", "cli"]


# --- programs --------------------------------------------------------------------------------------


ONLY_WITH_THE_TIMER = ("wait_for_ticks", "work_with_interrupts")
NOT_BESIDE_THE_TIMER = ("noise", "halt", "trap_flag", "software_interrupt", "identify", "flags_from_a_device")


def generate(seed: int, modes: tuple[str, ...] = MODES) -> Program:
    """The program of a seed."""
    rng = Random(f"program {seed}")
    mode = modes[seed % len(modes)]
    layout = rng.choice(LAYOUTS)
    timer = rng.random() < 0.1
    unfit = NOT_BESIDE_THE_TIMER if timer else ONLY_WITH_THE_TIMER
    known = [kind for kind in KINDS if mode in kind.modes and kind.name not in unfit]
    kinds = [kind for kind in known if rng.random() < 0.6 or kind.name in ONLY_WITH_THE_TIMER]
    registers = {f"r{n}": 0x1111111111111111 * (n & 7) + n for n in range(8, 16)} | {"r11": 0} | REGISTERS_AT_START
    registers |= {"rbp": layout.data + 0x40, "rsp": layout.stack}
    own = rng.random() < 0.8
    ist = rng.choice([layout.data_end & ~15, 0xB800]) if mode == "long" and own and rng.random() < 0.3 else 0
    program = Program(seed, mode, layout, (), own, rng.choice(["iret", "retf"]), ist, timer, tuple(registers.items()))
    maker = Maker(mode, layout, rng)
    room = layout.code_end - layout.code - 0x80
    for _ in range(rng.randrange(3, 25)):
        kind = rng.choices(kinds, [kind.weight for kind in kinds])[0]
        lines = kind.make(maker)
        if timer:  # its frames stay on the stack, where the program's end wipes them
            lines = [f"mov {maker.sp}, {layout.stack:#x}", *lines]
        try:
            room -= len(joined(assemble(mode, lines, layout.code, {"end": layout.handlers})[0]))
        except CannotAssemble:
            continue
        if room < 0:
            break
        program = program.with_blocks((*program.blocks, tuple(lines)))
    return program
