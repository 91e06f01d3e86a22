"""What firmware logs at port 0x402 (SeaBIOS, docs/Debugging.md): reading it says that somebody listens."""

from __future__ import annotations

from typing import Any, ClassVar

from kvmdbg.devices.debugcon import PRESENT
from kvmdbg.devices.registry import device
from kvmdbg.machine.board import Board

PORT = 0x402
KEPT = 1 << 16
SHOWN = 200
"""Lines that ``details`` gives."""


@device
class FirmwareLog:
    """firmware-log: keeps what firmware writes to its debug port; info device firmware-log shows it."""

    name = "firmware-log"
    options: ClassVar[dict[str, int]] = {"iobase": PORT, "iosize": 1}

    @staticmethod
    def belongs_to(board: Board) -> bool:
        return board.firmware

    def __init__(self, board: Board, options: dict[str, int]) -> None:
        self.port = options["iobase"]
        self.text = b""

    def read(self, offset: int, size: int) -> int:
        return PRESENT

    def write(self, offset: int, size: int, value: int) -> None:
        self.write_many(value.to_bytes(size, "little"))

    @property
    def coalesced(self) -> tuple[int, ...]:
        """The ports whose writes KVM may collect."""
        return (self.port,)

    def write_many(self, data: bytes) -> None:
        """Bytes written to the port, one after the other."""
        self.text = (self.text + data)[-KEPT:]

    def lines(self) -> list[str]:
        """What was logged, as far as it was kept."""
        return self.text.decode("ascii", "replace").splitlines()

    def describe(self) -> str:
        found = self.lines()
        last = f", the last: {found[-1]}" if found else ""
        return f"firmware's log at port {self.port:#x}, {len(found)} lines{last}"

    def details(self) -> dict[str, str]:
        found = self.lines()
        first = max(len(found) - SHOWN, 0)
        return {str(number + 1): found[number] for number in range(first, len(found))}

    def save(self) -> Any:
        return self.text

    def load(self, state: Any) -> None:
        self.text = state
