"""Traces, counts, plots, coverage and profiles, and the files that other tools read."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.core.session import Session
from kvmdbg.errors import KvmdbgError, LoadError
from kvmdbg.pytest_plugin import Guests

pytestmark = pytest.mark.kvm

GUEST = """
main:
    mov cx, 3
again:
    call write
    loop again
    in al, 0x66
    hlt
write:
    mov al, cl
    out 0x80, al
    ret
never:
    nop
    ret
"""
Typed = Callable[[str], str]


@pytest.fixture
def dbg(kvm_guest: Guests) -> Session:
    return kvm_guest(asm=GUEST)


@pytest.fixture
def typed(dbg: Session) -> Typed:
    interpreter = Interpreter(dbg)
    return lambda line: "\n".join(result.plain(80) for result in interpreter.execute(line))


def test_a_trace_as_json_lines(dbg: Session, typed: Typed, tmp_path: Path) -> None:
    path = tmp_path / "exits.jsonl"
    typed(f"trace exits on to {path}")
    typed("run")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    outs = [line for line in lines if line["kind"] == "io" and line["data"]["direction"] == "out"]
    assert [line["data"]["data"] for line in outs] == ["03", "02", "01"]
    assert {line["symbol"] for line in outs} == {"write+0x2"}
    assert {line["pc"] for line in outs} == {dbg.symbols["write"] + 2}
    assert [line["kind"] for line in lines] == ["io"] * 4 + ["hlt"]
    times = [line["time"] for line in lines]
    assert times == sorted(times)
    assert typed("trace exits off") == f"Exits are no longer traced. 5 are in {path}."


def test_a_trace_for_perfetto_and_chrome(dbg: Session, typed: Typed, tmp_path: Path) -> None:
    path = tmp_path / "exits.json"
    typed(f"trace exits on io to {path} if $port == 0x80")
    typed("run")
    typed("trace exits off")
    events = json.loads(path.read_text())
    exits = [event for event in events if event["ph"] == "i"]
    assert [event["name"] for event in exits] == [f"out port 0x80, 1 byte, data 0x0{n}" for n in (3, 2, 1)]
    assert all(event["ts"] >= 0 and event["tid"] == 0 and event["args"]["symbol"] == "write+0x2" for event in exits)
    runs = [event for event in events if event["ph"] == "X"]
    assert len(runs) == 3
    assert all(event["dur"] >= 0 for event in runs)


def test_a_trace_as_text_and_files_that_cannot_be(dbg: Session, typed: Typed, tmp_path: Path) -> None:
    path = tmp_path / "exits.txt"
    typed(f"trace exits on hlt to {path}")
    typed("run")
    assert path.read_text().endswith(f" vcpu0 {dbg.symbols['main'] + 10:#x} again+0x7: hlt\n")
    with pytest.raises(LoadError, match="cannot write"):
        typed(f"trace exits on to {tmp_path}/no/where")
    with pytest.raises(KvmdbgError, match="a file is missing"):
        typed("trace exits on to")


def test_counts_by_everything(dbg: Session, typed: Typed) -> None:
    with pytest.raises(KvmdbgError, match="set exit-places on"):
        typed("info exits function")
    typed("set exit-places on")
    typed("run")
    table = typed("info exits")
    assert "io      4      80.0 %" in table
    assert "out     0x80  3      60.0 %" in table
    functions = typed("info exits function")
    assert functions.splitlines()[1].split()[:5] == ["write", "out", "port", "0x80", "3"]
    instructions = typed("info exits instruction name")
    assert f"{dbg.symbols['write'] + 2:#x} write+0x2  out port 0x80  3" in instructions
    assert typed("show exit-places").endswith("on.")


def test_mmio_is_counted_by_address(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="mov ecx, 5\nagain: mov [0xd0000040], al\nloop again\nhlt", mode="prot", memory="1M")
    dbg.run()
    assert dbg.exits.by_address == {("write", 0xD0000040): 5}
    table = next(iter(Interpreter(dbg).execute("info exits address"))).to_json()
    assert table["rows"][0] | {"rate": 0} == {
        "access": "write", "address": 0xD0000040, "count": 5, "share": 5 / 6, "rate": 0,
    }  # fmt: skip


def test_a_plot(dbg: Session, typed: Typed, tmp_path: Path) -> None:
    with pytest.raises(KvmdbgError, match="no exits are traced"):
        typed("plot exits")
    typed(f"trace exits on to {tmp_path}/x.txt")
    assert typed("plot exits") == "No exits were traced yet."
    typed("run")
    bars = typed("plot exits").splitlines()
    assert len(bars) == 21
    assert sum(int(line.split()[2]) for line in bars[1:]) == 5
    typed(f"plot exits {tmp_path}/x.svg")
    assert "<svg" in (tmp_path / "x.svg").read_text()
    with pytest.raises(KvmdbgError, match=r"written as .svg"):
        typed(f"plot exits {tmp_path}/x.gif")


def test_an_instruction_trace(dbg: Session, typed: Typed, tmp_path: Path) -> None:
    path = tmp_path / "insns.txt"
    typed(f"trace insn on {path}")
    typed("run")
    lines = path.read_text().splitlines()
    main, write = dbg.symbols["main"], dbg.symbols["write"]
    assert lines[0] == f"{main:#x} main: mov cx, 3  ; rcx=0x3"
    assert lines[2] == f"{write:#x} write: mov al, cl  ; rax=0x3"
    assert lines[3] == f"{write + 2:#x} write+0x2: out 0x80, al"
    assert lines[-1].endswith("in al, 0x66  ; rax=0xff")
    assert len(lines) == 1 + 3 * 5 + 1
    assert typed("trace insn off") == "Instructions are no longer traced; 17 ran."


def test_coverage_and_profile(dbg: Session, typed: Typed, tmp_path: Path) -> None:
    with pytest.raises(KvmdbgError, match="no instructions were traced"):
        typed("info coverage")
    typed("trace insn on")
    typed("run")
    typed("trace insn off")
    coverage = typed("info coverage")
    assert "never" not in coverage
    assert [line.split()[:3] for line in coverage.splitlines()[1:]] == [
        ["main", f"{dbg.symbols['main']:#x}", "1"],
        ["again", f"{dbg.symbols['again']:#x}", "3"],
        ["write", f"{dbg.symbols['write']:#x}", "3"],
    ]
    profile = {line.split()[0]: line.split()[1:] for line in typed("info profile").splitlines()[1:]}
    assert profile["write"] == ["9", "52.9", "%", "9", "52.9", "%"]
    assert profile["again"][0] == "7"
    typed(f"info profile {tmp_path}/x.folded")
    assert (tmp_path / "x.folded").read_text() == "again 7\nagain;write 9\nmain 1\n"
    typed(f"info coverage {tmp_path}/x.drcov")
    head, _, table = (tmp_path / "x.drcov").read_bytes().partition(b"bbs\n")
    assert head.startswith(b"DRCOV VERSION: 2\n")
    blocks = list(struct.iter_unpack("<IHH", table))
    assert blocks[0] == (0, dbg.symbols["again"] - dbg.symbols["main"] + 3, 0)
    assert (dbg.symbols["write"] - dbg.symbols["main"], 5, 0) in blocks
    with pytest.raises(KvmdbgError, match=r"has to end in .info"):
        typed(f"info coverage {tmp_path}/x.what")
    with pytest.raises(KvmdbgError, match="no line information"):
        typed(f"info coverage {tmp_path}/x.info")


@pytest.mark.e2e
def test_lcov_by_source_line(kvm_guest: Guests, tmp_path: Path) -> None:
    source = (
        "int odd(int n) {\n  if (n & 1)\n    return 1;\n  return 0;\n}\nvolatile int got;\nvoid _start(void) {\n"
        '  got = odd(2);\n  got = odd(4);\n  __asm__("hlt");\n}\n'
    )
    dbg = kvm_guest(c=f"__attribute__((noinline)) {source}")
    trace = dbg.trace_instructions()
    dbg.run()
    from kvmdbg.observe import coverage

    path = tmp_path / "x.info"
    coverage.write(dbg, trace, str(path))
    text = path.read_text()
    assert "SF:" in text
    assert "guest.c" in text
    lines = {line.line for line in dbg.source.lines()}
    assert {2, 8, 9} <= lines
    counts = dict(line[3:].split(",") for line in text.splitlines() if line.startswith("DA:"))
    assert int(counts["2"]) >= 1


def test_commands_of_a_catchpoint_see_its_event(dbg: Session, typed: Typed) -> None:
    typed("catch io out 0x80 if $value == 2")
    interpreter = Interpreter(dbg)
    lines = iter(["silent", 'printf "port %x, value %x\\n", $port, $value', "end"])
    list(interpreter.execute("commands 1", lambda: next(lines, None)))
    shown = "".join(result.plain() for result in interpreter.execute("run"))
    assert shown == "port 80, value 2\n"
    assert dbg.variables.keys() <= {"bpnum"}
