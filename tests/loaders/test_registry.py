from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from kvmdbg.errors import LoadError
from kvmdbg.loaders import Entry, LoadOptions, formats, load
from tests.loaders.elf_images import ElfImage

Write = Callable[[bytes], str]

BOOT_SECTOR = b"\xeb\xfe".ljust(510, b"\0") + b"\x55\xaa"


def test_containers_are_tried_before_what_they_may_contain() -> None:
    built_in = ["multiboot", "elf", "bootsector", "flat"]
    assert [one for one in formats() if one in built_in] == built_in


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\xf4", "flat"),
        (BOOT_SECTOR, "bootsector"),
        (BOOT_SECTOR + bytes(1024), "bootsector"),
        (BOOT_SECTOR[:511], "flat"),
        (ElfImage().build(), "elf"),
    ],
)
def test_recognised_by_content(image_file: Write, data: bytes, expected: str) -> None:
    assert load(image_file(data)).format == expected


def test_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "nothing.bin"
    with pytest.raises(LoadError, match=r"^cannot read .*nothing\.bin: No such file or directory$"):
        load(path)


def test_directory(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="is a directory, not a guest image"):
        load(tmp_path)


def test_empty_file(image_file: Write) -> None:
    with pytest.raises(LoadError, match=r"guest is empty$"):
        load(image_file(b""))


def test_device_is_refused() -> None:
    with pytest.raises(LoadError, match="/dev/zero is not a file"):
        load("/dev/zero")


def test_name_with_nul() -> None:
    with pytest.raises(LoadError, match="cannot read"):
        load("a\0b")


def test_sparse_file_of_a_terabyte_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge"
    with open(path, "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(LoadError, match="huge is larger than 1 GiB"):
        load(path)


def test_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(b"\x90" * 100_000 + b"\xf4",))
    writer.start()
    image = load(path)
    writer.join()
    assert len(image.segments[0].data) == 100_001


@pytest.mark.parametrize(
    ("format_", "sentence"),
    [
        ("elf", r'guest is not a elf image: it has no "\\x7fELF" at its start'),
        ("bootsector", "it has no 0x55 0xAA at byte 510"),
        ("multiboot", "it has no multiboot header with a right checksum"),
        ("coff", "there is no format 'coff'; the formats are .*multiboot, .*elf, .*bootsector, .*flat"),
    ],
)
def test_forced_format_that_does_not_fit(image_file: Write, format_: str, sentence: str) -> None:
    with pytest.raises(LoadError, match=sentence):
        load(image_file(b"\xf4"), LoadOptions(format=format_))


def test_forced_format_wins(image_file: Write) -> None:
    image = load(image_file(BOOT_SECTOR), LoadOptions(format="flat"))
    assert (image.format, image.segments[0].address, image.registers) == ("flat", 0x1000, {})


def test_unknown_mode(image_file: Write) -> None:
    with pytest.raises(LoadError, match="there is no mode 'protected'; the modes are real, prot, long"):
        load(image_file(b"\xf4"), LoadOptions(mode="protected"))


def test_negative_load_address(image_file: Write) -> None:
    with pytest.raises(LoadError, match="negative"):
        load(image_file(b"\xf4"), LoadOptions(load=-4))


def test_boot_sector(image_file: Write) -> None:
    image = load(image_file(BOOT_SECTOR + b"second"))
    assert image.mode == "real"
    assert image.entry == Entry(None, 0x7C00)
    assert image.registers == {"rdx": 0x80}
    assert (image.segments[0].address, image.segments[0].data) == (0x7C00, BOOT_SECTOR + b"second")


def test_boot_sector_at_another_address(image_file: Write) -> None:
    image = load(image_file(BOOT_SECTOR), LoadOptions(load=0x600))
    assert (image.segments[0].address, image.entry) == (0x600, Entry(None, 0x600))
