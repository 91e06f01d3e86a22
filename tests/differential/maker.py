"""What blocks of instructions at random are made with, and the list of their kinds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from tests.differential.program import Layout

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
    """What a block is made from: a mode, a layout, chance. ``unfit``: kinds that the program must not have."""

    def __init__(self, mode: str, layout: Layout, rng: Random, unfit: tuple[str, ...] = ()) -> None:
        self.mode, self.layout, self.rng, self.unfit = mode, layout, rng, unfit
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
