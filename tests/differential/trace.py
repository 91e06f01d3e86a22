"""What single steps tell of a program: where it goes, what it accesses, and so what points must be hit."""

from __future__ import annotations

import struct
import time
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from kvmdbg.core.session import Session
from kvmdbg.engine.stops import Stop, WatchpointStop
from kvmdbg.engine.vcpu_thread import VcpuThread
from kvmdbg.x86 import operands
from kvmdbg.x86.disasm import decode
from kvmdbg.x86.operands import Access
from kvmdbg.x86.registers import EFLAGS_RF, EFLAGS_TF
from tests.differential.machine import MEMORY, TIME_LIMIT, Runnable, Wrong, in_time
from tests.differential.program import ALIAS, BITS, IMAGE_SIZE

MOST_STEPS = 4000
LOADS_OF_SS = ("mov ss,", "pop ss")
PAGE = 4096


class NoTrace(Exception):
    """Steps do not tell all of this program; says why."""


@dataclass(frozen=True)
class Step:
    """One instruction at ``pc``, then ``next``.

    ``accesses`` are its own; ``implicit`` is memory that changed beside them: frames of events, descriptors' accessed
    bits. ``certain``: it has surely done its accesses, it was not cut short by an exception, say. ``trapped``: a trap
    of the guest's own EFLAGS.TF came, perhaps before the instruction at ``pc``. ``size`` is the instruction's.
    ``sets_rf``: it is an ``iret`` that sets EFLAGS.RF.
    """

    pc: int
    next: int
    text: str
    accesses: tuple[Access, ...]
    implicit: tuple[int, ...]
    certain: bool
    trapped: bool = False
    size: int = 1
    sets_rf: bool = False


def _changed(before: bytes, after: bytes) -> list[int]:
    if before == after:
        return []
    return [
        at
        for page in range(0, len(before), 256)
        if before[page : page + 256] != after[page : page + 256]
        for at in range(page, min(page + 256, len(before)))
        if before[at] != after[at]
    ]


def _elements(accesses: list[Access], done: int, backward: bool, bits: int) -> list[Access]:
    """The accesses of ``done`` rounds of a repeated string instruction, from those of its first."""

    def moved(one: Access, way: int) -> Access:
        ones = (1 << (64 if bits == 64 else 16 if bits == 16 and one.linear < 1 << 16 else 32)) - 1
        return Access(one.linear + way & ones, one.size, one.read, one.write, one.segment)

    return [moved(one, (-one.size if backward else one.size) * n) for n in range(done) for one in accesses]


def _sets_rf(text: str, frame: list[Access], memory: bytes) -> bool:
    """Whether RF is set in the EFLAGS that an ``iret`` pops."""
    width = {"iretq": 8, "iretd": 4}.get(text, 2)
    at = physical(frame[0].linear) + 2 * width
    return bool(int.from_bytes(memory[at : at + width], "little") & EFLAGS_RF)


def _vectors(session: Session, runner: VcpuThread) -> set[int]:
    """Where the exceptions of real mode lead: a program may have written over its own table."""
    table = session.physical.read(runner.sregs.idt.base, 32 * 4)
    return {segment * 16 + offset for offset, segment in struct.iter_unpack("<HH", table)}


def trace(session: Session, runnable: Runnable) -> tuple[list[Step], Stop]:
    """Step to the end. NoTrace, Wrong."""
    with in_time(session, 2 * TIME_LIMIT):
        return _trace(session, runnable)


def _trace(session: Session, runnable: Runnable) -> tuple[list[Step], Stop]:
    bits, layout = BITS[runnable.program.mode], runnable.program.layout
    runner, steps = session.runner, list[Step]()
    entries = set(runnable.code.entries.values())
    tables = [(layout.gdt, layout.gdt + 0x60), (layout.tss, layout.tss + 0x68)]
    memory = session.physical.read(0, IMAGE_SIZE)
    until, own_trap = time.monotonic() + TIME_LIMIT, False
    while True:
        pc, count, backward = session.regs.pc, session.regs.rcx, bool(session.regs.rflags & 0x400)
        traps = bool(session.regs.rflags & EFLAGS_TF)
        code = session.space.code_at(runner, pc, 15)
        insn = decode(code, bits) if code else None
        accesses = session.space.accesses_at(runner)
        text = f"{insn.mnemonic} {insn.op_str}".strip() if insn else ""
        if insn is not None and text.startswith(LOADS_OF_SS):
            reader, behind = session.space.register_reader(runner), code[insn.size :]
            if behind and operands.accesses(behind, pc + insn.size, bits, reader):
                raise NoTrace(
                    "the CPU puts off a step's trap behind a load of SS, so that the next instruction runs, too"
                )
        stop = session.step(1)
        after = session.physical.read(0, IMAGE_SIZE)
        following = session.regs.pc
        if insn is not None and insn.prefix[0] in (0xF2, 0xF3) and accesses and text.startswith("rep"):
            done = count - session.regs.rcx & (0xFFFF if bits == 16 else (1 << bits) - 1)
            accesses = _elements(accesses, done, backward, bits)
        own = [(physical(one.linear), physical(one.linear) + one.size) for one in accesses if one.write]
        implicit = [at for at in _changed(memory, after) if not any(start <= at < end for start, end in own)]
        event = following in entries or (bool(implicit) and bits == 16 and following in _vectors(session, runner))
        if event or (insn is not None and "cmpxchg" in insn.mnemonic):
            certain = False
        else:
            certain = True
            strange = [at for at in implicit if not any(start <= at < end for start, end in tables)]
            if strange and stop.reason in ("step", "halted"):
                raise Wrong(f"{text} at {pc:#x} changed {strange[0]:#x}, which is none of its accesses")
        dead = stop.reason == "shutdown"
        trapped = following == runnable.code.entries[1] or (dead and own_trap)
        own_trap = traps
        size = insn.size if insn is not None else 1
        sets_rf = not event and text.startswith("iret") and _sets_rf(text, accesses, memory)
        steps.append(Step(pc, following, text, tuple(accesses), tuple(implicit), certain, trapped, size, sets_rf))
        memory = after
        if stop.reason not in ("step", "halted") or (stop.reason == "halted" and runnable.ends(stop)):
            return steps, stop
        if len(steps) >= MOST_STEPS or time.monotonic() > until:
            raise NoTrace("it takes too many steps")


@dataclass(frozen=True)
class Visit:
    """A place is reached; ``certain`` when a breakpoint there must be hit."""

    pc: int
    certain: bool


def physical(linear: int) -> int:
    """Where a linear address lies in memory, in the guests of this proof."""
    return linear - ALIAS if ALIAS <= linear < ALIAS + MEMORY else linear


def visits(steps: Sequence[Step], places: Iterable[tuple[int, str]], in_registers: Container[int] = ()) -> list[Visit]:
    """In which order the places (an address and its space) are reached.

    A HLT on the way stops behind itself, and going on from there passes a breakpoint. A repeated instruction, or a jump
    to itself, counts once. A debug register, as it holds the linear addresses ``in_registers``, does not fire where
    EFLAGS.RF is set.
    """
    wanted, found = set(places), list[Visit]()
    before: Step | None = None
    for step in steps:
        here = (step.pc, "linear") in wanted or (physical(step.pc), "phys") in wanted
        if here and (before is None or before.pc != step.pc):
            hidden = before is not None and before.sets_rf and step.pc in in_registers
            passed = before is not None and before.text == "hlt"
            found.append(Visit(step.pc, not (step.trapped or hidden or passed)))
        before = step
    return found


def match_order(found: Sequence[int], wanted: Sequence[Visit]) -> str | None:
    """What is wrong with the order in which breakpoints were hit."""
    places = {0}  # how many of those wanted may be behind us; more than one where uncertain ones are alike
    for number, pc in enumerate(found):
        following = set[int]()
        for place in places:
            if number and found[number - 1] == pc:
                following.add(place)  # a repeated instruction
            for at in range(place, len(wanted)):
                if wanted[at].pc == pc:
                    following.add(at + 1)
                if wanted[at].certain:
                    break
        if not following:
            after = next((f"{visit.pc:#x}" for visit in wanted[max(places) :] if visit.certain), "none")
            return f"breakpoint stop {number} is at {pc:#x}, the next must be at {after}"
        places = following
    left = [visit for visit in wanted[max(places) :] if visit.certain]
    return f"no breakpoint stop at {left[0].pc:#x} after {len(found)} of them" if left else None


@dataclass(frozen=True)
class Touch:
    """A step that touches what is watched; ``certain`` when the watchpoint must see it, at ``most`` so often."""

    step: Step
    certain: bool
    most: int


def touches(steps: Sequence[Step], start: int, length: int, kind: str, space: str = "linear") -> list[Touch]:
    """The steps that access ``length`` bytes at ``start`` in the way of ``kind``.

    An access to the same memory by another linear address may or may not be seen by a linear watchpoint.
    """
    place, found = physical(start), list[Touch]()

    def within(address: int, size: int, start: int = start) -> bool:
        return start < address + size and address < start + length

    for step in steps:
        own = [one for one in step.accesses if (one.write and kind != "read") or (one.read and kind != "write")]
        surely = [one for one in own if within(physical(one.linear) if space == "phys" else one.linear, one.size)]
        perhaps = [one for one in own if within(physical(one.linear), one.size, place)]
        implicit = sum(within(at, 1, place) for at in step.implicit) if kind != "read" else 0
        if surely or perhaps or implicit:
            most = implicit + sum(one.size * (one.read + one.write) for one in {*surely, *perhaps})
            found.append(Touch(step, bool(surely) and step.certain, most))
    return found


def match(found: Sequence[WatchpointStop], wanted: Sequence[Touch], extra: bool) -> str | None:
    """What is wrong with the stops of one watchpoint; ``extra``: the CPU may touch what is watched by itself, too."""

    def same(stop: WatchpointStop, step: Step) -> bool:
        if stop.instruction is not None:
            return stop.instruction == step.pc
        return stop.pc in (step.pc, step.next)

    def may_be_left_out(at: int) -> bool:
        """The rounds of a repeated instruction may be told as one."""
        touch = wanted[at]
        again = at > 0 and touch.step.text.startswith("rep") and touch.step.pc == wanted[at - 1].step.pc
        return again or not touch.certain

    places = {(0, 0)}  # how many of those wanted may be behind us, and how many stops of the last there were
    for stop in found:
        following = set(places) if extra else set()
        for place, stops in places:
            if place and same(stop, wanted[place - 1].step) and stops < wanted[place - 1].most:
                following.add((place, stops + 1))
            for at in range(place, len(wanted)):
                if same(stop, wanted[at].step):
                    following.add((at + 1, 1))
                if not may_be_left_out(at):
                    break
        if not following:
            place = max(places)[0]
            after = (
                f"{wanted[place].step.text} at {wanted[place].step.pc:#x}" if place < len(wanted) else "nothing more"
            )
            return f"a stop that must not be, or one left out before it: {stop.describe()}; next was {after}"
        places = following
    missing = [wanted[at] for at in range(max(places)[0], len(wanted)) if not may_be_left_out(at)]
    if missing:
        return f"no stop for {missing[0].step.text} at {missing[0].step.pc:#x}"
    return None
