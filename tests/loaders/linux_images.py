"""Linux kernels made byte by byte: a bzImage around code of a test's own, and a PVH kernel."""

from __future__ import annotations

import struct

from tests.loaders.elf_images import EM_X86_64, ElfImage, Load

SECTORS = 4


def bzimage(
    code64: bytes = b"\xf4",
    code32: bytes = b"\xf4",
    *,
    version: int = 0x20F,
    payload: bytes = b"",
    xloadflags: int = 1,
    init_size: int = 0x100000,
    initrd_max: int = 0x7FFFFFFF,
    cmdline_size: int = 2047,
    code32_start: int = 0x100000,
    release: bytes = b"",
) -> bytes:
    """Its 32-bit entry is ``code32``, its 64-bit one ``code64``; ``payload`` is what is packed in it."""
    body = code32.ljust(0x200, b"\xf4") + code64
    body += bytes(-len(body) % 16)
    payload_at = len(body)
    body += payload + bytes(-len(payload) % 16)
    head = bytearray((SECTORS + 1) * 512)
    head[0x1F1] = SECTORS
    struct.pack_into("<I", head, 0x1F4, len(body) // 16)
    head[0x1FE:0x200] = b"\x55\xaa"
    head[0x200:0x202] = b"\xeb\x6a"
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", head, 0x206, version)
    head[0x211] = 1
    struct.pack_into("<I", head, 0x214, code32_start)
    struct.pack_into("<IIBBHI", head, 0x22C, initrd_max, 0x200000, 1, 21, xloadflags, cmdline_size)
    struct.pack_into("<II", head, 0x248, payload_at, len(payload))
    struct.pack_into("<QI", head, 0x258, 0x1000000, init_size)
    if release:
        struct.pack_into("<H", head, 0x20E, 0x300)
        head[0x500 : 0x500 + len(release)] = release
    return bytes(head) + body


def pvh_note(entry: int, size: int = 4, owner: bytes = b"Xen\0", kind: int = 18) -> bytes:
    return struct.pack("<III", len(owner), size, kind) + owner + entry.to_bytes(size, "little")


def pvh(code: bytes = b"\xf4", *, entry: int = 0x100000, notes: bytes | None = None) -> bytes:
    """An ELF64 kernel at 1 MiB, whose one program header more has its notes, behind the code."""
    found = pvh_note(entry) if notes is None else notes
    made = bytearray(ElfImage(bits=64, machine=EM_X86_64, loads=[Load(0x100000, code), Load(0x200000, found)]).build())
    struct.pack_into("<I", made, 64 + 56, 4)  # PT_NOTE
    return bytes(made)
