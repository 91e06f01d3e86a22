"""What the guest writes is in the log of written pages, and going back undoes it."""

from __future__ import annotations

from pathlib import Path

import kvmdbg
from kvmdbg.build import from_assembly

GUEST = """
    mov ax, 0x1234
    mov [0x3000], ax
    mov [0x4fff], ax
    mov word ptr [0x6000], 7
again:
    inc word ptr [0x6000]
    jmp again
"""


def test_only_written_pages_are_logged_and_they_come_back(tmp_path: Path) -> None:
    from_assembly(GUEST, tmp_path)
    with kvmdbg.open(tmp_path / "guest.bin", engine="soft", serial="none", irqchip="none") as dbg:
        memory = dbg.machine.memory
        dbg.snapshots.save("start")
        for _ in range(2):
            dbg.run(instructions=100)
            assert memory.read(0x3000, 2) == memory.read(0x4FFF, 2) == b"\x34\x12"
            assert {address & -0x1000 for address in memory.take_dirty()} == {0x3000, 0x4000, 0x5000, 0x6000}
            assert int.from_bytes(memory.read(0x6000, 2), "little") == 7 + 48
            memory.write(0x3000, b"\0\0")  # as the log has been taken
            for page in (0x4000, 0x5000, 0x6000):
                memory.write(page, memory.read(page, 1))
            dbg.snapshots.restore("start")
            assert memory.read(0x4FFF, 2) == memory.read(0x6000, 2) == bytes(2)


def test_the_same_run_again_from_a_snapshot(tmp_path: Path) -> None:
    from_assembly(GUEST, tmp_path)
    with kvmdbg.open(tmp_path / "guest.bin", engine="soft", serial="none", irqchip="none") as dbg:
        dbg.run(instructions=10)
        dbg.snapshots.save("here")
        ends = []
        for _ in range(3):
            dbg.run(instructions=12345)
            ends.append((dbg.regs.pc, dbg.machine.memory.read(0x6000, 2)))
            dbg.snapshots.restore("here")
        assert len(set(ends)) == 1
