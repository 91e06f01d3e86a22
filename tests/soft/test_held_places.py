"""Instructions that unicorn's runs end before: other code is none the slower, and they end no run by themselves."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kvmdbg
from kvmdbg.build import from_assembly
from kvmdbg.engine import stops
from kvmdbg.soft import library

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


@pytest.fixture
def laid(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Kinds of the hooks that are laid. One for instructions makes all code slower."""
    kinds, hook = list[int](), library.Library.hook

    def noted(self: library.Library, uc: ctypes.c_void_p, kind: int, *others: Any, **named: Any) -> int:
        kinds.append(kind)
        return hook(self, uc, kind, *others, **named)

    monkeypatch.setattr(library.Library, "hook", noted)
    return kinds


def test_a_place_has_no_hook_for_instructions(tmp_path: Path, laid: list[int]) -> None:
    many = "".join(f"{HELD}jmp at{number}\nat{number}:\n" for number in range(20))
    with opened(tmp_path, many + LOOP) as dbg:
        laid.clear()
        dbg.run(instructions=1000)
    assert laid == [library.HOOK_BLOCK] * 20


def test_nor_has_a_breakpoint(tmp_path: Path, laid: list[int]) -> None:
    with opened(tmp_path, "nop\n" * 20 + LOOP) as dbg:
        laid.clear()
        start = dbg.regs.pc
        for number in range(1, 21):
            dbg.advance(start + number)
            assert dbg.regs.pc == start + number
    assert laid == [library.HOOK_BLOCK] * 20


@pytest.mark.parametrize("way", WAYS, ids=["steps", "stride", "run"])
@pytest.mark.parametrize("behind", ["", "nop; nop; "])
def test_what_comes_before_is_done_once(
    tmp_path: Path, way: Callable[[kvmdbg.Session, int], object], behind: str
) -> None:
    with opened(tmp_path, f"mov cx, 3\nagain: nop; loop again; {behind}{HELD}inc bx; hlt") as dbg:
        way(dbg, 7)
        assert dbg.regs.cx == 0
        way(dbg, 2 + behind.count(";"))
        assert (dbg.regs.cx, dbg.regs.bx) == (0, 1)


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


def test_a_step_of_what_only_looks_like_one_is_made(tmp_path: Path) -> None:
    with opened(tmp_path, f"{HELD}dec esi; int 0x21; nop") as dbg:  # DEC would be a REX prefix of INT
        dbg.regs.rsi = 5
        dbg.step()
        dbg.step()
        assert (dbg.regs.rsi, dbg.regs.rip) == (4, 0x1005)


def test_a_step_from_where_the_code_before_ends(tmp_path: Path) -> None:
    with opened(tmp_path, f"loop next\nnext: inc bx; {HELD}inc bx; hlt") as dbg:
        dbg.regs.cx = 2
        dbg.step()
        dbg.regs.rip += 1  # over the INC: to what was to end the code there
        dbg.step()
        dbg.step()
        assert dbg.regs.bx == 1
