"""The C kernel in guests/, at -O0 and -O2: source, frames through traps, page tables."""

from __future__ import annotations

from pathlib import Path

import pytest

import kvmdbg
from kvmdbg import Session
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.engine.stops import CaughtStop, StepStop
from kvmdbg.errors import ExpressionError
from tests.core.conftest import take_debug_registers

pytestmark = pytest.mark.kvm

GUESTS = Path(__file__).resolve().parents[2] / "guests"
MAIN = (GUESTS / "kernel" / "main.c").read_text().splitlines()
TASKS = (GUESTS / "kernel" / "tasks.c").read_text().splitlines()
LAST = next(number for number, line in enumerate(MAIN, 1) if "0x80000000" in line)
SAID = b"kernel\nfill 21\nshrink 2083\ncount 36\ntrap 14 at "


@pytest.fixture(params=["O0", "O2"])
def dbg(request: pytest.FixtureRequest):  # type: ignore[no-untyped-def]
    with kvmdbg.open(GUESTS / f"kernel-{request.param}.elf") as session:
        yield session


def typed(dbg: Session, *lines: str) -> str:
    interpreter = Interpreter(dbg)
    return "\n".join(result.plain(100) for line in lines for result in interpreter.execute(line))


def test_it_does_what_it_says(dbg: Session) -> None:
    dbg.run(timeout=20)
    said = dbg.output
    assert said.startswith(SAID)
    place = dbg.source.at(int(said.split()[-1]))
    assert place is not None
    assert (place.file, place.line) == ("kernel/main.c", LAST)
    assert dbg.evaluate("pages_given").value == 6
    assert dbg.evaluate("traps[0]").value == 1
    assert dbg.evaluate("traps[14]").value == 7


def test_a_breakpoint_on_a_function_stands_where_its_arguments_can_be_read(dbg: Session) -> None:
    point = dbg.break_at("fill")
    entry = dbg.symbols["fill"]
    unoptimized = dbg.image is not None and "O0" in str(dbg.image.path)
    assert (point.address > entry) == unoptimized
    dbg.run(timeout=20)
    assert dbg.arguments()["task"].endswith("<all>")
    assert r'name = "fill\000\000\000", state = RUNNING, runs = 1, priority = 1' in typed(dbg, "print *task")
    assert "    void (*step)(struct task *);" in typed(dbg, "ptype task")
    dbg.breakpoints.delete(point.number)
    typed(dbg, "break *fill")
    assert [one.address for one in dbg.breakpoints] == [entry]


def test_values_keep_their_types(dbg: Session) -> None:
    dbg.break_at("fill")
    dbg.run(timeout=20)
    interpreter = Interpreter(dbg)

    def value(line: str) -> str:
        return "".join(result.plain(200) for result in interpreter.execute(line)).partition("= ")[2]

    address = dbg.symbols["all"]
    assert value("print task") == f"(struct task *) {address:#x} <all>"
    assert value("print $1->name") == r'"fill\000\000\000"'
    assert value("print *$1").startswith(r'{name = "fill\000\000\000", state = RUNNING, runs = 1')
    assert value("print $.state") == "RUNNING"
    assert value("print $") == "RUNNING"
    assert value("print $$2.runs") == "1"
    value("set $t = task")
    assert value("print $t->next->name") == r'"shrink\000"'
    assert value("print $t + 1") == f"(struct task *) {address + 40:#x} <all+40>"
    assert value("print (u16*)$t") == f"(u16 *) {address:#x} <all>"
    assert value("print $[1]") == str(int.from_bytes(b"ll", "little"))
    value("set $t = 5")
    assert value("print $t") == "5"
    with pytest.raises(ExpressionError, match="no structure"):
        value("print $t->name")


def test_disassembly_with_source(dbg: Session) -> None:
    dbg.break_at("demand_page")
    dbg.run(timeout=20)
    shown = typed(dbg, "disassemble /s")
    assert shown.startswith("Function demand_page:\nkernel/memory.c:\n")
    lines = shown.splitlines()
    assert any(line.endswith("return 1;") for line in lines)
    assert any(line.startswith("=> ") for line in lines)
    assert "/*" not in typed(dbg, "disassemble")
    assert "kernel/memory.c" in typed(dbg, "disassemble /rs $pc,+4")


def test_operand_values(dbg: Session) -> None:
    dbg.break_at("fill")
    dbg.run(timeout=20)
    shown = typed(dbg, "x/i $pc")
    address = dbg.symbols["all"]
    if dbg.symbols["fill"] == dbg.vcpu.pc:  # movzx eax, word ptr [rdi + 0xc]
        assert f"; [{address + 12:#x} <all+0xc>]=0x1001" in shown
    else:  # mov rax, qword ptr [rbp - 0x18]
        assert f"]={address:#x} <all>" in shown
    interpreter = Interpreter(dbg)
    list(interpreter.execute("set operand-values off"))
    (plain,) = interpreter.execute("x/i $pc")
    assert ";" not in plain.plain(100)


def test_frames_through_a_trap(dbg: Session) -> None:
    dbg.break_at("handle")
    dbg.run(timeout=20)
    found = dbg.backtrace()
    names = [dbg.symbols.format(one.place).split("+")[0] for one in found.frames]
    assert names[:3] == ["handle", "common", "fill"]
    assert names[-2:] == ["kernel_main", "_start"]
    assert found.end == "this is the outermost frame"
    fault = found.frames[2]
    assert fault.exact
    assert "*page = task->runs;" in typed(dbg, "frame 2")
    assert "page  0x40001000  u64 *" in typed(dbg, "info locals")
    assert dbg.evaluate("frame->rip").value == fault.pc if typed(dbg, "frame 0") else False
    assert typed(dbg, "frame 0", "print frame->vector").endswith("= 14")


@pytest.mark.parametrize("over", [True, False])
def test_a_line_that_faults(dbg: Session, over: bool) -> None:
    """The first write to a page of the heap: its handler is run over, or stepped into."""
    place = next(n for n, line in enumerate(TASKS, 1) if "*page = task->runs" in line)
    dbg.break_at(f"tasks.c:{place}")
    dbg.run(timeout=20)
    dbg.step_line(over=over)
    assert dbg.symbols.format(dbg.vcpu.pc).split("+")[0] == ("fill" if over else "common")
    assert dbg.evaluate("traps[14]").value == over
    if over:
        line = dbg.source.at(dbg.vcpu.pc)
        assert line is not None
        assert line.line == place + 1


def test_a_line_that_divides_by_zero(dbg: Session) -> None:
    """Its handler returns behind the instruction, not to it."""
    dbg.break_at("shrink", when="task->runs == 5")
    dbg.run(timeout=20)
    for _ in range(9):
        dbg.step_line(over=True)
        if dbg.evaluate("traps[0]").value:
            break
    assert dbg.evaluate("traps[0]").value == 1
    assert dbg.symbols.format(dbg.vcpu.pc).split("+")[0] in ("shrink", "divide", "run_tasks")


def test_finish_goes_over_a_trap_in_between(dbg: Session) -> None:
    dbg.break_at("fill")
    dbg.run()
    faults = dbg.evaluate("traps[14]").value
    stop = dbg.finish()
    assert isinstance(stop, StepStop), stop.describe()
    assert dbg.evaluate("traps[14]").value == faults + 1
    assert dbg.symbols.format(dbg.vcpu.pc).startswith("run_tasks+")


def test_the_heap_gets_pages_as_it_is_used(dbg: Session) -> None:
    dbg.break_at(f"main.c:{LAST}")
    dbg.run(timeout=20)
    assert "0x40001000   0x40006fff  0x400000       24 KiB  rwx s" in typed(dbg, "info mappings")


def test_sources_are_found_in_a_folder(tmp_path: Path) -> None:
    moved = tmp_path / "kernel.elf"
    moved.write_bytes((GUESTS / "kernel-O0.elf").read_bytes())
    with kvmdbg.open(moved) as dbg:
        assert "task->step(task);" not in typed(dbg, "list tasks.c:50")
        assert typed(dbg, f"directory {GUESTS}").endswith("guests, too.")
        assert "task->step(task);" in typed(dbg, "list tasks.c:50")
        typed(dbg, "directory", f"directory {GUESTS}/kernel")
        assert "task->step(task);" in typed(dbg, "list tasks.c:50")


def test_page_faults_are_caught_from_the_first_on(dbg: Session) -> None:
    """The table of handlers is loaded by 64-bit code, behind an entry in 32-bit mode."""
    take_debug_registers(dbg)
    caught = dbg.catch("exception", vector=14)
    while isinstance(dbg.run(timeout=20), CaughtStop):
        pass
    assert caught.hits == dbg.evaluate("traps[14]").value == 7
