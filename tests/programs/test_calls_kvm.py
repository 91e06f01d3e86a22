"""Functions of the guest called from expressions, left early; code that is jumped to."""

from __future__ import annotations

from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.errors import KvmdbgError, UsageError
from tests.programs import build
from tests.programs.conftest import Debugger, Open

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]

CALLS = {
    "fact(5)": "120",
    "fact(2) + 3 * fact(1)": "5",
    "one_small(3)": "{a = 3, b = -2}",
    "one_large(4)": '{a = 4, b = 2.5, c = "abc"}',
    "one_union(5).i": "5",
    "one_large(6).b": "2.5",
    "one_long(1ll << 33)": "25769803776",
    "one_char(98)": "99 'c'",
    'total(kept, "abc")': "195",
    "(*fact)(3)": "6",
    "nothing(5)": "void",
}


@pytest.fixture(params=[32, 64])
def stopped(debug: Open, request: pytest.FixtureRequest) -> Debugger:
    dbg = debug("returns.c", bits=request.param)
    dbg.typed("tbreak fact", "run")
    return dbg


def state(dbg: Debugger) -> tuple[object, ...]:
    session = dbg.session
    memory = session.physical.read(0x100000, 0x6000)
    return session.regs.snapshot(), memory, session.last_stop, session.frame.number


def test_calls_leave_the_guest_as_it_was(stopped: Debugger) -> None:
    stopped.typed("frame 1")
    before = state(stopped)
    for text, value in CALLS.items():
        assert stopped.typed(f"print {text}").partition(" = ")[2] == value, text
        assert state(stopped) == before, text
    assert stopped.typed("call nothing(7)", "print calls").endswith("= 0")
    assert "Temporary breakpoint 2" in stopped.typed("tbreak nothing", "continue")
    assert stopped.typed("finish", "print calls").endswith("= 1")


def test_effects_are_kept_where_they_are_wanted(stopped: Debugger) -> None:
    registers = stopped.session.regs.snapshot()
    assert stopped.typed("set call-keeps on", "call nothing(7)", "print calls").endswith("= 7")
    assert stopped.session.regs.snapshot() == registers


def test_a_call_that_stops_leaves_the_guest_there(stopped: Debugger) -> None:
    before = state(stopped)
    said = stopped.typed("break fact", "print fact(2)")
    assert "the function that was called has stopped: breakpoint 2 at 0x" in said
    assert stopped.typed("print n").endswith("= 2")
    stopped.typed("snapshot restore before-call")
    assert state(stopped)[:2] == before[:2]
    assert stopped.typed("print n").endswith("= 4")
    assert "has stopped" in stopped.typed("print fact(2)", "snapshot save inside", "snapshot restore inside")
    assert "function called" in stopped.typed("backtrace")
    stopped.typed("snapshot restore before-call", "delete")
    assert "has returned" not in stopped.typed("set $pc = $pc", "finish", "jump _start")


def test_a_call_that_stops_is_a_frame_and_ends_where_it_was_made(stopped: Debugger) -> None:
    before = state(stopped)
    outer = stopped.typed("backtrace").splitlines()[1:]
    for way in ("finish", "continue", "return"):
        stopped.typed("tbreak one_small", "print one_small(3)")
        frames = [one.split()[1:] for one in stopped.typed("backtrace").splitlines()[1:]]
        assert " ".join(frames[1][1:-1]) == "function called from kvmdbg"
        assert frames[2][:3] == outer[0].split()[1:4] and frames[3:] == [one.split()[1:] for one in outer[1:]]
        stopped.typed("tbreak fact", "print fact(1)")  # a call inside of it
        assert stopped.typed("backtrace").count("function called from kvmdbg") == 2
        assert "\nStepped to" in stopped.typed("continue") and stopped.typed("print a").endswith("= 3")
        said = stopped.typed(way)
        assert ("Value returned is" in said and "{a = 3, b = -2}" in said) == (way == "finish")
        assert state(stopped) == before
    assert "temporary breakpoint" in stopped.typed("set call-keeps on", "tbreak nothing", "call nothing(7)")
    assert "has returned" in stopped.typed("continue")
    assert state(stopped)[0] == before[0] and stopped.typed("print calls").endswith("= 7")
    assert "has stopped" in stopped.typed("tbreak fact", "print fact(7)")
    stopped.typed("tbreak fact", "run")
    assert "function called" not in stopped.typed("backtrace") and stopped.typed("print n").endswith("= 4")


def test_a_call_that_kills_the_guest_does_not(stopped: Debugger) -> None:
    before = state(stopped)
    said = stopped.typed("print ((int (*)(void))0x90000000)()")
    assert said.startswith("refused: the function did not return: "), said
    assert state(stopped) == before


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("fact()", "the function takes 1 arguments, 0 were given"),
        ("fact(1, 2)", "the function takes 1 arguments, 2 were given"),
        ("fact(1", "',' is missing after an argument"),
    ],
)
def test_wrong_calls_are_refused(debug: Open, text: str, why: str) -> None:
    assert f"refused: {why}" in debug("returns.c").typed(f"print {text}")


def test_a_condition_calls_nothing(debug: Open) -> None:
    dbg = debug("returns.c")
    said = dbg.typed("break nothing if fact(2) == 2", "run")
    assert "a function of the guest can be called only while it is stopped, not in conditions" in said


def test_a_function_is_left_early(stopped: Debugger) -> None:
    said = stopped.typed("return 9")
    assert said.startswith("#0 ") and "kmain" in said
    assert stopped.typed("print $eax").endswith("= 9")
    assert stopped.typed("up", "return").startswith("#1 ")
    refused = "refused: the frame that called this one is not known: it cannot be returned to"
    assert stopped.typed("return").endswith(refused)


def test_a_jump_goes_on_elsewhere(debug: Open) -> None:
    dbg = debug("returns.c")
    dbg.typed("tbreak fact", "run", "tbreak nothing")
    assert "Temporary breakpoint 2 at" in dbg.typed("jump *&nothing")
    dbg = debug("same_name_a.c", "same_name_b.c")
    dbg.typed("tbreak kmain", "run")
    assert "jump *ADDRESS says to which" in dbg.typed("jump init")


@pytest.mark.parametrize("hold", ["register", "planted", "stepping"])
def test_a_breakpoint_fires_where_pc_was_moved_to(debug: Open, hold: str) -> None:
    """As in gdb: at a jump's target, and where $pc was set to; where it has fired it is passed."""
    dbg = debug("kernel.c")
    session = dbg.session
    dbg.typed(f"set breakpoint-hold {hold}", "break kernel.c:9", "break kernel.c:10", "run")
    first, second = session.breakpoints
    assert session.vcpu.pc == first.address
    dbg.typed("jump *$pc")
    assert (session.vcpu.pc, first.hits, second.hits) == (first.address, 2, 0)
    dbg.typed("jump 10")
    assert (session.vcpu.pc, first.hits, second.hits) == (second.address, 2, 1)
    dbg.typed(f"set $pc = {first.address:#x}", "continue")
    assert (session.vcpu.pc, first.hits, second.hits) == (first.address, 3, 1)
    dbg.typed(f"set $pc = {second.address:#x}", f"set $pc = {first.address:#x}", "continue")
    assert (session.vcpu.pc, first.hits, second.hits) == (second.address, 3, 2)
    dbg.typed(f"set $pc = {first.address:#x}", "stepi", "continue")
    assert (session.vcpu.pc, first.hits, second.hits) == (second.address, 3, 3)


def test_the_session_calls(debug: Open) -> None:
    session = debug("returns.c").session
    session.break_at("fact", temporary=True)
    session.run(timeout=5)
    assert session.evaluate("fact(6)").value == 720
    session.break_at("fact")
    with pytest.raises(KvmdbgError, match="the function that was called has stopped"):
        session.evaluate("fact(3)")


def test_vectors_are_passed_and_returned_in_registers(tmp_path: Path) -> None:
    """As the ABI has it, and unlike gdb, which passes those of integers as integers."""
    made = build(tmp_path, "vectors.c", bits=64, flags="-msse2")
    expected = {
        "sum(lanes)": "4321", "sum(lanes + 1)": "5432", "twice(lanes)": "{2, 4, 6, 8}", "between(1, lanes, 2)": "1042",
        "twice(twice(lanes))[3]": "16", "in_wrapped(wrapped)": "96", "wrap(5)": "{v = {5, 6, 7, 8}}",
        "more(mixed)": "{a = {10, 12, 14, 16}, b = 78}",
        "many(lanes, lanes, lanes, lanes, lanes, lanes, lanes, lanes, 3, lanes)": "2008",
    }  # fmt: skip
    with kvmdbg.open(made, memory="16M", engine="soft") as session:
        interpreter = Interpreter(session)
        for line, wanted in expected.items():
            said = "\n".join(one.plain(200) for one in interpreter.execute(f"print {line}"))
            assert (line, said.partition(" = ")[2]) == (line, wanted)


def test_vectors_of_which_nobody_knows_where_they_are(tmp_path: Path) -> None:
    """32-bit code has them in memory or in XMM registers, as it was compiled; in memory where there are none."""
    made = build(tmp_path, "vectors.c", bits=32, flags="-mno-sse")
    with kvmdbg.open(made, memory="16M") as session:
        session.break_at("kmain")
        session.run(timeout=5)
        assert session.evaluate("between(1, lanes, 2)").value == 1042
        session.regs.cr4 |= 1 << 9  # OSFXSR
        for text in ("sum(lanes)", "twice(lanes)", "in_wrapped(wrapped)"):
            with pytest.raises(UsageError, match=r"is up to how they were compiled .with -msse or without."):
                session.evaluate(text)
        interpreter = Interpreter(session)
        said = "\n".join(
            one.plain(200) for line in ("tbreak twice", "continue", "finish") for one in interpreter.execute(line)
        )
        assert "Value returned: where functions have a four is up to how they were compiled" in said
