"""Disks made of files: what is in them, where writes go, how they are made, what cannot be one."""

from __future__ import annotations

import os
import signal
import struct
from pathlib import Path

import pytest

from kvmdbg.errors import KvmdbgError, LoadError, UsageError
from kvmdbg.machine.disk import CD_SECTOR, Disk, Disks, Geometry, disk_geometry, floppy_geometry, partitions

KIB = 1024


def numbered(path: Path, sectors: int, size: int = 512) -> str:
    """A file whose sectors begin with their numbers."""
    path.write_bytes(b"".join(struct.pack("<I", n).ljust(size, b".") for n in range(sectors)))
    return str(path)


def partition(first: int, count: int, end: tuple[int, int, int], kind: int = 0x83, flag: int = 0x80) -> bytes:
    cylinder, head, sector = end
    entry = struct.pack(
        "<8B2I", flag, 0, 1, 0, kind, head, sector | cylinder >> 2 & 0xC0, cylinder & 0xFF, first, count
    )
    return bytes(446) + entry + bytes(48) + b"\x55\xaa"


def test_sectors_are_read_by_number(tmp_path: Path) -> None:
    disk = Disk("hd0", numbered(tmp_path / "a", 100), "disk")
    assert disk.sectors == 100
    assert disk.read(7, 2)[:4] == b"\7\0\0\0"
    assert disk.read(7, 2)[512:516] == b"\10\0\0\0"
    for first, count in ((100, 1), (99, 2), (-1, 1)):
        with pytest.raises(ValueError, match="which has 100"):
            disk.read(first, count)


def test_writes_stay_in_memory_and_come_back(tmp_path: Path) -> None:
    path = numbered(tmp_path / "a", 20)
    before = Path(path).read_bytes()
    disk = Disk("hd0", path, "disk")
    disk.write(3, b"A" * 1024)
    state = disk.save()
    disk.write(4, b"B" * 512)
    assert disk.read(2, 4) == before[1024:1536] + b"A" * 512 + b"B" * 512 + before[2560:3072]
    assert disk.changed == 2
    disk.load(state)
    assert disk.read(3, 2) == b"A" * 1024
    assert Path(path).read_bytes() == before
    with pytest.raises(ValueError, match="hd0"):
        disk.write(19, b"c" * 1024)


def test_with_write_the_file_changes(tmp_path: Path) -> None:
    path = numbered(tmp_path / "a", 20)
    disks = Disks()
    disk = disks.add(f"{path},write", "disk")
    disk.write(3, b"A" * 512)
    assert Path(path).read_bytes()[1536:2048] == b"A" * 512
    assert not disk.save()
    with pytest.raises(LoadError, match="in use by another"):
        Disk("hd1", path, "disk", write=True)
    disks.close()
    Disk("hd1", path, "disk", write=True).close()


@pytest.mark.parametrize("length", [0, 1], ids=["whole", "its first byte"])
def test_a_file_that_another_process_has_locked(tmp_path: Path, length: int) -> None:
    path = numbered(tmp_path / "a", 20)
    read, write = os.pipe()
    child = os.fork()
    if not child:
        file = os.open(path, os.O_RDWR)
        os.lockf(file, os.F_LOCK, length)
        os.write(write, b".")
        signal.pause()
    try:
        assert os.read(read, 1) == b"."
        with pytest.raises(LoadError, match="in use by another program"):
            Disk("hd0", path, "disk", write=True)
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(read)
        os.close(write)


@pytest.mark.parametrize(
    ("size", "geometry"),
    [
        (160 * KIB, (40, 1, 8)), (360 * KIB, (40, 2, 9)), (720 * KIB, (80, 2, 9)), (1200 * KIB, (80, 2, 15)),
        (1440 * KIB, (80, 2, 18)), (2880 * KIB, (80, 2, 36)), (512, (80, 2, 18)), (1441 * KIB, (80, 2, 36)),
    ],
)  # fmt: skip
def test_a_floppy_is_made_by_its_size(size: int, geometry: tuple[int, int, int]) -> None:
    assert floppy_geometry(size, bytes(512)) == geometry


def test_a_floppy_is_made_as_its_fat_says() -> None:
    fat = bytearray(512)
    struct.pack_into("<HBHBHHBHHH", fat, 11, 512, 1, 1, 2, 224, 3360, 0xF0, 9, 21, 2)
    assert floppy_geometry(100 * KIB, bytes(fat)) == (80, 2, 21)
    struct.pack_into("<H", fat, 0x18, 0)
    assert floppy_geometry(100 * KIB, bytes(fat)) == (80, 2, 18)


def test_a_short_floppy_has_zeros_behind(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 700)
    disk = Disk("fd0", str(tmp_path / "a"), "floppy")
    assert disk.sectors == 2880
    assert disk.read(1, 2) == b"x" * 188 + bytes(836)


@pytest.mark.parametrize(
    ("sectors", "first", "geometry"),
    [
        (20160, bytes(512), (20, 16, 63)),
        (100, bytes(512), (1, 16, 63)),
        (1024 * 16 * 63 + 1, bytes(512), (512, 32, 63)),
        (8 << 21, bytes(512), (1024, 255, 63)),
        (20160, partition(63, 40 * 4 * 32 - 63, (39, 3, 32)), (157, 4, 32)),
        (20160, partition(63, 40 * 4 * 32 - 62, (39, 3, 32)), (20, 16, 63)),
        (20160, partition(63, 1000, (1023, 254, 63)), (20, 16, 63)),
        (1024 * 4 * 32, partition(63, 1024 * 4 * 32 - 63, (1023, 3, 32)), (130, 16, 63)),
    ],
)
def test_a_hard_disk_is_made_as_its_partitions_say(sectors: int, first: bytes, geometry: tuple[int, int, int]) -> None:
    assert disk_geometry(sectors, first) == geometry


def test_partitions() -> None:
    (one,) = partitions(partition(63, 1000, (2, 3, 4)))
    assert (one.active, one.kind, one.first, one.length, one.end) == (True, 0x83, 63, 1000, (2, 3, 4))
    for end in ((0x100, 0x40, 1), (0x2A5, 254, 63), (0x3FF, 0xBF, 0x3F), (0xFF, 0xC0, 1)):
        assert [one.end for one in partitions(partition(63, 1000, end))] == [end]
    assert partitions(partition(63, 1000, (2, 3, 4), flag=0x12)) == []
    assert partitions(bytes(512)) == []
    fourth = bytearray(partition(63, 1000, (2, 3, 4)))
    fourth[0x1EE:0x1FE], fourth[0x1BE:0x1CE] = fourth[0x1BE:0x1CE], bytes(16)
    assert [one.first for one in partitions(bytes(fourth))] == [63]


def test_places(tmp_path: Path) -> None:
    disk = Disk("fd0", numbered(tmp_path / "a", 2880), "floppy")
    assert [disk.lba(0, 0, 1), disk.lba(0, 1, 1), disk.lba(1, 0, 1), disk.lba(79, 1, 18)] == [0, 18, 36, 2879]
    assert [disk.lba(80, 0, 1), disk.lba(0, 2, 1), disk.lba(0, 0, 0), disk.lba(0, 0, 19)] == [None] * 4
    assert disk.geometry == Geometry(80, 2, 18)


def test_a_cd(tmp_path: Path) -> None:
    disks = Disks()
    disk = disks.add(numbered(tmp_path / "a", 3, CD_SECTOR), "cdrom")
    assert (disk.sectors, disk.sector_size, disk.geometry, disk.read_only) == (3, 2048, None, True)
    assert disk.read(2, 1)[:4] == b"\2\0\0\0"
    assert disks.drive(0xE0) is disk
    assert disks.drive(0x80) is None


def test_a_part_of_a_file(tmp_path: Path) -> None:
    disk = Disk("fd0", numbered(tmp_path / "a", 4000), "floppy", start=512 * 100, size=1440 * KIB)
    assert disk.read(0, 1)[:4] == struct.pack("<I", 100)
    assert (disk.read_only, disk.sectors) == (True, 2880)


def test_all_disks_of_a_machine(tmp_path: Path) -> None:
    disks = Disks()
    for name, kind in (("a", "floppy"), ("b", "disk"), ("c", "disk")):
        disks.add(numbered(tmp_path / name, 20), kind)
    assert [one.name for one in disks] == ["fd0", "hd0", "hd1"]
    assert [one and one.name for one in map(disks.drive, (0, 1, 0x80, 0x81, 0x82))] == ["fd0", None, "hd0", "hd1", None]
    disks.hard_disks[1].write(4, b"x" * 512)
    state = disks.save()
    disks.hard_disks[1].write(4, b"y" * 512)
    disks.load(state)
    assert disks.hard_disks[1].read(4, 1) == b"x" * 512
    assert "1 sectors so far" in disks.details()["hd1"]
    with pytest.raises(UsageError, match="two hard disks, not more"):
        disks.add(str(tmp_path / "a"), "disk")
    disks.close()


@pytest.mark.parametrize(
    ("text", "kind", "what"),
    [
        ("none", "disk", "cannot read .*none: No such file"),
        ("none,write", "disk", "cannot write to .*none: No such file"),
        ("", "disk", "which file is the disk made of"),
        ("empty", "floppy", "empty is empty: a disk has at least one sector"),
        (".", "disk", "is a directory, not a disk"),
        ("odd,write", "disk", "odd has 700 bytes, which are no whole sectors of 512"),
        ("large", "floppy", "larger than any floppy"),
        ("odd,write", "cdrom", "a CD cannot be written to"),
        ("/dev/null", "disk", "is neither a file nor a block device"),
        ("a\0b", "disk", "cannot read"),
    ],
)
def test_what_is_no_disk(text: str, kind: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").write_bytes(b"")
    Path("odd").write_bytes(bytes(700))
    Path("large").write_bytes(bytes(2881 * KIB))
    with pytest.raises(KvmdbgError, match=what):
        Disks().add(text, kind)
