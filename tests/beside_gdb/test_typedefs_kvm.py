"""Names that classes of C++ give to types, as gdb's ptype lists them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.beside_gdb.sessions import FLAGS, both, differences
from tests.beside_gdb.test_sessions_kvm import lines_of

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]

SOURCE = Path(__file__).parent / "everyday" / "typedefs.cc"
ASKED = """ptype a|ptype b|ptype c|ptype Only|ptype only|ptype u|ptype nest|ptype meth|ptype d|ptype/o d|ptype/t b
    ptype/m b|ptype/mt b|ptype/o nest|ptype/o u|ptype Only::T|ptype B::parent|whatis B::parent|whatis b.p
    whatis list.begin()|p sizeof(B::hidden)|p (B::row*)0|ptype c.one|whatis c.one|p c.one|ptype C::Nameless
    whatis C::Nameless|ptype ns::own|whatis ns::own|ptype ns::Own"""


@pytest.mark.parametrize("flags", ["-gdwarf-5", "-gdwarf-4 -m32"])
def test_as_gdb(tmp_path: Path, flags: str) -> None:
    made = tmp_path / "typedefs.elf"
    command = ["g++", *FLAGS.split(), "-std=c++20", *flags.split(), "-o", str(made), SOURCE.name]
    subprocess.run(command, cwd=SOURCE.parent, check=True, timeout=60)
    typed = ["starti", *lines_of(ASKED), "ptype list"]
    theirs, ours = both(made, typed)
    theirs[-1] = theirs[-1]._replace(
        said=(theirs[-1].said or "").replace(" [with T = int]", "").replace("T *", "int *")
    )
    assert "\n".join(one for one in differences(theirs[1:], ours[1:]) if ": said: " in one or ": failed: " in one) == ""
