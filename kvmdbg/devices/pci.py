"""PCI configuration space at ports 0xCF8 and 0xCFC (PCI Local Bus Specification 3.0, 3.2.2.3.2).

There is in it what the machine has: the IDE controller with its bridges (Intel 440FX data sheet, 290549; 82371SB PIIX3,
290550), and the adapter that shows large pictures. Where the machine starts in firmware that looks there for the host
bridge, which makes the memory below 1 MiB writable.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from kvmdbg.devices.registry import device
from kvmdbg.machine.board import Board

ENABLE = 1 << 31
PAM0, PAM6 = 0x59, 0x5F
PAM_WRITE = 2
"""In each half of a PAM register: whether writes go to memory."""
KIB16 = 0x4000
HOST_BRIDGE, IDE, POWER_MANAGEMENT = (0, 0), (1, 1), (1, 3)
BUS_MASTER, BUS_MASTER_SIZE, BUS_MASTER_BAR = 0xC000, 16, 4
"""Ports of the IDE controller's bus master, where SeaBIOS puts them, and the base address register that says so."""
IO, PREFETCHABLE = 1, 8
"""In a base address register."""
IO_ENABLED, MEMORY_ENABLED, MASTER_ENABLED = 1, 2, 4
"""In the command register."""


class Function:
    """One function's 256 bytes of configuration space; ``writable`` are the bytes that take writes."""

    def __init__(self, name: str, ids: tuple[int, int], kind: int, *, header: int = 0, writable: Iterable[int]) -> None:
        self.name = name
        self.space = bytearray(256)
        self.writable = frozenset(writable) | {4, 5, 0x3C}
        self.put(0, 2, ids[0])
        self.put(2, 2, ids[1])
        self.put(8, 4, kind << 8)
        self.put(0x0E, 1, header)
        self.put(0x2C, 2, 0x1AF4)  # subsystem of QEMU's machines, by which SeaBIOS knows what it finds
        self.put(0x2E, 2, 0x1100)

        self.bars: dict[int, int] = {}
        """By the place of a base address register, the bits of it that are the address, which tell its size."""

    def put(self, at: int, size: int, value: int) -> None:
        self.space[at : at + size] = value.to_bytes(size, "little")

    def number(self, at: int, size: int) -> int:
        return int.from_bytes(self.space[at : at + size], "little")

    def has_range(self, number: int, address: int, size: int, flags: int) -> None:
        """Base address register ``number`` (6.2.5.1): where its range lies, and how a guest finds out its size.

        The range stays where it is, whatever address a guest writes there.
        """
        at = 0x10 + 4 * number
        self.put(at, 4, address | flags)
        self.bars[at] = -size & 0xFFFFFFFF

    def decodes(self, number: int, port: int) -> bool:
        """Whether base address register ``number`` holds this port, and ports are switched on."""
        return bool(self.space[4] & IO_ENABLED) and self.number(0x10 + 4 * number, 4) == port | IO

    def in_words(self) -> str:
        return f"{self.name}, {self.number(0, 2):04x}:{self.number(2, 2):04x}"

    def write(self, at: int, data: bytes) -> None:
        for place, byte in enumerate(data, at):
            if place in self.writable:
                self.space[place] = byte
            elif (bar := place & ~3) in self.bars:
                keeps = self.bars[bar] >> 8 * (place & 3) & 0xFF
                self.space[place] = byte & keeps | self.space[place] & ~keeps & 0xFF


def host_bridge() -> Function:
    """What is at 00:00.0, by which guests that go through the bus find that there is one."""
    return Function("440FX", (0x8086, 0x1237), 0x060000, writable=range(0x50, 0x80))


def chipset() -> dict[tuple[int, int], Function]:
    """By device and function: host bridge 440FX, PIIX3 with its IDE controller at the ISA ports."""
    ide = Function("PIIX3 IDE", (0x8086, 0x7010), 0x010180, writable=range(0x40, 0x4C))
    ide.put(0x40, 4, 0x80008000)  # both channels decode their ports
    return {
        HOST_BRIDGE: host_bridge(),
        (1, 0): Function("PIIX3", (0x8086, 0x7000), 0x060100, header=0x80, writable=range(0x40, 0xB0)),
        (1, 1): ide,
    }


def power_management() -> Function:
    """That of the PIIX4, whose PMBA says at which 64 ports its registers are (devices/acpi_pm.py)."""
    made = Function("PIIX4 PM", (0x8086, 0x7113), 0x068000, writable=(0x58, 0x59, 0x5A, 0x5B, 0x80))
    made.put(0x40, 4, IO)
    made.bars[0x40] = 0xFFC0
    made.put(0x5B, 1, 2)  # as on QEMU without SMM: SeaBIOS waits for ever for an SMI where this is not set already
    return made


@device
class PciConfig:
    """pci: configuration space, with what the machine has of disks and large pictures."""

    name = "pci"
    options: ClassVar[dict[str, int]] = {"iobase": 0xCF8, "iosize": 8}
    standard = True
    only: ClassVar[tuple[int, ...]] = (0, 4, 5, 6, 7)

    def __init__(self, board: Board, options: dict[str, int]) -> None:
        self.address = 0
        self.reads = 0
        self._board = board
        disks = bool(board.disks.hard_disks) or board.disks.cdrom is not None
        self.functions: dict[tuple[int, int], Function] = board.pci
        if board.firmware or disks:
            self.functions.update(chipset())
        if board.firmware:
            self.functions[POWER_MANAGEMENT] = power_management()
        if board.firmware or disks:
            ide = self.functions[IDE]
            ide.has_range(BUS_MASTER_BAR, 0 if board.firmware else BUS_MASTER, BUS_MASTER_SIZE, IO)
            if not board.firmware:
                ide.put(4, 2, IO_ENABLED | MASTER_ENABLED)

    def _selected(self) -> Function | None:
        if not self.address & ENABLE or self.address >> 16 & 0xFF:
            return None
        return self.functions.get((self.address >> 11 & 31, self.address >> 8 & 7))

    def read(self, offset: int, size: int) -> int:
        if offset == 0 and size == 4:
            return self.address
        self.reads += offset >= 4
        found = self._selected()
        if offset < 4 or found is None:
            return (1 << size * 8) - 1
        at = (self.address & 0xFC) + offset - 4
        return found.number(at, size)

    def write(self, offset: int, size: int, value: int) -> None:
        if offset == 0 and size == 4:
            self.address = value
        found = self._selected()
        if offset >= 4 and found is not None:
            at = (self.address & 0xFC) + offset - 4
            found.write(at, value.to_bytes(size, "little"))
            if self._board.firmware and found.name == "440FX" and at <= PAM6 and at + size > PAM0:
                self._shadow(found)

    def _shadow(self, bridge: Function) -> None:
        """Have the memory below 1 MiB taken writes as the PAM registers say: 16 KiB a half, PAM0 64 KiB."""
        pam = bridge.space[PAM0 : PAM6 + 1]
        writable = []
        for number in range(1, 7):
            for half in (0, 1):
                if pam[number] >> 4 * half & PAM_WRITE:
                    start = 0xC0000 + (2 * (number - 1) + half) * KIB16
                    writable.append((start, start + KIB16))
        if pam[0] >> 4 & PAM_WRITE:
            writable.append((0xF0000, 0x100000))
        self._board.shadow(writable)

    def describe(self) -> str:
        found = ", ".join(one.name for _, one in sorted(self.functions.items())) or "empty"
        return f"PCI configuration space, {found}; {self.reads} reads"

    def details(self) -> dict[str, str]:
        at = self.address
        place = f"bus {at >> 16 & 0xFF}, device {at >> 11 & 31}, function {at >> 8 & 7}, register {at & 0xFC:#x}"
        found = {
            f"00:{slot:02x}.{function}": one.in_words() for (slot, function), one in sorted(self.functions.items())
        }
        return {"address": f"{at:#010x} ({place})", "reads": str(self.reads), **found}

    def save(self) -> Any:
        return [self.address, self.reads, *(bytes(one.space) for _, one in sorted(self.functions.items()))]

    def load(self, state: Any) -> None:
        self.address, self.reads, *spaces = state
        for (_, one), space in zip(sorted(self.functions.items()), spaces, strict=True):
            one.space[:] = space
        if self._board.firmware:
            self._shadow(self.functions[HOST_BRIDGE])
