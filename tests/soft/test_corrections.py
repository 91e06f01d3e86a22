"""Instructions of which unicorn makes another result or other flags than a CPU, on the software engine."""

from __future__ import annotations

from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.build import from_assembly
from kvmdbg.engine import stops
from kvmdbg.soft.corrections import CF, OF, SF, ZF, corrected
from tests.soft.long_mode import run

MADE = CF | ZF | SF | OF
"""By all of these but PDEP and PEXT."""


@pytest.mark.parametrize(
    ("name", "bits", "first", "second", "result", "flags"),
    [
        ("blsi", 32, 0b101000, 0, 0b1000, CF),
        ("blsi", 32, 0, 0, 0, ZF),
        ("blsi", 32, 0x8000_0000, 0, 0x8000_0000, CF | SF),
        ("bzhi", 32, 0xFFFF_FFFF, 0x1F, 0x7FFF_FFFF, 0),
        ("bzhi", 32, 0xFFFF_FFFF, 0x20, 0xFFFF_FFFF, CF | SF),
        ("bzhi", 64, 0x1234, 0xFFFF_FF04, 4, 0),
        ("bzhi", 64, 0x1234, 0x100, 0, ZF),
        ("bextr", 32, 0x1234_5678, 0x0804, 0x67, 0),
        ("bextr", 32, 0x1234_5678, 0xFF04, 0x123_4567, 0),
        ("bextr", 32, 0x1234_5678, 0x0820, 0, ZF),
        ("bextr", 64, 1 << 63, 0x013F, 1, 0),
        ("popcnt", 16, 0xFFFF, 0, 16, 0),
        ("popcnt", 32, 0, 0, 0, ZF),
    ],
)
def test_results_and_flags(name: str, bits: int, first: int, second: int, result: int, flags: int) -> None:
    for before in (0x202, 0x202 | MADE):
        found, after = corrected(name, bits, first, second, before)
        assert (found, after) == (result, flags | 0x202)


@pytest.mark.parametrize(
    ("name", "bits", "first", "second", "result"),
    [
        ("pdep", 32, 0b1011, 0xF0F0_0000, 0x00B0_0000),
        ("pdep", 64, 0xFF, 0x8000_0000_0000_0101, 0x8000_0000_0000_0101),
        ("pext", 32, 0x00B0_0000, 0xF0F0_0000, 0b1011),
        ("pext", 64, 0x8000_0000_0000_0000, 0x8000_0000_0000_0101, 0b100),
    ],
)
def test_bits_that_are_spread_and_gathered(name: str, bits: int, first: int, second: int, result: int) -> None:
    for before in (0x202, 0x202 | MADE):
        assert corrected(name, bits, first, second, before) == (result, before)


@pytest.mark.parametrize("step", [False, True])
@pytest.mark.parametrize(
    ("code", "rbx"),
    [
        ("movabs rsi, 0x100000003; pdep ebx, eax, esi", 3),
        ("mov dword ptr [rsp - 8], 0x88888888; pdep ebx, eax, [rsp - 8]", 0x88888888),
        ("mov esi, 0x20; bzhi ebx, eax, esi; setc bl", 0xFFFFFF01),
        ("mov esi, 0x2100; bextr ebx, eax, esi", 0xFFFFFFFF),
        ("mov rbx, rax; mov eax, 7; mov ecx, 5; cmpxchg ebx, ecx", 0xFFFFFFFF_FFFFFFFF),
        ("mov rbx, rax; mov ecx, 5; cmpxchg ebx, ecx", 5),
        ("xor esi, esi; stc; blsi ebx, esi; setc bl", 0),
        ("blsi ebx, eax; setc bl", 1),
    ],
)
def test_on_the_engine(tmp_path: Path, code: str, rbx: int, step: bool) -> None:
    ended = run(tmp_path, f"or rax, -1; {code}; ud2", step=step)
    assert (ended.vector, ended.registers["rbx"]) == (6, rbx)


def test_a_memory_operand_that_is_not_mapped_faults(tmp_path: Path) -> None:
    ended = run(tmp_path, "mov eax, 0x40000000; mov ebx, 7; pdep ebx, eax, [rax]")
    assert (ended.vector, ended.offset, ended.registers["rbx"]) == (14, 10, 7)


@pytest.mark.parametrize(("code", "eax"), [("popcnt ax, bx", 0x12340010), ("popcnt eax, ebx", 18)])
def test_popcnt_in_16_bit_code(tmp_path: Path, code: str, eax: int) -> None:
    image = from_assembly(f"mov eax, 0x12345678\nmov ebx, 0x3ffff\n{code}\nhlt", tmp_path)[0]
    with kvmdbg.open(image, engine="soft", serial="none", irqchip="none", machine="bare") as dbg:
        assert isinstance(dbg.run(timeout=30), stops.HaltedStop)
        assert dbg.regs.eax == eax
