"""xchg bx, bx stops the guest where that is wished: with 16-bit operands, in each mode."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmdbg import api
from kvmdbg.core.stops import CaughtStop, HaltedStop
from kvmdbg.x86.modes import Mode

pytestmark = pytest.mark.kvm
#: nop; xchg bx, bx in 16-bit code (xchg ebx, ebx elsewhere); nop; the same with 66 before it; nop; hlt
CODE = bytes.fromhex("90 87db 90 6687db 90 f4")


@pytest.mark.parametrize(("mode", "behind"), [("real", 0x1003), ("prot", 0x1007), ("long", 0x1007)])
def test_it_stops_behind_the_instruction(tmp_path: Path, mode: str, behind: int) -> None:
    path = tmp_path / "magic.bin"
    path.write_bytes(CODE)
    with api.open(path, format="flat", load=0x1000, mode=mode) as dbg:
        assert not dbg.points.magic
        dbg.points.magic = True
        dbg.points.magic = True
        assert [one.kind for one in dbg.breakpoints.catchpoints()] == ["magic"]
        stop = dbg.run(timeout=20)
        assert isinstance(stop, CaughtStop) and stop.exit.kind == "magic" and dbg.vcpu.pc == behind
        assert isinstance(dbg.run(timeout=20), HaltedStop)
        dbg.points.magic = False
        assert not list(dbg.breakpoints) and isinstance(dbg.vcpu.mode, Mode)
        dbg.restart()
        assert isinstance(dbg.run(timeout=20), HaltedStop)
