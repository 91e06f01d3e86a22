"""The BIOS data area at 0040:0000, as a guest finds it (IBM PS/2 BIOS Interface Technical Reference, section 3)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kvmdbg.machine.disk import Disk, Disks

BDA, SIZE = 0x400, 0x100
EBDA_SEGMENT, MEMORY_KIB = 0x9FC0, 639
EQUIPMENT, MEMORY = 0x410, 0x413
SHIFT_FLAGS, SHIFT_FLAGS_2, KEYPAD = 0x417, 0x418, 0x419
HEAD, TAIL, BUFFER, BUFFER_END = 0x41A, 0x41C, 0x1E, 0x3E
"""Of the keyboard buffer; the last two are offsets in segment 0x40, as what HEAD and TAIL hold."""
BUFFER_FROM, BUFFER_TO = 0x480, 0x482
DISKETTE_DONE, DISKETTE_STATUS, DISK_STATUS, HARD_DISKS = 0x43E, 0x441, 0x474, 0x475
MODE, COLUMNS, PAGE_SIZE, PAGE_START, CURSORS, SHAPE, PAGE, CRTC_PORT = (
    0x449, 0x44A, 0x44C, 0x44E, 0x450, 0x460, 0x462, 0x463,
)  # fmt: skip
ROWS, CHARACTER_HEIGHT, VIDEO_INFO, VIDEO_FLAGS = 0x484, 0x485, 0x487, 0x489
TICKS, MIDNIGHT = 0x46C, 0x470
DISK_INTERRUPT, KEYBOARD_FLAGS, KEYBOARD_LEDS = 0x48E, 0x496, 0x497
RESET_FLAG, BREAK_FLAG = 0x472, 0x471
WAIT_FLAG, WAIT_LEFT, WAIT_ACTIVE = 0x498, 0x49C, 0x4A0
"""Of int 15h/83: a far pointer, microseconds, and whether it is under way."""


def data_area(disks: Disks) -> bytes:
    """All 256 bytes."""
    data = bytearray(SIZE)

    def put(address: int, layout: str, *values: int) -> None:
        struct.pack_into("<" + layout, data, address - BDA, *values)

    floppies = len(disks.floppies)
    # one COM port, 80x25 in colour, a mouse, a coprocessor
    equipment = 0x0226 | (1 | floppies - 1 << 6 if floppies else 0)
    put(0x400, "H", 0x3F8)
    put(0x40E, "H", EBDA_SEGMENT)
    put(EQUIPMENT, "H", equipment)
    put(MEMORY, "H", MEMORY_KIB)
    put(HEAD, "HH", BUFFER, BUFFER)
    put(HARD_DISKS, "B", len(disks.hard_disks))
    put(BUFFER_FROM, "HH", BUFFER, BUFFER_END)
    put(MODE, "BHH", 3, 80, 0x1000)
    put(SHAPE, "HBH", 0x0607, 0, 0x3D4)
    put(0x465, "BB", 0x29, 0x30)
    put(0x47C, "4B", 10, 1, 1, 1)  # time-outs of serial ports
    put(ROWS, "BHBBBB", 24, 16, 0x60, 0xF9, 0x51, 8)
    put(KEYBOARD_FLAGS, "B", 0x10)  # an enhanced keyboard
    return bytes(data)


def fixed_disk_table(disk: Disk) -> bytes:
    """The 16 bytes that int 41h and 46h point to."""
    made = disk.geometry
    assert made is not None
    table = struct.pack(
        "<HBHHBBBBBHBB", made.cylinders, min(made.heads, 255), 0, 0xFFFF, 0, 8, 0, 0, 0, 0, made.sectors, 0
    )
    return table.ljust(16, b"\0")[:16]
