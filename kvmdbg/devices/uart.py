"""A 16550 UART, as much of it as a guest needs that polls: output, and an input that is always empty.

Registers: National Semiconductor PC16550D data sheet, section 8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

COM1 = 0x3F8
PORTS = 8

LCR_DLAB = 0x80
LSR_THRE = 0x20
LSR_TEMT = 0x40
MSR_CTS_DSR_DCD = 0xB0
IIR_NONE = 0x01
IIR_FIFO = 0xC0


class Uart:
    """``sink`` gets each byte that the guest sends."""

    name = "uart"

    def __init__(self, sink: Callable[[bytes], None]) -> None:
        self.sink = sink
        self.sent = 0
        self.reset()

    def reset(self) -> None:
        self.ier = self.fcr = self.lcr = self.mcr = self.scr = 0
        self.divisor = 12

    def write(self, offset: int, size: int, value: int) -> None:
        for i in range(size):
            self._write(offset + i, value >> 8 * i & 0xFF)

    def _write(self, offset: int, value: int) -> None:
        if offset == 0 and not self.lcr & LCR_DLAB:
            self.sent += 1
            self.sink(bytes((value,)))
        elif offset == 0:
            self.divisor = self.divisor & 0xFF00 | value
        elif offset == 1 and self.lcr & LCR_DLAB:
            self.divisor = self.divisor & 0xFF | value << 8
        elif offset == 1:
            self.ier = value & 0x0F
        elif offset == 2:
            self.fcr = value
        elif offset == 3:
            self.lcr = value
        elif offset == 4:
            self.mcr = value & 0x1F
        elif offset == 7:
            self.scr = value

    def read(self, offset: int, size: int) -> int:
        value = 0
        for i in range(size):
            value |= self._read(offset + i) << 8 * i
        return value

    def _read(self, offset: int) -> int:
        if offset == 0:
            return self.divisor & 0xFF if self.lcr & LCR_DLAB else 0
        if offset == 1:
            return self.divisor >> 8 if self.lcr & LCR_DLAB else self.ier
        if offset == 2:
            return IIR_NONE | (IIR_FIFO if self.fcr & 1 else 0)
        if offset == 5:
            return LSR_THRE | LSR_TEMT
        return {3: self.lcr, 4: self.mcr, 6: MSR_CTS_DSR_DCD, 7: self.scr}.get(offset, 0xFF)

    def describe(self) -> str:
        return f"16550 UART, {self.sent} bytes sent, lcr {self.lcr:#04x}, divisor {self.divisor}"

    def save(self) -> Any:
        return (self.ier, self.fcr, self.lcr, self.mcr, self.scr, self.divisor, self.sent)

    def load(self, state: Any) -> None:
        self.ier, self.fcr, self.lcr, self.mcr, self.scr, self.divisor, self.sent = state
