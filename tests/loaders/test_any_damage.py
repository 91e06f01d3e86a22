"""Images of every kind that are cut off, or have something else in a place: they load, or one sentence says why not."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmdbg.errors import KvmdbgError
from kvmdbg.loaders import LoadOptions, load
from kvmdbg.machine.boot import boot_state, check_placement
from kvmdbg.machine.disk import Disks
from tests.firmware.iso import cd
from tests.loaders.elf_images import ElfImage, Load
from tests.loaders.linux_images import bzimage, pvh

GUESTS = Path(__file__).resolve().parents[2] / "guests"
MIB = 1 << 20
MEMORY = 64 * MIB
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFF000, 0xFFFFFFFF, (1 << 63) - 1, (1 << 64) - 1)


def disk_image() -> bytes:
    """With a BIOS parameter block and two partitions."""
    sector = bytearray(
        b"\xeb\x3c\x90MSDOS5.0" + struct.pack("<HBHBHHBHHHI", 512, 1, 1, 2, 224, 2880, 0xF0, 9, 18, 2, 0)
    )
    sector = sector.ljust(446, b"\0")
    for first, count in ((63, 1000), (1063, 900)):
        sector += struct.pack("<B3sB3sII", 0x80, b"\1\1\0", 6, b"\x0f\x3f\x10", first, count)
    return bytes(sector.ljust(510, b"\0") + b"\x55\xaa") + bytes(512 * 3)


IMAGES = {
    **{name: (GUESTS / name).read_bytes() for name in ("hvt.elf", "multiboot.elf", "long64.elf", "rom.bin")},
    "boot sector": (GUESTS / "bios_disk.bin").read_bytes(),
    "disk": disk_image(),
    "cd": cd({}, b"\xf4" * 2048),
    "cd with a floppy": cd({}, b"\xf4" * 510 + b"\x55\xaa" + bytes(4096), media=2),
    "cd with a disk": cd({}, disk_image(), media=4),
    "bzImage": bzimage(payload=b"packed"),
    "setup part": bzimage(xloadflags=0),
    "PVH": pvh(),
    "two segments": ElfImage(loads=[Load(0x100000, b"\xf4" * 100), Load(0x200000, b"\xf4" * 100)]).build(),
}


def opened(data: bytes) -> str:
    """Do with an image what a start does before there is a vCPU: the sentence on it, if it is refused."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "guest"
        path.write_bytes(data)
        disks = Disks()
        try:
            image = load(str(path), LoadOptions(memory=MEMORY))
            check_placement(image, MEMORY)
            if image.start is None:
                boot_state(image, LoadOptions(), MEMORY)
            if image.drive == "both":
                disks.add_for_both(str(path), floppy=True, hard_disk=True)
            elif image.drive:
                disks.add(str(path), image.drive)
            disks.emulate()
            for disk in (*disks.hard_disks, *disks.floppies):
                if disk.sectors:
                    disk.read(disk.sectors - 1, 1)
        except KvmdbgError as error:
            return str(error)
        finally:
            disks.close()
    return ""


@pytest.mark.parametrize("name", IMAGES)
def test_whole_ones_load(name: str) -> None:
    assert opened(IMAGES[name]) == ""


@given(st.sampled_from(sorted(IMAGES)), st.data())
def test_one_sentence_at_most(name: str, data: st.DataObject) -> None:
    image = bytearray(IMAGES[name])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(image) - 1) | st.integers(0, min(len(image), 1024) - 1))
        if data.draw(st.booleans()):
            number = data.draw(st.sampled_from(NUMBERS))
            size = data.draw(st.sampled_from((1, 2, 4, 8)))
            noise = number.to_bytes(8, "little")[:size]
        else:
            noise = data.draw(st.binary(max_size=40))
        image[at : at + len(noise)] = noise
    if data.draw(st.booleans()):
        del image[data.draw(st.integers(0, len(image))) :]
    said = opened(bytes(image))
    assert "\n" not in said


def test_segments_that_overlap() -> None:
    said = opened(ElfImage(loads=[Load(0x100000, b"\xf4" * 0x2000), Load(0x101000, b"\xf4" * 100)]).build())
    assert "overlap" in said and "\n" not in said
