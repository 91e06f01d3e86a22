"""The setup header of a Linux kernel (bzImage).

Source: the kernel's Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header".
"""

from __future__ import annotations

import struct

from kvmdbg.errors import LoadError
from kvmdbg.record import record

SECTOR = 512
HEADER = 0x1F1
BOOT_FLAG = b"\x55\xaa"
OLDEST = 0x202  # the command line by cmd_line_ptr
INITRD_MAX_BEFORE_203 = 0x37FFFFFF
CMDLINE_MAX_BEFORE_206 = 255
HEADER_MAGIC = b"HdrS"
MAGIC_AT = 0x202


def is_bzimage(data: bytes) -> bool:
    """True for the magic of the setup header."""
    return data[MAGIC_AT : MAGIC_AT + 4] == HEADER_MAGIC


@record
class SetupHeader:
    """What of the setup header is asked for here; fields that the kernel's protocol does not have yet are 0."""

    version: int
    setup_sectors: int
    size: int
    loadflags: int
    code32_start: int
    initrd_max: int
    alignment: int
    relocatable: bool
    xloadflags: int
    cmdline_size: int
    payload: tuple[int, int]
    preferred: int
    init_size: int

    @property
    def start(self) -> int:
        """Where in the file the protected-mode part begins."""
        return (self.setup_sectors + 1) * SECTOR

    @property
    def protocol(self) -> str:
        """Its version as text."""
        return f"{self.version >> 8}.{self.version & 0xFF:02}"


def read_header(data: bytes, path: str) -> SetupHeader:
    """The setup header; LoadError where it is cut off, damaged or too old."""
    if len(data) < 0x290:
        raise LoadError(f"{path} is a Linux kernel cut short: its setup header ends after the file does")
    if data[0x1FE:0x200] != BOOT_FLAG:
        raise LoadError(f"{path} is a damaged Linux kernel: it has no 0x55 0xAA at byte 510")

    def field(at: int, layout: str, since: int, otherwise: int = 0) -> int:
        value: int = struct.unpack_from(f"<{layout}", data, at)[0] if version >= since else otherwise
        return value

    version = struct.unpack_from("<H", data, 0x206)[0]
    if version < OLDEST:
        raise LoadError(
            f"{path} is a Linux kernel of boot protocol {version >> 8}.{version & 0xFF:02}; kvmdbg starts those from "
            "2.02 (Linux 2.4) on"
        )
    return SetupHeader(
        version,
        setup_sectors=data[HEADER] or 4,
        size=field(0x1F4, "I", 0x204) * 16,
        loadflags=data[0x211],
        code32_start=field(0x214, "I", 0x200),
        initrd_max=field(0x22C, "I", 0x203, INITRD_MAX_BEFORE_203),
        alignment=field(0x230, "I", 0x205),
        relocatable=bool(field(0x234, "B", 0x205)),
        xloadflags=field(0x236, "H", 0x20C),
        cmdline_size=field(0x238, "I", 0x206, CMDLINE_MAX_BEFORE_206),
        payload=(field(0x248, "I", 0x208), field(0x24C, "I", 0x208)),
        preferred=field(0x258, "Q", 0x20A),
        init_size=field(0x260, "I", 0x20A),
    )
