"""Runs of so many instructions on the software engine end where as many steps do."""

from __future__ import annotations

from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.x86.asm import assemble


@pytest.mark.parametrize("asm", ["rdtsc", "rdtscp", "cpuid", "in al, 0x80", "out 0x80, al", "mov al, [0xa0000]"])
def test_what_ends_unicorn_s_run_counts_once(tmp_path: Path, asm: str) -> None:
    """The hook that counts has been called for the next instruction, too, where unicorn ends."""
    path = tmp_path / "guest.bin"
    path.write_bytes(assemble(f"nop; {asm}; nop; {asm}; {asm}; inc ebx; nop; hlt", 0x1000, 32))
    ends = []
    for runs in (False, True):
        for count in range(1, 8):
            with kvmdbg.open(
                path, format="flat", load=0x1000, mode="prot", memory=0x80000, engine="soft", serial="none",
                irqchip="none",
            ) as dbg:  # fmt: skip
                if runs:
                    dbg.run(instructions=count)
                else:
                    dbg.step(count)
                ends.append(dbg.regs.pc)
    assert ends[:7] == ends[7:]
