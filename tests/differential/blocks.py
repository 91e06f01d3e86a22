"""Blocks of instructions at random: each is a function that gives lines, independent of all others.

A program uses only some kinds (swarm testing), so that what one KVM cannot run, or what ends a program early, leaves
room for the rest.
"""

from __future__ import annotations

from random import Random

from tests.differential import data_blocks, event_blocks, machine_blocks, ring_blocks  # noqa: F401  each enters its own
from tests.differential.maker import KINDS, REGISTERS_AT_START, Maker
from tests.differential.program import LAYOUTS, MODES, CannotAssemble, Program, assemble, joined

ONLY_WITH_THE_TIMER = ("wait_for_ticks", "work_with_interrupts")
NOT_BESIDE_THE_TIMER = (
    "noise", "halt", "trap_flag", "software_interrupt", "identify", "flags_from_a_device", "system_call",
)  # fmt: skip
ONLY_WITH_RINGS = ("user_stretch", "forbidden", "system_call")
NOT_WITH_RINGS = ("task_register", "noise")


def generate(seed: int, modes: tuple[str, ...] = MODES) -> Program:
    """The program of a seed."""
    rng = Random(f"program {seed}")
    mode = modes[seed % len(modes)]
    layout = rng.choice(LAYOUTS)
    timer = rng.random() < 0.1
    rings = mode != "real" and Random(f"rings {seed}").random() < 0.4
    unfit = (
        *(NOT_BESIDE_THE_TIMER if timer else ONLY_WITH_THE_TIMER),
        *(NOT_WITH_RINGS if rings else ONLY_WITH_RINGS),
    )
    known = [kind for kind in KINDS if mode in kind.modes and kind.name not in unfit]
    always = (*ONLY_WITH_THE_TIMER, *ONLY_WITH_RINGS)
    kinds = [kind for kind in known if rng.random() < 0.6 or kind.name in always]
    registers = {f"r{n}": 0x1111111111111111 * (n & 7) + n for n in range(8, 16)} | {"r11": 0} | REGISTERS_AT_START
    registers |= {"rbp": layout.data + 0x40, "rsp": layout.stack}
    own = rng.random() < 0.8 or rings
    ist = rng.choice([layout.data_end & ~15, 0xB800]) if mode == "long" and own and rng.random() < 0.3 else 0
    returns, chips = rng.choice(["iret", "retf"]), seed // len(modes) % 2 == 0
    returns = "iret" if rings else returns
    program = Program(seed, mode, layout, (), own, returns, ist, timer, chips, rings, tuple(registers.items()))
    maker = Maker(mode, layout, rng, unfit)
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
