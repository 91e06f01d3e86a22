"""Instructions whose access a guard refuses: flags that were made before them are still the guest's."""

from __future__ import annotations

from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.x86.asm import assemble


@pytest.mark.parametrize("after", ["", "mov [0x6ff0], eax", "adc dword ptr [0x6ff0], 3", "push ecx"])
@pytest.mark.parametrize(
    "sets", ["add ebx, 1; add ebx, 0x4f", "sub ebx, 0x7fffff77", "neg ebx", "mul ebx", "std", "stc"]
)
def test_flags(tmp_path: Path, sets: str, after: str) -> None:
    """Unicorn puts them together before each instruction and forgets that it has where it gives one up."""
    path = tmp_path / "guest.bin"
    path.write_bytes(assemble(f"stc; {sets}; {after}; pushfd; pop eax", 0x1000, 32) + b"\xf4")
    ends = []
    for watched in (False, True):
        with kvmdbg.open(
            path, format="flat", load=0x1000, mode="prot", memory=0x80000, engine="soft", serial="none", irqchip="none",
            registers={"rbx": 0x88, "rsp": 0x7000},
        ) as dbg:  # fmt: skip
            if watched:
                dbg.watch(0x6FF0, 16, "write", "0")
            assert dbg.run(timeout=60).reason == "halted"
            ends.append((dbg.registers.rax, dbg.registers.rflags, dbg.memory.read(0x6FF0, 16)))
    assert ends[0] == ends[1]
