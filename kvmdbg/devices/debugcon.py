"""The debug console of Bochs and QEMU: a byte written to its port is shown, and reading it says that it is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from kvmdbg.devices.registry import device

PRESENT = 0xE9


@device
class DebugConsole:
    """isa-debugcon: what the guest writes to its port is output, with no UART to set up."""

    name = "isa-debugcon"
    options: ClassVar[dict[str, int]] = {"iobase": 0xE9, "iosize": 1}

    def __init__(self, output: Callable[[bytes], None], options: dict[str, int]) -> None:
        self.port = options["iobase"]
        self._output = output
        self.sent = 0

    def reset(self) -> None:
        self.sent = 0

    def read(self, offset: int, size: int) -> int:
        return PRESENT

    def write(self, offset: int, size: int, value: int) -> None:
        self.sent += size
        self._output(value.to_bytes(size, "little"))

    def describe(self) -> str:
        return f"debug console at port {self.port:#x}, {self.sent} bytes sent"

    def save(self) -> Any:
        return self.sent

    def load(self, state: Any) -> None:
        self.sent = state
