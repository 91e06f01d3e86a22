"""Two scripted vCPUs side by side, one of which does something wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from kvmdbg.kvm import exits
from kvmdbg.lockstep.compare import CannotRun, Lockstep
from kvmdbg.lockstep.outcome import Difference, Outcome
from tests.scripted.cpu import Instruction, ScriptedCpu, Work
from tests.scripted.guest import AGAIN, CODE, LOOP, PROGRAM, READ, STORE, SYMBOLS, WATCHED
from tests.scripted.machine import START, ScriptedHost, ScriptedSession, profile, scripted_session

NAMES = ("one", "other")
ROUND = 7
"""Instructions of each of the three rounds, behind one that begins: call, in, lea, out, ret, mov, loop."""
Program = Mapping[int, tuple[int, Instruction]]


@contextmanager
def pair(
    first: Program, second: Program, code: bytes = CODE, every: int = 1000
) -> Iterator[tuple[Lockstep, ScriptedSession, ScriptedSession]]:
    with (
        scripted_session(code, host=ScriptedHost(profile(), first), symbols=SYMBOLS) as one,
        scripted_session(code, host=ScriptedHost(profile(), second), symbols=SYMBOLS) as other,
    ):
        yield Lockstep(one, other, NAMES, every), one, other


def compare(wrong: Program, every: int = 1000, first: Program = PROGRAM, code: bytes = CODE) -> Outcome:
    with pair(first, {**first, **wrong}, code, every) as (both, _, _):
        return both.run()


EVERY = pytest.mark.parametrize("every", [1, 3, 1000])


@EVERY
def test_the_same(every: int) -> None:
    found = compare({}, every)
    assert found.same and found.instructions == 1 + 3 * ROUND + 1 and found.ended.startswith("then halted")
    assert found.describe() == f"one and other do the same: 23 instructions, {found.ended}"
    assert found.to_json() == {
        "type": "lockstep", "same": True, "first": "one", "second": "other", "instructions": 23, "ended": found.ended,
    }  # fmt: skip


@EVERY
def test_register(every: int) -> None:
    def counts_wrongly(cpu: ScriptedCpu) -> None:
        cpu.regs.rbx += 1 + (cpu.regs.rbx == 1)

    found = compare({READ + 2: (3, counts_wrongly)}, every)
    assert found.differences == (Difference("register rbx", "0x2", "0x3"),)
    assert found.instructions == 1 + ROUND + 2 and found.at is not None
    assert (found.at.address, found.at.text, found.at.symbol) == (READ + 2, "lea bx, [bx + 1]", "read+0x2")
    assert [one.address for one in found.before][-4:] == [STORE, LOOP, AGAIN, READ] and len(found.before) == 8
    assert found.describe().splitlines()[:3] == [
        "one and other differ after 10 instructions alike, at 0x1010 <read+0x2>: lea bx, [bx + 1]",
        "  register rbx  one 0x2  other 0x3",
        "before it:",
    ]
    assert found.describe().splitlines()[-1] == "  0x100e <read>: in al, 0x64"
    assert found.to_json()["at"] == {
        "address": READ + 2, "code": "8d5f01", "text": "lea bx, [bx + 1]", "symbol": "read+0x2",
    }  # fmt: skip


@EVERY
def test_flag(every: int) -> None:
    def sets_carry(cpu: ScriptedCpu) -> None:
        cpu.regs.rflags |= 1 << 16  # RF: who shows it differs
        if cpu.regs.rbx:
            cpu.regs.rflags |= 1
        cpu.regs.rbx += 1

    found = compare({READ + 2: (3, sets_carry)}, every)
    assert found.differences == (Difference("flag CF", "0", "1"),) and found.instructions == 1 + ROUND + 2


@EVERY
@pytest.mark.parametrize("where", [WATCHED, WATCHED + 1, 0x7654])
def test_memory(every: int, where: int) -> None:
    """Also where the instruction has no business to write."""

    def writes_more(cpu: ScriptedCpu) -> Work:
        yield from cpu.store(WATCHED, bytes((cpu.regs.rbx & 0xFF,)))
        if cpu.regs.rbx == 2:
            cpu.memory.write(where, b"\xab\xcd")

    found = compare({STORE: (4, writes_more)}, every)
    old = "02 00" if where == WATCHED else "00 00"
    kind = "" if where == WATCHED and every != 1 else "physical "
    if where == WATCHED:
        assert found.differences[0].what.endswith(f"{WATCHED:#x}") and found.differences[0].second[:2] == "ab"
    else:
        assert found.differences == (Difference(f"memory at {kind}{where:#x}", old, "ab cd"),)
    assert found.at is not None and found.at.address == STORE and found.instructions == 1 + 2 * ROUND - 2


def test_device_answers_both() -> None:
    with pair(PROGRAM, PROGRAM) as (both, one, _):
        one.press("x")
        assert both.run().same and one.registers.rax & 1


@EVERY
def test_access_that_the_other_does_not_make(every: int) -> None:
    def elsewhere(cpu: ScriptedCpu) -> Work:
        yield exits.IoExit("out", 0x81, 1, 1, bytes((cpu.regs.rax & 0xFF,)))

    found = compare({READ + 5: (2, elsewhere)}, every)
    device = found.differences[0]
    assert device.what == "device" and device.first.startswith("out port 0x80, 1 byte, value 0x")
    assert device.second.startswith("out port 0x81, 1 byte, value 0x") and found.instructions == 4
    nothing = compare({READ + 5: (2, lambda cpu: None)}, every)
    assert nothing.differences[0].second == "no access" and nothing.instructions == 4
    more = compare({READ + 2: (3, elsewhere)}, every)
    assert more.differences[0].first == "no access" and more.instructions == 3


def test_one_shuts_down_and_the_other_goes_on() -> None:
    def ends(cpu: ScriptedCpu) -> Work:
        while True:  # the step is taken once more
            yield exits.ShutdownExit()

    with pair(PROGRAM, {**PROGRAM, READ + 2: (3, ends)}) as (both, _, _):
        assert [both.one() for _ in range(3)] == [None] * 3
        found = both.one()
    assert found is not None and found.instructions == 3
    what = next(one for one in found.differences if one.what == "what came of it")
    assert what.first.startswith("stepped") and "triple fault" in what.second


def test_what_one_cannot_run() -> None:
    def fails(cpu: ScriptedCpu) -> Work:
        yield exits.InternalErrorExit(exits.SUBERROR_EMULATION, (), b"")

    with pair({**PROGRAM, READ + 2: (3, fails)}, PROGRAM) as (both, one, _):
        assert [both.one() for _ in range(3)] == [None] * 3
        with pytest.raises(CannotRun, match=r"^one cannot go on: ") as caught:
            both.one()
        assert caught.value.number == 0 and both.instructions == 3
        one.cpu.program = PROGRAM
        assert both.place().address == READ + 2
        both.leave_out(both.place())
        assert both.place().address == READ + 5


def test_no_more_than_asked_for() -> None:
    with pair(PROGRAM, PROGRAM, every=4) as (both, _, _):
        found = both.run(10)
        assert found.same and found.instructions == 10 and found.ended == "as many as were asked for"
        assert both.run(12).instructions == 12


def test_not_the_same_from_the_start() -> None:
    with pair(PROGRAM, PROGRAM) as (both, _, other):
        other.registers.rsi = 5
        found = both.run()
    assert found.differences == (Difference("register rsi", "0x0", "0x5"),) and found.at is None
    assert found.describe().splitlines()[0] == (
        "one and other differ after 0 instructions alike, before the first instruction"
    )


# --- what may differ

SHORT = bytes.fromhex("66f7e3 0f31 f3aa f4")
"""mul ebx; rdtsc; rep stosb; hlt."""
MUL, RDTSC, STOS, HLT = START, START + 3, START + 5, START + 7


def nothing(cpu: ScriptedCpu) -> None:
    cpu.regs.rcx = 3


def flags(value: int) -> Instruction:
    def sets(cpu: ScriptedCpu) -> None:
        cpu.regs.rflags |= value
        cpu.regs.rcx = 3

    return sets


def time(value: int) -> Instruction:
    def answers(cpu: ScriptedCpu) -> None:
        cpu.regs.rax, cpu.regs.rdx = value, value >> 32

    return answers


def all_rounds(cpu: ScriptedCpu) -> None:
    cpu.memory.write(0x2000, bytes((cpu.regs.rax & 0xFF,)) * 3)
    cpu.regs.rcx, cpu.regs.rdi = 0, 0x2003


def one_round(cpu: ScriptedCpu) -> None:
    done = 3 - cpu.regs.rcx
    cpu.memory.write(0x2000 + done, bytes((cpu.regs.rax & 0xFF,)))
    cpu.regs.rcx -= 1
    cpu.regs.rdi = 0x2001 + done
    if cpu.regs.rcx:
        cpu.jump(STOS)


def short(multiplies: Instruction, clock: int, stores: Instruction) -> Program:
    return {MUL: (3, multiplies), RDTSC: (2, time(clock)), STOS: (2, stores)}


@EVERY
def test_what_the_manual_leaves_open(every: int) -> None:
    """SF of a multiplication, the clock, and how many rounds a step makes."""
    first, second = short(nothing, 0x123456789, all_rounds), short(flags(0x80), 0x987654321, one_round)
    with pair(first, second, SHORT, every) as (both, one, other):
        found = both.run()
        assert found.same and found.instructions == 4, found.describe()
        assert other.registers.rax == one.registers.rax == 0x123456789
        assert not other.registers.rflags & 0x80


def test_a_step_that_runs_what_follows_as_well() -> None:
    """Behind STI and MOV SS the trap of a step is held back on some CPUs."""
    code = bytes.fromhex("8ed0 43 43 f4")  # mov ss, ax; inc bx; inc bx; hlt

    def counts(cpu: ScriptedCpu) -> None:
        cpu.regs.rbx += 1

    def both_at_once(cpu: ScriptedCpu) -> None:
        cpu.regs.rbx += 1
        cpu.jump(START + 3)

    plain: Program = {START: (2, lambda cpu: None), START + 2: (1, counts), START + 3: (1, counts)}
    for first, second in ((plain, {**plain, START: (2, both_at_once)}), ({**plain, START: (2, both_at_once)}, plain)):
        with pair(first, second, code) as (both, one, other):
            assert both.run().same and one.registers.bx == other.registers.bx == 2


@EVERY
def test_a_flag_left_open_is_open_until_it_is_set(every: int) -> None:
    """SF of a multiplication may differ behind a mov, not behind an add."""
    code = bytes.fromhex("66f7e3 89d8 01d8 f4")  # mul ebx; mov ax, bx; add ax, bx; hlt

    def adds(flags: int) -> Instruction:
        def sets(cpu: ScriptedCpu) -> None:
            cpu.regs.rflags = cpu.regs.rflags & ~0x80 | flags

        return sets

    first: Program = {START: (3, nothing), START + 3: (2, lambda cpu: None), START + 5: (2, adds(0))}
    for flags_of_add, differences in ((0, ()), (0x80, (Difference("flag SF", "0", "1"),))):
        found = compare({START: (3, flags(0x80)), START + 5: (2, adds(flags_of_add))}, every, first, code)
        assert found.differences == differences and found.instructions == (2 if differences else 4)


@EVERY
def test_what_it_does_not(every: int) -> None:
    first, second = short(nothing, 5, all_rounds), short(flags(0x81), 5, all_rounds)
    found = compare(second, every, first, SHORT)
    assert found.differences == (Difference("flag CF", "0", "1"),) and found.instructions == 0


FRAME, TABLE = 0x7000, 0x3000


def test_the_resume_flag_in_a_frame_and_accessed_bits_are_no_differences() -> None:
    """The instruction at START raises a fault: a frame of 32 bits is pushed, behind an error code and without one."""

    def faults(flags: int, entry: int, more: int = 0) -> Instruction:
        def does(cpu: ScriptedCpu) -> None:
            frame = (START, 8, flags)
            cpu.memory.write(FRAME, b"".join(one.to_bytes(4, "little") for one in (more, *frame)))
            cpu.memory.write(TABLE + 8, entry.to_bytes(8, "little"))
            cpu.regs.rsp, cpu.regs.rip = FRAME + (0 if more else 4), START + 1

        return does

    def compared(first: Instruction, second: Instruction) -> Outcome | None:
        with pair({START: (1, first)}, {START: (1, second)}, b"\x90\xf4") as (both, *sessions):
            for session in sessions:
                sregs = session.runner.sregs
                sregs.cr0, sregs.cr3, sregs.cr4 = 1 << 31 | 1, TABLE, 1 << 4
                sregs.cs.db = sregs.ss.db = 1
                session.runner.set_sregs(sregs)
                session.physical.write(TABLE, (0x83).to_bytes(4, "little"))
            return both.one(everywhere=True)

    for more in (0, 0x10):
        assert compared(faults(0x10202, 0x9000 | 0x23, more), faults(0x202, 0x9000 | 3, more)) is None
        assert compared(faults(0x202, 0x9000 | 3, more), faults(0x10202, 0x9000 | 0x23, more)) is None
    for first, second in (((0x202, 0x9003), (0x302, 0x9003)), ((0x202, 0x9003), (0x202, 0x9043))):
        found = compared(faults(*first), faults(*second))
        assert found is not None and found.differences[0].what.startswith("memory"), found
