"""The debug console of Bochs and QEMU: a byte written to its port is shown, and reading it says that it is there."""

from __future__ import annotations

from typing import Any, ClassVar

from kvmdbg.devices.registry import device
from kvmdbg.machine.board import Board

PRESENT = 0xE9


@device
class DebugConsole:
    """isa-debugcon: what the guest writes to its port is output, with no UART to set up."""

    name = "isa-debugcon"
    options: ClassVar[dict[str, int]] = {"iobase": 0xE9, "iosize": 1}

    def __init__(self, board: Board, options: dict[str, int]) -> None:
        self.port = options["iobase"]
        self._output = board.output
        self.sent = 0

    def read(self, offset: int, size: int) -> int:
        return PRESENT

    def write(self, offset: int, size: int, value: int) -> None:
        self.sent += size
        self._output(value.to_bytes(size, "little"))

    @property
    def coalesced(self) -> tuple[int, ...]:
        """The ports whose writes KVM may collect."""
        return (self.port,)

    def write_many(self, data: bytes) -> None:
        """Bytes written to the port, one after the other."""
        self.sent += len(data)
        self._output(data)

    def describe(self) -> str:
        return f"debug console at port {self.port:#x}, {self.sent} bytes sent"

    def save(self) -> Any:
        return self.sent

    def load(self, state: Any) -> None:
        self.sent = state
