"""Accesses that begin on the page before a watched one."""

from __future__ import annotations

from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.build import from_assembly
from kvmdbg.engine import stops


@pytest.mark.parametrize("kind", ["write", "read", "access"])
@pytest.mark.parametrize(
    "asm",
    [
        "add word ptr [0x5fff], 0x1234",
        "xor dword ptr [0x5ffd], 0x12345678",
        "xchg word ptr [0x5fff], ax",
        "xadd dword ptr [0x5ffe], ebx",
        "mov sp, 0x5fff\npop ax\npush ax\nxor word ptr [0x5fff], 0x1111",
    ],
)
def test_a_change_across_the_end_of_a_page_is_made_once(tmp_path: Path, kind: str, asm: str) -> None:
    from_assembly(f"mov eax, 0x99aabbcc\nmov ebx, 0x01020304\n{asm}\nhlt", tmp_path)
    ends = []
    for watched in (False, True):
        with kvmdbg.open(tmp_path / "guest.bin", engine="soft", serial="none", irqchip="none", machine="bare") as dbg:
            dbg.memory.write(0x5FF8, bytes(range(0x81, 0x91)))
            if watched:
                dbg.watch(0x6800, 4, kind)
            assert isinstance(dbg.run(timeout=30), stops.HaltedStop)
            ends.append((dbg.regs.eax, dbg.regs.ebx, dbg.memory.read(0x5FF8, 16)))
    assert ends[0] == ends[1]


def test_code_changes_itself_on_the_page_before(tmp_path: Path) -> None:
    """Its writes are let through, and are noticed as others are."""
    asm = "mov cx, 3\nagain: mov byte ptr [here + 1], cl\njmp here\nhere: mov al, 0x55\nadd bl, al\nloop again\nhlt"
    from_assembly(asm, tmp_path)
    with kvmdbg.open(tmp_path / "guest.bin", engine="soft", serial="none", irqchip="none", machine="bare") as dbg:
        dbg.watch(0x2800, 4, "write")
        assert isinstance(dbg.run(timeout=30), stops.HaltedStop)
        assert dbg.regs.bl == 3 + 2 + 1


@pytest.mark.parametrize("before", [None, "write"])
@pytest.mark.parametrize(
    "asm",
    [
        "mov eax, [0x5ffe]",
        "mov ax, [0x5ffe]\nmov ax, [0x6000]\nmov eax, [0x5ffe]",
        "mov sp, 0x5fff\npop ax",
        "mov sp, 0x5ff6\npopad",
        "mov si, 0x5ffd\nlodsd",
    ],
)
def test_a_read_that_ends_on_a_withdrawn_page_is_seen(tmp_path: Path, before: str | None, asm: str) -> None:
    from_assembly(f"{asm}\nhlt", tmp_path)
    with kvmdbg.open(tmp_path / "guest.bin", engine="soft", serial="none", irqchip="none", machine="bare") as dbg:
        dbg.memory.write(0x5FFE, b"\x11\x22\x33\x44")
        if before:
            dbg.watch(0x5800, 4, before)
        dbg.watch(0x6000, 1, "read")
        seen = []
        while isinstance(stop := dbg.run(timeout=30), stops.WatchpointStop):
            seen.append(stop.new)
        assert isinstance(stop, stops.HaltedStop)
        assert seen == [b"\x33"] * (2 if "0x6000" in asm else 1)
