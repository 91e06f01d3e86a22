"""Ports on the software engine: IOPL, and the bit map in the TSS (SDM volume 1, 19.5)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soft.long_mode import run

IOPL_3 = 0x3002


@pytest.mark.parametrize("step", [False, True])
@pytest.mark.parametrize("bits", [64, 32])
@pytest.mark.parametrize("code", ["out 0x60, al", "in al, 0x60", "in eax, dx", "rep outsb"])
def test_user_code_has_no_ports_of_its_own(tmp_path: Path, code: str, bits: int, step: bool) -> None:
    found = run(
        tmp_path, f"mov edx, 0x60; mov esi, 0x2000; mov ecx, 3; mov eax, 0x55; {code}", cpl=3, bits=bits, step=step
    )
    assert (found.vector, found.offset, found.error_code) == (13, 20, 0)
    assert [found.registers[name] for name in ("rax", "rcx", "rsi")] == [0x55, 3, 0x2000]


@pytest.mark.parametrize("step", [False, True])
@pytest.mark.parametrize("code", ["out 0x81, al", "in al, 0x81"])
def test_iopl_and_the_kernel_may(tmp_path: Path, code: str, step: bool) -> None:
    assert run(tmp_path, f"{code}; ud2", cpl=3, flags=IOPL_3, step=step).vector == 6
    assert run(tmp_path, f"{code}; ud2", step=step).vector == 6


@pytest.mark.parametrize("step", [False, True])
@pytest.mark.parametrize(
    ("code", "vector"),
    [("out 0x80, al", 6), ("in al, 0x80", 6), ("out 0x81, al", 13), ("out 0x80, ax", 13), ("in al, 0x90", 13)],
)
def test_the_bit_map_says_which_ports(tmp_path: Path, code: str, vector: int, step: bool) -> None:
    assert run(tmp_path, f"{code}; ud2", cpl=3, step=step).vector == vector
