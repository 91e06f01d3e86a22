"""Constants that are in no memory, as static members may be, and parts of structures in registers: as in gdb."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import kvmdbg
from tests.beside_gdb.sessions import FLAGS, differences, of_gdb, of_kvmdbg
from tests.beside_gdb.test_sessions_kvm import lines_of
from tests.e2e.debuggers import GDBS, TIME_SCALE

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]

SOURCE = Path(__file__).parent / "everyday" / "constants.cc"
MEMBERS = """p all|p Constants::half|p Constants::name|p all.in|p all.half * 2|p all.name|p Constants::wide
    p Constants::kind
    p Constants::used|p outer|p of_file|p outer_in|whatis Constants::half|p sizeof(all.row)"""


@pytest.mark.parametrize("flags", ["-gdwarf-5", "-gdwarf-4", "-gdwarf-3 -m32"])
def test_static_members(tmp_path: Path, flags: str) -> None:
    made = tmp_path / "constants.elf"
    command = ["g++", *FLAGS.replace("-mgeneral-regs-only", "").split(), "-std=c++20", *flags.split(), "-o", str(made)]
    subprocess.run([*command, SOURCE.name], cwd=SOURCE.parent, check=True, timeout=60)
    typed = ["starti", *lines_of(MEMBERS)]
    theirs = of_gdb(GDBS["distribution"], made, typed)
    with kvmdbg.open(made, memory="16M") as session:
        ours = of_kvmdbg(session, typed, 20 * TIME_SCALE)
    assert "\n".join(one for one in differences(theirs[1:], ours[1:]) if ": sp: " not in one) == ""
