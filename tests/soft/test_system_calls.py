"""SYSCALL, SYSENTER, SYSRET and SYSEXIT on the software engine (SDM volume 2B)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import kvmdbg
from tests.soft.long_mode import CODE, Ended, run

EFER, STAR, LSTAR, FMASK = 0xC0000080, 0xC0000081, 0xC0000082, 0xC0000084
CS, ESP, EIP = 0x174, 0x175, 0x176
KERNEL = 0x2100
FAST = {EFER: 0x501, STAR: 0x18 << 48 | 8 << 32, LSTAR: KERNEL, FMASK: 0x200}
OLD = {CS: 8, ESP: 0x7700, EIP: KERNEL}


def with_msrs(msrs: dict[int, int]) -> Callable[[kvmdbg.Session], None]:
    def set_up(dbg: kvmdbg.Session) -> None:
        dbg.memory.write(KERNEL, b"\x0f\x0b")
        for index, value in msrs.items():
            dbg.state_of.set_msr(index, value)

    return set_up


def ended(folder: Path, code: str | bytes, msrs: dict[int, int], *, cpl: int = 3, bits: int = 64, step: bool) -> Ended:
    return run(folder, code, cpl=cpl, bits=bits, flags=0x202, step=step, setup=with_msrs(msrs))


@pytest.mark.parametrize("step", [False, True])
def test_syscall_goes_to_the_kernel(tmp_path: Path, step: bool) -> None:
    found = ended(tmp_path, "nop; syscall", FAST, step=step)
    assert (found.vector, found.offset + CODE, found.cs) == (6, KERNEL, 8)
    assert found.registers["rcx"] == CODE + 3
    assert found.registers["r11"] & 0x202 == 0x202
    assert not found.registers["rflags"] & 0x200
    assert found.registers["rsp"] == 0x7800 - 40  # SYSCALL leaves it


@pytest.mark.parametrize("step", [False, True])
@pytest.mark.parametrize("bits", [64, 32])
def test_sysenter_goes_to_the_kernel(tmp_path: Path, bits: int, step: bool) -> None:
    found = ended(tmp_path, "nop; sysenter", OLD, bits=bits, step=step)
    assert (found.vector, found.offset + CODE, found.cs) == (6, KERNEL, 8)
    assert found.registers["rsp"] == 0x7700 - 40
    assert not found.registers["rflags"] & 0x200


@pytest.mark.parametrize("step", [False, True])
@pytest.mark.parametrize("there_and_back", [("syscall", b"\x48\x0f\x07", FAST), ("sysenter", b"\x48\x0f\x35", OLD)])
def test_there_and_back(tmp_path: Path, there_and_back: tuple[str, bytes, dict[int, int]], step: bool) -> None:
    there, back, msrs = there_and_back

    def set_up(dbg: kvmdbg.Session) -> None:
        with_msrs(msrs)(dbg)
        dbg.memory.write(KERNEL, back)

    code = f"lea rdx, [rip + behind]; mov ecx, 0x7800; {there}; behind: mov ebx, 7; ud2"
    found = run(tmp_path, code, cpl=3, step=step, setup=set_up)
    assert (found.vector, found.cs, found.registers["rbx"]) == (6, 0x2B, 7)


@pytest.mark.parametrize("step", [False, True])
@pytest.mark.parametrize(
    ("code", "msrs", "bits", "vector"),
    [
        ("syscall", FAST | {EFER: 0x500}, 64, 6),
        ("syscall", FAST, 32, 6),  # Intel's: in 64-bit mode alone
        ("sysret", FAST | {EFER: 0x500}, 64, 6),
        ("sysret", FAST, 32, 6),
        ("sysret", FAST, 64, 13),
        ("sysenter", OLD | {CS: 0}, 64, 13),
    ],
)
def test_what_is_refused(tmp_path: Path, code: str, msrs: dict[int, int], bits: int, vector: int, step: bool) -> None:
    found = ended(tmp_path, code, msrs, bits=bits, step=step)
    assert (found.vector, found.offset) == (vector, 0)


@pytest.mark.parametrize("step", [False, True])
@pytest.mark.parametrize("back", [b"\x48\x0f\x07", b"\x48\x0f\x35"], ids=["sysret", "sysexit"])
def test_a_return_to_what_is_no_address_faults_in_the_kernel(tmp_path: Path, back: bytes, step: bool) -> None:
    for code in (b"\x48\xb9\0\0\0\0\0\x80\0\0", b"\x48\xba\0\0\0\0\0\x80\0\0"):  # mov rcx or rdx, 0x800000000000
        if back[-1] == 7 and code[1] == 0xBA:
            continue
        found = ended(tmp_path, code + back, FAST | OLD, cpl=0, step=step)
        assert (found.vector, found.offset, found.error_code, found.cs) == (13, 10, 0, 8)
