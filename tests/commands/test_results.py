"""Every result as plain text and as JSON."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import dataclass
from typing import Any

import pytest

from kvmdbg.commands import results
from kvmdbg.commands.results import (
    CodeLine,
    Disassembly,
    ExitLine,
    Fields,
    Group,
    GuestOutput,
    HexDump,
    Memory,
    MemoryRow,
    Message,
    Part,
    Registers,
    RegisterValue,
    Stack,
    StackSlot,
    StopReport,
    Table,
    Value,
)
from kvmdbg.record import replace


@dataclass(frozen=True)
class FakeStop:
    reason: str = "halted"
    vcpu: int = 0
    pc: int = 0x100C

    def describe(self) -> str:
        return "The guest halted."

    def to_json(self) -> dict[str, Any]:
        return {"stop": self.reason, "vcpu": self.vcpu, "pc": self.pc}


def test_message_carries_its_facts() -> None:
    one = Message("Breakpoint 1 at 0x1003.", data={"number": 1})
    assert one.plain() == "Breakpoint 1 at 0x1003."
    assert one.to_json() == {"type": "message", "level": "info", "text": "Breakpoint 1 at 0x1003.", "number": 1}


def test_table_lines_up_and_notes_follow_their_row() -> None:
    table = Table("t", ("Num", "What"), (("1", "a"), ("10", "bcd")), notes={0: ("hit twice",)})
    assert table.plain() == "Num  What\n1    a\n    hit twice\n10   bcd"
    assert table.to_json()["rows"] == [{"Num": "1", "What": "a"}, {"Num": "10", "What": "bcd"}]
    assert Table("t", ("A",), (), "None here.").plain() == "None here."


def test_prose_is_wrapped_into_its_column() -> None:
    table = Table("t", ("Name", "What it is"), (("a", "one two three four five six seven eight"),), prose=True)
    assert table.plain(40) == "Name  What it is\na     one two three four five six seven\n      eight"
    assert len(table.plain(200).splitlines()) == 2


def test_fields_line_up() -> None:
    assert Fields("host", {"a": "1", "long": "2"}).plain() == "host\n  a     1\n  long  2"


def test_hexdump_lines() -> None:
    one = HexDump(0x1000, b"AB\x00" + bytes(range(0x80, 0x8E)))
    first, second = one.plain().splitlines()
    assert first.startswith("00001000  41 42 00 80") and first.endswith("AB..............")
    assert second.startswith("00001010  8d ")
    assert one.to_json()["data"].startswith("414200")


def test_memory_rows() -> None:
    rows = (MemoryRow(0x1000, "<start>", ("0x01", "0x02")), MemoryRow(0x1002, "", ("0x100",)))
    one = Memory(0x1000, "x", 1, rows, (1, 2, 256))
    assert one.plain() == "0x1000 <start>:   0x01   0x02\n0x1002:  0x100"
    assert one.to_json()["values"] == [1, 2, 256]
    assert replace(one, space="phys").plain().startswith("phys:0x1000")


def test_disassembly_marks_the_current_line_and_the_branch() -> None:
    lines = (
        CodeLine(0x1000, b"\x90", "nop", ""),
        CodeLine(0x1001, b"\x74\xfd", "je", "0x1000", current=True, branch="taken", target=0x1000, seg_off="0000:1001"),
        CodeLine(0x1003, b"\xf4", "hlt", "", breakpoints=(2,)),
    )
    text = Disassembly(lines, raw=True).plain().splitlines()
    assert text[0] == "   0x00001000  90      nop"
    assert text[1] == "=> 0000:1001  0x001001  74 fd   je      0x1000  (taken)"
    assert text[2].startswith(" b 0x00001003")
    found = Disassembly(lines).to_json()["lines"]
    assert found[1]["branch"] == "taken" and "branch" not in found[0] and found[2]["breakpoints"] == [2]


def test_registers_as_grid_fit_the_width() -> None:
    general = [RegisterValue(f"r{n}", n, 64, changed=n == 9) for n in range(8, 16)]
    values = (*general, RegisterValue("rflags", 0x46, 64, decoded="ZF PF"))
    grid = Registers(values, "grid")
    assert all(len(line) <= 60 for line in grid.plain(60).splitlines())
    assert grid.plain(200).splitlines()[-1].endswith("0000000000000046  ZF PF")
    assert Registers((RegisterValue("ax", 5, 16, changed=True),)).plain() == "ax * 0x5  5"
    assert grid.to_json()["values"]["r9"] == 9


def test_stop_report() -> None:
    report = StopReport(
        FakeStop(),
        "The guest halted.",
        (Part("stack", Stack((StackSlot(0x7BFE, 0, 0x1234, "<main>"),), 16)),),
        (Value("$ax", "5", 5, 1),),
    )
    text = report.plain()
    assert text.splitlines()[0].startswith("-- stack")
    assert "0x00007bfe sp+0x0  1234 <main>" in text
    assert text.endswith("The guest halted.\n1: $ax = 5")
    found = report.to_json()
    assert found["type"] == "stop" and found["stop"] == "halted" and found["pc"] == 0x100C
    assert found["context"]["stack"]["slots"] == [{"address": 0x7BFE, "value": 0x1234, "label": "<main>"}]
    assert found["displays"][0]["value"] == 5


def test_exit_line_keeps_the_exits_fields_apart() -> None:
    one = ExitLine("system event shutdown", 1, {"kind": "system_event", "type": 1})
    assert one.to_json() == {
        "type": "exit",
        "text": "system event shutdown",
        "vcpu": 1,
        "exit": {"kind": "system_event", "type": 1},
    }


def test_guest_output_that_is_no_text() -> None:
    assert GuestOutput(b"4\xff\n").to_json() == {"type": "output", "text": "4\ufffd\n", "data": "34ff0a"}


def test_group() -> None:
    one = Group((Message("a"), Message("b")))
    assert one.plain() == "a\nb"
    assert [part["text"] for part in one.to_json()["results"]] == ["a", "b"]


KINDS: list[Any] = [
    one for one in vars(results).values() if inspect.isclass(one) and isinstance(getattr(one, "kind", None), str)
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda one: one.__name__)
def test_each_kind_is_documented_and_its_own(kind: Any) -> None:
    assert kind.__doc__ and not kind.__doc__.startswith(f"{kind.__name__}(")
    assert [one.kind for one in KINDS].count(kind.kind) == 1


def test_json_types_only() -> None:
    made = StopReport(FakeStop(), "x", (Part("regs", Registers((RegisterValue("ax", 1, 16),))),))
    assert json.loads(json.dumps(made.to_json()))["context"]["regs"]["values"] == {"ax": 1}


@pytest.mark.parametrize("width", [30, 40, 50, 60, 79])
def test_no_number_is_cut_in_code(width: int) -> None:
    line = CodeLine(
        0x7CB1,
        bytes.fromhex("48c7042578563412f0debc0a"),
        "mov",
        "qword ptr [0x12345678], 0xabcdef0",
        label="<a_function_with_a_name+0x1234>",
        current=True,
        values=(("[0x12345678 <counter>]", 0x123456789ABCDEF0, ""), ("rax", 0xFEDCBA9876543210, "<elsewhere+0x10>")),
    )
    whole = Disassembly((line,), raw=True).plain(400)
    shown = Disassembly((line,), raw=True).plain(width)
    assert set(re.findall(r"\b[0-9a-fx]+\b", shown)) <= set(re.findall(r"\b[0-9a-fx]+\b", whole))
    assert "0x123456789abcdef0" in shown and "0xfedcba9876543210" in shown
    assert len(shown.split("\n")[0]) <= width


@pytest.mark.parametrize("width", [30, 50, 60, 80, 200])
def test_bytes_that_are_wanted_are_shown_at_any_width(width: int) -> None:
    data = bytes.fromhex("48c7042578563412f0debc0a")
    line = CodeLine(0x7CB1, data, "mov", "qword ptr [0x12345678], 0xabcdef0", label="<a_function_with_a_name+0x1234>")
    shown = Disassembly((line,), raw=True, wanted=True).plain(width)
    assert data.hex(" ") in " ".join(shown.split())
    assert all(len(one) <= max(width, 40) for one in shown.split("\n"))


@pytest.mark.parametrize("width, each", [(80, 16), (60, 8)])
def test_a_hex_dump_has_room_for_its_lines(width: int, each: int) -> None:
    shown = HexDump(0x1000, bytes(range(0x41, 0x61))).plain(width).split("\n")
    assert len(shown) == 32 // each
    assert max(map(len, shown)) <= width
    assert shown[1].startswith(f"{0x1000 + each:08x}")
    assert shown[0].endswith(bytes(range(0x41, 0x41 + each)).decode())


def test_where_there_is_no_room_functions_are_named_above_their_lines() -> None:
    lines = [
        CodeLine(0x1000 + 4 * n, b"\x90\x90\x90\x90", "mov", "rcx, qword ptr [rbp - 0x10]", label=label)
        for n, label in enumerate(("<one>", "<one+0x4>", "<operator+>", "<operator++0x4>", ""))
    ]
    made = Disassembly(tuple(lines), raw=True)
    assert "<one+0x4>" in made.plain(120)
    narrow = made.plain(58).split("\n")
    assert [line for line in narrow if line.endswith(":")] == ["<one>:", "<operator+>:"]
    assert narrow[1] == "   0x00001000  <+0x0>  mov     rcx, qword ptr [rbp - 0x10]"
    assert narrow[2] == "   0x00001004  <+0x4>  mov     rcx, qword ptr [rbp - 0x10]"
    assert "".join(narrow).count("0x10]") == 5
