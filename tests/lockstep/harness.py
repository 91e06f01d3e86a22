"""Random instructions on two back ends, one program after the other, until so many have run."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import kvmdbg
from kvmdbg.core.session import Session
from kvmdbg.lockstep.compare import CannotRun, Lockstep
from kvmdbg.lockstep.outcome import Outcome
from tests.differential.machine import MEMORY
from tests.differential.program import MODES, Program, assembled
from tests.lockstep.instructions import generate
from tests.lockstep.listed import listed

FLAGS = 0x257FD7
"""Of EFLAGS: those that are defined, without those of virtual 8086 mode."""
A_PROGRAM = 400
"""Instructions of one program."""


@dataclass
class Found:
    """``instructions`` were compared, ``not_run`` says how often the first back end could not run which,
    ``listed`` how often which known difference came up."""

    instructions: int = 0
    programs: int = 0
    not_run: Counter[str] = field(default_factory=Counter)
    listed: Counter[str] = field(default_factory=Counter)
    differences: list[tuple[str, Outcome]] = field(default_factory=list)


@contextmanager
def sessions(program: Program, engines: tuple[str, str]) -> Iterator[tuple[Session, Session]]:
    """The program on both back ends, before its first instruction."""
    code = assembled(program)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as opened:
        path = Path(folder) / "program.bin"
        image = bytearray(code.image)
        if program.mode != "real":
            for entry in range(1, 5):  # the segments are marked as accessed: PVM does not do so by itself
                image[program.layout.gdt + 8 * entry + 5] |= 1
        path.write_bytes(image)
        found = []
        for engine in engines:
            session = kvmdbg.open(
                path, format="flat", load=0, entry=code.entry, memory=MEMORY, mode=program.mode,
                registers=dict(program.registers), irqchip="none", serial="none", machine="bare", engine=engine,
            )  # fmt: skip
            found.append(opened.enter_context(session))
        yield found[0], found[1]


def compare(program: Program, engines: tuple[str, str], found: Found) -> Outcome:
    """Run one program; what the first back end cannot run is left out of both."""
    with sessions(program, engines) as (first, second):
        end = assembled(program).end
        both = Lockstep(first, second, engines)
        outcome = None
        while outcome is None and first.vcpu.pc != end:
            place = both.place()
            try:
                outcome = both.one()
            except CannotRun as error:
                if error.number or not place.code:
                    raise
                found.not_run[place.text.split()[0]] += 1
                both.leave_out(place)
            known = listed(outcome, engines) if outcome is not None and not outcome.same else None
            if known is not None:
                found.listed[known] += 1
                first.registers.rflags &= FLAGS
                both.accept()
                outcome = None
        outcome = outcome or both.whole() or Outcome(engines, both.instructions, "at its end")
        known = None if outcome.same else listed(outcome, engines)
        if known is not None:
            found.listed[known] += 1
            outcome = Outcome(engines, both.instructions, "at its end")
    found.instructions += both.instructions
    found.programs += 1
    if not outcome.same:
        found.differences.append((f"seed {program.seed}, {program.mode} mode", outcome))
    return outcome


def run(
    seed: int,
    count: int,
    engines: tuple[str, str],
    modes: tuple[str, ...] = MODES,
    tell: Callable[[str], object] = print,
) -> Found:
    """Programs of seeds from ``seed`` on until ``count`` instructions have been compared."""
    found = Found()
    while found.instructions < count:
        program = generate(seed, modes[seed % len(modes)], min(A_PROGRAM, count))
        try:
            outcome = compare(program, engines, found)
        except CannotRun as error:
            raise CannotRun(error.number, f"seed {seed}, {program.mode} mode: {error}") from error
        if not outcome.same:
            tell(f"seed {seed}, {program.mode} mode: {outcome.describe()}")
        seed += 1
    return found
