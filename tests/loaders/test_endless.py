"""Files that say so much in few bytes that reading them took hours, or more memory than the host has."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from kvmdbg.errors import LoadError
from kvmdbg.loaders import hvt, load, packed, pvh
from kvmdbg.loaders.linux_symbols import kallsyms
from kvmdbg.loaders.symbol_reading import read_symbol_file
from kvmdbg.machine.image import LoadOptions
from tests.firmware.iso import cd

Write = Callable[[bytes], str]
PROGRAM, DYNAMIC, NOTE = 1, 2, 4


def elf64(*programs: tuple[int, bytes]) -> bytes:
    """An ELF file with these program headers; those with the same contents share them. All of it is loaded."""
    at = 64 + 56 * (len(programs) + 1)
    places: dict[bytes, int] = {}
    content = b""
    for _, data in programs:
        if data not in places:
            places[data] = at + len(content)
            content += data
    size = at + len(content)
    head = b"\x7fELF\2\1\1".ljust(16, b"\0")
    head += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0x100000, 64, 0, 0, 64, 56, len(programs) + 1, 64, 0, 0)
    rows = [(PROGRAM, 0, size), *((kind, places[data], len(data)) for kind, data in programs)]
    for kind, where, length in rows:
        head += struct.pack("<IIQQQQQQ", kind, 7, where, 0x100000 + where, 0x100000 + where, length, length, 1)
    return head + content


def test_libraries_that_a_program_needs_a_hundred_times(image_file: Write) -> None:
    """The sentence about them had ten million characters."""
    name, count = b"A" * 100_000, 100
    strings = 0x100000 + 64 + 2 * 56 + (count + 3) * 16
    tags = struct.pack("<4Q", 5, strings, 10, len(name) + 2) + struct.pack("<2Q", 1, 1) * count + bytes(16)
    image = load(image_file(elf64((DYNAMIC, tags + b"\0" + name + b"\0"))))
    assert "it needs AAAA" in image.remark
    assert len(image.remark) < 10_000


@pytest.mark.parametrize(("module", "reader"), [(pvh, "_entry_note"), (hvt, "_notes_in")])
def test_program_headers_that_share_their_notes(monkeypatch: pytest.MonkeyPatch, module: Any, reader: str) -> None:
    """Each of them was read through: 60,000 headers of a million notes."""
    data = elf64(*[(NOTE, bytes(10_000))] * 500)
    seen: list[int] = []
    read = getattr(module, reader)
    monkeypatch.setattr(module, reader, lambda notes: (seen.append(len(notes)), read(notes))[1])
    assert pvh.entry_of(data) is None and not list(hvt.notes_of(data))
    assert 0 < sum(seen) <= len(data)


def test_members_of_gzip_are_unpacked_piece_by_piece(image_file: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of the rest was copied for each of them."""
    fed: list[int] = []
    made_by = zlib.decompressobj

    def unpacking(bits: int) -> Any:
        one = made_by(bits)

        def decompress(data: bytes, most: int) -> bytes:
            fed.append(len(data))
            made = one.decompress(data, most)
            member.eof, member.unused_data = one.eof, one.unused_data
            return made

        member = SimpleNamespace(decompress=decompress, eof=False, unused_data=b"")
        return member

    data = gzip.compress(b"") * 2000 + gzip.compress(bytes(range(256)) * 100) + b"behind"
    monkeypatch.setattr(zlib, "decompressobj", unpacking)
    assert packed.unpacked(data, "guest", None) == bytes(range(256)) * 100
    assert max(fed) <= packed.PIECE


def test_names_of_a_kernel_that_need_gigabytes() -> None:
    tokens = [b"%c" % code if 32 < code < 127 else b"~%d" % code for code in range(256)]
    tokens[1] = b"f" * 60_000
    names = b"\x15t" + b"\1" * 20
    strings, index = b"", b""
    for token in tokens:
        index += struct.pack("<H", len(strings))
        strings += token + b"\0"
    strings += bytes(-len(strings) % 8)
    count = 120
    offsets = b"".join(struct.pack("<i", 16 * n) for n in range(count)) + struct.pack("<Q", 0xFFFFFFFF81000000)
    kernel = bytes(4096) + struct.pack("<Q", count) + names * count + strings + index + offsets + bytes(4096)
    assert list(kallsyms(kernel)) == []


def test_a_line_number_of_thousands_of_digits_is_no_listing(image_file: Write) -> None:
    with pytest.raises(LoadError, match="is no symbol file"):
        read_symbol_file(image_file(b"1" * 5000 + b" 00000000 90"))


def test_a_packed_cd_is_to_be_unpacked(image_file: Write) -> None:
    """What is booted was taken from the packed file: other bytes, or none, as if it was truncated."""
    with pytest.raises(LoadError, match="is a CD that is packed: unpack it first"):
        load(image_file(gzip.compress(cd({}, b"boot"))))


def test_a_packed_disk_is_to_be_unpacked(image_file: Write) -> None:
    """Its other sectors could not be read; a disk's megabyte at 0x7c00 would lie over the BIOS."""
    sector, options = bytes(510) + b"\x55\xaa", LoadOptions(by_bios=True)
    with pytest.raises(LoadError, match="is a disk that is packed: unpack it first"):
        load(image_file(gzip.compress(sector + bytes(512))), options)
    assert load(image_file(gzip.compress(sector)), options).format == "bootsector"
