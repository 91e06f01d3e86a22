"""What the guest writes is in the log of written pages, and going back undoes it."""

from __future__ import annotations

from pathlib import Path

import kvmdbg
from kvmdbg.build import from_assembly

MODES = Path(__file__).parents[2] / "guests/modes.bin"
TURNS_PAGING_ON, IN_LONG_MODE = 0x7C91, 0x7C9B
TABLES = (0x1000, 0x2000, 0x3000)
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


def test_the_walk_of_page_tables_sets_its_bits_and_they_are_in_the_log() -> None:
    """Accessed bits of two levels, accessed and dirty ones of a large page."""
    with kvmdbg.open(MODES, engine="soft", serial="none") as dbg:
        dbg.snapshots.save("start")
        dbg.advance(TURNS_PAGING_ON)
        assert [dbg.machine.memory.read(address, 1) for address in TABLES] == [b"\x03", b"\x03", b"\x83"]
        dbg.snapshots.save("before paging")
        for _ in range(2):
            dbg.advance(IN_LONG_MODE)
            assert [dbg.machine.memory.read(address, 1) for address in TABLES] == [b"\x23", b"\x23", b"\xa3"]
            assert set(TABLES) <= dbg.machine.memory.take_dirty()
            for address in TABLES:
                dbg.machine.memory.write(address, dbg.machine.memory.read(address, 1))  # as the log has been taken
            dbg.snapshots.restore("before paging")
            assert [dbg.machine.memory.read(address, 1) for address in TABLES] == [b"\x03", b"\x03", b"\x83"]


def test_a_snapshot_leaves_cr2_as_it_is() -> None:
    """Memory that is not mapped at its own address there is taken from unicorn's map and put back for it."""
    with kvmdbg.open(MODES, engine="soft", serial="none") as dbg:
        dbg.advance(IN_LONG_MODE)
        dbg.snapshots.save("here")
        dbg.step()
        assert dbg.regs.cr2 == 0


CHANGES = """
    mov ax, 0x0200
    mov ds, ax
    mov es, ax
    fldpi
    mov word ptr [0x10], 0x27f
    fldcw [0x10]
    mov eax, cr4
    or ax, 0x200
    mov cr4, eax
    mov dword ptr [0x14], 0x3f80
    ldmxcsr [0x14]
    mov cr2, eax
    hlt
"""


def test_segments_control_registers_and_the_fpu_come_back_each_time(tmp_path: Path) -> None:
    """What is there already is not written again: that must not be said of what has changed meanwhile."""
    from_assembly(CHANGES, tmp_path)
    with kvmdbg.open(tmp_path / "guest.bin", engine="soft", serial="none", irqchip="none", machine="bare") as dbg:
        vcpu = dbg.runner.vcpu

        def seen() -> tuple[bytes, bytes, bytes]:
            return bytes(vcpu.get_sregs()), bytes(vcpu.get_xsave()), bytes(vcpu.get_regs())

        start = seen()
        dbg.snapshots.save("start")
        ends = []
        for instructions in (12, 5, 2, 9, 0, 12, 12):
            dbg.snapshots.restore("start")
            dbg.snapshots.restore("start")
            assert seen() == start
            if instructions:
                dbg.run(instructions=instructions)
                ends.append(seen())
        assert ends[0] == ends[-1] == ends[-2]
        assert len({sregs for sregs, _, _ in ends}) > 1
        assert len({xsave for _, xsave, _ in ends}) > 1
