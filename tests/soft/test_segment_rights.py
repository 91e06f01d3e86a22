"""Accesses by null selectors, and writes by segments that are not writable, on the software engine (SDM 3A, 5.6)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.x86.asm import assemble
from tests.soft.ways import DONE, WAYS

HANDLER, USER = 0x5000, 0x1100
TO_IT = {0: "jmp 0x1100", 3: "push 0x23; push 0x6800; push 2; push 0x1b; push 0x1100; iretd"}
"""How it gets there, by CPL."""
START = "lidt [0x3000]; lgdt [0x3008]; mov ax, 0x28; ltr ax; mov ax, {0}; mov ds, ax; mov es, ax; mov fs, ax; "
NULL, READ_ONLY = 0, 0x33


def raised(
    folder: Path, code: str, way: Callable[[kvmdbg.Session], object], selector: int, cpl: int
) -> tuple[int, ...]:
    """Vector, error code and offset of what the code raises where DS, ES and FS hold this selector; () for nothing."""
    path = folder / "guest.bin"
    path.write_bytes(assemble(START.format(selector) + TO_IT[cpl], 0x1000, 32))
    with kvmdbg.open(
        path, format="flat", load=0x1000, mode="prot", memory=0x80000, engine="soft", serial="none", irqchip="none",
        registers={"rsp": 0x7000},
    ) as dbg:  # fmt: skip
        flat = [0xCF9B000000FFFF, 0xCF93000000FFFF, 0xCFFB000000FFFF, 0xCFF3000000FFFF, 0x89004800 << 16 | 0x67]
        dbg.memory.write(0x2100, struct.pack("<7Q", 0, *flat, 0xCFF1000000FFFF))
        dbg.memory.write(0x4804, struct.pack("<II", 0x7000, 0x10))
        for vector in (12, 13):
            dbg.memory.write(0x2000 + vector * 8, struct.pack("<HHHH", HANDLER + vector * 16, 8, 0x8E00, 0))
            dbg.memory.write(HANDLER + vector * 16, DONE)
        dbg.memory.write(0x3000, struct.pack("<HI2xHI", 18 * 8 - 1, 0x2000, 55, 0x2100))
        dbg.memory.write(USER, assemble(code, USER, 32) + DONE)
        way(dbg)
        at = dbg.regs.eip
        if at < HANDLER:
            assert dbg.memory.read(at, 2) == DONE
            return ()
        error_code, eip = struct.unpack("<II", dbg.memory.read(dbg.regs.esp, 8))
        return (at - HANDLER) // 16, error_code, eip - USER


@pytest.mark.parametrize("way", WAYS, ids=["run", "steps", "stride"])
@pytest.mark.parametrize("cpl", [0, 3])
@pytest.mark.parametrize(
    ("code", "selector", "offset"),
    [
        ("nop; mov eax, [0x8000]", NULL, 1),
        ("nop; inc dword ptr [0x8000]", NULL, 1),
        ("mov esi, 0x8000; nop; lodsd", NULL, 6),
        ("mov edi, 0x8000; push 4; pop ecx; rep stosd", NULL, 8),
        ("nop; mov eax, fs:[0x8000]", NULL, 1),
        ("nop; fld dword ptr [0x8000]", NULL, 1),
        ("nop; push dword ptr [0x8000]", NULL, 1),
        ("nop; mov [0x8000], eax", READ_ONLY, 1),
        ("mov eax, [0x8000]; mov edi, 0x8000; stosb", READ_ONLY, 10),
        ("nop; mov cs:[0x8000], eax", READ_ONLY, 1),
    ],
)
def test_what_a_segment_refuses(
    tmp_path: Path, way: Callable[[kvmdbg.Session], object], code: str, selector: int, offset: int, cpl: int
) -> None:
    assert raised(tmp_path, code, way, selector, cpl) == (13, 0, offset)


@pytest.mark.parametrize("way", WAYS, ids=["run", "steps", "stride"])
@pytest.mark.parametrize("cpl", [0, 3])
@pytest.mark.parametrize(
    ("code", "selector"),
    [
        ("lea eax, [0x8000]; push eax; mov eax, [esp]; mov ss:[0x6000], eax; mov eax, cs:[0x8000]", NULL),
        ("xor ecx, ecx; mov edi, 0x8000; rep stosd", NULL),
        ("mov eax, [0x8000]; mov esi, 0x8000; lodsd; mov fs:[esp + 4], al; nop", 0x23),
        ("mov eax, [0x8000]; mov esi, 0x8000; lodsd; cmp eax, fs:[0x8000]", READ_ONLY),
        ("mov eax, 0x23; mov ds, ax; inc dword ptr [0x8000]", NULL),
    ],
)
def test_what_it_does_not(
    tmp_path: Path, way: Callable[[kvmdbg.Session], object], code: str, selector: int, cpl: int
) -> None:
    assert raised(tmp_path, code, way, selector, cpl) == ()
