"""int 13h, each function on disks of numbered sectors."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from tests.firmware.machine import Pc


def numbered(path: Path, sectors: int, size: int = 512) -> str:
    path.write_bytes(b"".join(struct.pack("<I", n).ljust(size, b".") for n in range(sectors)))
    return str(path)


@pytest.fixture
def pc(tmp_path: Path) -> Pc:
    """A floppy of 1.44 MB, a hard disk of 20 cylinders, and a CD."""
    pc = Pc()
    for name, kind, sectors, size in (("f", "floppy", 2880, 512), ("d", "disk", 20160, 512), ("c", "cdrom", 40, 2048)):
        pc.board.disks.add(numbered(tmp_path / name, sectors, size), kind)
    return pc.start()


def sector_at(pc: Pc, address: int) -> int:
    return int.from_bytes(pc.read(address, 4), "little")


def packet(pc: Pc, first: int, count: int, buffer: int = 0x1000_0000, size: int = 16, flat: int = 0) -> None:
    pc.write(0x600, struct.pack("<BBHIQQ", size, 0, count, buffer, first, flat))


def test_sectors_by_their_place(pc: Pc) -> None:
    pc.call(0x13, ax=0x0203, cx=0x0102, dx=0x0100, es=0x1000, bx=0x200)  # cylinder 1, head 1, sector 2
    assert (pc.ah, pc.al, pc.carry) == (0, 3, False)
    assert [sector_at(pc, 0x10200 + 512 * n) for n in range(3)] == [55, 56, 57]
    pc.call(0x13, ax=0x0201, cx=0x0101, dx=0x0280, es=0, bx=0x800)
    assert sector_at(pc, 0x800) == 1 * 16 * 63 + 2 * 63
    assert pc.read(0x474, 1) == b"\0"


def test_a_floppy_is_not_read_across_64_kib(pc: Pc, tmp_path: Path) -> None:
    """Its sectors come by DMA, which ends there; hard disks and the floppy that a CD stands for have none."""
    for what in (0x0200, 0x0300):
        pc.call(0x13, ax=what | 2, cx=1, dx=0, es=0x1F00, bx=0x0E00)
        assert (pc.ah, pc.al, pc.carry, pc.word(0x1FE00)) == (9, 0, True, 0)
    pc.call(0x13, ax=0x0402, cx=1, dx=0, es=0x1F00, bx=0x0E00)
    assert not pc.carry
    pc.call(0x13, ax=0x0201, cx=2, dx=0, es=0x1F00, bx=0x0E00)
    assert (pc.ah, pc.carry, sector_at(pc, 0x1FE00)) == (0, False, 1)
    pc.call(0x13, ax=0x0202, cx=1, dx=0x80, es=0x1F00, bx=0x0E00)
    assert (pc.ah, pc.carry, sector_at(pc, 0x20000)) == (0, False, 1)
    cd = Pc()
    cd.board.disks.add(str(tmp_path / "f"), "floppy")
    cd.board.disks.add(str(tmp_path / "f"), "cdrom")
    cd.start().call(0x13, ax=0x0202, cx=1, dx=0, es=0x1F00, bx=0x0E00)
    assert (cd.ah, cd.carry, sector_at(cd, 0x20000)) == (0, False, 1)


@pytest.mark.parametrize(("cx", "head", "sector"), [(18, 0, 17), (19, 0, 18), (63, 0, 62), (1, 1, 18), (5, 2, 130)])
def test_what_may_be_a_floppy_has_a_hard_disks_first_track(tmp_path: Path, cx: int, head: int, sector: int) -> None:
    """Small images that are tried on a hard disk (`qemu-system-i386 boot.bin`) read sector by sector beyond 18."""
    pc = Pc()
    pc.board.disks.add_for_both(numbered(tmp_path / "b", 200), floppy=True, hard_disk=True)
    pc.start().call(0x13, ax=0x0201, cx=cx, dx=head << 8 | 0x80, es=0, bx=0x800)
    assert (pc.ah, pc.al, sector_at(pc, 0x800)) == (0, 1, sector)
    pc.call(0x13, ax=0x0201, cx=cx, dx=head << 8, es=0, bx=0x800)
    assert pc.ah == (0 if cx <= 18 and head < 2 else 4)
    pc.call(0x13, ax=0x0201, cx=cx & ~63, dx=head << 8 | 0x80, es=0, bx=0x800)
    assert pc.ah == 4


def test_the_high_bits_of_a_cylinder(tmp_path: Path) -> None:
    pc = Pc()
    with open(tmp_path / "d", "wb") as file:
        file.truncate(300 * 16 * 63 * 512)
        file.seek(0x12B * 16 * 63 * 512)
        file.write(b"here")
    pc.board.disks.add(str(tmp_path / "d"), "disk")
    pc.start()
    pc.call(0x13, ax=0x0201, cx=0x2B41, dx=0x0080, es=0, bx=0x800)  # cylinder 0x12b
    assert pc.read(0x800, 4) == b"here"
    pc.call(0x13, ax=0x0800, dx=0x80)
    assert (pc.cx, pc.dh, pc.dl, pc.carry) == (0x2B7F, 15, 1, False)


@pytest.mark.parametrize(
    ("ax", "cx", "dx", "status"),
    [
        (0x0201, 0x0013, 0x0000, 4), (0x0201, 0x5001, 0x0000, 4), (0x0201, 0x0001, 0x0200, 4), (0x0201, 1, 0x0081, 1),
        (0x0200, 0x0001, 0x0000, 1), (0x0202, 0x4F12, 0x0100, 4), (0x0201, 0x0001, 0x0001, 0x80), (0x0201, 0, 0, 4),
        (0x7700, 0x0001, 0x0000, 1),
    ],
)  # fmt: skip
def test_what_is_not_there(pc: Pc, ax: int, cx: int, dx: int, status: int) -> None:
    pc.call(0x13, ax=ax, cx=cx, dx=dx, es=0x1000)
    assert (pc.ah, pc.carry) == (status, True)
    if ax != 0x7700:
        assert pc.al == 0
        pc.call(0x13, ax=0x0100, dx=dx)
        assert (pc.ah, pc.carry) == (status, True)


def test_writes_are_read_back(pc: Pc) -> None:
    pc.write(0x800, b"W" * 1024)
    pc.call(0x13, ax=0x0302, cx=0x0005, dx=0x0000, es=0, bx=0x800)
    assert (pc.ah, pc.al, pc.carry) == (0, 2, False)
    pc.call(0x13, ax=0x0203, cx=0x0005, dx=0x0000, es=0, bx=0x2000)
    assert pc.read(0x2000, 1024) == b"W" * 1024
    assert sector_at(pc, 0x2400) == 6
    pc.call(0x13, ax=0x0402, cx=0x0005, dx=0x0000)
    assert (pc.ah, pc.al, pc.carry) == (0, 2, False)
    pc.call(0x13, ax=0x0500, cx=0x0001, dx=0x0000)
    pc.call(0x13, ax=0x0201, cx=0x0005, dx=0x0000, es=0, bx=0x2000)
    assert pc.read(0x2000, 512) == b"\xf6" * 512


def test_what_drives_there_are(pc: Pc) -> None:
    pc.call(0x13, ax=0x0800, dx=0, es=0x1234, di=9)
    assert (pc.bl, pc.cx, pc.dh, pc.dl, pc.ax, pc.carry) == (4, 0x4F12, 1, 1, 0, False)
    table = (pc.sregs.es.selector << 4) + pc.di
    assert pc.read(table + 3, 2) == bytes((2, 18))
    pc.call(0x13, ax=0x0800, dx=0x81)
    assert (pc.ah, pc.dl, pc.carry) == (7, 1, True)
    for drive, kind in ((0, 1), (1, 0), (0x80, 3), (0x81, 0)):
        pc.call(0x13, ax=0x1500, dx=drive)
        assert (pc.ah, pc.carry) == (kind, False)
    pc.call(0x13, ax=0x1500, dx=0x80)
    assert pc.cx << 16 | pc.dx == 20160
    assert pc.read(0x475, 1) == b"\1"
    assert pc.word(0x410) & 0xC1 == 1
    at = pc.word(0x41 * 4) + (pc.word(0x41 * 4 + 2) << 4)
    assert struct.unpack("<HB", pc.read(at, 3)) == (20, 16)
    assert pc.read(at + 14, 1) == bytes((63,))


def test_sectors_by_number(pc: Pc) -> None:
    pc.call(0x13, ax=0x4100, bx=0x55AA, dx=0x80)
    assert (pc.bx, pc.ah, pc.cx & 1, pc.carry) == (0xAA55, 0x30, 1, False)
    packet(pc, 20157, 3)
    pc.call(0x13, ax=0x4200, dx=0x80, ds=0, si=0x600)
    assert (pc.ah, pc.carry) == (0, False)
    assert [sector_at(pc, 0x10000 + 512 * n) for n in range(3)] == [20157, 20158, 20159]
    packet(pc, 7, 1, 0xFFFFFFFF, 24, 0x200000)
    pc.call(0x13, ax=0x4200, dx=0x80, ds=0, si=0x600)
    assert sector_at(pc, 0x200000) == 7
    packet(pc, 20159, 2)
    pc.call(0x13, ax=0x4200, dx=0x80, ds=0, si=0x600)
    assert (pc.ah, pc.carry, pc.word(0x602)) == (4, True, 0)
    pc.write(0x10000, b"W" * 512)
    packet(pc, 5, 1)
    pc.call(0x13, ax=0x4300, dx=0x80, ds=0, si=0x600)
    assert pc.board.disks.hard_disks[0].read(5, 1) == b"W" * 512
    for ax in (0x4400, 0x4700):
        packet(pc, 5, 1)
        pc.call(0x13, ax=ax, dx=0x80, ds=0, si=0x600)
        assert not pc.carry
    pc.call(0x13, ax=0x4100, bx=0x55AA, dx=0)
    assert (pc.ah, pc.carry) == (1, True)


def test_write_protected_disks(tmp_path: Path) -> None:
    pc = Pc()
    for kind, size in (("floppy", 1474560), ("disk", 1 << 20)):
        path = tmp_path / kind
        path.write_bytes(b"r" * size)
        pc.board.disks.add(f"{path},readonly", kind)
    pc.start()
    for drive in (0, 0x80):
        pc.call(0x13, ax=0x0301, cx=1, dx=drive, es=0x1000)
        assert (pc.ah, pc.al, pc.carry) == (3, 0, True)
        pc.call(0x13, ax=0x0201, cx=1, dx=drive, es=0x1000)
        assert not pc.carry and pc.read(0x10000, 2) == b"rr"
    assert "read-only" in pc.board.disks.details()["fd0"]
    pc.board.disks.close()


def test_large_disks(tmp_path: Path) -> None:
    """Beyond 8.4 GB and beyond 2 TiB: what has no room for the size says the most that it can."""
    path = tmp_path / "large"
    path.touch()
    os.truncate(path, 3 << 40)
    pc = Pc()
    pc.board.disks.add(str(path), "disk")
    pc.start()
    pc.call(0x13, ax=0x0800, dx=0x80)
    assert (pc.cx, pc.dh) == (0xFFFF, 254)
    pc.call(0x13, ax=0x1500, dx=0x80)
    assert (pc.ah, pc.cx, pc.dx) == (3, 0xFFFF, 0xFFFF)
    pc.write(0x600, struct.pack("<H", 0x1E))
    pc.call(0x13, ax=0x4800, dx=0x80, ds=0, si=0x600)
    assert struct.unpack("<HHIIIQ", pc.read(0x600, 24)) == (0x1E, 2, 16383, 16, 63, 3 << 31)
    packet(pc, (3 << 31) - 1, 1)
    pc.call(0x13, ax=0x4200, dx=0x80, ds=0, si=0x600)
    assert not pc.carry
    pc.board.disks.close()


def test_media_that_are_to_be_formatted(pc: Pc) -> None:
    pc.call(0x13, ax=0x1800, cx=0x4F12, dx=0)
    table = (pc.sregs.es.selector << 4) + pc.di
    assert not pc.carry and pc.read(table + 4, 1) == bytes((18,))
    pc.call(0x13, ax=0x1800, cx=0x2709, dx=0)
    assert (pc.ah, pc.carry) == (0x0C, True), "360 KB: nothing that is in there"


def test_a_disk_in_numbers(pc: Pc) -> None:
    pc.write(0x600, struct.pack("<H", 0x1E))
    pc.call(0x13, ax=0x4800, dx=0x80, ds=0, si=0x600)
    assert struct.unpack("<HHIIIQHI", pc.read(0x600, 0x1E)) == (0x1E, 2, 20, 16, 63, 20160, 512, 0xFFFFFFFF)
    pc.write(0x600, struct.pack("<H", 0x19))
    pc.call(0x13, ax=0x4800, dx=0x80, ds=0, si=0x600)
    assert (pc.ah, pc.carry) == (1, True)


def test_a_cd(pc: Pc) -> None:
    pc.call(0x13, ax=0x4100, bx=0x55AA, dx=0xE0)
    assert not pc.carry
    packet(pc, 17, 2)
    pc.call(0x13, ax=0x4200, dx=0xE0, ds=0, si=0x600)
    assert [sector_at(pc, 0x10000), sector_at(pc, 0x10800)] == [17, 18]
    packet(pc, 17, 1)
    pc.call(0x13, ax=0x4300, dx=0xE0, ds=0, si=0x600)
    assert (pc.ah, pc.carry) == (3, True)
    pc.write(0x600, struct.pack("<H", 0x1A))
    pc.call(0x13, ax=0x4800, dx=0xE0, ds=0, si=0x600)
    assert struct.unpack("<QH", pc.read(0x610, 10)) == (40, 2048)
    pc.call(0x13, ax=0x4B01, dx=0xE0, ds=0, si=0x600)
    assert pc.carry, "it is no CD that boots"


def test_memory_that_is_not_there(pc: Pc) -> None:
    packet(pc, 5, 1, 0xFFFFFFFF, 24, 0x10000000)
    pc.call(0x13, ax=0x4200, dx=0x80, ds=0, si=0x600)
    assert (pc.ah, pc.carry) == (9, True)


def test_emulation_of_a_cd_that_cannot_be_read(pc: Pc, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(first: int, count: int) -> bytes:
        raise OSError(5, "Input/output error")

    assert pc.board.disks.cdrom is not None
    monkeypatch.setattr(pc.board.disks.cdrom, "read", fails)
    pc.call(0x13, ax=0x4B01, dx=0xE0, ds=0, si=0x600)
    assert (pc.ah, pc.carry) == (0x20, True)
    assert "Input/output error: the guest is told of a failure" in pc.said[-1]


def test_formatting_fails_as_writing_does(pc: Pc, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(first: int, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pc.board.disks.floppies[0], "write", full)
    pc.call(0x13, ax=0x0501, cx=0x0101, dx=0x0000)
    assert (pc.ah, pc.carry, pc.read(0x441, 1)) == (0x20, True, b"\x20")
    assert "No space left on device: the guest is told of a failure" in pc.said[-1]
    pc.call(0x13, ax=0x0501, cx=0x0101, dx=0x00E0)
    assert (pc.ah, pc.carry) == (3, True), "a CD is not formatted"
