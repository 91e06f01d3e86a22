"""What of a CD is booted. Source: El Torito Bootable CD-ROM Format Specification 1.0, figures 2, 3 and 7."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from kvmdbg.machine.eltorito import BootEntry, boot_entry
from tests.firmware.iso import CATALOG, SECTOR, cd


def reader(image: bytes) -> Callable[[int], bytes]:
    return lambda sector: image[sector * SECTOR : (sector + 1) * SECTOR]


def with_catalog(*changes: tuple[int, int]) -> bytearray:
    """A CD in whose boot catalog some bytes are others; its checksum is right in each case."""
    image = bytearray(cd({}, b"boot", sectors=3, segment=0x1234))
    start = CATALOG * SECTOR
    for at, value in changes:
        image[start + at] = value
    image[start + 28 : start + 30] = bytes(2)
    total = sum(struct.unpack("<16H", image[start : start + 32]))
    image[start + 28 : start + 30] = (-total & 0xFFFF).to_bytes(2, "little")
    return image


@pytest.mark.parametrize(
    ("media", "segment", "address", "loaded", "drive"),
    [
        (0, 0x1234, 0x12340, 6 * 512, 0xE0), (0, 0, 0x7C00, 6 * 512, 0xE0), (1, 0x1234, 0x7C00, 512, 0),
        (2, 0, 0x7C00, 512, 0), (3, 0, 0x7C00, 512, 0), (4, 0x1234, 0x7C00, 512, 0x80),
        (0x10, 0, 0x7C00, 6 * 512, 0xE0),
    ],
)  # fmt: skip
def test_the_default_entry(media: int, segment: int, address: int, loaded: int, drive: int) -> None:
    found = boot_entry(reader(cd({}, b"boot", media=media, sectors=6, segment=segment)))
    assert found == BootEntry(media & 15, segment or 0x7C0, 6, 21)
    assert (found.address, found.loaded, found.drive) == (address, loaded, drive)


def test_no_sectors_are_one() -> None:
    found = boot_entry(reader(cd({}, b"boot", sectors=0)))
    assert found is not None and found.sectors == 1


@pytest.mark.parametrize(
    ("at", "value"),
    [(0, 2), (0, 0), (1, 0xEF), (1, 1), (0x1E, 0x54), (0x1F, 0xAB), (0x20, 0), (0x20, 0x80), (0x20, 0x89)],
    ids=hex,
)
def test_a_catalog_that_boots_no_pc(at: int, value: int) -> None:
    """Its header and key bytes, the platform, and the indicator of the entry: each by itself."""
    assert boot_entry(reader(bytes(with_catalog()))) is not None
    assert boot_entry(reader(bytes(with_catalog((at, value))))) is None


def test_a_catalog_with_a_wrong_sum_or_cut_off() -> None:
    image = with_catalog()
    image[CATALOG * SECTOR + 4] += 1
    assert boot_entry(reader(bytes(image))) is None
    whole = bytes(with_catalog())
    assert boot_entry(reader(whole[: CATALOG * SECTOR + 64])) is not None
    assert boot_entry(reader(whole[: CATALOG * SECTOR + 63])) is None


def test_a_cd_without_a_boot_record() -> None:
    image = with_catalog()
    image[17 * SECTOR] = 1
    assert boot_entry(reader(bytes(image))) is None
    assert boot_entry(lambda sector: b"") is None
