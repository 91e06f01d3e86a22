"""CDs made by hand: ISO 9660 with files in the root, and a boot catalog (El Torito)."""

from __future__ import annotations

import struct

SECTOR = 2048
DESCRIPTORS, CATALOG, ROOT, FILES = 16, 19, 20, 21


def _both(value: int, size: int) -> bytes:
    """A number in both byte orders."""
    return value.to_bytes(size, "little") + value.to_bytes(size, "big")


def _record(name: bytes, sector: int, size: int, *, folder: bool = False) -> bytes:
    body = _both(sector, 4) + _both(size, 4) + bytes(7) + bytes((2 if folder else 0, 0, 0)) + _both(1, 2)
    body += bytes((len(name),)) + name
    body += b"\0" * (len(body) % 2)
    return bytes((len(body) + 2, 0)) + body


def cd(files: dict[str, bytes], boot: bytes, *, media: int = 0, sectors: int = 4, segment: int = 0) -> bytes:
    """``boot`` is what the catalog's default entry names: code of which so many ``sectors`` are loaded, or a disk."""
    places: dict[str, int] = {}
    at = FILES
    for name, data in files.items():
        places[name] = at
        at += -(-len(data) // SECTOR)
    boot_at = at
    entries = b"".join(_record(name.encode() + b";1", places[name], len(data)) for name, data in sorted(files.items()))
    root = _record(b"\0", ROOT, SECTOR, folder=True) + _record(b"\1", ROOT, SECTOR, folder=True) + entries
    image = bytearray(boot_at * SECTOR) + boot
    image += bytes(-len(image) % SECTOR)
    volume = bytearray(SECTOR)
    volume[:7] = b"\1CD001\1"
    volume[40:72] = b"TEST".ljust(32)
    volume[80:88] = _both(len(image) // SECTOR, 4)
    volume[120:132] = _both(1, 2) + _both(1, 2) + _both(SECTOR, 2)
    volume[156:190] = _record(b"\0", ROOT, SECTOR, folder=True)
    volume[881] = 1
    record = (b"\0CD001\1EL TORITO SPECIFICATION".ljust(0x47, b"\0") + struct.pack("<I", CATALOG)).ljust(SECTOR, b"\0")
    validation = bytearray(struct.pack("<BBH24sHBB", 1, 0, 0, b"", 0, 0x55, 0xAA))
    total = sum(struct.unpack("<16H", validation))
    validation[28:30] = (-total & 0xFFFF).to_bytes(2, "little")
    catalog = bytes(validation) + struct.pack("<BBHBBHI", 0x88, media, segment, 0, 0, sectors, boot_at)
    for number, data in (
        (DESCRIPTORS, bytes(volume)),
        (DESCRIPTORS + 1, record),
        (DESCRIPTORS + 2, b"\xffCD001\1"),
        (CATALOG, catalog),
        (ROOT, root),
    ):
        image[number * SECTOR : number * SECTOR + len(data)] = data
    for name, data in files.items():
        image[places[name] * SECTOR : places[name] * SECTOR + len(data)] = data
    return bytes(image)


def with_boot_table(code: bytes, at: int) -> bytes:
    """ISOLINUX's code with the table that tells it where it lies: its place, its size and a checksum."""
    whole = code.ljust(-(-len(code) // 4) * 4, b"\0")
    checksum = sum(struct.unpack(f"<{len(whole) // 4 - 16}I", whole[64:])) & 0xFFFFFFFF
    return whole[:8] + struct.pack("<4I", DESCRIPTORS, at, len(code), checksum) + whole[24:]
