"""Source lines: list, break, step and next by line, frames."""

from __future__ import annotations

from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

import kvmdbg
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.results import StopReport
from kvmdbg.core.session import Session
from kvmdbg.debuginfo.dwarf import Dwarf
from kvmdbg.engine import stops
from kvmdbg.errors import UsageError
from kvmdbg.pytest_plugin import Guests

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]

C = """\
volatile int total;

static __attribute__((noinline)) int twice(int n) {
    total += n;
    return total * 2;
}

static __attribute__((noinline)) int outer(int n) {
    int got = twice(n);
    got += 1;
    return got;
}

void _start(void) {
    int sum = 0;
    for (int i = 0; i < 3; i++)
        sum += outer(i);
    total = sum;
    __asm__("hlt");
}
"""


@pytest.fixture
def dbg(kvm_guest: Guests) -> Session:
    return kvm_guest(c=C)


def typed(dbg: Session, *lines: str) -> str:
    interpreter = Interpreter(dbg)
    interpreter.settings["context"] = ()
    return "\n".join(result.plain(100) for line in lines for result in interpreter.execute(line))


def line(dbg: Session) -> int:
    found = dbg.source.at(dbg.vcpu.pc)
    assert found is not None
    return found.line


def test_a_breakpoint_at_a_line(dbg: Session) -> None:
    shown = typed(dbg, "break guest.c:4", "run")
    assert "Breakpoint 1 at" in shown
    assert line(dbg) == 4
    assert dbg.symbols.nearest(dbg.vcpu.pc)[0].name == "twice"  # type: ignore[index]
    point = dbg.break_at("guest.c:10")
    assert dbg.resolve("guest.c:10")[0] == point.address
    assert "guest.c:4" in typed(dbg, "info line")
    with pytest.raises(UsageError, match=r"no code comes from a file nowhere.c; code comes from guest.c"):
        typed(dbg, "break nowhere.c:1")
    with pytest.raises(UsageError, match=r"no code comes from line 999 of guest.c"):
        typed(dbg, "break guest.c:999")


def test_list(dbg: Session) -> None:
    typed(dbg, "break guest.c:5", "run")
    shown = typed(dbg, "list").splitlines()
    assert shown[0].endswith("guest.c")
    assert "=>  5      return total * 2;" in shown
    both = typed(dbg, "list guest.c:9", "list").splitlines()
    assert [row.split()[0] for row in both if row[:1] == " " and row.split()[0].isdigit()][:3] == ["4", "6", "7"]
    assert both[-1].split()[0] == "20"


def test_next_goes_over_calls_and_step_into_them(dbg: Session) -> None:
    typed(dbg, "break guest.c:9", "run")
    assert line(dbg) == 9
    stop = dbg.step_line(over=True)
    assert isinstance(stop, stops.StepStop), stop.describe()
    assert line(dbg) in (10, 11)
    assert dbg.memory.read(dbg.symbols["total"], 4) == bytes(4)
    assert isinstance(dbg.run(), stops.BreakpointStop)
    stop = dbg.step_line()
    assert isinstance(stop, stops.StepStop), stop.describe()
    assert line(dbg) in (4, 5)
    seen = [line(dbg)]
    for _ in range(6):
        typed(dbg, "next")
        seen.append(line(dbg))
    assert {9, 10, 11} & set(seen)
    assert 17 in seen or 16 in seen


def test_frames(dbg: Session) -> None:
    typed(dbg, "break guest.c:4", "run")
    found = dbg.backtrace()
    names = [dbg.symbols.nearest(frame.pc)[0].name for frame in found.frames[:3]]  # type: ignore[index]
    assert names == ["twice", "outer", "_start"]
    assert [frame.how for frame in found.frames[1:3]] == ["cfi", "cfi"]
    shown = typed(dbg, "bt").splitlines()
    assert shown[1].split()[:4] == ["#0", f"{dbg.vcpu.pc:#x}", dbg.symbols.format(dbg.vcpu.pc), "guest.c:4"]
    assert "guest.c:9" in shown[2]
    assert shown[-1].startswith("(")
    assert "more than 2 frames" in typed(dbg, "bt 2")


def test_the_context_shows_the_source(dbg: Session) -> None:
    interpreter = Interpreter(dbg)
    list(interpreter.execute("break guest.c:4"))
    report = "\n".join(result.plain(100) for result in interpreter.execute("run"))
    assert "-- source" in report
    assert "=> 4      total += n;" in report


def test_large_line_information_is_not_read_at_a_stop(
    dbg: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("kvmdbg.debuginfo.dwarf.LARGE", 10)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    interpreter = Interpreter(dbg)
    assert "-- source" not in "\n".join(result.plain(100) for result in interpreter.execute("stepi"))
    assert "guest.c:" in typed(dbg, "info line")
    assert "-- source" in "\n".join(result.plain(100) for result in interpreter.execute("stepi"))
    path = dbg.files.dwarf()[0][0].path
    (kept,) = (tmp_path / "kvmdbg").glob("*.units")
    fresh = Dwarf(path, ELFFile(open(path, "rb")))  # noqa: SIM115
    assert fresh.is_listed
    assert [unit.path.rpartition("/")[2] for unit in fresh.units()] == ["guest.c"]
    kept.write_bytes(kept.read_bytes()[:-1])
    (unit,) = Dwarf(path, ELFFile(open(path, "rb"))).units()  # noqa: SIM115
    assert unit == fresh.units()[0]
    assert b"guest.c" in kept.read_bytes()


def test_a_file_that_nothing_comes_from_is_found_out_without_reading_lines(
    dbg: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("kvmdbg.debuginfo.dwarf.LARGE", 10)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("kvmdbg.debuginfo.lines._lines", None)
    told: list[tuple[str, int, int]] = []
    dbg.files.progress = lambda *facts: told.append(facts)
    for _ in range(2):
        with pytest.raises(UsageError, match=r"no code comes from a file other\.c; code comes from guest\.c"):
            dbg.source.address_of("other.c", 3)
        assert told[-1][1:] == (1, 1)
        dbg.files.dwarf()[0][0].kept.clear()
    assert [name.suffix for name in sorted((tmp_path / "kvmdbg").iterdir())] == [".files", ".units"]
    assert any("source files' names of guest.elf" in what for what, _, _ in told)


def test_the_end_of_a_reading_that_fails_is_told(dbg: Session) -> None:
    told: list[tuple[str, int, int]] = []
    dbg.files.progress = lambda *facts: told.append(facts)
    dwarf = dbg.files.dwarf()[0][0]
    for number in dwarf.advancing("Counting", [1, 2, 3]):
        if number == 2:
            break
    assert told == [("Counting of guest.elf", 0, 3), ("Counting of guest.elf", 1, 3), ("Counting", 1, 1)]


ASM = """
main:
    mov sp, 0x8000
    xor bp, bp
    call one
    hlt
one:
    push bp
    mov bp, sp
    call two
    pop bp
    ret
two:
    push bp
    mov bp, sp
inside: nop
    pop bp
    ret
"""


def test_frames_by_frame_pointers_in_real_mode(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=ASM)
    dbg.break_at("inside")
    dbg.run()
    found = dbg.backtrace()
    assert [dbg.symbols.nearest(frame.pc)[0].name for frame in found.frames] == ["inside", "one", "main"]  # type: ignore[index]
    assert found.end == "the frame pointer is 0"
    dbg.regs.bp = 0x7000
    assert dbg.backtrace().end == "the frame pointer 0x7000 points outside of the stack"


def test_source_lines_of_a_flat_guest_from_nasms_listing() -> None:
    samples = Path(__file__).parents[1] / "loaders" / "samples"
    listing = str(samples / "boot.lst")
    with kvmdbg.open(samples / "boot.bin", load=0x7C00, mode="real", symbols=[(listing, 0)]) as dbg:
        typed(dbg, "break boot.asm:23")
        assert "boot.asm:23" in typed(dbg, "run") + typed(dbg, "info line")
        assert "put.inc:2" in typed(dbg, "step") + typed(dbg, "info line")
        assert dbg.symbols.format(dbg.vcpu.pc) == "put"
        assert "boot.asm:24" in typed(dbg, "finish") + typed(dbg, "info line")
        assert "nothing" not in typed(dbg, "list put.inc:1")
        typed(dbg, f"symbol-file {samples / 'boot.map'}")
        assert dbg.source.at(dbg.vcpu.pc) is None
        assert dbg.symbols["put.done"] == 0x7C1D


def test_a_stop_names_its_source_line(dbg: Session) -> None:
    interpreter = Interpreter(dbg)
    list(interpreter.execute("break guest.c:4"))
    *_, report = interpreter.execute("run")
    assert isinstance(report, StopReport)
    assert report.sentence.endswith(f"{dbg.vcpu.pc:#x} <{dbg.symbols.format(dbg.vcpu.pc)}> (guest.c:4).")
    shown = report.to_json()
    assert shown["symbol"] == dbg.symbols.format(dbg.vcpu.pc)
    assert shown["source"]["line"] == 4 and shown["source"]["file"].endswith("/guest.c")


@pytest.mark.parametrize("mode", ["long", "prot"])
def test_finish_shows_what_was_returned(kvm_guest: Guests, mode: str) -> None:
    source = """
    enum color { RED, GREEN = 3 };
    struct pair { int a, b; };
    static __attribute__((noinline)) long long wide(int n) { return -5000000000LL * n; }
    static __attribute__((noinline)) unsigned char narrow(int n) { return n + 300; }
    static __attribute__((noinline)) enum color paint(int n) { return n + 2; }
    static __attribute__((noinline)) int *place(int *n) { return n + 1; }
    static __attribute__((noinline)) void nothing(volatile int *n) { *n = 4; }
    int numbers[2];
    void _start(void) {
        volatile int one = 1;
        wide(one); narrow(one); paint(one); place(numbers); nothing(&one);
        __asm__("hlt");
    }
    """
    dbg = kvm_guest(c=source, mode=mode, optimize=0)
    interpreter = Interpreter(dbg)
    shown = {}
    for name in ("wide", "narrow", "paint", "place", "nothing"):
        list(interpreter.execute(f"tbreak {name}"))
        list(interpreter.execute("continue"))
        report, *rest = interpreter.execute("finish")
        assert isinstance(report, StopReport)
        shown[name] = [one.plain(100) for one in rest]
    address = dbg.symbols["numbers"] + 4
    assert shown == {
        "wide": ["Value returned is $1 = -5000000000"],
        "narrow": ["Value returned is $2 = 45 '-'"],
        "paint": ["Value returned is $3 = GREEN"],
        "place": [f"Value returned is $4 = {address:#x} <numbers+4>"],
        "nothing": [],
    }
    assert [one.plain(100) for one in interpreter.execute("print $1 + 1")] == ["$5 = -4999999999"]


def test_the_folders_of_sources_are_shown(dbg: Session, tmp_path: Path) -> None:
    assert typed(dbg, "show directories") == "Sources are looked for where they were compiled, and beside the guest."
    said = typed(dbg, f"directory {tmp_path}")
    assert typed(dbg, "show directories") == said == f"Sources are looked for in {tmp_path}, too."
