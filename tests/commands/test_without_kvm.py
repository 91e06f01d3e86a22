"""Lines typed at a guest on a scripted vCPU: running, points, views, memory, traces, completion."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kvmdbg.commands import searching
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.results import StopReport
from kvmdbg.errors import KvmdbgError
from tests.commands.conftest import Typist
from tests.scripted.guest import AGAIN, LOOP, READ, STORE, counting_guest
from tests.scripted.machine import START


@pytest.fixture
def typist() -> Iterator[Typist]:
    with counting_guest() as session:
        dbg = Interpreter(session)
        dbg.settings["context"] = ()
        yield Typist(dbg)


def pc(typist: Typist) -> int:
    return typist.dbg.session.vcpu.pc


def test_breakpoints_from_one_to_the_next(typist: Typist) -> None:
    assert typist.type("break read if $cx == 2") == "Breakpoint 1 at read (0x100e) if $cx == 2."
    assert typist.type("continue") == "Breakpoint 1 at 0x100e <read>."
    assert typist.dbg.session.regs.cx == 2
    assert typist.type("tbreak *0x1006") == "Temporary breakpoint 2 at 0x1006."
    assert typist.type("continue") == "Temporary breakpoint 2 at 0x1006 <again+0x3>."
    shown = typist.type("info breakpoints")
    assert "0x100e" in shown
    assert "0x1006" not in shown
    typist.type("delete 1")
    assert typist.type("continue").startswith("Halted")


@pytest.mark.parametrize(
    ("lines", "at"),
    [
        ("stepi", AGAIN),
        ("stepi 2", READ),
        ("stepi\nnexti", STORE),
        ("stepi\nnexti\nnexti 2", AGAIN),
        ("stepi 3\nfinish", STORE),
        ("advance *0x100a", LOOP),
        ("stepi 2\nstepi -1", None),
    ],
)
def test_moves(typist: Typist, lines: str, at: int | None) -> None:
    for line in lines.split("\n"):
        if at is None and line.endswith("-1"):
            with pytest.raises(KvmdbgError):
                typist.type(line)
            return
        typist.type(line)
    assert pc(typist) == at


def test_a_watchpoint_tells_the_instruction_and_both_values(typist: Typist) -> None:
    typist.type("watch *(char*)counter")
    said = typist.type("continue")
    assert said == "Watchpoint 1: write of 1 bytes at 0x5000 by the instruction at 0x1006, old 0x0, new 0x1."
    assert "old 0x1, new 0x2" in typist.type("continue")
    assert pc(typist) == LOOP


def test_a_catchpoint_and_its_fields(typist: Typist) -> None:
    typist.type("catch io 0x80")
    said = typist.type("continue")
    assert "out" in said
    assert "0x80" in said
    assert typist.dbg.session.exits.by_port == {("in", 0x64): 1, ("out", 0x80): 1}


def test_registers_and_memory_are_written(typist: Typist) -> None:
    typist.type("set $bx = 0x40")
    typist.type("set *(char*)0x5001 = 7")
    typist.type("advance *0x100a")
    assert typist.type("x/2xb counter").split() == ["0x5000", "<counter>:", "0x41", "0x07"]
    assert typist.type("print $bx") == "$1 = 65"
    assert typist.type("print/x *(char*)counter + $1") == "$2 = 0x82"


def test_code_with_names(typist: Typist) -> None:
    shown = typist.type("x/3i main").splitlines()
    assert [line.split()[0] for line in shown] == ["=>", "0000:1003", "0000:1006"]
    assert "call    0x100e  <read>" in shown[1]


def test_the_context_has_all_its_parts(typist: Typist) -> None:
    typist.type("set context regs code stack stop")
    (report,) = [one for one in typist.results("stepi 3") if isinstance(one, StopReport)]
    assert [part.name for part in report.parts] == ["regs", "code", "stack", "stop"]
    shown = report.plain()
    assert "ecx*00000003" in shown or "ecx 00000003" in shown
    assert "0x00000ffe sp+0x0  1006 <again+0x3>" in shown


def test_an_empty_line_repeats(typist: Typist) -> None:
    typist.type("stepi")
    typist.type("")
    assert pc(typist) == READ


def test_a_macro_and_a_hook_in_lines(typist: Typist) -> None:
    typist.type("define twice\nstepi\nstepi\nend")
    typist.type("twice")
    assert pc(typist) == READ
    typist.type("break *0x1006\ncommands 1\nset $bx = 0x20\nend")
    typist.type("continue")
    assert typist.dbg.session.regs.bx == 0x20


def test_exits_and_instructions_are_traced(typist: Typist) -> None:
    typist.type("trace exits on io")
    seen: list[str] = []
    typist.dbg.user.on_event = lambda result: seen.append(result.plain())
    typist.type("continue")
    assert len(seen) == 6
    assert "0x64" in seen[0]
    typist.type("trace exits off")
    typist.type("restart")
    typist.type("trace insn on")
    assert typist.type("continue").startswith("Halted")
    assert typist.type("trace insn off").startswith("Instructions are no longer traced; ")
    assert "read" in typist.type("info profile")


def test_a_snapshot_is_taken_back_to(typist: Typist) -> None:
    typist.type("snapshot save here")
    typist.type("continue")
    assert typist.type("x/1xb counter").endswith("0x03")
    typist.type("snapshot restore here")
    assert typist.type("x/1xb counter").endswith("0x00")
    assert pc(typist) == START


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("brea", "break"),
        ("info re", "registers"),
        ("break rea", "read"),
        ("print $r", "$rax"),
        ("x/4xb cou", "counter"),
        ("catch i", "io"),
    ],
)
def test_completion(typist: Typist, line: str, word: str) -> None:
    assert word in [one.text.strip() for one in typist.dbg.complete(line)]


@pytest.mark.parametrize(
    "line", ["nonsense", "break nowhere", "x/4xb", "print $nothing +", "delete 9", "info nonsense"]
)
def test_a_mistake_is_told_and_changes_nothing(typist: Typist, line: str) -> None:
    with pytest.raises(KvmdbgError):
        typist.type(line)
    assert pc(typist) == START
    assert typist.type("info breakpoints") == "No breakpoints, watchpoints or catchpoints."


def test_what_lies_before_address_0_is_at_the_end_of_the_address_space(typist: Typist) -> None:
    """The address was -0x5."""
    with pytest.raises(KvmdbgError, match="0xfffffffffffffffb"):
        typist.type("x/-5xb 0")


@pytest.mark.parametrize("line", ["hexdump -5 4", "x/4xb -5", "x/s -5"])
def test_a_negative_address_is_at_the_end_of_the_address_space(typist: Typist, line: str) -> None:
    with pytest.raises(KvmdbgError, match="0xfffffffffffffffb"):
        typist.type(line)


def test_a_search_that_finds_everything_ends(typist: Typist, monkeypatch: pytest.MonkeyPatch) -> None:
    """All zeros of a guest's memory were kept: gigabytes."""
    monkeypatch.setattr(searching, "MOST_FOUND", 10)
    shown = typist.type("find 0x5000, +500, 0").splitlines()
    assert shown[-2:] == ["The search ended after 10 matches; find /20 finds more.", "10 patterns found."]
    assert len([one for one in shown if one.startswith("0x")]) == 10
    assert typist.type("find /20b 0x5000, +500, 0").splitlines()[-1] == "20 patterns found."
    assert typist.type("find /10b 0x5000, +500, 0").splitlines()[-2].startswith("0x")
    assert typist.type("find 0x5000, +10, 0").splitlines()[-2].startswith("0x")
