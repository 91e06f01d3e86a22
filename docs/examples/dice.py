"""A die at a port and at an address."""

from __future__ import annotations

from typing import Any, ClassVar

from kvmdbg.devices.registry import device
from kvmdbg.machine.board import Board
from kvmdbg.machine.bus import GuestEnd


@device
class Dice:
    """dice: a die that has been thrown already; its byte of memory counts the throws, and ends the guest."""

    name = "dice"
    options: ClassVar[dict[str, int]] = {
        "iobase": 0x170,
        "iosize": 1,
        "mmiobase": 0xD0000000,
        "mmiosize": 1,
        "shows": 4,
    }

    def __init__(self, board: Board, options: dict[str, int]) -> None:
        self.shows = options["shows"]
        self.throws = 0

    def read(self, offset: int, size: int) -> int:
        self.throws += 1
        return self.shows

    def write(self, offset: int, size: int, value: int) -> None:
        return None

    def read_mmio(self, offset: int, size: int) -> int:
        return self.throws

    def write_mmio(self, offset: int, size: int, value: int) -> GuestEnd:
        return GuestEnd(value, "it gave up playing")

    def describe(self) -> str:
        return f"a die, thrown {self.throws} times"

    def save(self) -> Any:
        return self.throws

    def load(self, state: Any) -> None:
        self.throws = state
