"""Instructions at random: all kinds of operands, with values at the edges and addresses that are memory."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.differential.maker import POINTER, Block, Maker, width_of
from tests.differential.program import LAYOUTS, CannotAssemble, Program, assemble, joined

EDGES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 63, (1 << 64) - 1)
CONDITIONS = ("o", "no", "b", "ae", "e", "ne", "be", "a", "s", "ns", "p", "np", "l", "ge", "le", "g")
PACKED = tuple(
    "paddb paddw paddd paddq psubb pand por pxor pandn pcmpeqb pcmpgtw pmullw pmuludq pmaddwd punpcklbw punpckhdq "
    "packsswb packuswb pavgb pminub pmaxsw psadbw andps orps xorps addps mulps subpd maxps minpd unpcklps psllw psrld "
    "pmulhuw".split()
)
"""Instructions of SSE and SSE2 on two registers of 16 bytes, the second of which may be memory."""
Make = Callable[["Chance"], Block]


class Chance(Maker):
    """What an instruction is made from."""

    def value(self, width: int) -> int:
        """A number of so many bytes: often at an edge."""
        chosen = self.pick([*EDGES, self.rng.getrandbits(64), self.rng.getrandbits(8)])
        return chosen & (1 << 8 * width) - 1

    def immediate(self, width: int) -> str:
        """One that fits an instruction: of 4 bytes at most, which are extended with their sign."""
        value = self.value(min(width, 4))
        return hex(value & 0x7FFFFFFF if width == 8 else value)

    def plain(self, width: int | None = None) -> str:
        """A register whose upper byte has no name of its own, in long mode."""
        while True:
            name = self.register(width)
            if not (self.mode == "long" and name in ("ah", "bh", "ch", "dh")):
                return name

    def width_of_operand(self) -> int:
        return int(self.pick([1, 2, 4, 8] if self.mode == "long" else [1, 2, 4]))

    def wide(self) -> int:
        return int(self.pick([2, 4, 8] if self.mode == "long" else [2, 4]))

    def memory(self, width: int) -> str:
        return f"{POINTER[width]} [{self.address()}]"

    def target(self, width: int) -> str:
        return self.plain(width) if self.rng.random() < 0.6 else self.memory(width)

    def load(self, name: str) -> str:
        width = width_of(name)
        if width == 8:
            return f"movabs {name}, {self.value(8):#x}"
        return f"mov {name}, {self.value(width):#x}"

    def flags(self) -> Block:
        """All arithmetic flags, and DF, by chance."""
        value = self.rng.getrandbits(12) & 0xCD5 | 2
        return [f"push {value:#x}", self.popf]


def two_operands(c: Chance) -> Block:
    name = c.pick(["add", "or", "adc", "sbb", "and", "sub", "xor", "cmp", "test", "mov"])
    width = c.width_of_operand()
    if c.rng.random() < 0.3:
        return [f"{name} {c.target(width)}, {c.immediate(width)}"]
    if c.rng.random() < 0.5 or name == "test":
        return [f"{name} {c.target(width)}, {c.plain(width)}"]
    return [f"{name} {c.plain(width)}, {c.target(width)}"]


def one_operand(c: Chance) -> Block:
    return [f"{c.pick(['inc', 'dec', 'neg', 'not'])} {c.target(c.width_of_operand())}"]


def shift(c: Chance) -> Block:
    name = c.pick(["shl", "shr", "sar", "rol", "ror", "rcl", "rcr"])
    target = c.target(c.width_of_operand())
    kind = c.rng.randrange(3)
    if kind == 0:
        return [f"{name} {target}, 1"]
    if kind == 1:
        return [f"{name} {target}, {c.rng.randrange(256):#x}"]
    return [f"mov cl, {c.rng.randrange(256):#x}", f"{name} {target}, cl"]


def double_shift(c: Chance) -> Block:
    width = c.wide()
    name, target = c.pick(["shld", "shrd"]), c.target(width)
    if c.rng.random() < 0.5:
        return [f"{name} {target}, {c.plain(width)}, {c.rng.randrange(64):#x}"]
    return [f"mov cl, {c.rng.randrange(64):#x}", f"{name} {target}, {c.plain(width)}, cl"]


def multiply(c: Chance) -> Block:
    width = c.width_of_operand()
    kind = c.rng.randrange(3)
    if kind == 0:
        return [f"{c.pick(['mul', 'imul'])} {c.target(width)}"]
    width = c.wide()
    if kind == 1:
        return [f"imul {c.plain(width)}, {c.target(width)}"]
    return [f"imul {c.plain(width)}, {c.target(width)}, {c.immediate(width)}"]


def divide(c: Chance) -> Block:
    width = c.width_of_operand()
    high = c.pick([0, 0, 1, (1 << 8 * width) - 1, c.value(width)])
    words = {1: ("ah",), 2: ("dx",), 4: ("edx",), 8: ("rdx",)}[width]
    lines = [f"{'movabs' if width == 8 else 'mov'} {words[0]}, {high:#x}"]
    return c.faulting(*lines, f"{c.pick(['div', 'idiv'])} {c.target(width)}")


def bit(c: Chance) -> Block:
    width = c.wide()
    name = c.pick(["bt", "bts", "btr", "btc"])
    if c.rng.random() < 0.5:
        return [f"{name} {c.target(width)}, {c.rng.randrange(256):#x}"]
    if c.rng.random() < 0.5:
        return [f"{name} {c.plain(width)}, {c.plain(width)}"]
    index = {2: "cx", 4: "ecx", 8: "rcx"}[width]
    return [f"mov {index}, {c.rng.randrange(64):#x}", f"{name} {c.memory(width)}, {index}"]


def scan(c: Chance) -> Block:
    width = c.wide()
    source = c.target(width)
    return [f"{c.pick(['bsf', 'bsr', 'popcnt', 'lzcnt', 'tzcnt'])} {c.plain(width)}, {source}"]


def bmi(c: Chance) -> Block:
    width = int(c.pick([4, 8] if c.mode == "long" else [4]))
    a, b, m = c.plain(width), c.plain(width), c.target(width)
    return [
        c.pick(
            [
                f"andn {a}, {b}, {m}", f"bextr {a}, {m}, {b}", f"blsi {a}, {m}", f"blsr {a}, {m}", f"blsmsk {a}, {m}",
                f"bzhi {a}, {m}, {b}", f"mulx {a}, {b}, {m}", f"pdep {a}, {b}, {m}", f"pext {a}, {b}, {m}",
                f"rorx {a}, {m}, {c.rng.randrange(64)}", f"sarx {a}, {m}, {b}", f"shlx {a}, {m}, {b}",
                f"shrx {a}, {m}, {b}", f"adcx {a}, {m}", f"adox {a}, {m}", f"movbe {a}, {c.memory(width)}",
                f"crc32 {a}, {m}",
            ]
        )
    ]  # fmt: skip


def exchange(c: Chance) -> Block:
    width = c.width_of_operand()
    name = c.pick(["xchg", "xadd", "cmpxchg"])
    if c.rng.random() < 0.15:
        return [f"cmpxchg8b qword ptr [{c.address()}]"]
    memory, lock = c.rng.random() < 0.5, ""
    if memory and c.rng.random() < 0.3:
        lock = "lock "
    return [f"{lock}{name} {c.memory(width) if memory else c.plain(width)}, {c.plain(width)}"]


def locked(c: Chance) -> Block:
    width = c.width_of_operand()
    name = c.pick(["add", "or", "adc", "sbb", "and", "sub", "xor"])
    return [f"lock {name} {c.memory(width)}, {c.plain(width)}"]


def extend(c: Chance) -> Block:
    wide = c.wide()
    name = c.pick(["movzx", "movsx"])
    return [f"{name} {c.plain(wide)}, {c.target(1 if wide == 2 else c.pick([1, 2]))}"]


def condition(c: Chance) -> Block:
    which = c.pick(CONDITIONS)
    kind = c.rng.randrange(3)
    if kind == 0:
        return [f"set{which} {c.target(1)}"]
    width = c.wide()
    if kind == 1:
        return [f"cmov{which} {c.plain(width)}, {c.target(width)}"]
    return [f"j{which} {{after}}", "nop", "after:"]


def loops(c: Chance) -> Block:
    return [f"mov {c.cx}, {c.rng.randrange(1, 4)}", "again:", "nop", f"{c.pick(['loop', 'loope', 'loopne'])} {{again}}"]


def address_of(c: Chance) -> Block:
    if c.mode == "real":
        return [f"lea {c.plain(2)}, [bx+{c.pick(['si', 'di'])}+{c.value(1):#x}]"]
    width = c.wide()
    base, index = c.plain(c.width), c.plain(c.width)
    return [f"lea {c.plain(width)}, [{base}+{index}*{c.pick([1, 2, 4, 8])}+{c.value(1):#x}]"]


def pointer(c: Chance) -> Block:
    base = c.pick([c.bx, c.si, c.di] + ([] if c.mode == "real" else [c.ax, c.dx]))
    width = c.width_of_operand()
    place = f"{POINTER[width]} [{base}{c.pick(['', '+8', '-8', '+0x7f'])}]"
    name = c.plain(width)
    return [f"mov {base}, {c.address()}", c.pick([f"add {place}, {name}", f"mov {name}, {place}", f"not {place}"])]


def plain(c: Chance) -> Block:
    names = ["cbw", "cwde", "cwd", "cdq", "lahf", "sahf", "clc", "stc", "cmc", "cld", "std", "nop", "cli", "pause"]
    names += ["cdqe", "cqo"] if c.mode == "long" else ["daa", "das", "aaa", "aas", "salc"]
    return [c.pick(names)]


def decimal(c: Chance) -> Block:
    base = c.rng.randrange(256)
    return c.faulting(f"db {c.pick(['d4', 'd5'])}{base:02x}") if c.mode != "long" else ["nop"]


def swap(c: Chance) -> Block:
    width = c.pick([4, 8] if c.mode == "long" else [4])
    return [f"bswap {c.plain(width)}"]


def stack(c: Chance) -> Block:
    top = f"mov {c.sp}, {c.layout.stack:#x}"
    width = c.width if c.mode == "long" else c.pick([2, c.width])
    one = [f"push {c.plain(width)}", f"push {c.memory(width)}", c.pushf, f"push {c.immediate(1)}"]
    two = [f"pop {c.plain(width)}", f"pop {c.memory(width)}"]
    choices = [[c.pick(one)], [c.pick(two)], ["enter 0x10, 0", "leave"], [f"enter 8, {c.rng.randrange(4)}"]]
    choices += [c.flags()]
    if c.mode != "long":
        choices += [["pusha" if c.mode == "real" else "pushad"], ["popa" if c.mode == "real" else "popad"]]
        choices += [[f"push {c.pick(['cs', 'ds', 'es', 'ss', 'fs', 'gs'])}"]]
    return [top, f"mov {c.bp}, {c.layout.stack:#x}", *c.pick(choices), top]


def strings(c: Chance) -> Block:
    name = c.pick(["movs", "stos", "lods", "cmps", "scas"]) + c.pick(["b", "w", "d"] + ["q"] * (c.mode == "long"))
    prefix = c.pick(["", "", "rep ", "repne "])
    if prefix == "repne " and name[:4] in ("movs", "stos", "lods"):
        prefix = "rep "
    middle = (c.layout.data + c.layout.data_end) // 2
    lines = [
        f"mov {c.si}, {middle + c.rng.randrange(-32, 32):#x}",
        f"mov {c.di}, {middle + c.rng.randrange(-32, 32):#x}",
    ]
    return [*lines, f"mov {c.cx}, {c.rng.randrange(6)}", c.pick(["cld", "std"]), prefix + name, "cld"]


def translate(c: Chance) -> Block:
    return [f"mov {c.bx}, {c.layout.data + 0x20:#x}", "xlatb"]


def control(c: Chance) -> Block:
    width = c.width
    choices = [
        [f"smsw {c.plain(2)}"], [f"sldt {c.plain(2)}"] if c.mode != "real" else ["nop"],
        [f"str {c.plain(2)}"] if c.mode != "real" else ["nop"],
        [f"mov {c.plain(width if width != 2 else 4)}, {c.pick(['cr0', 'cr2', 'cr3', 'cr4'])}"],
        [f"mov {c.plain(2)}, {c.pick(['cs', 'ds', 'es', 'ss', 'fs', 'gs'])}"],
        [f"sgdt [{c.address()}]"], [f"sidt [{c.address()}]"],
    ]  # fmt: skip
    if c.mode != "real":
        selector = c.pick([0, 8, 0x10, 0x18, 0x20, 0x28, 0x30, 0xFFF8])
        choices += [[f"mov cx, {selector:#x}", f"{c.pick(['lar', 'lsl'])} eax, ecx"]]
        choices += [[f"mov cx, {selector:#x}", f"{c.pick(['verr', 'verw'])} cx"]]
        choices += [c.faulting(f"mov cx, {selector:#x}", f"mov {c.pick(['fs', 'gs'])}, cx")]
    return c.pick(choices)


def bad(c: Chance) -> Block:
    """What faults: undefined, privileged or out of bounds."""
    choices = [["ud2"], ["db 0fff"], ["db f00fa2"], ["mov ecx, 0x12345", "rdmsr"]]
    if c.mode == "long":
        choices += [["db 06"], ["db 27"], ["movabs rbx, 0x800000000000", "mov al, byte ptr [rbx]"]]
        choices += [["mov ebx, 0xc0000000", "add qword ptr [rbx], 1"]]
    if c.mode == "real":
        choices += [["mov bx, 0xffff", "mov ax, word ptr [bx]"], ["mov bx, 0xfffe", "add dword ptr [bx], eax"]]
    if c.mode == "prot":
        choices += [["mov cx, 0x1234", "mov ds, cx"]]
    return c.faulting(*c.pick(choices))


def software_interrupt(c: Chance) -> Block:
    return [c.pick(["int 0x21", "int 0x2f", "int3"])]


def coprocessor(c: Chance) -> Block:
    at, wide = c.address(), c.address()
    choices = [
        "fninit", f"fld dword ptr [{at}]", f"fld qword ptr [{wide}]", f"fild dword ptr [{at}]", "fld1", "fldz", "fldpi",
        f"fst qword ptr [{at}]", f"fstp qword ptr [{at}]", f"fistp dword ptr [{at}]", "fxch", "fchs", "fabs",
        f"fnstcw word ptr [{at}]", f"fnstsw word ptr [{at}]", "fnstsw ax", "fnclex", "fincstp", "fdecstp",
        "faddp", "fmulp", "fsubp", "fdivp", f"fadd dword ptr [{at}]", "fcomi st(0), st(1)", "fucomi st(0), st(1)",
    ]  # fmt: skip
    return [c.pick(choices)]


def vectors(c: Chance) -> Block:
    a, b = f"xmm{c.rng.randrange(8)}", f"xmm{c.rng.randrange(8)}"
    at = f"xmmword ptr [{(int(c.address(), 0) & ~15):#x}]"
    source = c.pick([b, at])
    choices = [
        f"{c.pick(PACKED)} {a}, {source}",
        f"movdqu {a}, {at}",
        f"movups {at}, {a}",
        f"movd {a}, eax",
        f"movd eax, {a}",
    ]
    choices += [f"pshufd {a}, {source}, {c.rng.randrange(256)}", f"pslldq {a}, {c.rng.randrange(20)}"]
    choices += [f"cvtdq2ps {a}, {source}", f"pmovmskb eax, {a}", f"ucomiss {a}, {b}", f"comisd {a}, {b}"]
    return [c.pick(choices)]


EVERYWHERE = (
    (two_operands, 6), (one_operand, 2), (shift, 4), (double_shift, 2), (multiply, 2), (divide, 1), (bit, 2), (scan, 1),
    (bmi, 1), (exchange, 2), (locked, 1), (extend, 1), (condition, 3), (loops, 0.5), (address_of, 1), (pointer, 2),
    (plain, 2), (swap, 0.5), (stack, 2), (strings, 2), (translate, 0.3), (control, 1), (bad, 0.5),
    (software_interrupt, 0.2), (coprocessor, 1),
)  # fmt: skip
KINDS: dict[str, tuple[tuple[Make, float], ...]] = {
    "real": (*EVERYWHERE, (decimal, 0.5)),
    "prot": (*EVERYWHERE, (decimal, 0.5), (vectors, 2)),
    "long": (*EVERYWHERE, (vectors, 2)),
}
"""The kinds of instructions in each mode, and how often each is."""


def generate(seed: int, mode: str, count: int) -> Program:
    """A program of about ``count`` random instructions, each with what it needs before it."""
    rng = Random(f"lockstep {seed} {mode}")
    layout = LAYOUTS[0]
    registers = {f"r{n}": rng.getrandbits(64) for n in range(8, 16)} | {"r11": 0}
    registers |= {
        name: rng.getrandbits(64 if mode == "long" else 32) for name in ("rax", "rbx", "rcx", "rdx", "rsi", "rdi")
    }
    registers |= {"rbp": layout.data + 0x40, "rsp": layout.stack}
    program = Program(seed, mode, layout, (), returns="retf", registers=tuple(registers.items()))
    chance = Chance(mode, layout, rng)
    kinds, weights = zip(*KINDS[mode], strict=True)
    room = layout.code_end - layout.code - 0x100
    blocks: list[tuple[str, ...]] = []
    if mode != "real":  # SSE is on: CR4.OSFXSR and OSXMMEXCPT
        wide = "rax" if mode == "long" else "eax"
        blocks.append((f"mov {wide}, cr4", f"or {wide}, 0x600", f"mov cr4, {wide}"))
    while count > 0:
        make = rng.choices(kinds, weights)[0]
        lines = make(chance)
        if rng.random() < 0.3:
            lines = [chance.load(chance.plain()), *lines]
        if rng.random() < 0.2:
            lines = [*chance.flags(), *lines]
        try:
            room -= len(joined(assemble(mode, lines, layout.code, {"end": layout.handlers})[0]))
        except CannotAssemble:
            continue
        if room < 0:
            break
        blocks.append(tuple(lines))
        count -= sum(not line.endswith(":") for line in lines)
    return program.with_blocks(tuple(blocks))
