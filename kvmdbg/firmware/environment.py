"""What services work with: the machine's devices, disks and memory, and what they remember between calls."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

from kvmdbg.devices.acpi_pm import AcpiPm
from kvmdbg.devices.fonts import font
from kvmdbg.devices.power import Power
from kvmdbg.devices.registry import add
from kvmdbg.firmware import acpi, rom
from kvmdbg.firmware.data_area import data_area, fixed_disk_table
from kvmdbg.machine.eltorito import BootEntry, boot_entry

if TYPE_CHECKING:
    from kvmdbg.machine.board import Board
    from kvmdbg.machine.bus import Bus
    from kvmdbg.machine.disk import Disk
    from kvmdbg.machine.memory import GuestMemory

D = TypeVar("D")
TEXT, TEXT_PAGES, BLANK = 0xB8000, 0x8000, b" \x07"
DISKETTE = bytes.fromhex("af022502121bff6cf60f08")
"""The diskette parameter table of int 1Eh (IBM PC AT Technical Reference): 18 sectors of 512 bytes a track."""
CONFIGURATION = bytes.fromhex("0800fc01007400000000")
"""What int 15h/C0 points to: eight bytes follow; an AT, RTC, second 8259, keyboard intercept."""
FIRST_VECTOR, SECOND_VECTOR, KEYBOARD_IRQ = 0x08, 0x70, 1
UNMASKED = (0, 1, 2, 6, 8, 14)
"""Interrupt lines that a BIOS lets through: timer, keyboard, the second controller, diskette, clock, disk."""
VIDEO_FUNCTIONS = bytes.fromhex("7fe00f0000000007 02080e0000000000")
"""What int 10h/1B points to: modes 0 to 6, 0Dh to 13h; 200, 350 and 400 lines; two fonts; all functions but a few."""


class Environment:
    """Of the machine with these; ``boots_from`` is the drive that int 19h begins with, None for any."""

    def __init__(self, board: Board, bus: Bus, memory: GuestMemory, boots_from: int | None = None) -> None:
        self.board = board
        self.bus = bus
        self.memory = memory
        self.disks = board.disks
        self.boots_from = boots_from
        self.told: set[tuple[int, int]] = set()
        """Of what the user has been told."""
        self.clock_is_set = False
        """The ticks are those since midnight; they count from 0 until somebody asks, so that runs are alike."""
        self.wait_until: int | None = None
        """When int 15h/86 ends, in ns of the guest's time."""
        self._devices: dict[type, Any] = {}
        self.has_acpi = boots_from is None and self.device(Power) is not None
        if self.has_acpi and all(one.name != AcpiPm.name for one in bus.devices):
            add(bus, AcpiPm.name, board)

    def device(self, kind: type[D]) -> D | None:
        """The machine's device of this class."""
        if kind not in self._devices:
            self._devices[kind] = next((one for one in self.bus.devices if isinstance(one, kind)), None)
        return self._devices[kind]  # type: ignore[no-any-return]

    def install(self) -> None:
        """Put code, vectors, the BIOS data area and a blank screen into memory."""
        write = self.memory.write
        code = bytearray(rom.image())
        for at, table in ((rom.CONFIGURATION, CONFIGURATION), (rom.DISKETTE, DISKETTE)):
            code[at : at + len(table)] = table
        for number, disk in enumerate(self.disks.hard_disks):
            table = fixed_disk_table(disk)
            code[rom.FIXED_DISKS + 16 * number : rom.FIXED_DISKS + 16 * number + 16] = table
        for height, at in rom.FONT_OF.items():
            code[at : at + 256 * height] = font(height)
        code[rom.OLD_FONT : rom.OLD_FONT + 1024] = font(8)[:1024]
        code[rom.VIDEO_FUNCTIONS : rom.VIDEO_FUNCTIONS + 16] = VIDEO_FUNCTIONS
        if self.has_acpi:
            found = acpi.tables(rom.BASE + rom.ACPI, self.board.cpus, has_apics=self.board.has_apics)
            code[rom.ACPI : rom.ACPI + len(found)] = found
        write(rom.BASE, bytes(code))
        write(0, rom.vectors())
        write(0x400, data_area(self.disks))
        write(TEXT, BLANK * (TEXT_PAGES // 2))

    def start_devices(self) -> None:
        """Leave interrupt controllers and timer as a BIOS does; only what it boots finds lines let through."""
        board = self.board
        unmasked = UNMASKED if self.boots_from is not None else ()
        if unmasked:
            board.set_up_chips(FIRST_VECTOR, SECOND_VECTOR, unmasked)
        if board.pic is not None:
            board.pic.set_up(FIRST_VECTOR, SECOND_VECTOR, unmasked)
        if board.pit is not None:
            board.pit.set_up()

    def let_through(self, line: int) -> None:
        """Unmask an interrupt line of the second controller."""
        for port, bit in ((0xA1, line & 7), (0x21, 2)):
            if self.bus.port(port) is not None:
                self.bus.write_port(port, 1, self.bus.read_port(port, 1) & ~(1 << bit))

    def now(self) -> int:
        """The guest's time in ns."""
        return self.board.time.now()

    def pass_time(self, ns: int) -> None:
        """Let so much of the guest's time pass, or a part of it, where something else comes."""
        following = self.board.time.next_on_host
        if following is not None:
            ns = min(ns, following - time.monotonic_ns())
        if ns > 0:
            time.sleep(ns / self.board.time.rate / 1e9)

    @property
    def keyboard_interrupts(self) -> bool:
        """Whether the guest hears of keys by IRQ 1."""
        pic = self.board.pic
        return pic.passes(KEYBOARD_IRQ) if pic is not None else self.board.has_interrupts

    def tell_failure(self, disk: Disk, error: OSError) -> None:
        """The host cannot read or write a disk: the user hears of it, too."""
        self.board.tell(f"{disk.name} ({disk.path}): {error.strerror or error}: the guest is told of a failure")

    def cd_entry(self) -> BootEntry | None:
        """What of the CD is booted. OSError where the host cannot read it."""
        disk = self.disks.cdrom
        if disk is None:
            return None
        sectors = disk.sectors
        return boot_entry(lambda number: disk.read(number, 1) if number < sectors else b"")
