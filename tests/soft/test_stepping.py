"""Steps of the software engine, and registers that are written between them."""

from __future__ import annotations

from pathlib import Path

import kvmdbg
from kvmdbg.build import from_assembly

FLAGS = 0xCD7
"""All arithmetic flags, DF, and the one that is always set."""


def test_flags_that_are_written_are_the_guests(tmp_path: Path) -> None:
    from_assembly("mov bx, 1\nmov cx, 2\npushf\npop ax\nhlt", tmp_path)
    with kvmdbg.open(tmp_path / "guest.bin", engine="soft", serial="none", irqchip="none") as dbg:
        dbg.registers.rflags = FLAGS
        dbg.step()
        assert dbg.registers.rflags == FLAGS
        dbg.registers.rip += 3
        dbg.step(2)
        assert dbg.registers.rflags == FLAGS and dbg.registers.ax == FLAGS
        assert (dbg.registers.bx, dbg.registers.cx) == (1, 0)


def test_many_steps_at_once_are_the_same_as_one_by_one(tmp_path: Path) -> None:
    from_assembly("mov cx, 5\nagain: add ax, cx\nloop again\nhlt", tmp_path)
    with kvmdbg.open(tmp_path / "guest.bin", engine="soft", serial="none", irqchip="none") as dbg:
        record: list[bytes] = []
        stop = dbg.step(8, record)
        assert stop.reason == "step" and len(record) == 8 and dbg.registers.ax == 5 + 4 + 3 + 2
