"""#AC on the software engine: CR0.AM, EFLAGS.AC and CPL 3 (SDM volume 3A, 6.15, interrupt 17)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.x86.asm import assemble
from tests.soft.ways import DONE, WAYS

HANDLER, USER = 0x5000, 0x1100
TO_USER = """
    lidt [0x3000]; lgdt [0x3008]; mov ax, 0x28; ltr ax; mov eax, cr0; or eax, 0x40000; mov cr0, eax
    mov ax, 0x23; mov ds, ax
    push 0x23; push 0x6800; push {flags}; push 0x1b; push 0x1100; iretd
"""


def faults(folder: Path, user: str, way: Callable[[kvmdbg.Session], object], flags: int = 2) -> list[tuple[int, int]]:
    """The code at CPL 3 that #AC was raised at, and its error code; the handler ends the guest."""
    path = folder / "guest.bin"
    path.write_bytes(assemble(TO_USER.format(flags=flags), 0x1000, 32))
    with kvmdbg.open(
        path, format="flat", load=0x1000, mode="prot", memory=0x80000, engine="soft", serial="none", irqchip="none",
        registers={"rsp": 0x7000},
    ) as dbg:  # fmt: skip
        flat = [0xCF9B000000FFFF, 0xCF93000000FFFF, 0xCFFB000000FFFF, 0xCFF3000000FFFF, 0x89004800 << 16 | 0x67]
        dbg.memory.write(0x2100, struct.pack("<6Q", 0, *flat))
        dbg.memory.write(0x4804, struct.pack("<II", 0x7000, 0x10))
        dbg.memory.write(0x2000 + 17 * 8, struct.pack("<HHHH", HANDLER, 8, 0x8E00, 0))
        dbg.memory.write(0x3000, struct.pack("<HI2xHI", 18 * 8 - 1, 0x2000, 47, 0x2100))
        dbg.memory.write(USER, assemble(user, USER, 32) + DONE)
        dbg.memory.write(HANDLER, DONE)
        way(dbg)
        if dbg.regs.eip != HANDLER:
            return []
        code, at = struct.unpack("<II", dbg.memory.read(dbg.regs.esp, 8))
        return [(at, code)]


@pytest.mark.parametrize("way", WAYS, ids=["run", "steps", "strides"])
@pytest.mark.parametrize(
    ("user", "raises"),
    [
        ("mov eax, [0x4001]", True), ("mov [0x4002], eax", True), ("mov eax, [0x4004]", False),
        ("mov al, [0x4001]", False), ("mov ax, [0x4002]", False), ("fld qword ptr [0x4004]", True),
        ("mov esp, 0x6701; push eax", True), ("movups xmm0, [0x4001]", False),
    ],
)  # fmt: skip
def test_accesses(tmp_path: Path, user: str, raises: bool, way: Callable[[kvmdbg.Session], object]) -> None:
    before = "" if "esp" not in user else "mov esp, 0x6701; "
    at = USER + len(assemble(before, USER, 32)) if before else USER
    assert faults(tmp_path, user, way, 1 << 18 | 2) == [(at, 0)] * raises


@pytest.mark.parametrize("way", WAYS, ids=["run", "steps", "strides"])
def test_a_popf_switches_it_on(tmp_path: Path, way: Callable[[kvmdbg.Session], object]) -> None:
    """Also where the same code has run before without it."""
    once = "mov ecx, 2; again: mov eax, [0x4001]; pushfd; xor dword ptr [esp], 0x40000; popfd; jmp again"
    assert faults(tmp_path, once, way) == [(USER + 5, 0)]
