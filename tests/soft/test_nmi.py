"""When an NMI comes in on the software engine (SDM volume 3A, 6.7.1 and 6.8.3)."""

from __future__ import annotations

from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.build import from_assembly
from kvmdbg.engine import stops

HANDLER = """
    mov word ptr [2 * 4], offset nmi
    mov sp, 0x7000
    jmp begin
nmi:
    inc bx
    cmp bx, 1
    jne second
    mov ax, 0x1234
    mov dx, bx
    xor ax, ax
    iret
second:
    mov di, sp
    iret
begin:
"""


def opened(folder: Path, asm: str) -> kvmdbg.Session:
    image, elf = from_assembly(HANDLER + asm, folder)
    return kvmdbg.open(image, symbols=[(elf, 0)], engine="soft", serial="none", irqchip="none", machine="bare")


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_the_handler_of_one_keeps_others_out_until_its_iret(tmp_path: Path, steps: int) -> None:
    with opened(tmp_path, "xor bx, bx\nagain: inc cx\njmp again") as dbg:
        dbg.run(instructions=20)
        dbg.nmi()
        dbg.run(instructions=5)  # within the handler
        assert dbg.regs.bx == 1 and dbg.regs.sp == 0x7000 - 6
        dbg.nmi()
        for _ in range(steps):
            dbg.step()
            assert dbg.regs.bx == 1
        dbg.run(instructions=50)
        assert dbg.regs.bx == 2
        assert dbg.regs.di == 0x7000 - 6  # and not deeper in the stack: its frame was gone
        assert dbg.regs.sp == 0x7000


@pytest.mark.parametrize("back", [False, True])
def test_a_snapshot_knows_that_they_are_kept_out(tmp_path: Path, back: bool) -> None:
    with opened(tmp_path, "xor bx, bx\nagain: inc cx\njmp again") as dbg:
        dbg.run(instructions=20)
        dbg.nmi()
        dbg.run(instructions=2)
        dbg.snapshots.save("within")
        if back:
            dbg.run(instructions=50)
            dbg.snapshots.restore("within")
        dbg.nmi()
        dbg.run(instructions=3)
        assert dbg.regs.bx == 1


def test_none_comes_between_mov_ss_and_mov_sp(tmp_path: Path) -> None:
    with opened(tmp_path, "mov ax, 0x1000\nmov bp, 0x500\nmov ss, ax\nmov sp, bp\nback: nop\nhlt") as dbg:
        while dbg.regs.ss != 0x1000:
            dbg.step()
        dbg.nmi()
        assert isinstance(dbg.run(timeout=30), stops.HaltedStop)
        assert dbg.regs.bx == 1
        frame = dbg.memory.read(0x10000 + 0x500 - 6, 2)
        assert int.from_bytes(frame, "little") == dbg.regs.ip - 2


def test_one_comes_in_at_once_where_a_breakpoint_is_held_by_stepping(tmp_path: Path) -> None:
    with opened(tmp_path, "xor bx, bx\nagain: inc cx\njmp again") as dbg:
        dbg.run(instructions=20)
        dbg.breakpoint_hold = "stepping"
        dbg.break_at("nmi")
        for count in range(2):
            at = dbg.regs.ip
            dbg.nmi()
            assert isinstance(dbg.run(timeout=30), stops.BreakpointStop)
            assert int.from_bytes(dbg.memory.read(0x7000 - 6, 2), "little") == at
            assert dbg.regs.bx == count
            while dbg.regs.sp != 0x7000:
                dbg.step()
