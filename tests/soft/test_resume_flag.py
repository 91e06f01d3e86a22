"""EFLAGS.RF on the software engine: an IRET sets it for the one instruction behind it (SDM volume 3, 17.3.1.1)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.x86.asm import assemble
from kvmdbg.x86.registers import EFLAGS_RF

RETURN = "lgdt [0x3000]; push 0x10002; push 8; mov eax, behind; push eax; iretd; behind:"


def opened(folder: Path, asm: str) -> kvmdbg.Session:
    path = folder / "guest.bin"
    path.write_bytes(assemble(asm, 0x1000, 32))
    dbg = kvmdbg.open(
        path, format="flat", load=0x1000, mode="prot", memory=0x80000, engine="soft", serial="none", irqchip="none",
        registers={"rsp": 0x7000},
    )  # fmt: skip
    dbg.memory.write(0x2000, struct.pack("<QQQ", 0, 0xCF9B000000FFFF, 0xCF93000000FFFF))
    dbg.memory.write(0x3000, struct.pack("<HI", 23, 0x2000))
    return dbg


WAYS: list[Callable[[kvmdbg.Session, int], object]] = [
    lambda dbg, count: [dbg.step() for _ in range(count)],
    lambda dbg, count: dbg.step(count),
    lambda dbg, count: dbg.run(instructions=count),
]


@pytest.mark.parametrize("way", WAYS, ids=["steps", "stride", "run"])
@pytest.mark.parametrize("behind", ["pause", "nop", "jmp next; next: nop", "out 0x80, al", "rdtsc"])
def test_each_instruction_but_iret_clears_it(
    tmp_path: Path, way: Callable[[kvmdbg.Session, int], object], behind: str
) -> None:
    """Unicorn does so where a piece of code that it has translated ends, and not always there."""
    with opened(tmp_path, f"{RETURN} {behind}; nop; nop; hlt") as dbg:
        way(dbg, 7)
        assert dbg.regs.esp == 0x7000
        assert not dbg.regs.rflags & EFLAGS_RF


@pytest.mark.parametrize("way", WAYS, ids=["steps", "stride", "run"])
def test_behind_the_iret_it_is_set(tmp_path: Path, way: Callable[[kvmdbg.Session, int], object]) -> None:
    with opened(tmp_path, f"{RETURN} nop; hlt") as dbg:
        way(dbg, 6)
        assert dbg.regs.rflags & EFLAGS_RF
        way(dbg, 1)
        assert not dbg.regs.rflags & EFLAGS_RF


@pytest.mark.parametrize("way", WAYS, ids=["steps", "stride", "run"])
def test_pushf_behind_the_iret_pushes_it_clear(tmp_path: Path, way: Callable[[kvmdbg.Session, int], object]) -> None:
    """Where PUSHF comes some instructions later, too (SDM volume 2B, PUSHF)."""
    with opened(tmp_path, f"{RETURN} pushfd; nop; pushfd; jmp next; next: pushfd; hlt") as dbg:
        way(dbg, 11)
        assert dbg.regs.esp == 0x7000 - 12
        pushed = struct.unpack("<III", dbg.memory.read(0x7000 - 12, 12))
        assert pushed == (2, 2, 2)


@pytest.mark.parametrize("way", WAYS, ids=["steps", "stride", "run"])
def test_pushfq_behind_an_iretq(tmp_path: Path, way: Callable[[kvmdbg.Session, int], object]) -> None:
    path = tmp_path / "guest.bin"
    asm = "mov ax, ss; push rax; push 0x7000; push 0x10002; mov ax, cs; push rax; mov eax, behind; push rax; iretq;"
    path.write_bytes(assemble(f"{asm} behind: nop; pushfq; hlt", 0x1000, 64))
    with kvmdbg.open(
        path, format="flat", load=0x1000, mode="long", memory=0x80000, engine="soft", registers={"rsp": 0x6000}
    ) as dbg:
        way(dbg, 11)
        assert dbg.regs.rsp == 0x7000 - 8
        assert dbg.memory.read(0x7000 - 8, 8) == (2).to_bytes(8, "little")
