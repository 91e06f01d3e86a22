"""Disks made of files: hard disks and floppies with sectors of 512 bytes, CDs with sectors of 2,048.

What the guest writes stays in memory, in an overlay that is part of snapshots and gone with the guest, unless the disk
was asked for with ``,write``. Geometries: the formats of the IBM PC's floppy drives; hard disks by their partition
table's hints, else by the LBA-assisted translation of the BIOS (Phoenix Enhanced Disk Drive Specification 1.1).
"""

from __future__ import annotations

import os
import stat
from typing import Any, NamedTuple

from kvmdbg.errors import LoadError, UsageError
from kvmdbg.record import record

SECTOR, CD_SECTOR = 512, 2048
FIRST_HARD_DISK, CD_DRIVE = 0x80, 0xE0
"""Drive numbers of the BIOS."""
MBR_SIGNATURE = b"\x55\xaa"
PARTITION_TABLE, PARTITION_ENTRY = 446, 16
MOST_CYLINDERS = 1024
"""As many as 10 bits number."""
KIB = 1024


class Geometry(NamedTuple):
    """Cylinders, heads, and sectors of a track."""

    cylinders: int
    heads: int
    sectors: int

    @property
    def total(self) -> int:
        return self.cylinders * self.heads * self.sectors

    def __str__(self) -> str:
        return f"{self.cylinders} cylinders, {self.heads} heads, {self.sectors} sectors"


FLOPPIES: dict[int, Geometry] = {
    160 * KIB: Geometry(40, 1, 8),
    180 * KIB: Geometry(40, 1, 9),
    320 * KIB: Geometry(40, 2, 8),
    360 * KIB: Geometry(40, 2, 9),
    640 * KIB: Geometry(80, 2, 8),
    720 * KIB: Geometry(80, 2, 9),
    1200 * KIB: Geometry(80, 2, 15),
    1440 * KIB: Geometry(80, 2, 18),
    1600 * KIB: Geometry(80, 2, 20),
    1680 * KIB: Geometry(80, 2, 21),
    1722 * KIB: Geometry(82, 2, 21),
    1743 * KIB: Geometry(83, 2, 21),
    2880 * KIB: Geometry(80, 2, 36),
}
"""Bytes of a floppy, and how it is made."""
USUAL_FLOPPY, LARGEST_FLOPPY = 1440 * KIB, 2880 * KIB
_in_use: set[tuple[int, int]] = set()
"""Device and inode of the files that this process has opened for writing."""


def floppy_geometry(size: int, first_sector: bytes) -> Geometry:
    """Of a floppy of ``size`` bytes: a standard one, what its FAT says, else 1.44 MB or 2.88 MB, which it begins."""
    known = FLOPPIES.get(size)
    if known is not None:
        return known
    said = _said_by_fat(first_sector)
    if said is not None and size <= said.total * SECTOR <= LARGEST_FLOPPY:
        return said
    return FLOPPIES[USUAL_FLOPPY if size <= USUAL_FLOPPY else LARGEST_FLOPPY]


def _said_by_fat(sector: bytes) -> Geometry | None:
    """What the BIOS parameter block of a FAT file system says (Microsoft FAT specification, section 3.1)."""
    total, per_track, heads = (int.from_bytes(sector[at : at + 2], "little") for at in (0x13, 0x18, 0x1A))
    if int.from_bytes(sector[0x0B:0x0D], "little") != SECTOR or not (per_track and heads and total):
        return None
    if per_track > 63 or heads > 2 or total % (per_track * heads):
        return None
    return Geometry(total // (per_track * heads), heads, per_track)


@record
class Partition:
    """An entry of a partition table: where it begins and ends by LBA, and its end as the table has it."""

    active: bool
    kind: int
    first: int
    length: int
    end: tuple[int, int, int]
    """Cylinder, head, sector."""


def partitions(first_sector: bytes) -> list[Partition]:
    """The entries of an MBR's partition table that are used; none where it cannot be one."""
    if first_sector[510:512] != MBR_SIGNATURE:
        return []
    found = []
    for number in range(4):
        at = PARTITION_TABLE + number * PARTITION_ENTRY
        entry = first_sector[at : at + PARTITION_ENTRY]
        first, length = int.from_bytes(entry[8:12], "little"), int.from_bytes(entry[12:16], "little")
        if entry[0] not in (0, 0x80):
            return []
        if entry[4] and length and first:
            end = entry[7] | (entry[6] & 0xC0) << 2, entry[5], entry[6] & 0x3F
            found.append(Partition(entry[0] == 0x80, entry[4], first, length, end))
    return found


def disk_geometry(sectors: int, first_sector: bytes) -> Geometry:
    """Of a hard disk of so many sectors: what fits the ends of its partitions, else the usual translation."""
    for one in partitions(first_sector):
        cylinder, head, sector = one.end
        heads = head + 1
        if not sector or cylinder >= MOST_CYLINDERS - 1:
            continue  # beyond what the entry can say: its end is that of the largest number
        if (cylinder * heads + head) * sector + sector == one.first + one.length:
            return Geometry(min(max(sectors // (heads * sector), cylinder + 1), MOST_CYLINDERS), heads, sector)
    heads = next((n for n in (16, 32, 64, 128) if sectors <= MOST_CYLINDERS * n * 63), 255)
    return Geometry(min(max(sectors // (heads * 63), 1), MOST_CYLINDERS), heads, 63)


class Disk:
    """The file at ``path`` as a disk; ``kind`` is "disk", "floppy" or "cdrom", ``name`` is hd0, fd0, cd0 …

    ``write``: what the guest writes goes to the file. ``start`` and ``size`` choose a part of the file, in bytes.
    LoadError where the file cannot be that.
    """

    def __init__(
        self, name: str, path: str, kind: str, *, write: bool = False, start: int = 0, size: int | None = None
    ) -> None:
        self.name, self.path, self.kind = name, path, kind
        self.sector_size = CD_SECTOR if kind == "cdrom" else SECTOR
        self.writes_file = write
        self.read_only = kind == "cdrom" or start > 0
        """The guest cannot write to it."""
        self._start = start
        self._overlay: dict[int, bytes] = {}
        self._key: tuple[int, int] | None = None
        self._file = _opened(path, write)
        try:
            length = _length(self._file, path, write)
            if write:
                self._lock()
            self._length = length - start if size is None else min(size, length - start)
            if self._length <= 0:
                raise LoadError(f"{path} ends before what is to be {name}")
            if write and self._length % self.sector_size:
                raise LoadError(
                    f"{path} has {self._length} bytes, which are no whole sectors of {self.sector_size}: it cannot be "
                    "written to"
                )
            head = self._from_file(0, SECTOR)
            self.geometry = self._made(head)
        except BaseException:
            self.close()
            raise

    def _made(self, first_sector: bytes) -> Geometry | None:
        """Its geometry, None for a CD; a floppy is as large as that says."""
        if self.kind == "floppy":
            if self._length > LARGEST_FLOPPY:
                raise LoadError(f"{self.path} is larger than any floppy (2.88 MB): it may be a hard disk (--disk)")
            geometry = floppy_geometry(self._length, first_sector)
            self.sectors = geometry.total
            return geometry
        self.sectors = -(-self._length // self.sector_size)
        return None if self.kind == "cdrom" else disk_geometry(self.sectors, first_sector)

    def _lock(self) -> None:
        status = os.fstat(self._file)
        key = status.st_dev, status.st_ino
        try:
            if key in _in_use:
                raise BlockingIOError
            if hasattr(os, "lockf"):
                os.lseek(self._file, 0, os.SEEK_SET)  # it locks from there on
                os.lockf(self._file, os.F_TLOCK, 0)
        except OSError:
            raise LoadError(f"{self.path} is in use by another program or guest, which writes to it as well") from None
        self._key = key
        _in_use.add(key)

    def read(self, first: int, count: int) -> bytes:
        """``count`` sectors from ``first`` on; zeros where the file has ended. ValueError beyond the disk."""
        self._check(first, count)
        size = self.sector_size
        data = self._from_file(first * size, count * size)
        if not self._overlay:
            return data
        changed = bytearray(data)
        for n in range(count):
            own = self._overlay.get(first + n)
            if own is not None:
                changed[n * size : (n + 1) * size] = own
        return bytes(changed)

    def write(self, first: int, data: bytes) -> None:
        """Write whole sectors from ``first`` on. ValueError beyond the disk; OSError where the host cannot."""
        size = self.sector_size
        self._check(first, len(data) // size)
        if self.writes_file:
            if _write_at(self._file, data, self._start + first * size) != len(data):
                raise OSError(f"{self.path} could not be written to")
            return
        for n in range(len(data) // size):
            self._overlay[first + n] = bytes(data[n * size : (n + 1) * size])

    def _check(self, first: int, count: int) -> None:
        if first < 0 or count < 0 or first + count > self.sectors:
            raise ValueError(f"sectors {first} to {first + count - 1} of {self.name}, which has {self.sectors}")

    def _from_file(self, at: int, size: int) -> bytes:
        wanted = max(min(size, self._length - at), 0)
        data = _read_at(self._file, wanted, self._start + at) if wanted else b""
        return data.ljust(size, b"\0")

    def lba(self, cylinder: int, head: int, sector: int) -> int | None:
        """The number of a sector by its place, None where there is no such place."""
        made = self.geometry
        if made is None or not (cylinder < made.cylinders and head < made.heads and 1 <= sector <= made.sectors):
            return None
        return (cylinder * made.heads + head) * made.sectors + sector - 1

    @property
    def changed(self) -> int:
        """How many sectors the guest has written that are in memory only."""
        return len(self._overlay)

    def save(self) -> list[tuple[int, bytes]]:
        """What the guest has written, by sector."""
        return sorted(self._overlay.items())

    def load(self, overlay: list[tuple[int, bytes]]) -> None:
        self._overlay = dict(overlay)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        if self._key is not None:
            _in_use.discard(self._key)
            self._key = None


OPEN_FLAGS = getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
"""Windows has the first, others the second: a FIFO is to be refused, not waited for."""


def _read_at(file: int, size: int, at: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(file, size, at)
    os.lseek(file, at, os.SEEK_SET)
    return os.read(file, size)


def _write_at(file: int, data: bytes, at: int) -> int:
    if hasattr(os, "pwrite"):
        return os.pwrite(file, data, at)
    os.lseek(file, at, os.SEEK_SET)
    return os.write(file, data)


def _opened(path: str, write: bool) -> int:
    try:
        return os.open(path, (os.O_RDWR if write else os.O_RDONLY) | OPEN_FLAGS)
    except IsADirectoryError:
        raise LoadError(f"{path} is a directory, not a disk") from None
    except OSError as error:
        raise LoadError(f"cannot {'write to' if write else 'read'} {path}: {error.strerror}") from None
    except ValueError as error:  # a NUL in the name
        raise LoadError(f"cannot read {path!r}: {error}") from None


def _length(file: int, path: str, write: bool) -> int:
    mode = os.fstat(file).st_mode
    if stat.S_ISDIR(mode):
        raise LoadError(f"{path} is a directory, not a disk")
    if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
        raise LoadError(f"{path} is neither a file nor a block device")
    length = os.lseek(file, 0, os.SEEK_END)
    if not length:
        raise LoadError(f"{path} is empty: a disk has at least one sector")
    return length


class Disks:
    """All that a machine has, by kind, as one device without ports; ``cdrom`` may be none."""

    name = "disks"

    def __init__(self) -> None:
        self.floppies: list[Disk] = []
        self.hard_disks: list[Disk] = []
        self.cdrom: Disk | None = None

    def add(self, text: str, kind: str) -> Disk:
        """Put in the disk that ``FILE``, ``FILE,write`` or ``FILE,readonly`` is. UsageError, LoadError."""
        path, _, word = text.rpartition(",")
        if word not in ("write", "readonly"):
            path, word = text, ""
        write = word == "write"
        if not path:
            raise UsageError(f"which file is the {kind} made of? give its name, as in disk.img")
        if kind == "cdrom":
            if write:
                raise UsageError(f"a CD cannot be written to: give {path} without ,write")
            self.cdrom = Disk("cd0", path, kind)
            return self.cdrom
        drives = self.floppies if kind == "floppy" else self.hard_disks
        if len(drives) == 2:
            raise UsageError(f"a machine has two {'floppy drives' if kind == 'floppy' else 'hard disks'}, not more")
        drives.append(Disk(f"{'fd' if kind == 'floppy' else 'hd'}{len(drives)}", path, kind, write=write))
        drives[-1].read_only |= word == "readonly"
        return drives[-1]

    def add_for_both(self, path: str, *, floppy: bool, hard_disk: bool) -> None:
        """The first floppy and the first hard disk are one, made like a floppy; or only one of them."""
        name = "hd0" if hard_disk else "fd0"
        disk = Disk(name, path, "floppy")
        if hard_disk:
            self.hard_disks.append(disk)
        if floppy or not hard_disk:
            self.floppies.append(disk)

    def emulate(self) -> None:
        """Put in the disk that a CD stands for, where there is none of its kind."""
        cd = self.cdrom
        if cd is None:
            return
        sectors = cd.sectors
        from kvmdbg.machine.eltorito import FLOPPY_SIZES, HARD_DISK, NO_EMULATION, boot_entry  # few have a CD

        entry = boot_entry(lambda number: cd.read(number, 1) if number < sectors else b"")
        if entry is None or entry.media == NO_EMULATION or entry.first >= sectors:
            return
        start = entry.first * CD_SECTOR
        if entry.media == HARD_DISK and not self.hard_disks:
            self.hard_disks.append(Disk("hd0", cd.path, "disk", start=start))
        elif entry.media in FLOPPY_SIZES and not self.floppies:
            self.floppies.append(Disk("fd0", cd.path, "floppy", start=start, size=FLOPPY_SIZES[entry.media]))

    def __iter__(self) -> Any:
        """Each of them once."""
        return iter(
            {id(one): one for one in (*self.floppies, *self.hard_disks, self.cdrom) if one is not None}.values()
        )

    def drive(self, number: int) -> Disk | None:
        """The disk that the BIOS knows by this number: floppies from 0 on, hard disks from 0x80, the CD 0xE0."""
        if number == CD_DRIVE:
            return self.cdrom
        drives, at = (
            (self.hard_disks, number - FIRST_HARD_DISK) if number >= FIRST_HARD_DISK else (self.floppies, number)
        )
        return drives[at] if at < len(drives) else None

    def read(self, offset: int, size: int) -> int:
        return (1 << size * 8) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        pass

    def describe(self) -> str:
        return ", ".join(f"{one.name} {one.path}" for one in self) or "none"

    def details(self) -> dict[str, str]:
        return {one.name: in_words(one) for one in self}

    def save(self) -> dict[str, list[tuple[int, bytes]]]:
        return {one.name: one.save() for one in self}

    def load(self, state: dict[str, list[tuple[int, bytes]]]) -> None:
        for one in self:
            one.load(state[one.name])

    def close(self) -> None:
        for one in self:
            one.close()


def in_words(disk: Disk) -> str:
    """What is to be said of a disk in a line."""
    size = f"{disk.sectors} sectors of {disk.sector_size} bytes"
    made = f", {disk.geometry}" if disk.geometry is not None else ""
    if disk.read_only:
        writes = "read-only"
    elif disk.writes_file:
        writes = "writes go to the file"
    else:
        writes = f"writes stay in memory ({disk.changed} sectors so far)"
    return f"{disk.path}: {size}{made}; {writes}"
