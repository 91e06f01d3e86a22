"""Types and functions that are made of templates, by the names that gdb has for them, whatever the compiler writes."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from kvmdbg.debuginfo.template_names import as_gcc_writes, as_gdb_writes
from tests.beside_gdb.sessions import FLAGS, Answer, both, differences
from tests.beside_gdb.test_sessions_kvm import lines_of

SOURCE = Path(__file__).parent / "everyday" / "templates.cc"
ASKED = """ptype ns::Arr<short,4>|whatis ns::Arr<short,4>|whatis ns::Arr<short, 4>|whatis ns::Arr<short int, 4>
    whatis struct ns::Arr<short,4>|p sizeof(ns::Arr<short,4>)|p sizeof(ns::Box<unsigned long>)
    whatis ns::Box<unsigned long>|whatis ns::Box<long unsigned int>|whatis ns::Box< unsigned char >|whatis arr
    whatis longs|whatis &longs|p (ns::Box<unsigned long> *)0|whatis longs.next|whatis wider|ptype wider
    whatis ns::Box<long long>|ptype longs|ptype arr|ptype box|ptype/o arr|whatis boxed|whatis boxed.value|whatis arr.get
    p arr.get|p ns::Arr<short,4>::get|p ns::twice<int>|p ns::twice<unsigned long>|p ns::twice<unsigned long>(4)|p arr
    p *&longs|list ns::Arr<short,4>::get|list ns::twice<int>,ns::twice<int>
    tbreak ns::Arr<short,4>::get|continue|p *this|whatis this|bt 1|up"""


def _as_here(answer: Answer) -> Answer:
    """gdb's words without the parameters of templates, which stand for types in its members."""
    said = answer.said or ""
    if (given := re.search(r" \[with T = ([^]]+)\]", said)) is not None:
        said = re.sub(r"(<?)\bT\b", rf"\g<1>{given[1]}", said.replace(given[0], ""))
    return answer._replace(said=said)


@pytest.mark.kvm
@pytest.mark.e2e
def test_as_gdb(tmp_path: Path) -> None:
    made = tmp_path / "templates.elf"
    command = ["g++", *FLAGS.split(), "-std=c++20", "-o", str(made), SOURCE.name]
    subprocess.run(command, cwd=SOURCE.parent, check=True, timeout=60)
    theirs, ours = both(made, ["break _start", "run", *lines_of(ASKED)])
    found = differences([_as_here(one) if one.said is not None else one for one in theirs], ours)
    wanted = (": said: ", ": failed: ", ": pc: ")
    assert "\n".join(one for one in found if any(word in one for word in wanted)) == ""


@pytest.mark.parametrize(
    ("gcc", "gdb"),
    [
        ("Vec<long unsigned int>", "Vec<unsigned long>"),
        ("Map<short int, Vec<long long unsigned int> >", "Map<short, Vec<unsigned long long> >"),
        ("Arr<short unsigned int, 4>::Row<long int>", "Arr<unsigned short, 4>::Row<long>"),
        ("Vec<unsigned char>", "Vec<unsigned char>"),
        ("Vec<signed char>", "Vec<signed char>"),
        ("Vec<long double>", "Vec<long double>"),
        ("Vec<point>", "Vec<point>"),
        ("Vec<unsigned int>", "Vec<unsigned int>"),
        ("long unsigned int", "long unsigned int"),
    ],
)
def test_the_names_of_both(gcc: str, gdb: str) -> None:
    assert as_gdb_writes(gcc) == gdb
    assert as_gdb_writes(gdb) == gdb
    assert as_gcc_writes(gdb) == gcc
