"""The symbols of a Linux kernel that comes without a symbol file: its own table (kallsyms), in the packed kernel."""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Iterator
from itertools import pairwise

from kvmdbg.machine.image import Symbol

LARGEST_KERNEL = 1 << 28
ZSTD, LZ4 = b"\x28\xb5\x2f\xfd", b"\x02\x21\x4c\x18"
LZ4_BLOCK = 8 << 20
DIGITS = b"".join(b"%d\0" % digit for digit in range(10))


def of_payload(payload: bytes) -> list[Symbol]:
    """The symbols of the kernel in a bzImage's payload; none where they cannot be read."""
    kernel = unpacked(payload)
    return [] if kernel is None else list(kallsyms(kernel))


def unpacked(data: bytes) -> bytes | None:
    """What is packed in a bzImage's payload, or None where that is in no format that can be read here."""
    try:
        if data.startswith(b"\x1f\x8b"):
            return zlib.decompressobj(31).decompress(data, LARGEST_KERNEL)
        if data.startswith((b"\xfd7zXZ\0", b"\x5d\0\0")):
            return lzma.LZMADecompressor().decompress(data, LARGEST_KERNEL)
        if data.startswith(b"BZh"):
            return bz2.BZ2Decompressor().decompress(data, LARGEST_KERNEL)
        if data.startswith(ZSTD):
            return _unpacked_zstd(data)
        if data.startswith(LZ4):
            return _unpacked_lz4(data)
    except (lzma.LZMAError, zlib.error, OSError):
        return None
    return data if data.startswith(b"\x7fELF") else None


def _unpacked_zstd(data: bytes) -> bytes | None:
    """With the package zstandard, where it is installed."""
    try:
        import zstandard
    except ImportError:
        return None
    try:
        with zstandard.ZstdDecompressor().stream_reader(data) as stream:
            return bytes(stream.read(LARGEST_KERNEL))
    except zstandard.ZstdError:
        return None


def _unpacked_lz4(data: bytes) -> bytes | None:
    """With the package lz4, where it is installed: blocks behind their sizes (lz4_Frame_format.md, "Legacy frame")."""
    try:
        import lz4.block
    except ImportError:
        return None
    made, at = bytearray(), len(LZ4)
    while at + 4 <= len(data) and len(made) < LARGEST_KERNEL:
        size = int.from_bytes(data[at : at + 4], "little")
        if not size or at + 4 + size > len(data):
            break  # what is behind the last block is the kernel's size
        try:
            made += lz4.block.decompress(data[at + 4 : at + 4 + size], uncompressed_size=LZ4_BLOCK)
        except lz4.block.LZ4BlockError:
            return None
        at += 4 + size
    return bytes(made)


def kallsyms(kernel: bytes) -> Iterator[Symbol]:
    """The symbols in a kernel's own table; nothing where there is none of a layout known.

    Source: the kernel's scripts/kallsyms.c. Names are made of 256 tokens; each is a length (a byte, or two from Linux
    6.1 on where bit 7 is set) and so many bytes, each the number of a token; the first character is the symbol's type.
    """
    for digits in _all(kernel, DIGITS):
        if (tokens := _tokens(kernel, digits)) is None:
            continue
        table, strings, index_end = tokens
        if (found := _names(kernel, table, strings)) is None:
            continue
        count_at, count, names = found
        addresses = _addresses(kernel, count_at, count, index_end)
        if addresses is not None:
            yield from _symbols(names, addresses)
            return


def _all(data: bytes, what: bytes) -> Iterator[int]:
    at = data.find(what)
    while at >= 0:
        yield at
        at = data.find(what, at + 1)


def _tokens(kernel: bytes, digits: int) -> tuple[int, list[bytes], int] | None:
    """The token table around the tokens "0" to "9": its address, its strings, and the end of the index behind it."""
    for at in range(-(-digits // 4) * 4, min(digits + 4096, len(kernel) - 512), 4):
        if kernel[at : at + 2] != b"\0\0":
            continue
        index = struct.unpack_from("<256H", kernel, at)
        table = digits - index[ord("0")]
        if not 0 < table < at or any(a >= b for a, b in pairwise(index)):
            continue
        strings = [kernel[table + one : kernel.find(b"\0", table + one)] for one in index]
        if all(len(s) + 1 == b - a for s, (a, b) in zip(strings, pairwise(index), strict=False)):
            return table, strings, at + 512
    return None


MOST_BEFORE = 1 << 24
MOST_OF_NAMES = 1 << 26
"""Bytes of names that are looked through; a large kernel has a tenth of it."""
LONGEST_NAME = 512
"""KSYM_NAME_LEN of include/linux/kallsyms.h: no packed one is longer."""
TYPES = b"AaBbCcDdGgIiNnRrSsTtUuVvWwpu?-"


def _names(kernel: bytes, table: int, tokens: list[bytes]) -> tuple[int, int, list[bytes]] | None:
    """Before the token table: the number of symbols (its address, and it), then their names."""
    zero = b"\0\0\0\0"
    start = max(0, table - MOST_BEFORE) & -8
    words = struct.unpack_from(f"<{(table - start) // 4}I", kernel, start)
    left = MOST_OF_NAMES
    for number in range(0, len(words) - 2, 2):
        count = words[number]
        if not 100 < count < 1 << 22 or words[number + 1]:
            continue
        at = start + number * 4
        if at + 8 + count * 3 > table or kernel[at + 8 : at + 12] == zero:
            continue
        names = []
        for name in _decoded(kernel, at + 8, count, table, tokens):
            left -= len(name)
            if left < 0:
                return None
            names.append(name)
        if len(names) == count:
            return at, count, names
    return None


def _decoded(kernel: bytes, at: int, count: int, limit: int, tokens: list[bytes]) -> Iterator[bytes]:
    """So many names, or as many as can be names."""
    for _ in range(count):
        length = kernel[at]
        at += 1
        if length & 0x80:
            length = length & 0x7F | kernel[at] << 7
            at += 1
        if not 0 < length <= LONGEST_NAME or at + length > limit:
            return
        name = b"".join([tokens[byte] for byte in kernel[at : at + length]])
        if name[0] not in TYPES or len(name) < 2:
            return
        yield name
        at += length


def _addresses(kernel: bytes, count_at: int, count: int, index_end: int) -> list[int] | None:
    """Each symbol's address: offsets and what they are relative to (before the count, or, from Linux 6.4 on, behind the
    tokens' index), or the addresses themselves before the count (before Linux 4.6)."""
    size = -(-count * 4 // 8) * 8
    before, behind = count_at - 8 - size, index_end
    for offsets, base_at in ((before, count_at - 8), (behind, behind + size)):
        if offsets < 0 or base_at + 8 > len(kernel):
            continue
        (base,) = struct.unpack_from("<Q", kernel, base_at)
        if base >> 31 != 0x1FFFFFFFF:
            continue
        signed = struct.unpack_from(f"<{count}i", kernel, offsets)
        if any(offset < 0 for offset in signed):  # numbers below 0 are relative, the others are per CPU
            return [offset if offset >= 0 else base - 1 - offset for offset in signed]
        return [base + offset for offset in signed]
    whole = count_at - count * 8
    if whole < 0:
        return None
    addresses = list(struct.unpack_from(f"<{count}Q", kernel, whole))
    return addresses if addresses[-1] >> 31 == 0x1FFFFFFFF else None


def _symbols(names: list[bytes], addresses: list[int]) -> Iterator[Symbol]:
    for name, address in zip(names, addresses, strict=True):
        letter = name[:1]
        if letter in b"Aa":
            kind = "absolute"
        else:
            kind = "function" if letter in b"TtWw" else "object"
        binding = "weak" if letter in b"WwVv" else "global" if letter.isupper() else "local"
        yield Symbol(name[1:].decode("ascii", "replace"), address, kind=kind, binding=binding)
