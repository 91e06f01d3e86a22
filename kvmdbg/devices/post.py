"""The POST port: firmware and kernels write a code there at each step, which a card with two digits would show."""

from __future__ import annotations

from collections import deque
from typing import Any, ClassVar

from kvmdbg.devices.registry import device
from kvmdbg.machine.board import Board

KEPT = 32


@device
class Post:
    """post: the codes written to port 0x80."""

    name = "post"
    options: ClassVar[dict[str, int]] = {"iobase": 0x80, "iosize": 1}
    standard = True

    def __init__(self, board: Board, options: dict[str, int]) -> None:
        self.codes: deque[int] = deque(maxlen=KEPT)

    def read(self, offset: int, size: int) -> int:
        above = (1 << size * 8) - 0x100  # nothing is at the ports above
        return above | (self.codes[-1] if self.codes else 0xFF)

    def write(self, offset: int, size: int, value: int) -> None:
        self.codes.append(value & 0xFF)

    def describe(self) -> str:
        return f"POST codes, the last {self.codes[-1]:#04x}" if self.codes else "POST codes, none yet"

    def details(self) -> dict[str, str]:
        return {"codes": " ".join(f"{code:02x}" for code in self.codes) or "none yet"}

    def save(self) -> Any:
        return list(self.codes)

    def load(self, state: Any) -> None:
        self.codes = deque(state, maxlen=KEPT)
