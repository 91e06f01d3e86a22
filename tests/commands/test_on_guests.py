"""Commands on real guests."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kvmdbg.commands import catalogue, reference
from kvmdbg.commands.interpreter import Quit
from kvmdbg.commands.registry import REGISTRY, Command
from kvmdbg.commands.results import Disassembly, Memory, Registers, Stack, StopReport, Table, Value
from kvmdbg.engine.probe import host_profile
from kvmdbg.errors import ExpressionError, KvmdbgError, NotSupportedHere, UsageError
from tests.docs import transcripts

from .conftest import GUESTS, Typist

catalogue.load()
pytestmark = pytest.mark.kvm


@pytest.mark.parametrize("one", list(REGISTRY), ids=lambda one: one.name)
def test_every_example_works(one: Command) -> None:
    with transcripts.debugger(reference.START + (one.guest or reference.GUEST)) as dbg:
        try:
            for example in one.examples:
                Typist(dbg).results(example)
        except Quit:
            assert one.name == "quit"
        except NotSupportedHere as error:
            assert one.name in ("hbreak", "thbreak")
            assert not host_profile().kernel_execute_dr
            assert "use break" in str(error)
        except UsageError as error:
            assert one.varies == "it needs a terminal"
            assert "on a terminal" in str(error)


# -- printing and setting ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("p 2+3*4", "$1 = 14"),
        ("p/x 255", "$1 = 0xff"),
        ("p/t 5", "$1 = 101"),
        ("p/o 8", "$1 = 010"),
        ("p/d (u8)255", "$1 = -1"),
        ("p/c 65", "$1 = 65 'A'"),
        ("p/z (u16)5", "$1 = 0x0005"),
        ("p $ax", "$1 = 2"),
        ("p/x *(u16*)0x1000", "$1 = 0xf8ba"),
        ("p/x {u8}phys:0x1000", "$1 = 0xba"),
        ("p/x 0x100:0x3", "$1 = 0x1003"),
        ("p/f (u32)0x3f800000", "$1 = 1"),
    ],
)
def test_print(hello: Typist, line: str, shown: str) -> None:
    assert hello.type(line) == shown


def test_history_and_variables(hello: Typist) -> None:
    assert hello.type("p 5") == "$1 = 5"
    assert hello.type("p $1 + 1") == "$2 = 6"
    assert hello.type("p") == "$3 = 6"
    hello.type("set $mine = 40")
    assert hello.type("p $mine + 2") == "$4 = 42"
    assert "$mine" in hello.type("show convenience")
    assert hello.type("output/x 255") == "0xff"
    hello.type("set output-radix 16")
    assert hello.type("p 255") == "$5 = 0xff"


def test_set_registers_flags_and_memory(hello: Typist) -> None:
    hello.type("set $ax = 0x1234")
    hello.type("set $ah += 1")
    hello.type("set $zf = 1")
    hello.type("set {u16}0x2000 = 0xbeef")
    hello.type("set var *(u8*)0x2002 = 7")
    assert hello.type("p/x $eax") == "$1 = 0x1334"
    assert hello.type("p $zf") == "$2 = 1"
    assert hello.type("x/3xb 0x2000") == "0x2000:  0xef  0xbe  0x07"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("p 1 +", "1 \\+"),
        ("p nosuch", "nosuch"),
        ("p $nosuch + 1", "nosuch"),
        ("p/i 0x1000", "x/i"),
        ("p/4x 1", "x takes counts"),
        ("p *(u8*)0xffff0000000", "0xffff0000000"),
        ("set nonsense", "no setting"),
        ("x", "needs an ADDRESS"),
        ("x/4q 0", "'q'"),
        ("b", None),
        ("delete 9", "9"),
        ("condition 9 1", "9"),
        ("info registers rbq", "did you mean"),
        ("si 0", "at least 1"),
        ("vcpu 5", "no vCPU 5"),
        ("find 0x1000", "find needs"),
        ("disassemble 0x1000,0x1000", "ends at 0x1000"),
        ("restore nosuch 0x1000", "cannot read nosuch"),
        ("source nosuch", "cannot read nosuch"),
        ("help nosuch", "no command"),
        ("catch nosuch", "none of"),
        ("trace exits maybe", "on, off"),
        ("watch $ax", "no place in memory"),
        ("define break\nend", "is a command of kvmdbg"),
        ("commands 7\nend", "7"),
    ],
)
def test_mistakes_are_one_message(hello: Typist, line: str, message: str | None) -> None:
    if message is None:
        hello.type(line)
        return
    with pytest.raises(KvmdbgError, match=message):
        hello.type(line)


def test_an_expressions_mistake_points_at_it(hello: Typist) -> None:
    with pytest.raises(ExpressionError) as caught:
        hello.type("p $ax + )")
    assert str(caught.value).splitlines()[-1].strip() == "^"


# -- memory ------------------------------------------------------------------------------------------------------


def test_x_goes_on_where_it_ended(hello: Typist) -> None:
    first = hello.results("x/2xb 0x1000")[0]
    again = hello.results("")[0]
    assert isinstance(first, Memory) and isinstance(again, Memory)
    assert first.values == (0xBA, 0xF8)
    assert (again.address, again.values) == (0x1002, (0x03, 0x00))
    assert hello.type("x 0x1000") == "0x1000:  0xba"
    assert hello.type("x/2i $pc").splitlines()[0].startswith("=> 0000:1000")
    code = hello.results("")[0]
    assert isinstance(code, Disassembly) and len(code.lines) == 2 and code.lines[0].address == 0x1005
    hello.type("p 1")
    assert hello.results("") == []


def test_x_strings_and_characters(hello: Typist) -> None:
    hello.type("set {u32}0x2000 = 0x0a006948")
    found = hello.results("x/s 0x2000")[0]
    assert isinstance(found, Memory) and found.values == ("Hi",)
    assert hello.type("x/4c 0x2000") == "0x2000:    72 'H'   105 'i'  0 '\\000'   10 '\\n'"
    assert hello.type("x/s 0x2000") == '0x2000:  "Hi"'
    assert hello.type("") == '0x2003:  "\\n"'


def test_physical_memory(hello: Typist) -> None:
    assert hello.type("x/2xb phys:0x1000") == "phys:0x1000:  0xba  0xf8"
    with pytest.raises(KvmdbgError, match="physical"):
        hello.type("x/2xb phys:0xf000000000")


def test_dump_and_restore(hello: Typist, tmp_path: Path) -> None:
    file = tmp_path / "code.bin"
    hello.type(f"dump {file} 0x1000 12")
    code = file.read_bytes()
    assert code == (Path(__file__).resolve().parents[2] / "guests" / "hello16.bin").read_bytes()[:12]
    hello.type(f"dump binary memory {file} 0x1000 0x1003")
    assert file.read_bytes() == code[:3]
    hello.type(f"append memory '{file}' 0x1003 0x1005")
    assert file.read_bytes() == code[:5]
    hello.type(f"restore {file} binary 0x3000")
    assert hello.dbg.session.memory.read(0x3000, 5) == code[:5]
    hello.type(f"restore {file} 0x4000 1 3")
    assert hello.dbg.session.memory.read(0x4000, 4) == b"\0" + code[1:3] + b"\0"


def test_find(hello: Typist) -> None:
    found = hello.results("find 0x1000, +12, 0xee")
    assert isinstance(found[0], Table)
    assert found[0].rows == (("0x1007", ""), ("0x100a", ""))
    assert hello.type("p $numfound") == "$1 = 2"
    assert hello.type("find /h 0x1000, +12, 0x03f8").startswith("Address")
    assert hello.type("p/x $_") == "$2 = 0x1001"
    hello.type("set {u32}0x2ffe = 0x6f6c6548")
    assert "0x2ffe" in hello.type('find 0x2000, +0x10000, "Hel"')
    assert hello.type("find 0x1000, +4, 0x77") == "Pattern not found."


# -- running -----------------------------------------------------------------------------------------------------


def test_steps_repeat_and_reports(hello: Typist) -> None:
    (report,) = hello.results("si")
    assert isinstance(report, StopReport) and report.stop.pc == 0x1003
    (report,) = hello.results("")
    assert isinstance(report, StopReport) and report.stop.pc == 0x1005
    (report,) = hello.results("si 2")
    assert isinstance(report, StopReport) and report.stop.pc == 0x1008


def test_context_shows_what_changed(hello: Typist) -> None:
    hello.type("set context all")
    (report,) = hello.results("si")
    assert isinstance(report, StopReport)
    parts = {part.name: part.content for part in report.parts}
    assert list(parts) == ["regs", "code", "stack", "stop", "backtrace"]
    regs = parts["regs"]
    assert isinstance(regs, Registers)
    changed = {one.name for one in regs.values if one.changed}
    assert {"edx", "eip"} <= changed and "eax" not in changed
    code = parts["code"]
    assert isinstance(code, Disassembly)
    assert [line.address for line in code.lines][:2] == [0x1000, 0x1003]
    assert [line.current for line in code.lines][:2] == [False, True]


def test_breakpoint_life(hello: Typist) -> None:
    assert hello.type("b *0x1005 if $al == 4") == "Breakpoint 1 at 0x1005 if $al == 4."
    assert hello.type("tb 0x1003") == "Temporary breakpoint 2 at 0x1003."
    hello.type("run")
    assert hello.type("p/x $pc") == "$1 = 0x1003"
    assert hello.type("info breakpoints").count("\n") == 2
    (report,) = hello.results("c")
    assert isinstance(report, StopReport) and report.stop.pc == 0x1005
    assert "already hit 1 time" in hello.type("i b")
    hello.type("disable 1")
    assert hello.type("info b").splitlines()[1].split()[3] == "n"
    hello.type("clear 0x1005")
    assert hello.type("i b") == "No breakpoints, watchpoints or catchpoints."


def test_condition_ignore_and_continue_n(counter: Typist) -> None:
    counter.type("catch io 0x10")
    counter.type("c")
    counter.type("ignore 1 4")
    counter.type("c")
    first = counter.dbg.session.registers.get("ax")
    counter.type("c 3")
    assert counter.dbg.session.registers.get("ax") == first + 3
    counter.type("condition 1 $ax == 50")
    counter.type("c")
    assert counter.dbg.session.registers.get("ax") == 50
    assert counter.type("condition 1") == "Catchpoint 1 is now unconditional."


def test_breakpoint_commands_go_on_by_themselves(counter: Typist) -> None:
    counter.type("b 0x10002")
    counter.type("commands\nsilent\nset $seen = $seen + 1\nif $ax < 200\ncontinue\nend\nend")
    counter.type("set $seen = 0")
    assert counter.type("continue") == ""
    assert counter.dbg.session.variables["seen"] == 201
    assert counter.dbg.session.registers.get("ax") == 200


def test_display_at_each_stop(hello: Typist) -> None:
    assert hello.type("display $al") == "1: $al = 2"
    hello.type("display/i $pc")
    hello.type("si")
    (report,) = hello.results("si")
    assert isinstance(report, StopReport)
    assert isinstance(report.displays[0], Value) and report.displays[0].value == 4
    assert "=> " in report.displays[1].plain()
    hello.type("undisplay 1")
    assert len(hello.results("display")) == 1
    with pytest.raises(UsageError, match="no display 1"):
        hello.type("undisplay 1")


def test_run_again_after_the_halt_asks_first(hello: Typist) -> None:
    hello.type("run")
    assert hello.dbg.session.output.endswith(b"4\n")
    asked: list[str] = []

    def refuse(question: str) -> bool:
        asked.append(question)
        return False

    hello.dbg.user.confirm = refuse
    assert hello.type("run") == "" and len(asked) == 1
    hello.dbg.user.confirm = lambda question: True
    hello.type("run")
    assert hello.dbg.session.output.endswith(b"4\n")


def test_kill_and_restart(hello: Typist) -> None:
    hello.type("b 0x1003")
    hello.type("si")
    hello.type("kill")
    with pytest.raises(KvmdbgError):
        hello.type("si")
    assert "0x1000" in hello.type("restart")
    (report,) = hello.results("c")
    assert isinstance(report, StopReport) and report.stop.pc == 0x1003


def test_background_run_and_interrupt(counter: Typist) -> None:
    stops: list[object] = []
    counter.dbg.runs.on_background_stop = stops.append
    counter.type("continue &")
    assert counter.dbg.session.state == "running"
    time.sleep(0.05)
    (report,) = counter.results("interrupt")
    assert isinstance(report, StopReport) and report.stop.reason == "interrupted"
    assert stops == []


def test_trace_exits(counter: Typist) -> None:
    lines: list[str] = []
    counter.dbg.user.on_event = lambda one: lines.append(one.plain())
    counter.type("trace exits on io")
    counter.type("si 9")
    assert lines[:2] == [
        "0x10002: out port 0x10, 2 bytes, data 0x0000",
        "0x10002: out port 0x10, 2 bytes, data 0x0001",
    ]
    counter.type("trace exits off")
    seen = len(lines)
    counter.type("si 9")
    assert len(lines) == seen
    counter.type("catch io 0x10 if $ax == 100")
    counter.type("c")
    counts = counter.type("info exits")
    assert "io" in counts and "0x10" in counts


def test_a_script_made_for_gdb(hello: Typist) -> None:
    told = hello.type("set print asm-demangle on")
    assert "print asm-demangle changes nothing here" in told
    for line in ("set p elements 0", "set height 0", "set breakpoint pending on", "set print asm-demangle on"):
        assert hello.type(line) == ""  # told once
    assert "set tui border-kind changes nothing" in hello.type("set tui border-kind acs")
    hello.type("set tui-memory 0x1000")
    assert "0x1000" in hello.type("show tui-memory")


def test_macros(hello: Typist) -> None:
    hello.type("define twice\np $arg0 * 2\np $argc\nend")
    assert hello.type("twice 21") == "$1 = 42\n$2 = 1"
    hello.type("document twice\nTwice a number.\nend")
    assert "Twice a number." in hello.type("help twice")
    with pytest.raises(UsageError, match="arg0 was not given"):
        hello.type("twice")
    hello.type("define adder\nif $argc == 2\nprint $arg0 + $arg1\nelse\nprint $argc\nend\nend")
    assert [hello.type(line) for line in ("adder 1 2", "adder 1", "adder")] == ["$3 = 3", "$4 = 1", "$5 = 0"]
    hello.type("define forever\nforever\nend")
    with pytest.raises(UsageError, match="nest deeper"):
        hello.type("forever")
    assert hello.type("p 1").endswith("= 1")


def test_source_names_file_and_line(hello: Typist, tmp_path: Path) -> None:
    file = tmp_path / "a b.kvmdbg"
    file.write_text("p 1\ndefine m\np $arg0\nend\nm 2\nbreak\nnonsense\np 3\n")
    shown: list[str] = []
    with pytest.raises(UsageError) as caught:
        for one in hello.dbg.execute(f"source '{file}'"):
            shown.append(one.plain())
    assert str(caught.value) == f"{file}:7: 'nonsense' is no command; try help"
    assert shown[:2] == ["$1 = 1", "$2 = 2"]


def test_while_and_if(hello: Typist) -> None:
    text = hello.type("set $i = 0\nwhile $i < 3\nif $i == 1\np 100\nelse\np $i\nend\nset $i = $i + 1\nend")
    assert text == "$1 = 0\n$2 = 100\n$3 = 2"


def test_help_apropos_and_groups(hello: Typist) -> None:
    page = hello.type("help x")
    assert page.startswith("x[/FMT] [ADDRESS]") and "x/4xw 0x1000" in page
    assert "tbreak" in hello.type("help breakpoints")
    assert "info registers" in hello.type("help info")
    assert "translate" in hello.type("apropos page tables")
    assert hello.type("apropos zebra") == "Nothing is known about 'zebra'."
    assert "set context" in hello.type("help set context")


def test_completion(hello: Typist) -> None:
    def texts(line: str) -> list[str]:
        return [one.text for one in hello.dbg.complete(line)]

    assert "break" in texts("br") and "b" not in texts("b")
    assert texts("info reg") == ["registers"]
    assert "registers" in texts("info ")
    assert texts("p $ra") == ["$rax"]
    assert texts("info registers ra") == ["rax"]
    assert {"regs", "all"} <= set(texts("set context "))
    assert texts("set context regs,co") == ["regs,code"]
    assert texts("catch io 0x10 i") == ["if"]
    assert "shutdown" in texts("catch shut")
    assert texts("nosuch ") == []
    hello.type("b 0x1003")
    assert texts("delete ") >= ["1"]
    assert texts("disassemble $r1")[0].startswith("$r1")


def test_translate_and_info(hello: Typist) -> None:
    assert "linear is physical" in hello.type("translate 0x1000")
    assert "hello16" in hello.type("info program")
    assert "ram" in hello.type("info memory")
    assert "real" in hello.type("info vcpus")
    assert "0000:1000" in hello.type("info line")
    assert hello.type("info all-registers").count("\n") > 40
    assert "cr0" in hello.type("info registers cr0") and "ET" in hello.type("i r cr0")
    assert len(hello.type("info host").splitlines()) > 3


# -- other guests ------------------------------------------------------------------------------------------------


@pytest.fixture
def boot16(opened: Callable[..., Typist]) -> Typist:
    found = opened("boot16.bin")
    found.type(f"add-symbol-file {GUESTS / 'boot16.elf'}")
    return found


def test_symbols_functions_and_watch(boot16: Typist) -> None:
    assert boot16.type("b func") == "Breakpoint 1 at func (0x7c16)."
    assert boot16.type("run") == "Breakpoint 1 at 0x7c16 <func>."
    boot16.type("delete")
    assert boot16.type("finish").endswith("<again+0x3>.")
    assert boot16.type("watch *(u32*)counter") == "Watchpoint 2: *(u32*)counter, 4 bytes at 0x7c1c."
    boot16.type("set context stop")
    (report,) = boot16.results("c")
    assert isinstance(report, StopReport) and report.stop.reason == "watchpoint"
    assert "mov dword ptr [0x7c1c], ecx" in report.parts[0].content.plain()
    assert boot16.type("i wat").splitlines()[1].startswith("2    watchpoint")
    assert boot16.type("info symbol 0x7c1e") == "0x7c1e is counter+0x2"


def test_next_steps_over_calls(boot16: Typist) -> None:
    boot16.type("advance again")
    assert boot16.dbg.session.vcpu.pc == 0x7C0F
    boot16.type("next")
    assert boot16.dbg.session.vcpu.pc == 0x7C12
    boot16.type("advance again")
    boot16.type("si")
    assert boot16.dbg.session.vcpu.pc == 0x7C16


def test_the_taken_branch_is_marked(opened: Callable[..., Typist], tmp_path: Path) -> None:
    image = tmp_path / "loop.bin"
    image.write_bytes(bytes.fromhex("b90200 e2fe f4"))  # mov cx, 2; loop $; hlt
    found = opened(image, load=0x1000)
    found.type("set context code")

    def branch() -> list[str]:
        (report,) = found.results("si")
        assert isinstance(report, StopReport)
        code = report.parts[0].content
        assert isinstance(code, Disassembly)
        return [line.branch for line in code.lines if line.current]

    assert [branch(), branch(), branch()] == [["taken"], ["not taken"], [""]]


def test_long_mode_context_and_translation(opened: Callable[..., Typist]) -> None:
    found = opened("long64.elf")
    found.type("b main")
    found.type("set context all")
    (report,) = found.results("run")
    assert isinstance(report, StopReport)
    parts = {part.name: part.content for part in report.parts}
    stack = parts["stack"]
    assert isinstance(stack, Stack)
    assert stack.bits == 64 and stack.slots[0].label == "<_start+0xb>"
    assert stack.slots[0].address == found.dbg.session.registers.get("rsp")
    assert "r15" in parts["regs"].plain()
    walk = found.type("translate $pc")
    assert "PML4E" in walk and "physical  0x10000c" in walk
    assert found.type("disassemble").splitlines()[0] == "Function main:"
    found.type("set disassembly-flavor att")
    assert "%rbp" in found.type("x/2i $pc")
    assert found.type("x/s message") == '0x100048 <message>:  "long mode\\n"'
    assert found.type("p &counter") == "$1 = 0x100058 <counter>"
    assert found.type("x/2a $sp").splitlines()[0].startswith(f"{stack.slots[0].address:#x}")


def test_two_vcpus(opened: Callable[..., Typist]) -> None:
    found = opened("counter16.bin", memory="16M", load=0x10000, entry="0x1000:0", cpus=2)
    assert len(found.type("info vcpus").splitlines()) == 3
    assert found.type("vcpu 1").startswith("vCPU 1, real")
    found.type("vcpu 0")
    found.type("catch io 0x10")
    assert "atchpoint 1" in found.type("c")


def test_search_that_runs_out_of_memory(hello: Typist) -> None:
    found = hello.results("find 0x7ffff00, +0x10000000, 0x55")
    assert found[0].plain() == "Pattern not found."
    assert found[1].plain().startswith("The search ended early: cannot read linear address 0x8000000")


def test_shell_output_is_a_result(hello: Typist) -> None:
    assert hello.type("shell echo hi; exit 3") == "hi\n"
    assert hello.type("p $_shell_exitcode") == "$1 = 3"
    assert hello.type("!echo again") == "again\n"
