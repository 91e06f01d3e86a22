"""A task gate in the IDT on the software engine, which does no task switch for an event."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.engine import stops
from kvmdbg.x86.asm import assemble

TSS = 0x4000


@pytest.mark.parametrize("code", ["ud2", "int1", "int 5", "xor ecx, ecx; div ecx"])
def test_it_ends_the_guest_in_words(tmp_path: Path, code: str) -> None:
    """With UD2 and INT1 it was tried over and over: KVM's are done by the debugger where KVM does not."""
    path = tmp_path / "guest.bin"
    path.write_bytes(assemble(f"lgdt [0x3000]; lidt [0x3010]; {code}", 0x1000, 32))
    with kvmdbg.open(
        path, format="flat", load=0x1000, mode="prot", memory=0x80000, engine="soft", serial="none", irqchip="none",
        registers={"rsp": 0x7000},
    ) as dbg:  # fmt: skip
        flat = (0xCF9B000000FFFF, 0xCF93000000FFFF)
        dbg.memory.write(0x2000, struct.pack("<4Q", 0, *flat, TSS << 16 | 0x67 | 0x89 << 40))
        dbg.memory.write(0x2100, struct.pack("<8Q", *[0x18 << 16 | 0x85 << 40] * 8))
        dbg.memory.write(0x3000, struct.pack("<HI10xHI", 31, 0x2000, 63, 0x2100))
        stop = dbg.run(timeout=30)
        assert isinstance(stop, stops.ExitStop), stop.describe()
        assert "while an event was being delivered" in stop.describe()
