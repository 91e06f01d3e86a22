"""QEMU's pc-testdev, which tests of hypervisors (kvm-unit-tests) drive: values, interrupt lines and memory at will.

Ports and addresses: QEMU, hw/misc/pc-testdev.c. The page that a guest asks to have mapped anew stays mapped: what it
reads there is the same.
"""

from __future__ import annotations

from typing import Any, ClassVar

from kvmdbg.devices.registry import device
from kvmdbg.machine.board import Board

VALUE, FLUSH, BYTES, LINES = 0xE0, 0xE4, 0xE8, 0x2000
LINE_COUNT = 24


@device
class TestDevice:
    """pc-testdev: ports that keep what is written (0xe0, 0xe8), interrupt lines (0x2000), 64 KiB at 0xff000000."""

    name = "pc-testdev"
    options: ClassVar[dict[str, int]] = {"iobase": VALUE, "iosize": 12, "mmiobase": 0xFF000000, "mmiosize": 0x10000}
    ports: ClassVar[tuple[int, ...]] = (*range(VALUE, BYTES + 4), *range(LINES, LINES + LINE_COUNT))
    needs: ClassVar[tuple[str, ...]] = ("fw_cfg",)
    needs_apic = True
    """kvm-unit-tests use it before anything else."""

    def __init__(self, board: Board, options: dict[str, int]) -> None:
        self._board = board
        self.value = bytearray(4)
        self.memory = bytearray(options["mmiosize"])
        self.lines = [0] * LINE_COUNT
        self.flushed: int | None = None

    def read(self, port: int, size: int) -> int:
        if FLUSH <= port < BYTES or port >= LINES:
            return (1 << size * 8) - 1
        at = port & 3
        return int.from_bytes(self.value[at : at + size], "little")

    def write(self, port: int, size: int, value: int) -> None:
        if port >= LINES:
            self.lines[port - LINES] = int(bool(value & 0xFF))
            self._board.set_irq(port - LINES, bool(value & 0xFF))
        elif FLUSH <= port < BYTES:
            self.flushed = value & -0x1000
        else:
            at = port & 3
            self.value[at : at + size] = value.to_bytes(size, "little")[: 4 - at]

    def read_mmio(self, offset: int, size: int) -> int:
        return int.from_bytes(self.memory[offset : offset + size], "little")

    def write_mmio(self, offset: int, size: int, value: int) -> None:
        self.memory[offset : offset + size] = value.to_bytes(size, "little")[: len(self.memory) - offset]

    def describe(self) -> str:
        return f"test device, value {int.from_bytes(self.value, 'little'):#010x}"

    def details(self) -> dict[str, str]:
        up = ", ".join(str(number) for number, level in enumerate(self.lines) if level)
        flushed = "none" if self.flushed is None else f"{self.flushed:#x}"
        return {"value": self.value.hex(" "), "lines that are up": up or "none", "last page flushed": flushed}

    def save(self) -> Any:
        return [bytes(self.value), bytes(self.memory), self.lines, self.flushed]

    def load(self, state: Any) -> None:
        value, memory, lines, self.flushed = state
        self.value, self.memory, self.lines = bytearray(value), bytearray(memory), list(lines)
