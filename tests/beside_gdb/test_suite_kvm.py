"""What gdb's own tests type (gdb.base: break, exprs, setvar, whatis, display …), over a program that has it all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.errors import KvmdbgError
from tests.beside_gdb.sessions import PROGRAM, both, build, compared, differences, of_gdb, of_kvmdbg
from tests.beside_gdb.test_sessions_kvm import lines_of
from tests.e2e.debuggers import GDBS, TIME_SCALE

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]

SESSIONS = {
    "numbers of breakpoints": """break fact|break tail|break last|break loops|p 1|p 2|p 3|p 4|disable $2 $$|disable $
        enable $1-$3|enable|set $low = 1|set $high = 3|disable $low-$high|enable|set $part = 1.234|disable $part
        disable $nosuch|disable $10|disable $1foo|delete $$2|disable 1-2 4|delete 1-3 9|enable 9 4|enable once 9 4
        disable 8-4|disable 4 4""",
    "places that are none": """break fact|run|break 0|break -1000|break tasks.c:0|break sink|break all|tbreak n
        until sink|advance n|break *sink|set $low = 1.5|break $low|break $nosuch""",
    "lines in variables": """break fact|run|set $at = 15|break $at|break tasks.c:$at|list $at|info line $at
        list tasks.c:$at|set $at = 21l|tbreak $at|set $at = ' '|until $at|set $at = 36|list $at,38|break *$at""",
    "lists": """break fact|run|list sink|list all|list task|list 'sink'|list fact|list +3|list -3|list +|list *fact
        list +2|list -2|list 20,25|list +4|list 20,25|list -|list +1|list ,30|list -2|set listsize unlimited|list 3
        set listsize 4|list 20|list +|set listsize 10""",
    "arrays of a value's bytes": """break fact|run|p/x (short [])0x12345678|p (char [])all[0].total|whatis (short [])n
        p sizeof((short [])n)|p ((char [])65)[0]|p (short [][2])0x12345678|p/x (short [3])n|p (int [])1.5
        p/x (int [])$rsp""",
    "types of expressions": """break fact|run|p sizeof(void)|whatis sizeof(void)|p sizeof(last(1))|p sizeof(int (int))
        p sizeof(int)|whatis typeof(n)|ptype typeof(all[0])|whatis typeof(int)|p (typeof(n))65|whatis __typeof__(n + 1l)
        whatis __typeof(all)|whatis $nosuch|ptype $nosuch""",
    "offsets in hexadecimal": """ptype/ox struct task|ptype/xo struct pair|ptype/o struct task|ptype/od struct task
        ptype/x struct task|ptype/ox int|ptype/ox all[0]""",
    "texts that are none": r"""printf "%d\n", all[0]|printf "%s\n", all[0]|printf "%c\n", all[0]|printf "%x\n", all
        printf "%s\n", 0|printf "%5s.\n", 0|printf "\x41\n"|printf "\q"|printf "\\\"\t\n"|printf "%d\n", n""",
}
NO_ERRORS = ("numbers of breakpoints", "places that are none")
"""gdb tells of numbers and places that there are not, and calls that no error."""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("suite"), "-O0", PROGRAM)


@pytest.mark.parametrize("name", SESSIONS)
def test_a_session(program: Path, name: str) -> None:
    lines = lines_of(SESSIONS[name])
    theirs, ours = both(program, lines)
    found = differences(theirs, ours)
    if name in NO_ERRORS:
        found = [one for one in found if ": failed: gdb False" not in one]
    assert found == []


def test_displays_that_there_are_go_beside_one_that_is_not_there(program: Path) -> None:
    with kvmdbg.open(program, memory="16M") as session:
        interpreter = Interpreter(session)

        def shown() -> str:
            return "\n".join(one.plain(200) for one in interpreter.execute("info display"))

        for line in ("display 1", "display 2", "display 3"):
            list(interpreter.execute(line))
        for line, left in (("undisplay 9 2", "1y,3y"), ("disable display 2-3", "1y,3n"), ("delete display 1 9", "3n")):
            with pytest.raises(KvmdbgError, match="there is no display"):
                list(interpreter.execute(line))
            assert ",".join(number + on for number, on in re.findall(r"^(\d) +([yn])", shown(), re.MULTILINE)) == left


def test_the_first_list_shows_main(tmp_path: Path) -> None:
    """As in gdb before the program runs, and on code without source; what follows goes on behind it."""
    program = build(tmp_path, "-O0", PROGRAM.with_name("main.c"))
    first = next(
        at for at, row in enumerate(PROGRAM.with_name("main.c").read_text().splitlines(), 1) if " main(" in row
    )
    with kvmdbg.open(program, memory="16M") as session:
        interpreter = Interpreter(session)
        assert session.source.at(session.vcpu.pc) is None
        shown = [compared("list", "\n".join(one.plain(200) for one in interpreter.execute("list"))) for _ in range(2)]
    assert str(first) in (shown[0] or "").split()
    assert int((shown[1] or "").split()[0]) == int((shown[0] or "").split()[-1]) + 1


@pytest.mark.parametrize("optimize", ["-O0", "-O2"])
def test_an_inner_block_hides_outer_ones(tmp_path: Path, optimize: str) -> None:
    """As in gdb, also where the function was inlined: `p same` is the inner one, and static variables are locals."""
    program = build(tmp_path, optimize, PROGRAM.with_name("blocks.c"))
    lines = lines_of("break blocks.c:17|run|bt|p same|p kept|p between|c|bt|p kept")
    theirs = of_gdb(GDBS["distribution"], program, lines)
    with kvmdbg.open(program, memory="16M") as session:
        ours = of_kvmdbg(session, lines, 20 * TIME_SCALE)
        shown = [one.name for one in session.c_variables.visible(parameters=False)]
    assert [one for one in differences(theirs, ours) if ": variables: " not in one] == []  # there are two of one name
    assert shown == ["same", "between", "kept", "same"]


@pytest.mark.parametrize("how", ["step", "until"])
def test_lines_of_callers_are_others(tmp_path: Path, how: str) -> None:
    """As in gdb: a step that returns into another call of the same function stops at the line there."""
    program = build(tmp_path, "-O1", PROGRAM.with_name("again.c"))
    lines = lines_of(f"break recurse if a == 1|run|finish{f'|{how}|bt' * 4}")
    theirs, ours = both(program, lines)
    assert differences(theirs, ours) == []


@pytest.mark.parametrize("optimize", ["-O0", "-O1", "-O2"])
@pytest.mark.parametrize("how", ["step", "next"])
def test_a_loop_of_one_line_is_one_step(tmp_path: Path, how: str, optimize: str) -> None:
    program = build(tmp_path, optimize, PROGRAM.with_name("one_line.c"))
    lines = lines_of(f"tbreak work|run{f'|{how}|p sum' * 4}")
    theirs, ours = both(program, lines)
    assert differences(theirs, ours) == []


def test_a_breakpoint_on_a_function_of_one_line_stops_once_where_its_frame_is_set_up(tmp_path: Path) -> None:
    program = build(tmp_path, "-O0", PROGRAM.with_name("functions.c"))
    lines = lines_of("break labels|break loop|break same|break plain|run|c|c|c|info breakpoints")
    theirs, ours = both(program, lines)
    assert differences(theirs, ours) == []


def test_registers_that_hold_addresses_are_listed_as_in_gdb(program: Path) -> None:
    with kvmdbg.open(program, memory="16M") as session:
        interpreter = Interpreter(session)
        interpreter.settings["context"] = ()
        for line in ("break fact", "run"):
            list(interpreter.execute(line))
        here, stack = session.registers.get("rip"), session.registers.get("rsp")
        (said,) = interpreter.execute("info registers rip rsp rdi")
        rows = [row.replace("*", " ").split() for row in said.plain(80).splitlines()]
        assert rows[0][:3] == ["rip", f"{here:#x}", f"{here:#x}"] and rows[0][3].startswith("<fact+0x")
        assert rows[1] == ["rsp", f"{stack:#x}", f"{stack:#x}"]
        assert rows[2] == ["rdi", f"{session.registers.get('rdi'):#x}", str(session.registers.get("rdi"))]
        list(interpreter.execute("up"))
        (caller,) = interpreter.execute("info registers rip")
        assert f"<{session.source.function_name(session.frame.place)}+" in caller.plain(80)


def test_a_display_says_its_format_as_gdb_does(program: Path) -> None:
    with kvmdbg.open(program, memory="16M") as session:
        interpreter = Interpreter(session)
        interpreter.settings["context"] = ()
        for line in ("break fact", "run"):
            list(interpreter.execute(line))
        said = [one.plain(200) for line in ("display/x n", "display n") for one in interpreter.execute(line)]
        number = session.evaluate("n").value
        assert said == [f"1: /x n = {number:#x}", f"2: n = {number}"]


def test_displays_of_locals_are_shown_in_their_function_alone(program: Path) -> None:
    """As in gdb: what another function calls the same is not meant."""
    with kvmdbg.open(program, memory="16M") as session:
        interpreter = Interpreter(session)
        interpreter.settings["context"] = ()

        def said(line: str) -> str:
            return "\n".join(one.plain(200) for one in interpreter.execute(line))

        def shown(line: str) -> list[str]:
            return re.findall(r"^(\d): ", said(line), re.MULTILINE)

        said("break tail")
        said("break last")
        said("run")
        assert said("display x").startswith("1: x = ") and shown("display sink") == ["2"]
        assert shown("continue") == ["2"] and shown("display") == ["2"]
        assert "x (cannot be evaluated in the current context)\n" in said("info display")
        said("up")
        assert shown("display") == ["1", "2"] and "cannot" not in said("info display")


def test_up_and_down_take_counts_the_other_way(program: Path) -> None:
    lines = lines_of("break fact if n == 1|run|up 2|up -1|down -1|up 0|down 0|down -1|up -2|down 1")
    theirs, ours = both(program, lines)
    assert differences(theirs, ours) == []


def test_expressions_for_types_and_names_are_as_grep_has_them(program: Path) -> None:
    with kvmdbg.open(program, memory="16M") as session:
        interpreter = Interpreter(session)

        def named(line: str) -> str:
            said = "\n".join(one.plain(200) for one in interpreter.execute(line))
            return " ".join(re.findall(r"^\d+:\t.*?(\w+)(?:\[\d*\])?(?:\(.*)?;$", said, re.MULTILINE))

        assert named('info functions -t "int (int)"') == "fact last loops tail"
        assert named("info variables -t ^volatile i") == named("info variables -t int sin") == "sink"
        assert named("info functions fac\\(t\\|x\\)") == "fact" == named("info functions ^f[[:alpha:]]*$")
        for literal in ("fac(t)", "fact|last", "t+", "fact?", "*fact", "[^f]act$", "fa{1}ct"):
            assert named(f"info functions {literal}") == ""
        (said,) = (one.plain(200) for one in interpreter.execute("info variables -t int sin"))
        assert (
            said.splitlines()[0]
            == 'All variables matching regular expression "sin" with type matching regular expression "int":'
        )


def test_what_a_pointer_to_void_points_to(program: Path) -> None:
    with kvmdbg.open(program, memory="16M") as session:
        interpreter = Interpreter(session)
        for line in ("whatis *(void *)0", "ptype *(void *)&sink", "whatis *$v"):
            list(interpreter.execute("set $v = (void *)&sink"))
            assert [one.plain(200) for one in interpreter.execute(line)] == ["type = void"]
        with pytest.raises(KvmdbgError, match="non-pointer value"):
            list(interpreter.execute("print *$v"))


def test_a_script_runs_to_places_by_name(program: Path) -> None:
    with kvmdbg.open(program, memory="16M") as session:
        session.break_at("kmain")
        session.run()
        session.advance("fact")
        assert session.source.function_name(session.vcpu.pc) == "fact"
        session.until("last", session.symbols["tail"])
        assert session.source.function_name(session.vcpu.pc) in ("kmain", "tail", "last", "fact")
        for place, reason in {"nix": "no symbol 'nix'", "phys:0x1000": "linear address only"}.items():
            with pytest.raises(KvmdbgError, match=reason):
                session.advance(place)
        with pytest.raises(KvmdbgError, match="needs a place"):
            session.advance()
