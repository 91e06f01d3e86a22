"""Compares the ways to run a program with its free run, and makes programs that differ smaller."""

from __future__ import annotations

import tempfile
import time
import traceback
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from random import Random

from kvmdbg.core.session import Session
from kvmdbg.engine.host import host_of
from kvmdbg.errors import KvmdbgError, NotSupportedHere
from kvmdbg.x86.exceptions import PF
from kvmdbg.x86.registers import EFLAGS_RF
from tests.differential.blocks import generate
from tests.differential.machine import MOST_HALTS, TIME_LIMIT, Observation, Runnable, Wrong, observe
from tests.differential.program import (
    ALIAS,
    CODE,
    DATA,
    LAYOUTS,
    MODES,
    USER,
    CannotAssemble,
    Program,
    waiting_for_a_tick,
)
from tests.differential.trace import NoTrace, Step, trace
from tests.differential.variants import ONLY_STEPS, VARIANTS, Trial

STEPPED = "stepped"
"""The name of the variant that also gives the trace."""
COMPARABLE = ("halted", "shutdown", "exited")
FREE_LIMIT = TIME_LIMIT / 3
"""Seconds after which a program alone is taken to be without end: it needs milliseconds, or some ticks of 55 ms."""
AT_ONCE = 6
"""How many variants each program runs in, unless all are asked for."""


def traceable(runnable: Runnable) -> bool:
    """Whether steps of the program tell what it does: on KVMs in software none is possible at CPL 3."""
    if not runnable.program.rings:
        return True
    with runnable.open() as session:
        return steps_user_code(session)


@dataclass(frozen=True)
class Difference:
    """What a variant did to a program."""

    program: Program
    variant: str
    text: str
    notes: tuple[str, ...] = ()

    def describe(self) -> str:
        notes = "; ".join(self.notes[-40:])
        return f"seed {self.program.seed}, {self.variant}: {self.text}\n  {notes}\n{self.program.listing()}"


class NotCounted(Exception):
    """The program cannot be run free to an end here."""


def free_run(runnable: Runnable) -> Observation:
    """The program alone. NotCounted, with the address of what this KVM cannot run as second argument."""
    with runnable.open() as session:
        for _ in range(MOST_HALTS):
            stop = session.run(timeout=FREE_LIMIT)
            if runnable.ends(stop):
                break
        if stop.reason not in COMPARABLE or not runnable.ends(stop):
            raise NotCounted(stop.describe(), stop.pc)
        return observe(session, stop)


@lru_cache(maxsize=1)
def traps_work_everywhere() -> bool:
    """Whether code at CPL 3 meets a planted trap as the kernel does."""
    profile = host_of()[0].profile
    return profile.by_mode["user"].trap == profile.kernel_trap


def runnable_here(program: Program, folder: Path) -> tuple[Runnable, Observation]:
    """The program without the blocks that this KVM cannot run. NotCounted.

    With a timer the program must stand a tick here: free it may be over before the first one, debugged it is not.
    """
    if program.rings and program.mode == "prot" and not traps_work_everywhere():
        raise NotCounted("without paging nobody knows where user code is, which would get planted traps", 0)
    if program.rings and returns_by_halves():
        program = replace(program, accessed=True)
    if program.timer:
        free_run(Runnable(program.with_blocks((waiting_for_a_tick(program.layout),)), folder))
    while True:
        try:
            runnable = Runnable(program, folder)
        except CannotAssemble as error:
            raise NotCounted(str(error)) from None
        try:
            return runnable, free_run(runnable)
        except NotCounted as error:
            pc = error.args[1]
            blocks = [
                b for b, (start, end) in zip(program.blocks, runnable.code.spans, strict=True) if not start <= pc < end
            ]
            if len(blocks) == len(program.blocks):
                raise
            program = program.with_blocks(tuple(blocks))


def steps_into_handlers() -> bool:
    return host_of()[0].profile.steps_into_handlers


WITH_ALIAS_READ_ONLY = (
    "mov rax, cr3",
    "mov qword ptr [rax+0x2018], 0x81",
    f"invlpg [{ALIAS:#x}]",
    "mov rax, cr0",
    "or eax, 0x10000",
    "mov cr0, rax",
)
"""In long mode: the first 2 MiB are at ALIAS, too, where nobody may write to them, and CR0.WP is set."""


@lru_cache(maxsize=1)
def keeps_resume_flag() -> bool:
    """Whether EFLAGS.RF is still set two instructions behind the iretq that has set it: emulators of CPUs clear it
    where their piece of translated code ends, and a step makes that end sooner."""
    layout = LAYOUTS[0]
    back = f"mov qword ptr [{layout.resume:#x}], rax"
    block = ("mov rax, {after}", back, "db 0f0b", "after:", "nop", "nop", "int3")
    with tempfile.TemporaryDirectory(prefix="differential-") as folder:
        seen = free_run(Runnable(Program(0, "long", layout, (block,)), Path(folder)))
    flags = (layout.stack & -16) - 24
    return bool(int.from_bytes(seen.memory[flags : flags + 8], "little") & EFLAGS_RF)


@lru_cache(maxsize=1)
def spoils_carry_of_rotations() -> bool:
    """Whether an RCR that faults at its store has changed CF, and rotates something else when it is run again: an
    emulator of CPUs does, and a guard of the debugger's has the instruction run again as a guest's own would."""
    layout = LAYOUTS[0]
    number, carry = layout.data, layout.data + 8
    block = (
        *WITH_ALIAS_READ_ONLY,
        f"mov word ptr [{number:#x}], 1",
        f"mov qword ptr [{layout.resume:#x}], {{after}}",
        f"mov edi, {ALIAS + number:#x}",
        "clc",
        "rcr word ptr [rdi], 1",
        "after:",
        f"setc byte ptr [{carry:#x}]",
    )
    with tempfile.TemporaryDirectory(prefix="differential-") as folder:
        seen = free_run(Runnable(Program(0, "long", layout, (block,)), Path(folder)))
    return seen.memory[number] == 1 and seen.memory[carry] == 1


@lru_cache(maxsize=1)
def returns_by_halves() -> bool:
    """Whether an IRETQ to CPL 3 has loaded CS where the accessed bit of SS's descriptor may not be set: an emulator of
    CPUs has, and where it is run again, as behind a guard of the debugger's, it is no return to an outer ring.

    The frame of the page fault then holds the CS of CPL 3, with which its handler does not get back.
    """
    layout = LAYOUTS[0]
    code, data = USER["long"]
    user = layout.gdt + (data & ~7) + 5
    accessed = [layout.gdt + (selector & ~7) + 5 for selector in (CODE, DATA, code)]
    block = (
        *(f"or byte ptr [{access:#x}], 1" for access in accessed),
        f"and byte ptr [{user:#x}], 0xfe",
        *WITH_ALIAS_READ_ONLY,
        f"mov dword ptr [{layout.table_image + 2:#x}], {ALIAS + layout.gdt:#x}",
        f"db 0f011425{layout.table_image.to_bytes(4, 'little').hex()}",
        f"mov qword ptr [{layout.resume:#x}], {{after}}",
        f"push {data:#x}",
        f"push {layout.stack:#x}",
        "push 2",
        f"push {code:#x}",
        "mov rax, {after}",
        "push rax",
        "iretq",
        "after:",
        "mov eax, cs",
        f"mov dword ptr [{layout.data:#x}], eax",
    )
    with tempfile.TemporaryDirectory(prefix="differential-") as folder:
        seen = free_run(Runnable(Program(0, "long", layout, (block,), rings=True), Path(folder)))
    selector = int.from_bytes(seen.memory[layout.data : layout.data + 4], "little")
    return bool(seen.memory[layout.counts + 2 * PF]) and selector != CODE


def reads_a_handlers_entry(step: Step, entries: Collection[int]) -> bool:
    """Whether it reads as data where a trap of a step may lie (docs/limits.md)."""
    return any(
        access.read and any(access.linear <= entry < access.linear + access.size for entry in entries)
        for access in step.accesses
    )


def rotates_memory_through_carry(step: Step) -> bool:
    return step.text.startswith(("rcl", "rcr")) and any(access.write for access in step.accesses)


def as_this_cpu_may(session: Session, runnable: Runnable, free: Observation, seen: Observation) -> Observation:
    """What was seen, but as in the free run where this CPU does otherwise than the manual each time it likes."""
    places = runnable.count_of_debug_exceptions
    if session.runner.host.profile.step_trap_waits and any(free.memory[places.start : places.stop]):
        # A guest alone gets one #DB more there for each page that KVM maps anew while EFLAGS.TF is set, as behind a
        # snapshot.
        seen = seen.with_memory_of(free, places)
    if runnable.program.mode != "real" and keeps_resume_flag():
        seen = seen.with_resume_flags_of(free)
    return seen


def steps_user_code(session: Session) -> bool:
    return session.runner.host.profile.by_mode["user"].step


def _run(runnable: Runnable, free: Observation, steps: list[Step], name: str, chance: str) -> Difference | None:
    """One variant of one program."""
    program = runnable.program
    with runnable.open() as session:
        trial = Trial(session, runnable, Random(chance), steps, program.mode != "real" and keeps_resume_flag())
        try:
            if name == STEPPED:
                found, stop = trace(session, runnable)
                steps[:] = found
            else:
                stop = VARIANTS[name](trial)
            if not runnable.ends(stop):
                text: str | None = f"it stopped at a HLT: {stop.describe()}"
            else:
                seen = trial.observed or observe(session, stop)
                text = free.difference(as_this_cpu_may(session, runnable, free, seen))
                if text and stop.reason != free.end:
                    text += f" ({stop.describe()})"
        except NotSupportedHere as error:
            text = None if program.rings and not steps_user_code(session) else f"refused: {error}"
        except (Wrong, KvmdbgError) as error:
            text = f"{type(error).__name__}: {error}"
        except NoTrace:
            raise
        except Exception:
            text = traceback.format_exc()
    return Difference(program, name, text, tuple(trial.notes)) if text else None


def chosen(seed: int, wanted: Sequence[str] = (), every: bool = False) -> list[str]:
    """The variants that a seed's program runs in, besides the stepped one."""
    names = list(wanted) or list(VARIANTS)
    return names if wanted or every else Random(f"variants {seed}").sample(names, min(AT_ONCE, len(names)))


def check(
    program: Program, variants: Sequence[str], chance: str = "", tell: Callable[[str], None] = lambda name: None
) -> tuple[Program, list[Difference]]:
    """The program as far as it can be run here, and how it differs in these variants. NotCounted.

    ``tell`` is called with the name of each variant before it runs.
    """
    with tempfile.TemporaryDirectory(prefix="differential-") as folder:
        runnable, free = runnable_here(program, Path(folder))
        steps: list[Step] = []
        if program.timer or not traceable(runnable):
            variants = [name for name in variants if name not in ONLY_STEPS]
        else:
            tell(STEPPED)
            try:
                stepped = _run(runnable, free, steps, STEPPED, "")
            except NoTrace as error:
                raise NotCounted(str(error)) from None
            if stepped is not None:
                entries = runnable.code.entries.values()
                if not steps_into_handlers() and any(reads_a_handlers_entry(step, entries) for step in steps):
                    raise NotCounted("it reads the entry of a handler as data, where a step may have planted a trap")
                return runnable.program, [stepped]
            if any(map(rotates_memory_through_carry, steps)) and spoils_carry_of_rotations():
                raise NotCounted("this CPU does not rotate memory through CF as the manual says where a store faults")
        found = []
        for name in variants:
            tell(name)
            found.append(_run(runnable, free, steps, name, f"{program.seed} {name} {chance}"))
        return runnable.program, [one for one in found if one is not None]


def programs(seed: int, modes: Sequence[str] = MODES) -> Program:
    return generate(seed, tuple(modes))


def shrink(difference: Difference, seconds: float = 60) -> Difference:
    """The smallest program found that still differs in the same variant: first whole blocks go, then lines."""
    until = time.monotonic() + seconds
    best = difference

    def still(program: Program) -> Difference | None:
        for chance in ("", "1", "2"):
            if time.monotonic() > until:
                return None
            try:
                _, found = check(program, [difference.variant], chance)
            except NotCounted:
                return None
            if found:
                return found[0] if found[0].variant == difference.variant else None
        return None

    changed = True
    while changed and time.monotonic() < until:
        changed = False
        for index in range(len(best.program.blocks) - 1, -1, -1):
            blocks = best.program.blocks
            if index >= len(blocks):
                continue
            found = still(best.program.with_blocks(blocks[:index] + blocks[index + 1 :]))
            if found:
                best, changed = found, True
    for index in range(len(best.program.blocks)):
        for line in range(len(best.program.blocks[index]) - 1, -1, -1):
            lines = best.program.blocks[index]
            if line >= len(lines) or len(lines) == 1:
                continue
            less = lines[:line] + lines[line + 1 :]
            if any(f"{{{one[:-1]}}}" in " ".join(less) for one in lines if one.endswith(":") and one not in less):
                continue
            found = still(
                best.program.with_blocks((*best.program.blocks[:index], less, *best.program.blocks[index + 1 :]))
            )
            if found and len(found.program.blocks) == len(best.program.blocks):
                best = found
    return best
