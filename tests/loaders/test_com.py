"""Programs for DOS by their names: where they are put, and which files are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmdbg.errors import LoadError
from kvmdbg.loaders import Entry, LoadOptions, load
from kvmdbg.loaders.com import LARGEST

CODE = bytes.fromhex("b44c cd21")
BOOT_SECTOR = CODE.ljust(510, b"\0") + b"\x55\xaa"


def named(folder: Path, name: str, data: bytes = CODE) -> Path:
    (folder / name).write_bytes(data)
    return folder / name


@pytest.mark.parametrize("name", ["game.com", "GAME.COM"])
def test_it_starts_as_dos_starts_it(tmp_path: Path, name: str) -> None:
    image = load(named(tmp_path, name))
    (segment,) = image.segments
    assert (segment.address, segment.data[:2], segment.data[0x100:]) == (0x10000, b"\xcd\x20", CODE)
    assert (image.mode, image.entry, image.registers["rsp"]) == ("real", Entry(0x1000, 0x100), 0xFFFE)
    assert (segment.data[2:4], segment.data[0x80:0x82]) == (b"\xff\x9f", b"\0\r")
    assert [image.registers[name] for name in ("rcx", "rsi", "rdi", "rbp")] == [0xFF, 0x100, 0xFFFE, 0x91C]
    assert "is a program for DOS: it is loaded at 1000:0100" in image.notes[0]


def test_its_command_line_is_in_the_prefix(tmp_path: Path) -> None:
    path = named(tmp_path, "game.com")
    (segment,) = load(path, LoadOptions(cmdline="/x ä")).segments
    assert (segment.data[0x80:0x87], segment.data[0x100:]) == (b"\x05 /x \x84\r", CODE)
    (segment,) = load(path, LoadOptions(cmdline="x" * 125)).segments
    assert segment.data[0x80:0x100] == b"\x7e " + b"x" * 125 + b"\r"
    with pytest.raises(LoadError, match="DOS has 125 bytes for a program's command line, this one has 126"):
        load(path, LoadOptions(cmdline="x" * 126))


@pytest.mark.parametrize(
    ("name", "data", "options", "format"),
    [
        ("game.bin", CODE, LoadOptions(), "flat"),
        ("boot.com", BOOT_SECTOR, LoadOptions(), "bootsector"),
        ("game.com", CODE, LoadOptions(load=0x7C00), "flat"),
        ("game.com", CODE, LoadOptions(entry="0x1001"), "flat"),
        ("game.com", CODE, LoadOptions(mode="prot"), "flat"),
        ("game.com", CODE, LoadOptions(format="flat"), "flat"),
        ("game.com", bytes(LARGEST + 1), LoadOptions(), "flat"),
    ],
)
def test_what_is_none(tmp_path: Path, name: str, data: bytes, options: LoadOptions, format: str) -> None:
    image = load(named(tmp_path, name, data), options)
    assert (image.format, list(image.notes)) == (format, [])


def test_by_format(tmp_path: Path) -> None:
    image = load(named(tmp_path, "game", bytes(LARGEST)), LoadOptions(format="com"))
    assert image.entry == Entry(0x1000, 0x100)
    with pytest.raises(LoadError, match=f"is not a com image: it has no length that fits a segment.* {LARGEST} bytes"):
        load(named(tmp_path, "game", bytes(LARGEST + 1)), LoadOptions(format="com"))


def test_a_larger_program_in_spite_of_its_name(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"is a program for DOS \(MZ\): it needs an operating system"):
        load(named(tmp_path, "command.com", b"MZ" + bytes(100)))
