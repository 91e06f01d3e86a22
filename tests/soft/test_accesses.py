"""Watched pages, devices and limits on the software engine."""

from __future__ import annotations

from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.build import from_assembly
from kvmdbg.engine import stops


def opened(folder: Path, asm: str) -> kvmdbg.Session:
    from_assembly(asm, folder)
    return kvmdbg.open(folder / "guest.bin", engine="soft", serial="none", irqchip="none", machine="bare")


@pytest.mark.parametrize("kind", ["write", "access"])
def test_an_instruction_with_several_writes_is_done_once(tmp_path: Path, kind: str) -> None:
    """Unicorn goes on with the others after the first was refused."""
    far = "mov sp, 0x7004\npush ax\n.byte 0x9a\n.word other, 0\nother: mov bp, sp\nhlt"
    with opened(tmp_path, far) as dbg:
        dbg.watch(0x7100, 2, kind)
        assert isinstance(dbg.run(timeout=30), stops.HaltedStop)
        assert dbg.regs.bp == 0x6FFE
        assert dbg.memory.read(0x7002, 2) == b"\0\0"
        assert dbg.memory.read(0x6FFE, 4) == (dbg.regs.pc - 3).to_bytes(2, "little") + b"\0\0"


def test_a_watchpoint_stops_at_each_write_and_tells_the_bytes(tmp_path: Path) -> None:
    with opened(tmp_path, "mov byte ptr [0x5003], 7\nmov word ptr [0x5000], 0x1234\nhlt") as dbg:
        dbg.watch(0x5000, 4)
        first, second = dbg.run(timeout=30), dbg.run(timeout=30)
        assert isinstance(first, stops.WatchpointStop) and first.new == b"\0\0\0\x07"
        assert isinstance(second, stops.WatchpointStop) and second.new == b"\x34\x12\0\x07"


def test_reads_and_writes_where_there_is_no_memory(tmp_path: Path) -> None:
    """In one instruction, too: it is done again with each answer."""
    asm = "mov ax, 0xffff\nmov ds, ax\nmov es, ax\nmov si, 0x8010\nmov di, 0x9010\nmovsw\nadd word ptr [0x8010], 5\nhlt"
    from_assembly(asm, tmp_path)
    options = {"engine": "soft", "serial": "none", "irqchip": "none", "machine": "bare", "memory": "1M"}
    with kvmdbg.open(tmp_path / "guest.bin", **options) as dbg:
        seen = []

        @dbg.on.mmio_read(when="before")
        def answer(exit):  # type: ignore[no-untyped-def]
            seen.append(("read", exit.address, exit.value))
            return 0x1122

        @dbg.on.mmio_write()
        def note(exit):  # type: ignore[no-untyped-def]
            seen.append(("write", exit.address, exit.value))

        assert isinstance(dbg.run(timeout=30), stops.HaltedStop)
        assert [(one[0], one[1]) for one in seen] == [
            ("read", 0x108000),
            ("write", 0x109000),
            ("read", 0x108000),
            ("write", 0x108000),
        ]
        assert seen[1][2] == 0x1122 and seen[3][2] == 0x1127


@pytest.mark.parametrize(
    ("asm", "wanted"),
    [
        ("mov ax, [0x8011]", [("read", 0x108001, 2)]),
        ("mov [0x8011], ax", [("write", 0x108001, 2, 0x6655)]),
        ("mov [0x8013], eax", [("write", 0x108003, 4, 0x88776655)]),
        ("inc dword ptr [0x8012]", [("read", 0x108002, 4), ("write", 0x108002, 4, 0x44332212)]),
        ("std; mov si, 0x8013; mov di, 0x8023; movsw", [("read", 0x108003, 2), ("write", 0x108013, 2, 0x2211)]),
        ("fild qword ptr [0x8010]", [("read", 0x108000, 8)]),
        ("fild qword ptr [0x8015]", [("read", 0x108005, 8)]),
        ("mov eax, [0x800d]", [("read", 0x107FFD, 3), ("read", 0x108000, 1)]),
        ("mov [0x800e], eax", [("write", 0x107FFE, 2, 0x6655), ("write", 0x108000, 2, 0x8877)]),
        ("inc dword ptr [0x800f]", [
            ("read", 0x107FFF, 1), ("read", 0x108000, 3),
            ("write", 0x107FFF, 1, 0x12), ("write", 0x108000, 3, 0x332211),
        ]),
    ],
)  # fmt: skip
def test_a_device_sees_each_access_as_the_instruction_makes_it(
    tmp_path: Path, asm: str, wanted: list[tuple[object, ...]]
) -> None:
    """Not aligned, and of 8 bytes, too; those across the end of a page are two."""
    lines = asm.replace("; ", "\n")
    from_assembly(f"mov cx, 0xffff\nmov ds, cx\nmov es, cx\nmov eax, 0x88776655\n{lines}\nhlt", tmp_path)
    options = {"engine": "soft", "serial": "none", "irqchip": "none", "machine": "bare", "memory": "1M"}
    with kvmdbg.open(tmp_path / "guest.bin", **options) as dbg:
        seen: list[tuple[object, ...]] = []

        @dbg.on.mmio_read(when="before")
        def answer(exit):  # type: ignore[no-untyped-def]
            seen.append(("read", exit.address, exit.size))
            return 0x8877665544332211 & (1 << 8 * exit.size) - 1

        @dbg.on.mmio_write()
        def note(exit):  # type: ignore[no-untyped-def]
            seen.append(("write", exit.address, exit.size, exit.value))

        assert isinstance(dbg.run(timeout=30), stops.HaltedStop)
        assert seen == wanted
        if asm.startswith("mov ax"):
            assert dbg.regs.ax == 0x2211
        if asm.startswith("mov eax"):
            assert dbg.regs.eax == 0x11332211


def test_a_limit_of_instructions_is_exact_and_breakpoints_come_before_it(tmp_path: Path) -> None:
    with opened(tmp_path, "again: inc cx\nnop\njmp again") as dbg:
        stop = dbg.run(instructions=100_001)
        assert isinstance(stop, stops.LimitStop) and dbg.regs.cx == (100_001 + 2) // 3 & 0xFFFF
        assert stop.pc == 0x1002
        dbg.break_at(0x1000)
        assert isinstance(dbg.run(instructions=1000), stops.BreakpointStop)
        assert isinstance(dbg.run(instructions=2), stops.LimitStop)


@pytest.mark.parametrize("kind", ["write", "access"])
def test_the_walk_of_watched_page_tables_is_no_access_and_sets_its_bits(kind: str) -> None:
    tables = (0x1000, 0x2000, 0x3000)
    with kvmdbg.open(Path(__file__).parents[2] / "guests/modes.bin", engine="soft", serial="none") as dbg:
        dbg.advance(0x7C91)  # which turns paging on
        for address in tables:
            dbg.watch(address, 64, kind)
        assert isinstance(dbg.run(timeout=30), stops.HaltedStop)
        assert [dbg.machine.memory.read(address, 1) for address in tables] == [b"\x23", b"\x23", b"\xa3"]


@pytest.mark.parametrize("kind", ["write", "access"])
def test_an_instruction_that_writes_to_read_only_memory_and_to_a_watched_page(tmp_path: Path, kind: str) -> None:
    """What it writes to the first is lost, and told; what it writes to the second is there."""
    with opened(tmp_path, "mov sp, 0x7002\n.byte 0x9a\n.word other, 0\nother: hlt") as dbg:
        dbg.machine.memory.make_read_only([(0x7000, 0x8000)])
        dbg.watch(0x6F00, 2, kind)
        with pytest.warns(RuntimeWarning, match=r"wrote to ROM \(2 bytes at 0x7000\)"):
            assert isinstance(dbg.run(timeout=30), stops.HaltedStop)
        assert dbg.regs.sp == 0x6FFE and dbg.memory.read(0x7000, 2) == b"\0\0"
        assert dbg.memory.read(0x6FFE, 2) == (dbg.regs.pc - 1).to_bytes(2, "little")
