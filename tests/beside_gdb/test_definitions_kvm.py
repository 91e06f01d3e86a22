"""Where functions and variables are defined, not where they are declared; names that classes and const tell apart."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.errors import KvmdbgError
from tests.beside_gdb.sessions import FLAGS, both, differences
from tests.beside_gdb.test_sessions_kvm import lines_of

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]

SOURCES = Path(__file__).parent / "everyday"
LISTED = """list Apart::made|list Apart::len|break apart.cc:Apart::len|break apart.h:len|break apart.h:both|break len
    break -qualified within::len|break -qualified Apart::len|break ::bump|break -qualified ::bump|break inside::deep
    break -qualified outside::inside::deep|info breakpoints|run|c|c|p one.both()|p fixed.both()
    p ((const Apart &)one).both()|p Apart::HIGH|p Apart::LOW|whatis Apart::HIGH|p one.HIGH"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("apart") / "apart.elf"
    command = ["g++", *FLAGS.split(), "-o", str(made), "apart_main.cc", "apart.cc"]
    subprocess.run(command, cwd=SOURCES, check=True, timeout=60)
    return made


def test_a_session(program: Path) -> None:
    theirs, ours = both(program, lines_of(LISTED))
    found = differences(theirs, ours)
    assert "\n".join(one for one in found if ": sp: " not in one and ": function: " not in one) == ""


def test_what_is_said(program: Path) -> None:
    with kvmdbg.open(program, memory="16M") as session:
        interpreter = Interpreter(session)
        interpreter.settings["context"] = ()

        def said(line: str) -> str:
            return "\n".join(one.plain(200) for one in interpreter.execute(line))

        def by_file(line: str) -> list[str]:
            return re.findall(r"^(?:File .*|\d*:?\t.*|.*symbols:)$", said(line), re.MULTILINE)

        assert by_file("info functions len") == [
            "File apart.cc:", "4:\tint Apart::len() const;", "File apart_main.cc:", "2:\tstatic int within::len(void);",
        ]  # fmt: skip
        assert by_file("info variables made") == ["File apart.cc:", "3:\tint Apart::made;"]
        assert by_file("info variables shared") == ["File apart.cc:", "2:\tint shared;"]
        assert said("rbreak apart.cc:.").startswith("Breakpoint 1 at Apart::len")
        for line in ("break -qualified len", "break -q both"):
            with pytest.raises(KvmdbgError, match="no symbol"):
                said(line)
        with pytest.raises(KvmdbgError, match="no function is called 'inside::deep'"):
            said("break -q inside::deep")
        said("break -q Apart::len")
        assert session.breakpoints.get(2).location == "-q Apart::len"
        places = {said(f"break {name}").partition("(")[2] for name in ("bump", "::bump", "-q ::bump")}
        assert len(places) == 1, "behind its prologue"
        with pytest.raises(KvmdbgError, match="'Apart::made' is a variable, no function"):
            said("break Apart::made")
