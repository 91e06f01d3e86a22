"""Files that are no image: told by their first bytes, and no code is taken for one."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from kvmdbg.errors import LoadError, UsageError
from kvmdbg.loaders import LoadOptions, load
from kvmdbg.loaders.contents import MAGIC, what_is

GUESTS = Path(__file__).resolve().parents[2] / "guests"
WORDS = b"This is only a text file.\n"


def archive(kind: str) -> bytes:
    made = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(made, "w") as out:
            out.writestr("a", WORDS)
    else:
        with tarfile.open(fileobj=made, mode="w") as tar:
            entry = tarfile.TarInfo("a")
            entry.size = len(WORDS)
            tar.addfile(entry, io.BytesIO(WORDS))
    return made.getvalue()


PE = b"MZ".ljust(0x3C, b"\0") + (0x80).to_bytes(4, "little") + bytes(0x40) + b"PE\0\0" + bytes(100)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (WORDS, "text"),
        ("Grüße aus dem Gerät\n".encode(), "text"),
        ("A note from Windows\r\n".encode("utf-16"), "text"),
        (("x" + "ü" * 5000).encode(), "text"),  # a character is cut where it is looked at
        (b"#!/bin/sh\necho\n", "a script for another program"),
        (b":020000040000FA\r\n:00000001FF\r\n", "Intel HEX (objcopy -I ihex -O binary makes a flat image of it)"),
        (b"S00600004844521B\n", "S-records (objcopy -I srec -O binary makes a flat image of it)"),
        (gzip.compress(WORDS, mtime=0), "compressed with gzip"),
        (bz2.compress(WORDS), "compressed with bzip2"),
        (lzma.compress(WORDS), "compressed with xz"),
        (archive("zip"), "a zip archive"),
        (archive("tar"), "a tar archive"),
        (PE, "a program for Windows or UEFI (PE)"),
        (b"MZ" + bytes(100), "a program for DOS (MZ)"),
        (b"MZ", "a program for DOS (MZ)"),
        (bytes(0x8001) + b"CD001", "a CD image (ISO 9660)"),
        (b"QFI\xfb" + bytes(100), "a disk image (qcow2)"),
        (b"", ""),
        (b"hi\n", ""),
        (bytes.fromhex("90909090f4"), ""),
        (b"\xff" * 5000, ""),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_it_is(data: bytes, what: str) -> None:
    assert what_is(data) == what


@pytest.mark.parametrize(("at", "magic", "what"), MAGIC, ids=str)
def test_each_row_is_found(at: int, magic: bytes, what: str) -> None:
    assert what_is(bytes(at) + magic + bytes(64)) == what


def test_code_is_nothing_else() -> None:
    for path in GUESTS.glob("*.bin"):
        assert what_is(path.read_bytes()) == "", path
    rng = random.Random(1)
    for _ in range(2000):
        assert what_is(rng.randbytes(rng.randrange(12, 600))) == ""


def test_a_disk_is_one_whatever_else_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "k.gz"
    disk = bytearray(1024)
    disk[510:520] = b"\x55\xaaEFI PART"  # a disk's first sector may well be run
    path.write_bytes(disk)
    assert load(path).format == "bootsector" and load(path).remark == ""
    assert load(GUESTS / "mb32.elf").remark == ""


def test_what_is_no_image_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "guest"
    path.write_bytes(b"QFI\xfb" + bytes(100))
    flat = r" \(--format flat runs its bytes as they are\)$"
    with pytest.raises(LoadError, match=r"^.*guest is a disk image \(qcow2\): convert it first \(qemu-img .*\)" + flat):
        load(path)
    assert load(path, LoadOptions(format="flat")).format == "flat"
    path.write_bytes(gzip.compress(archive("tar")))
    with pytest.raises(LoadError, match=r"^what is packed in .*guest is a tar archive: unpack it first .*" + flat):
        load(path)
    path.write_bytes(gzip.compress(WORDS))
    with pytest.raises(LoadError, match=r"^what is packed in .*guest is text: a source is to be assembled .*" + flat):
        load(path)
    assert load(path, LoadOptions(format="flat")).format == "flat"


@pytest.mark.parametrize(
    ("name", "kind"), [("hello16.bin", "a flat"), ("boot16.bin", "a boot"), ("long64.elf", "an elf")]
)
def test_a_command_line_that_nobody_gets_is_refused(name: str, kind: str) -> None:
    with pytest.raises(UsageError, match=f".*{name} is {kind}.* image, which takes none"):
        load(GUESTS / name, LoadOptions(cmdline="console=ttyS0"))
    assert load(GUESTS / "mb32.elf", LoadOptions(cmdline="console=ttyS0")).multiboot


def test_a_program_that_needs_shared_libraries_is_told_of(tmp_path: Path) -> None:
    """Its segments are a guest's as others are, but nobody gives it its libraries."""
    (tmp_path / "a.c").write_text("int main(void) { return 0; }\n")
    for options in (["-nostdlib", "-Wl,-emain"], []):
        subprocess.run(["gcc", *options, "-pie", "-fpie", tmp_path / "a.c", "-o", tmp_path / "a"], check=True)
        needs = f"{tmp_path}/a is a program for an operating system: it needs libc.so.6; it is loaded all the same"
        assert load(tmp_path / "a").remark == ("" if options else needs)


@pytest.mark.parametrize(
    ("code", "table", "told"),
    [
        (b"", "ee", True),
        (b"", "0c", True),
        (b"\xfa\xf4", "ee", False),
        (b"", "", False),
        (bytes(439) + b"\1", "0c", False),
    ],
)
def test_a_disk_without_code(tmp_path: Path, code: bytes, table: str, told: bool) -> None:
    """As a disk for UEFI is: a partition table, and nothing for a BIOS."""
    entry = bytes.fromhex(f"80010100 {table}017f04 01000000 ff0f0000") if table else bytes(16)
    path = tmp_path / "disk.img"
    path.write_bytes((code.ljust(446, b"\0") + entry).ljust(510, b"\0") + b"\x55\xaa" + bytes(1 << 20))
    image = load(path, LoadOptions(by_bios=True))
    assert [("has no code in its first sector" in note, "--bios" in note) for note in image.notes] == [
        (True, True)
    ] * told
