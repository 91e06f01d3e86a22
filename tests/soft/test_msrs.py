"""MSRs of the vCPU in software that are special registers as well."""

from __future__ import annotations

from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.errors import UsageError

MODES = Path(__file__).parents[2] / "guests/modes.bin"
EFER, FS_BASE, GS_BASE = 0xC0000080, 0xC0000100, 0xC0000101
LME, LMA = 0x100, 0x400


def test_efer_and_bases_of_segments_are_msrs() -> None:
    with kvmdbg.open(MODES, engine="soft", serial="none") as dbg:
        state = dbg.state_of
        assert state.msr(EFER) == 0
        state.set_msr(EFER, LMA)
        assert state.msr(EFER) == 0
        dbg.advance(0x7C9B)
        assert state.msr(EFER) == LME | LMA
        state.set_msr(EFER, LME | 1)
        assert state.msr(EFER) == dbg.regs.efer == LME | LMA | 1
        for wrong in (1, LME | 2):  # no LME, while paging is on; a reserved bit
            with pytest.raises(UsageError, match="does not take"):
                state.set_msr(EFER, wrong)
        state.set_msr(FS_BASE, 0x1234)
        state.set_msr(GS_BASE, 0x5678)
        dbg.step()
        assert (dbg.regs.fs_base, dbg.regs.gs_base) == (state.msr(FS_BASE), state.msr(GS_BASE)) == (0x1234, 0x5678)
        assert state.msr(EFER) == LME | LMA | 1
