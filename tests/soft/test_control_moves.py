"""MOV to control registers on the software engine: what a CPU refuses (SDM volume 2B, MOV), and CR8."""

from __future__ import annotations

from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.build import from_assembly
from kvmdbg.engine import stops
from tests.soft.long_mode import run


@pytest.mark.parametrize("step", [False, True])
@pytest.mark.parametrize(
    ("register", "value"),
    [
        ("cr0", 0x80000010),  # PG without PE
        ("cr0", 0x11),  # paging off in 64-bit mode
        ("cr0", 0xA0000011),  # NW without CD
        ("cr0", 0x180000011),
        ("cr3", 1 << 52 | 0x10000),
        ("cr4", 0x600),  # long mode without PAE
        ("cr4", 0x620 | 1 << 12),  # LA57
        ("cr4", 0x620 | 1 << 17),  # PCIDE
        ("cr4", 0x620 | 1 << 32),
        ("cr8", 16),
    ],
)
def test_what_a_cpu_refuses_raises_gp(tmp_path: Path, register: str, value: int, step: bool) -> None:
    ended = run(tmp_path, f"movabs rbx, {value}; mov {register}, rbx", step=step)
    assert (ended.vector, ended.offset, ended.error_code) == (13, 10, 0)


@pytest.mark.parametrize("step", [False, True])
@pytest.mark.parametrize(
    "code",
    [
        "mov rbx, cr0; mov cr0, rbx",
        "mov rbx, cr3; mov cr3, rbx",
        "mov rbx, cr4; or ebx, 0x50000; mov cr4, rbx; mov rcx, cr4",
    ],
)
def test_what_it_takes_is_done(tmp_path: Path, code: str, step: bool) -> None:
    ended = run(tmp_path, f"{code}; ud2", step=step)
    assert ended.vector == 6
    if "cr4" in code:
        assert ended.registers["rcx"] & 0x50000 == 0x50000


@pytest.mark.parametrize("step", [False, True])
def test_bits_of_cr0_that_there_are_not_stay_0(tmp_path: Path, step: bool) -> None:
    ended = run(tmp_path, "mov rbx, cr0; or ebx, 0x1ffaffc2; mov cr0, rbx; mov rcx, cr0; ud2", step=step)
    assert (ended.vector, ended.registers["rcx"]) == (6, 0x80000013)
    assert ended.registers["rbx"] == 0x9FFAFFD3


@pytest.mark.parametrize("step", [False, True])
@pytest.mark.parametrize("register", ["rcx", "r11"])
def test_cr8_keeps_the_priority(tmp_path: Path, register: str, step: bool) -> None:
    ended = run(tmp_path, f"mov eax, 5; mov cr8, rax; mov {register}, cr8; ud2", step=step)
    assert ended.vector == 6
    assert ended.registers["cr8"] == ended.registers[register] == 5


def test_registers_that_there_are_not(tmp_path: Path) -> None:
    for code in (b"\x0f\x22\xf0", b"\x0f\x20\xc8"):  # CR6, CR1
        assert run(tmp_path, code).vector == 6


def test_user_code_may_not(tmp_path: Path) -> None:
    for move in ("mov cr0, rax", "mov cr8, rax", "mov rax, cr8"):
        assert run(tmp_path, move, cpl=3).vector == 13


def test_long_mode_needs_pae(tmp_path: Path) -> None:
    """A mistake of boot code: CR0.PG is set with EFER.LME, but without CR4.PAE."""
    asm = (
        "mov word ptr [13 * 4], offset fault\nmov sp, 0x7000\n"
        "mov ecx, 0xc0000080\nmov eax, 0x100\nxor edx, edx\nwrmsr\n"
        "mov eax, 0x80000011\nmov cr0, eax\nhlt\nfault: mov bp, 0x600d\nhlt"
    )
    from_assembly(asm, tmp_path)
    with kvmdbg.open(tmp_path / "guest.bin", engine="soft", serial="none", irqchip="none", machine="bare") as dbg:
        assert isinstance(dbg.run(timeout=30), stops.HaltedStop)
        assert dbg.regs.bp == 0x600D
