"""QEMU's fw_cfg: what the machine tells its firmware, at ports 0x510 to 0x51B.

Selectors, ports and the DMA descriptor: QEMU's specification of the device, docs/specs/fw_cfg.rst; which selector says
what: include/standard-headers/linux/qemu_fw_cfg.h and what SeaBIOS documents in docs/Runtime_config.md.
"""

from __future__ import annotations

import struct
from typing import Any, ClassVar

from kvmdbg.devices.registry import device
from kvmdbg.devices.uart import COM1
from kvmdbg.errors import MemoryFault, UsageError
from kvmdbg.machine.board import Board
from kvmdbg.machine.layout import ram_areas

SELECTOR, DATA, DMA = 0, 1, 4
"""Offsets of the ports."""
SIGNATURE, ID, UUID, RAM_SIZE, NO_GRAPHIC, CPUS, NUMA, BOOT_MENU, MOST_CPUS, DIRECTORY = (
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x0D, 0x0E, 0x0F, 0x19,
)  # fmt: skip
FIRST_FILE, MOST_FILES = 0x20, 0x1000
MOST_NAME = 55
HAS_PORTS, HAS_DMA = 1, 2
DMA_SIGNATURE = b"QEMU CFG"
ERROR, READ, SKIP, SELECT, WRITE = 1, 2, 4, 8, 16
"""Bits of a DMA's control field."""
E820_RAM, E820_RESERVED = 1, 2
SERIAL_CONSOLE = "etc/sercon-port"
PIECE = 1 << 16


@device
class FwCfg:
    """fw_cfg: memory size, number of vCPUs and files for firmware, as QEMU's device of the same name."""

    name = "fw_cfg"
    options: ClassVar[dict[str, int]] = {"iobase": 0x510, "iosize": 12}
    only: ClassVar[tuple[int, ...]] = (SELECTOR, DATA, *range(DMA, DMA + 8))

    @staticmethod
    def belongs_to(board: Board) -> bool:
        """With firmware, and where there are files for it."""
        return board.firmware or bool(board.fw_cfg)

    def __init__(self, board: Board, options: dict[str, int]) -> None:
        self._board = board
        self.files = _files(board)
        self.items = _items(board, self.files)
        self.selected = 0
        self.at = 0
        self._address = 0
        """Of the next DMA's descriptor, as far as it has been written."""
        self.last_dma = ""

    def read(self, offset: int, size: int) -> int:
        if offset == DATA:
            return int.from_bytes(self._take(1), "big") | (0 if size == 1 else -1 << 8 & (1 << size * 8) - 1)
        if offset >= DMA:
            return int.from_bytes(DMA_SIGNATURE[offset - DMA : offset - DMA + size].ljust(size, b"\0"), "little")
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        if offset == SELECTOR:
            self._select(value & 0xFFFF)
        elif offset == DMA and size == 4:
            self._address = int.from_bytes(value.to_bytes(4, "little"), "big") << 32
        elif offset == DMA + 4 and size == 4:
            address = self._address | int.from_bytes(value.to_bytes(4, "little"), "big")
            self._address = 0
            self._transfer(address)

    def _select(self, key: int) -> None:
        self.selected, self.at = key, 0

    def _take(self, count: int) -> bytes:
        """The next bytes of what is selected; zeros behind its end."""
        data = self.items.get(self.selected, b"")[self.at : self.at + count]
        self.at += count
        return data.ljust(count, b"\0")

    def _transfer(self, descriptor: int) -> None:
        """Do what the descriptor at this guest-physical address asks for."""
        memory = self._board.dma
        try:
            control, length, address = struct.unpack(">IIQ", memory.read(descriptor, 16))
        except MemoryFault:
            self.last_dma = f"its descriptor at {descriptor:#x} is not in memory"
            return
        if control & SELECT:
            self._select(control >> 16)
        failed = bool(control & WRITE)  # what the machine says is not changed
        if control & READ and not failed:
            try:
                for done in range(0, length, PIECE):
                    memory.write(address + done, self._take(min(PIECE, length - done)))
            except MemoryFault:
                failed = True
        elif control & SKIP:
            self.at += length
        self.last_dma = f"{length} bytes of {self.selected:#x} to {address:#x}{', failed' if failed else ''}"
        try:
            memory.write(descriptor, struct.pack(">I", ERROR if failed else 0))
        except MemoryFault:
            self.last_dma += f"; its descriptor at {descriptor:#x} cannot be written"

    def describe(self) -> str:
        return f"fw_cfg, {len(self.files)} files; item {self.selected:#x} selected, at byte {self.at}"

    def details(self) -> dict[str, str]:
        found = {"selected": f"{self.selected:#x}", "at": str(self.at)}
        if self.last_dma:
            found["last DMA"] = self.last_dma
        return found | {name: f"{len(data)} bytes" for name, data in sorted(self.files.items())}

    def save(self) -> Any:
        return [self.selected, self.at, self._address, self.last_dma]

    def load(self, state: Any) -> None:
        self.selected, self.at, self._address, self.last_dma = state


def _files(board: Board) -> dict[str, bytes]:
    """The files by name: those asked for, and what SeaBIOS wants to know."""
    files = {"etc/e820": e820(board.memory)}
    has_screen = any(name.startswith("vgaroms/") for name in board.fw_cfg)
    if not has_screen:
        files[SERIAL_CONSOLE] = COM1.to_bytes(8, "little")
    return files | board.fw_cfg


def e820(memory: int) -> bytes:
    """What lies where, of RAM as ``layout.ram_areas`` has it: address, size and kind of each."""
    return b"".join(struct.pack("<QQI", start, size, E820_RAM) for start, size in ram_areas(memory))


def _items(board: Board, files: dict[str, bytes]) -> dict[int, bytes]:
    """What each selector gives."""
    items = {
        SIGNATURE: b"QEMU",
        ID: (HAS_PORTS | HAS_DMA).to_bytes(4, "little"),
        UUID: bytes(16),
        RAM_SIZE: board.memory.to_bytes(8, "little"),
        NO_GRAPHIC: (0).to_bytes(2, "little"),
        CPUS: board.cpus.to_bytes(2, "little"),
        NUMA: bytes(8),
        BOOT_MENU: bytes(2),
        MOST_CPUS: board.cpus.to_bytes(2, "little"),
    }
    directory = struct.pack(">I", len(files))
    for number, (name, data) in enumerate(sorted(files.items())):
        items[FIRST_FILE + number] = data
        directory += struct.pack(">IHH56s", len(data), FIRST_FILE + number, 0, name.encode())
    items[DIRECTORY] = directory
    return items


def check_name(name: str) -> None:
    """UsageError for a name that no file can have there."""
    if not name or len(name.encode()) > MOST_NAME or not name.isprintable():
        raise UsageError(f"{name!r} is no name of a file for firmware: it has 1 to {MOST_NAME} bytes")
