"""Values and places that are seldom met: what is typed means to kvmdbg what it means to gdb."""

from __future__ import annotations

from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.errors import KvmdbgError
from tests.beside_gdb.sessions import PROGRAM, both, build, differences
from tests.beside_gdb.test_sessions_kvm import lines_of

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]

SESSIONS = {
    "parts of the user's variables": """p $v = pair|p $v.a = 9|p $v|p pair|p $v.in.low++|p $v|set var $v.b += 5
        p $v|p $v.in|whatis $v""",
    "structures": """p nothing_in|ptype nothing_in|ptype struct empty|p chars|p chars.d|p ints|p ints.d|p &chars
        p *&chars|p odd.number|p low.number|p lanes|p lanes[1]|p lanes + 1|p -lanes
        p sizeof(nothing_in)|ptype struct chars|whatis ints.d""",
    "numbers in other bases": """set output-radix 16|p pair|p -1|p 'a'|p (char)200|p (short)-2|p 1==1|p matrix
        p $al + 0|p chars|p 1.5|output -3|p/d -1|set output-radix 8|p -1|p 'a'|p 0|p pair|set output-radix 10|p -1""",
    "numbers typed in other bases": """set input-radix 16|p 10|p 0x10|p 10.|p 1e5|p 017|p 1fu|p ff|p deadbeef|p 99999999
        p sizeof(1f)|p matrix[1][a - 9]|p matrix[0x1][0]|set input-radix 0xa|p 10|set input-radix 3|p 12|p 3
        set input-radix 101|p 101|p ff|set input-radix 10|p ff""",
    "both radices": """set radix 16|p 10|p -1|p/d 10|p ff + 1|set radix 10|p 10|set radix|p 10|set radix 8|p 17|p 019
        p 8|set radix 0xa|p 10|set radix 7|p 10|set output-radix 3|p 10|p ff""",
    "examining": """x/2xw matrix|x|x|x/3dw matrix|x|x/-2xw matrix[1]|x|x/-4ub &pair.in.low|x/2xb &pair|x/xw &pair""",
    "units that last": """x matrix|x/2a &matrix|x/2d matrix|x/2f matrix|x/2x matrix|x/2b matrix|x/2x matrix|x/2f matrix
        x/d matrix|x/2h matrix|x/f matrix|x/x matrix|x/2c &pair|x/x matrix|x/s &pair|x/x matrix|x/hs &pair|x &pair
        x/w &lanes|x/s &pair|x/d matrix|x/i $pc|x/x matrix|x/3ub matrix|x/9d matrix|x/3o matrix|x/9t matrix|x/5wt matrix
        x/3gt matrix|x/5ht matrix|x/wa matrix|x/x matrix|x/2z matrix|x/g matrix|x/d matrix|x/2bf matrix|x/2hf matrix
        p/c 65|x matrix|p/x 5|x matrix|output/d 5|x matrix|call/o 9|x/2 matrix|x/2xg matrix|x|x/3|x/u matrix|x/a matrix
        x/u matrix|p $_|p $__|whatis $__|x/dw matrix|x/20c &pair|x/17xb matrix""",
    "texts in memory": """set var *(char (*)[32])matrix = "aaaaaaaaaaaaaaab"|x/s matrix|x/2s matrix|x/s
        set print elements 4|x/s matrix|x/3s matrix|set print repeats 3|x/s matrix|set print elements 0|x/s matrix
        set var matrix[0][0] = 0x00610061|set var matrix[0][1] = 0x00610061|set var matrix[0][2] = 0xdc00|x/hs matrix
        set var matrix[0][0] = 0x40000000|set var matrix[0][1] = 0|x/ws matrix
        set print elements 200|set print repeats 10""",
    "texts": r"""printf "%#o;%#6o;%#06o;%#-6o;%o;%#o;\n", 8, 8, 8, 8, 8, 0|printf "%s;%8s;\n", none, none
        echo \101\102\n|echo a\tb\\\n|call nothing(1)|call deep(1)|p deep(1)|call (void)0|p $_exitcode""",
    "places": """tbreak kinds.c:kmain:again|c|p turns|break *nothing|break *(nothing+4)|break nothing|c|bt|c|c|p by
        clear|tbreak deep if n == 0|c|bt|info breakpoints""",
    "locals of other functions": """tbreak deep if n == 0|c|p kmain::turns|p deep::local|p deep::n|up|p deep::local
        p kmain::turns + deep::n|up|up|p kmain::turns|whatis kmain::turns|p &kmain::turns == &turns""",
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("kinds"), "-O0", PROGRAM.with_name("kinds.c"))


@pytest.mark.parametrize("name", SESSIONS)
def test_a_session(program: Path, name: str) -> None:
    lines = ["starti", "stepi 3", *lines_of(SESSIONS[name])]
    theirs, ours = both(program, lines)
    found = differences(theirs[2:], ours[2:])
    if "radix" in SESSIONS[name]:  # the session's own locals are decimal
        found = [one for one in found if ": variables: " not in one]
    assert "\n".join(found) == ""


def test_locals_are_shown_as_print_shows_values(program: Path) -> None:
    with kvmdbg.open(program, memory="16M") as session:
        interpreter = Interpreter(session)
        interpreter.settings["context"] = ()

        def typed(*lines: str) -> str:
            return "\n".join(one.plain(200) for line in lines for one in interpreter.execute(line))

        typed("break shows", "run", "set print elements 3")
        assert '"abc"...' in typed("info locals") and '"abc"...' in typed("bt full 1")
        typed("set print pretty on", "set output-radix 16")
        assert typed("info locals").startswith("local = {\n  a = 0x1,\n  b = 0x2,\n  in = {\n")
        assert "        local = {\n          a = 0x1,\n" in typed("bt full 1")
        assert typed("info args") == "by = 0x7" and "by=0x7" in typed("backtrace 1")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("watch sink > 3", "sink > 3 is a value, no place in memory: name a variable, as in watch counter if"),
        ("watch &sink", r"&sink is a value, no place in memory: watch \*\(&sink\) watches what it points to"),
        ("watch none + 1", r"none \+ 1 is a value, no place in memory: watch \*\(none \+ 1\) watches what it points"),
        ("watch nothing", "nothing is a function, no variable: watch 0x[0-9a-f]+,[0-9]+ watches its code"),
        ("break deep if missing > 1", "no symbol 'missing'"),
        ("tbreak deep if n > 0 && missing", "no symbol 'missing'"),
        ("break kinds.c:kmain:never", "no label of kmain in kinds.c is called 'never'"),
    ],
)
def test_what_gdb_refuses_or_we_cannot(program: Path, line: str, said: str) -> None:
    with kvmdbg.open(program, memory="16M") as session:
        interpreter = Interpreter(session)
        with pytest.raises(KvmdbgError, match=said):
            list(interpreter.execute(line))
        assert not list(session.breakpoints)


def test_a_condition_that_names_nothing_is_not_taken(program: Path) -> None:
    with kvmdbg.open(program, memory="16M") as session:
        point = session.break_at("deep", when="n == 1")
        with pytest.raises(KvmdbgError, match="no symbol 'missing'"):
            point.condition = "missing"
        assert point.condition == "n == 1"
        point.condition = "sink == 0 && &pair != 0"
