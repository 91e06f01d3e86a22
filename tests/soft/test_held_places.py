"""Instructions that unicorn's runs end before: other code is none the slower, and they end no run by themselves."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.build import from_assembly
from kvmdbg.engine import stops

HELD = "mov eax, cr0\n"
LOOP = "again: inc ebx\nadd edx, ebx\nmov edi, edx\njmp again\n"
WAYS: list[Callable[[kvmdbg.Session, int], object]] = [
    lambda dbg, count: [dbg.step() for _ in range(count)],
    lambda dbg, count: dbg.step(count),
    lambda dbg, count: dbg.run(instructions=count),
]


def opened(folder: Path, asm: str) -> kvmdbg.Session:
    from_assembly(f".intel_syntax noprefix\n.code16\nstart: {asm}\n", folder)
    return kvmdbg.open(folder / "guest.bin", engine="soft", serial="none", irqchip="none", machine="bare")


def seconds(folder: Path, before: str) -> float:
    """Of CPU that the loop takes behind this."""
    with opened(folder, before + LOOP) as dbg:
        dbg.run(instructions=100_000)
        began = time.process_time()
        dbg.run(instructions=3_000_000)
        return time.process_time() - began


def test_a_place_makes_other_code_no_slower(tmp_path: Path) -> None:
    many = "".join(f"{HELD}jmp at{number}\nat{number}:\n" for number in range(150))
    best = min(seconds(tmp_path, "") for _ in range(3))
    assert min(seconds(tmp_path, many) for _ in range(3)) < 3 * best


@pytest.mark.parametrize("way", WAYS, ids=["steps", "stride", "run"])
def test_each_is_counted_once(tmp_path: Path, way: Callable[[kvmdbg.Session, int], object]) -> None:
    with opened(tmp_path, f"{(HELD + 'inc bx; ') * 20}hlt") as dbg:
        for number in range(1, 21):
            way(dbg, 2)
            assert dbg.regs.bx == number


@pytest.mark.parametrize("way", WAYS, ids=["steps", "stride", "run"])
@pytest.mark.parametrize("before", ["mov al, 0xf4", "mov al, 0xf4; mov ah, 0xf4", "nop; mov cx, 0xf4f4"])
def test_what_ends_with_the_byte_of_hlt_halts_nothing(
    tmp_path: Path, way: Callable[[kvmdbg.Session, int], object], before: str
) -> None:
    count = before.count(";") + 1
    with opened(tmp_path, f"nop; {before}; {HELD}inc bx; {before}; {HELD}inc bx; hlt") as dbg:
        way(dbg, 1 + count + 2 + count + 2)
        assert dbg.regs.bx == 2
        assert isinstance(dbg.run(timeout=30), stops.HaltedStop)


def test_a_hlt_before_one_halts(tmp_path: Path) -> None:
    with opened(tmp_path, f"nop; {HELD}inc bx; hlt; {HELD}inc bx; hlt") as dbg:
        for number in (1, 2):
            assert isinstance(dbg.run(timeout=30), stops.HaltedStop)
            assert dbg.regs.bx == number
