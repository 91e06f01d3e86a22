"""Traces of exits and of instructions, of events that are only in this file."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kvmdbg.debuginfo.symbols import SymbolTable
from kvmdbg.errors import LoadError
from kvmdbg.kvm.exits import Exit, HltExit, IoExit, MmioExit
from kvmdbg.machine.image import Symbol
from kvmdbg.observe.trace import WORDS, Event, ExitPlaces, ExitTrace, InsnTrace, Seen, Sink, TraceFile

SYMBOLS = SymbolTable([Symbol("main", 0x1000, 0x10, "function"), Symbol("called", 0x1010, 0x10, "function")])
OUT = IoExit("out", 0x10, 1, 1, b"\1")


@dataclass
class Vcpu:
    index: int = 0


@dataclass
class Happened:
    exit: Exit
    pc: int = 0x1003
    vcpu: Vcpu = field(default_factory=Vcpu)


class Guest:
    """Calls who observes."""

    def __init__(self) -> None:
        self.asked: list[tuple[Sequence[str], str | None]] = []
        self.functions: list[Callable[[Event], None]] = []

    def observe(
        self, kinds: Sequence[str], function: Callable[[Event], None], condition: str | None
    ) -> Callable[[], None]:
        self.asked.append((kinds, condition))
        self.functions.append(function)
        return lambda: self.functions.remove(function)

    def happen(self, *events: Event) -> None:
        for event in events:
            for function in self.functions:
                function(event)


@pytest.fixture
def guest() -> Guest:
    return Guest()


def test_exits_are_kept_and_shown(guest: Guest) -> None:
    shown: list[Seen] = []
    trace = ExitTrace(guest.observe, SYMBOLS, ("io",), "$port == 0x10", show=shown.append)
    guest.happen(Happened(OUT), Happened(HltExit(), 0x2000, Vcpu(1)))
    assert guest.asked == [(("io",), "$port == 0x10")]
    assert trace.count == 2 and list(trace.seen) == shown
    assert [(one.vcpu, one.pc, one.symbol) for one in shown] == [(0, 0x1003, "main+0x3"), (1, 0x2000, "")]
    assert 0 <= shown[0].time <= shown[1].time
    assert shown[0].describe().endswith(" vcpu0 0x1003 main+0x3: out port 0x10, 1 byte, data 0x01")
    trace.close()
    guest.happen(Happened(OUT))
    assert trace.count == 2


def test_all_exits_unless_kinds_are_named(guest: Guest) -> None:
    assert ExitTrace(guest.observe, SYMBOLS).kinds == ("any",)
    assert guest.asked == [(("any",), None)]


def test_what_goes_to_a_file_is_not_shown(guest: Guest, tmp_path: Path) -> None:
    shown: list[Seen] = []
    path = tmp_path / "x.jsonl"
    trace = ExitTrace(guest.observe, SYMBOLS, sink=Sink(str(path), print), show=shown.append)
    guest.happen(Happened(OUT), Happened(HltExit()))
    trace.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["io", "hlt"] and not shown
    assert lines[0].items() >= {"vcpu": 0, "pc": 0x1003, "symbol": "main+0x3"}.items()
    assert lines[0]["data"]["port"] == 0x10 and "kind" not in lines[0]["data"]


def test_the_formats_of_files(guest: Guest, tmp_path: Path) -> None:
    text, chrome = tmp_path / "x.txt", tmp_path / "x.json"
    for path in (text, chrome):
        trace = ExitTrace(guest.observe, SYMBOLS, sink=Sink(str(path), print))
        guest.happen(Happened(OUT), Happened(OUT, 0x1011, Vcpu(1)))
        trace.close()
    assert [line.split(" ", 1)[1] for line in text.read_text().splitlines()] == [
        "vcpu0 0x1003 main+0x3: out port 0x10, 1 byte, data 0x01",
        "vcpu1 0x1011 called+0x1: out port 0x10, 1 byte, data 0x01",
    ]
    events = json.loads(chrome.read_text())
    assert [(one["name"], one["ph"]) for one in events] == [
        ("process_name", "M"), ("thread_name", "M"), ("main+0x3", "X"), (OUT.describe(), "i"),
        ("thread_name", "M"), ("called+0x1", "X"), (OUT.describe(), "i"),
    ]  # fmt: skip
    assert {one["tid"] for one in events[1:4]} == {0} and {one["tid"] for one in events[4:]} == {1}
    assert events[2]["ts"] == 0 and events[2]["dur"] == events[3]["ts"] > 0


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="cannot write"):
        TraceFile(str(tmp_path / "none" / "x"), print)


def test_a_full_disk_is_told_once_and_the_guest_goes_on() -> None:
    told: list[str] = []
    file = TraceFile("/dev/full", told.append)
    for _ in range(3):
        file.write("x" * 100_000)
    file.close()
    assert file.lost and len(told) == 1 and "the rest of the trace is lost" in told[0]


def test_places_of_exits(guest: Guest) -> None:
    places = ExitPlaces(guest.observe)
    exits = [OUT, IoExit("out", 0x10, 1, 1, b"\2"), HltExit(), MmioExit("read", 0xFEE00020, 4, bytes(4))]
    guest.happen(*map(Happened, exits), Happened(OUT, 0x1007))
    assert places.counts == {
        ("out port 0x10", 0x1003): 2, ("hlt", 0x1003): 1, ("mmio read 0xfee00020", 0x1003): 1,
        ("out port 0x10", 0x1007): 1,
    }  # fmt: skip
    places.close()
    assert not guest.functions


# --- instructions: call called; hlt / called: inc eax; ret ---------------------------------------------------

CODE = {0x1000: bytes.fromhex("e80b000000"), 0x1005: b"\xf4", 0x1010: bytes.fromhex("ffc0"), 0x1012: b"\xc3"}
PATH = (0x1000, 0x1010, 0x1012, 0x1005)


def registers(**values: int) -> bytes:
    data = bytearray(144)
    for name, at in WORDS:
        data[at : at + 8] = values.get(name, 0).to_bytes(8, "little")
    return bytes(data)


def run(trace: InsnTrace) -> None:
    for count, pc in enumerate(PATH):
        changed = registers(rax=0x10) if pc == 0x1010 else registers(rax=count, rbx=count)
        trace.step(pc, registers(rax=count, rbx=count) if pc != 0x1010 else registers(rax=1), changed)


def test_instructions_are_counted_by_address_and_by_calls() -> None:
    trace = InsnTrace(SYMBOLS, lambda pc: (CODE.get(pc, b""), 64, 0))
    run(trace)
    run(trace)
    assert trace.counts == dict.fromkeys(PATH, 2) and trace.total == 8
    assert trace.folded == {("main",): 4, ("main", "called"): 4}
    call = trace.places[0x1000]
    assert (call.text, call.size, call.symbol, call.function) == ("call 0x1010", 5, "main", "main")
    assert [trace.places[pc].ends_block for pc in PATH] == [True, False, True, True]
    assert (call.is_call, call.is_ret, trace.places[0x1012].is_ret) == (True, False, True)


def test_code_that_cannot_be_read_is_counted_under_its_page() -> None:
    trace = InsnTrace(SYMBOLS, lambda pc: (b"", 64, 0))
    trace.step(0x5123, registers(), registers())
    assert trace.places[0x5123].function == "0x5000"
    assert (trace.places[0x5123].text, trace.places[0x5123].size) == ("(cannot be read)", 1)


def test_a_return_from_where_it_began_leaves_the_name_of_the_caller() -> None:
    trace = InsnTrace(SYMBOLS, lambda pc: (CODE.get(pc, b""), 64, 0))
    for pc in (0x1012, 0x1005):
        trace.step(pc, registers(), registers())
    assert trace.folded == {("called",): 1, ("main",): 1}


def test_a_file_of_instructions_tells_what_each_changed(tmp_path: Path) -> None:
    path = tmp_path / "insns.txt"
    trace = InsnTrace(SYMBOLS, lambda pc: (CODE.get(pc, b""), 64, 0), TraceFile(str(path), print))
    run(trace)
    trace.close()
    assert path.read_text().splitlines() == [
        "0x1000 main: call 0x1010", "0x1010 called: inc eax  ; rax=0x10", "0x1012 called+0x2: ret",
        "0x1005 main+0x5: hlt",
    ]  # fmt: skip
