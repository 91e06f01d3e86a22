"""Instructions of which unicorn makes another result or other flags than a CPU, on the software engine."""

from __future__ import annotations

from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.build import from_assembly
from kvmdbg.engine import stops
from kvmdbg.soft.corrections import CF, OF, SF, ZF, corrected
from tests.soft.long_mode import GDT, run

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


@pytest.mark.parametrize("step", [False, True])
@pytest.mark.parametrize(("cpl", "bits"), [(0, 64), (3, 64), (3, 32)])
@pytest.mark.parametrize(("name", "refused"), [("lar", {1, 3, 4, 5}), ("lsl", {1, 3, 4, 5, 12})])
@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5, 9, 11, 12])
def test_types_that_ia32e_mode_has_none_of(
    tmp_path: Path, name: str, refused: set[int], kind: int, cpl: int, bits: int, step: bool
) -> None:
    """In the place of a descriptor of which nothing is loaded."""
    selector = 0x1B if bits == 64 else 0x2B
    described = 0x4567 | 0xE000 << 32 | kind << 40

    def lay(dbg: kvmdbg.Session) -> None:
        dbg.memory.write(GDT + (selector & ~7), described.to_bytes(8, "little"))

    code = f"mov ebx, 7; mov eax, {selector}; {name} ebx, eax; setz cl; and ecx, 1; ud2"
    ended = run(tmp_path, code, cpl=cpl, bits=bits, step=step, setup=lay)
    value = 7 if kind in refused else 0x4567 if name == "lsl" else 0xE000 | kind << 8
    assert (ended.vector, ended.registers["rcx"], ended.registers["rbx"]) == (6, kind not in refused, value)


def test_lar_and_lsl_of_what_is_not_mapped_fault(tmp_path: Path) -> None:
    ended = run(tmp_path, "mov eax, 0x40000000; mov ebx, 7; lar ebx, word ptr [rax]")
    assert (ended.vector, ended.offset, ended.registers["rbx"]) == (14, 10, 7)
