"""Functions of C++ that share a name, named by their types; and characters of all kinds."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.errors import KvmdbgError
from tests.beside_gdb.sessions import FLAGS, both, differences
from tests.beside_gdb.test_sessions_kvm import lines_of

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]

SOURCE = Path(__file__).parent / "everyday" / "overloads.cc"
ASKED = """p ns::Over::over|p &ns::Over::over|ptype ns::Over::over|whatis ns::Over::over|p ns::Over::over(int)
    p ns::Over::over(char)|p ns::Over::over(long) const|p ns::Over::over( int )|p ns::Over::over(const char *, unsigned)
    p ns::Over::over(double)|p ns::Over::over(long)|p ns::Over::fixed|p ns::Over::fixed(int)|p ns::Over::fixed(3)
    ptype ns::Over::over(char)|whatis ns::Over::over(int)|p one.over(3)|p one.over('c')|p one.over(4L)
    p sizeof(ns::Over::over(int))|p *ns::Over::over(int)|p single|p single(3)|p single(int)|p ns::twice(char)
    p ns::twice('a')|whatis ns::twice(char)
    p eight|p text8|p pointed8|p *pointed8|p pointed8[1]|p (char8_t)65|p/d text8|p/x text8|p/s pointed8|whatis pointed8
    p -eight|p eight + 1|output eight|x/s pointed8|x/2c pointed8|x/s text8|ptype u"ab"|whatis u"ab"|ptype U"ab"
    ptype L"ab"|ptype u'a'|ptype L'a'|whatis L'a'|ptype char16_t|p sizeof(wchar_t)|p text16|p text32|p wide"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("overloads") / "overloads.elf"
    command = ["g++", *FLAGS.split(), "-std=c++20", "-o", str(made), SOURCE.name]
    subprocess.run(command, cwd=SOURCE.parent, check=True, timeout=60)
    return made


def test_as_gdb(program: Path) -> None:
    theirs, ours = both(program, ["starti", *lines_of(ASKED)])
    assert "\n".join(one for one in differences(theirs, ours) if ": said: " in one or ": failed: " in one) == ""


def test_what_is_ambiguous_says_how_one_is_named(program: Path) -> None:
    with kvmdbg.open(program, memory="16M") as session:
        with pytest.raises(KvmdbgError, match=r"there are several ns::Over::over: name one .* ns::Over::over\(.+\)"):
            session.evaluate("ns::Over::over")
        assert session.evaluate("ns::twice(int)(4)").value == 8  # gdb takes twice(char) for it
