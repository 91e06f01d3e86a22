"""PCI configuration space with nothing in it, at ports 0xCF8 and 0xCFC (PCI Local Bus Specification 3.0, 3.2.2.3)."""

from __future__ import annotations

from typing import Any, ClassVar

from kvmdbg.devices.registry import device
from kvmdbg.machine.board import Board


@device
class PciConfig:
    """pci: configuration space that answers "nothing there" for every device."""

    name = "pci"
    options: ClassVar[dict[str, int]] = {"iobase": 0xCF8, "iosize": 8}
    standard = True
    only: ClassVar[tuple[int, ...]] = (0, 4, 5, 6, 7)

    def __init__(self, board: Board, options: dict[str, int]) -> None:
        self.address = 0
        self.reads = 0

    def read(self, offset: int, size: int) -> int:
        if offset == 0 and size == 4:
            return self.address
        self.reads += offset >= 4
        return (1 << size * 8) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        if offset == 0 and size == 4:
            self.address = value

    def describe(self) -> str:
        return f"PCI configuration space, empty; {self.reads} reads"

    def details(self) -> dict[str, str]:
        at = self.address
        place = f"bus {at >> 16 & 0xFF}, device {at >> 11 & 31}, function {at >> 8 & 7}, register {at & 0xFC:#x}"
        return {"address": f"{at:#010x} ({place})", "reads": str(self.reads)}

    def save(self) -> Any:
        return [self.address, self.reads]

    def load(self, state: Any) -> None:
        self.address, self.reads = state
