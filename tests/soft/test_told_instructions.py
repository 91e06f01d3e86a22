"""CPUID, RDTSC and RDTSCP on the software engine: what comes behind them."""

from __future__ import annotations

from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.x86.asm import assemble


@pytest.mark.parametrize("told", ["cpuid", "rdtsc", "rdtscp"])
@pytest.mark.parametrize("makes", ["bt eax, 3", "cmc", "sahf", "das", "daa", "aaa", "rcl eax, 1", "add eax, 8"])
def test_flags_that_are_made_behind_them(tmp_path: Path, told: str, makes: str) -> None:
    """The same in one run as in steps: unicorn lost those that are not made from a result."""
    path = tmp_path / "guest.bin"
    path.write_bytes(assemble(f"xor ecx, ecx; {told}; mov eax, 0x1008; {makes}; pushfd; pop ebx; hlt", 0x1000, 32))
    ends = []
    for steps in (0, 5):
        with kvmdbg.open(
            path, format="flat", load=0x1000, mode="prot", memory=0x80000, engine="soft", serial="none", irqchip="none",
            registers={"rsp": 0x7000},
        ) as dbg:  # fmt: skip
            if steps:
                dbg.step(steps)
            assert dbg.run(timeout=60).reason == "halted"
            ends.append((dbg.registers.rax, dbg.registers.rbx))
    assert ends[0] == ends[1]
