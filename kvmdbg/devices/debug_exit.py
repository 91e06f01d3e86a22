"""A port with which the guest ends the machine, as QEMU's device of the same name.

What is written to it becomes the exit status: value * 2 + 1, so that no guest ends with 0 (QEMU, hw/misc/debugexit.c).
"""

from __future__ import annotations

from typing import Any, ClassVar

from kvmdbg.devices.registry import device
from kvmdbg.machine.board import Board
from kvmdbg.machine.bus import GuestEnd


@device
class DebugExit:
    """isa-debug-exit: the guest ends itself by a write to its port."""

    name = "isa-debug-exit"
    options: ClassVar[dict[str, int]] = {"iobase": 0x501, "iosize": 2}

    def __init__(self, board: Board, options: dict[str, int]) -> None:
        self.port = options["iobase"]

    def read(self, offset: int, size: int) -> int:
        return 0

    def write(self, offset: int, size: int, value: int) -> GuestEnd:
        return GuestEnd((value << 1 | 1) & 0xFF, f"it wrote {value:#x} to port {self.port + offset:#x}")

    def describe(self) -> str:
        return f"ends the guest: a write of V to port {self.port:#x} is exit status V * 2 + 1"

    def save(self) -> Any:
        return None

    def load(self, state: Any) -> None:
        pass
