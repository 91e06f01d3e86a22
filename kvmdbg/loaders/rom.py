"""Firmware: a ROM that ends at 4 GiB, and starts as the CPU comes out of reset.

Its last 128 KiB are seen below 1 MiB as well (Intel 440FX data sheet, 290549, section 3.2.18: PAM registers).
"""

from __future__ import annotations

from kvmdbg.errors import LoadError, UsageError
from kvmdbg.loaders.contents import what_is
from kvmdbg.loaders.registry import loader, read_image
from kvmdbg.machine.image import Entry, Image, LoadOptions, Segment

PAGE = 0x1000
KIB64 = 0x10000
END, LOW_END = 1 << 32, 1 << 20
LARGEST = 16 << 20
SEEN_LOW = 128 << 10
RESET_CS, RESET_IP = 0xF000, 0xFFF0
SIGNATURE = 0x600
"""What EDX has after reset: family 6 (SDM volume 3A, section 10.1.2)."""
FIRST_BYTES = (b"\xea", b"\xe9", b"\xeb", b"\xfa\xfc\xe9", b"\x0f\x09\xe9", b"\x90\x90\xe9", b"\x66\xea")
"""What firmware has at its reset vector: a jump, behind cli, cld, wbinvd or nops."""
UEFI_AT, UEFI = 40, b"_FVH"
"""Where a firmware volume has its signature (UEFI Platform Initialization specification 1.7, volume 3, 3.2.1.1)."""


@loader
class Rom:
    """Mapped below 4 GiB as a whole, its end below 1 MiB; both read-only."""

    name = "rom"
    looks_for = "jump at its reset vector, 16 bytes before its end, or is not of whole 64 KiB"
    priority = 15
    takes_cmdline = False

    def recognise(self, data: bytes) -> bool:
        """True for whole 64 KiB that begin with nothing bootable and have a jump at the reset vector."""
        whole = KIB64 <= len(data) <= LARGEST and len(data) % KIB64 == 0
        return whole and data[510:512] != b"\x55\xaa" and data[-16:].startswith(FIRST_BYTES)

    def load(self, data: bytes, path: str, options: LoadOptions) -> Image:
        """The ROM and its copy. UsageError for options that firmware has no use for."""
        for given, option in ((options.load, "--load"), (options.entry, "--entry"), (options.mode, "--mode")):
            if given is not None:
                raise UsageError(f"{path} is firmware, which starts at the reset vector in real mode: no {option}")
        if len(data) > LARGEST:
            raise LoadError(f"{path} is too large for firmware: {len(data):#x} bytes, and {LARGEST:#x} have room")
        whole = b"\xff" * (-len(data) % PAGE) + data
        low = whole[-SEEN_LOW:]
        segments = [
            Segment(END - len(whole), whole, name="ROM", rom=True),
            Segment(LOW_END - len(low), low, name="ROM below 1 MiB", rom=True),
        ]
        is_uefi = data[UEFI_AT : UEFI_AT + len(UEFI)] == UEFI
        entry, registers = Entry(RESET_CS, RESET_IP), {"rdx": SIGNATURE}
        return Image(path, self.name, segments, "real", entry, registers, interrupts=is_uefi)


def load_firmware(path: str, options: LoadOptions) -> Image:
    """The ROM in a file. LoadError for what is surely none, UsageError."""
    data = read_image(path)
    if not data[-16:].startswith(FIRST_BYTES) and (what := what_is(data)):
        raise LoadError(f"{path} is {what}, not firmware: it has no jump at its reset vector, 16 bytes before its end")
    return Rom().load(data, path, options)
