"""Blocks that work on registers, memory and the stack, and branch."""

from __future__ import annotations

from tests.differential.maker import POINTER, Block, Maker, block, width_of

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
    """``bt`` and its like leave flags undefined, which are what an emulator likes: ``adc`` sets all."""
    at = m.address()
    one = m.pick(
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
    return [one, "adc bl, 0"] if one.startswith("bt") else [one]


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
