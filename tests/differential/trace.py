"""What single steps tell of a program: where it goes, what it accesses, and so what points must be hit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kvmdbg.core.session import Session
from kvmdbg.core.stops import Stop, WatchpointStop
from kvmdbg.x86.disasm import decode
from kvmdbg.x86.operands import Access
from tests.differential.machine import Runnable, Wrong, in_time
from tests.differential.program import BITS, IMAGE_SIZE

MOST_STEPS = 4000
PAGE = 4096


class TooLong(Exception):
    """The program takes more steps than a proof wants to wait for."""


@dataclass(frozen=True)
class Step:
    """One instruction at ``pc``, then ``next``.

    ``accesses`` are its own; ``implicit`` is memory that changed beside them: frames of events, descriptors' accessed
    bits. ``certain``: it has surely done its accesses, it was not cut short by an exception, say.
    """

    pc: int
    next: int
    text: str
    accesses: tuple[Access, ...]
    implicit: tuple[int, ...]
    certain: bool


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
    ones = (1 << (64 if bits == 64 else 32)) - 1
    return [
        Access(
            one.linear + (-one.size if backward else one.size) * n & ones, one.size, one.read, one.write, one.segment
        )
        for n in range(done)
        for one in accesses
    ]


def trace(session: Session, runnable: Runnable) -> tuple[list[Step], Stop]:
    """Step to the end. TooLong, Wrong."""
    bits, layout = BITS[runnable.program.mode], runnable.program.layout
    runner, steps = session.runner, list[Step]()
    entries = set(runnable.code.entries.values())
    tables = [(layout.gdt, layout.gdt + 0x60), (layout.tss, layout.tss + 0x68)]
    memory = session.physical.read(0, IMAGE_SIZE)
    while True:
        pc, count, backward = session.regs.pc, session.regs.rcx, bool(session.regs.rflags & 0x400)
        code = session.code_at(runner, pc, 15)
        insn = decode(code, bits) if code else None
        accesses = session.accesses_at(runner)
        with in_time(session):
            stop = session.step(1)
        after = session.physical.read(0, IMAGE_SIZE)
        following = session.regs.pc
        text = f"{insn.mnemonic} {insn.op_str}".strip() if insn else ""
        if insn is not None and insn.prefix[0] in (0xF2, 0xF3) and accesses and text.startswith("rep"):
            done = count - session.regs.rcx & (0xFFFF if bits == 16 else (1 << bits) - 1)
            accesses = _elements(accesses, done, backward, bits)
        own = [(one.linear, one.linear + one.size) for one in accesses if one.write]
        implicit = [at for at in _changed(memory, after) if not any(start <= at < end for start, end in own)]
        event = following in entries
        if event or (insn is not None and "cmpxchg" in insn.mnemonic):
            certain = False
        else:
            certain = True
            strange = [at for at in implicit if not any(start <= at < end for start, end in tables)]
            if strange and stop.reason in ("step", "halted"):
                raise Wrong(f"{text} at {pc:#x} changed {strange[0]:#x}, which is none of its accesses")
        steps.append(Step(pc, following, text, tuple(accesses), tuple(implicit), certain))
        memory = after
        if stop.reason not in ("step", "halted") or (stop.reason == "halted" and runnable.ends(stop)):
            return steps, stop
        if len(steps) >= MOST_STEPS:
            raise TooLong


def visits(steps: Sequence[Step], places: Iterable[int]) -> list[int]:
    """In which order the places are reached; a repeated instruction, or a jump to itself, counts once."""
    wanted, found = set(places), list[int]()
    before = -1
    for step in steps:
        if step.pc in wanted and step.pc != before:
            found.append(step.pc)
        before = step.pc
    return found


def without_repeats(places: Iterable[int]) -> list[int]:
    found: list[int] = []
    for place in places:
        if not found or found[-1] != place:
            found.append(place)
    return found


@dataclass(frozen=True)
class Touch:
    """A step that touches what is watched; ``certain`` when the watchpoint must see it, at ``most`` so often."""

    step: Step
    certain: bool
    most: int


def touches(steps: Sequence[Step], start: int, length: int, kind: str) -> list[Touch]:
    """The steps that access ``length`` bytes at ``start`` in the way of ``kind``."""
    end, found = start + length, list[Touch]()
    for step in steps:
        own = [
            one
            for one in step.accesses
            if start < one.linear + one.size
            and one.linear < end
            and ((one.write and kind != "read") or (one.read and kind != "write"))
        ]
        implicit = sum(start <= at < end for at in step.implicit) if kind != "read" else 0
        if own or implicit:
            most = implicit + sum(one.size * (one.read + one.write) for one in own)
            found.append(Touch(step, bool(own) and step.certain, most))
    return found


def match(found: Sequence[WatchpointStop], wanted: Sequence[Touch], extra: bool) -> str | None:
    """What is wrong with the stops of one watchpoint; ``extra``: the CPU may touch what is watched by itself, too."""
    at = again = 0
    last: Touch | None = None

    def same(stop: WatchpointStop, step: Step) -> bool:
        if stop.instruction is not None:
            return stop.instruction == step.pc
        return stop.pc in (step.pc, step.next)

    for stop in found:
        while at < len(wanted) and not wanted[at].certain and not same(stop, wanted[at].step):
            at += 1
        if at < len(wanted) and same(stop, wanted[at].step):
            last, again = wanted[at], 1
            at += 1
        elif last is not None and same(stop, last.step) and again < last.most:
            again += 1
        elif not extra:
            place = f"{wanted[at].step.text} at {wanted[at].step.pc:#x}" if at < len(wanted) else "nothing more"
            return f"a stop that must not be, or one left out before it: {stop.describe()}; next was {place}"
    while (
        last is not None
        and at < len(wanted)
        and wanted[at].step.text.startswith("rep")
        and wanted[at].step.pc == last.step.pc
    ):
        at += 1  # the rounds of a repeated instruction may be told as one
    missing = [touch for touch in wanted[at:] if touch.certain]
    if missing:
        return f"no stop for {missing[0].step.text} at {missing[0].step.pc:#x}"
    return None
