"""A 16550 UART: output, input, interrupts.

Registers: National Semiconductor PC16550D data sheet, section 8. What is written is sent at once, so the transmitter is
always empty.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from kvmdbg.machine.board import Board

COM1 = 0x3F8
PORTS = 8
IRQ = 4

IIR, MSR = 2, 6
"""Two registers, by their offset."""
LCR_DLAB = 0x80
LSR_DR = 0x01
LSR_THRE = 0x20
LSR_TEMT = 0x40
MSR_CTS_DSR_DCD, MSR_RI = 0xB0, 0x40
LSR_OVERRUN = 0x02
IER_RX, IER_THRE, IER_LINE, IER_MODEM = 1, 2, 4, 8
IIR_NONE, IIR_MODEM, IIR_THRE, IIR_RX, IIR_LINE = 0x01, 0x00, 0x02, 0x04, 0x06
IIR_FIFO = 0xC0
MCR_LOOP = 0x10
FIFO_SIZE = 16


class Uart:
    """``sink`` gets each byte that the guest sends; ``feed`` is what comes in."""

    name = "uart"

    def __init__(self, sink: Callable[[bytes], None], board: Board | None = None, where: str = "stdio") -> None:
        self.sink = sink
        self.board = board or Board(sink)
        self.where = where
        self.wanted: Callable[[], None] = lambda: None
        """Called whenever the guest looks for input: it has LSR read twice with nothing between (once may be for the
        transmitter's sake) but the other two that say how things stand, reads the receiver so, or wants the receiver's
        interrupts."""
        self._looked = -1
        """The register that was read last, if nothing was written since; IIR and MSR do not count."""
        self._polls = False
        self.sent = 0
        self.received: deque[int] = deque()
        self.looped: deque[int] = deque()
        """What it has sent to itself, in loopback."""
        self.overrun = False
        """More of that came than there was room for, and nobody has been told yet."""
        self.modem_changes = 0
        """The lower half of the modem status register: which inputs have changed since it was read."""
        self._lock = threading.RLock()
        self.ier = self.fcr = self.lcr = self.mcr = self.scr = 0
        self.divisor = 12
        self.thre = False
        """The transmitter has become empty, and nobody has been told yet."""

    @property
    def coalesced(self) -> tuple[int, ...]:
        """The ports whose writes KVM may collect: the transmitter's, unless an interrupt is to follow each byte."""
        return () if self.ier & IER_THRE else (COM1,)

    def write_many(self, data: bytes) -> None:
        """Bytes written to the first port, one after the other."""
        if self.lcr & LCR_DLAB or self.mcr & MCR_LOOP:
            for value in data:
                self._write(0, value)
            return
        self.sent += len(data)
        self.sink(data)

    @property
    def looks_for_input(self) -> bool:
        """Whether the guest has polled the receiver, or wants its interrupts now."""
        return self._polls or bool(self.ier & IER_RX)

    def feed(self, data: bytes) -> int:
        """Bytes from outside, from any thread: the guest reads them from the receiver. How many it has yet to read."""
        if data:
            self.board.arrived(self.name, "feed", data)
        with self._lock:
            self.received.extend(data)
            if data:
                self._interrupt()
            return len(self.received)

    def _cause(self) -> int:
        """The first by priority (table 4 of the data sheet)."""
        if self.ier & IER_LINE and self.overrun:
            return IIR_LINE
        if self.ier & IER_RX and self._to_read:
            return IIR_RX
        if self.ier & IER_THRE and self.thre:
            return IIR_THRE
        return IIR_MODEM if self.ier & IER_MODEM and self.modem_changes else IIR_NONE

    @property
    def _to_read(self) -> deque[int]:
        """What the receiver has: in loopback the outside is cut off."""
        return self.looped if self.looped or self.mcr & MCR_LOOP else self.received

    def _loop(self, value: int) -> None:
        """A byte comes back. One too many is lost in the FIFO; without that it takes the place of the one before."""
        if len(self.looped) >= (FIFO_SIZE if self.fcr & 1 else 1):
            self.overrun = True
            if self.fcr & 1:
                return
            self.looped.pop()
        self.looped.append(value)

    def _interrupt(self) -> None:
        if self.board.has_interrupts:
            self.board.set_irq(IRQ, self._cause() != IIR_NONE)

    def write(self, offset: int, size: int, value: int) -> None:
        with self._lock:
            for i in range(size):
                self._write(offset + i, value >> 8 * i & 0xFF)

    def _write(self, offset: int, value: int) -> None:
        self._looked = -1
        if offset == 0 and not self.lcr & LCR_DLAB:
            if self.mcr & MCR_LOOP:
                self._loop(value)
            else:
                self.sent += 1
                self.sink(bytes((value,)))
            if self.ier:
                self.thre = True
                self._interrupt()
        elif offset == 0:
            self.divisor = self.divisor & 0xFF00 | value
        elif offset == 1 and self.lcr & LCR_DLAB:
            self.divisor = self.divisor & 0xFF | value << 8
        elif offset == 1:
            before, self.ier = self.ier, value & 0x0F
            self.thre |= bool(self.ier & ~before & IER_THRE)
            if (before ^ self.ier) & IER_THRE:
                self.board.changed()
            if self.ier & IER_RX:
                self.wanted()
            self._interrupt()
        elif offset == 2:
            self.fcr = value
            if value & 2:
                self.received.clear()
                self.looped.clear()
                self._interrupt()
        elif offset == 3:
            self.lcr = value
        elif offset == 4:
            before, self.mcr = self._modem_inputs(), value & 0x1F
            now = self._modem_inputs()
            fell = before & ~now & MSR_RI
            self.modem_changes |= ((before ^ now) & ~MSR_RI | fell) >> 4
            self._interrupt()
        elif offset == 7:
            self.scr = value

    def read(self, offset: int, size: int) -> int:
        value = 0
        with self._lock:
            for i in range(size):
                value |= self._read(offset + i) << 8 * i
        return value

    def _read(self, offset: int) -> int:
        if offset in (0, 5) and offset == self._looked:
            self._polls = True
            self.wanted()
        if offset not in (IIR, MSR):
            self._looked = offset
        if offset == 0 and not self.lcr & LCR_DLAB:
            value = self._to_read.popleft() if self._to_read else 0
            if self.ier:
                self._interrupt()
            return value
        if offset == 0:
            return self.divisor & 0xFF
        if offset == 1:
            return self.divisor >> 8 if self.lcr & LCR_DLAB else self.ier
        if offset == 2:
            cause = self._cause()
            if cause == IIR_THRE:
                self.thre = False
                self._interrupt()
            return cause | (IIR_FIFO if self.fcr & 1 else 0)
        if offset == 5:
            overrun, self.overrun = self.overrun, False
            if overrun:
                self._interrupt()
            return LSR_THRE | LSR_TEMT | (LSR_DR if self._to_read else 0) | (LSR_OVERRUN if overrun else 0)
        if offset == 6:
            changes, self.modem_changes = self.modem_changes, 0
            if changes:
                self._interrupt()
            return self._modem_inputs() | changes
        return {3: self.lcr, 4: self.mcr, 7: self.scr}.get(offset, 0xFF)

    def _modem_inputs(self) -> int:
        """Somebody is at the other end; in loopback CTS, DSR, RI and DCD are the outputs RTS, DTR, OUT1 and OUT2."""
        if not self.mcr & MCR_LOOP:
            return MSR_CTS_DSR_DCD
        return (self.mcr & 2) << 3 | (self.mcr & 1) << 5 | (self.mcr & 4) << 4 | (self.mcr & 8) << 4

    def describe(self) -> str:
        return f"16550 UART, {self.sent} bytes sent, lcr {self.lcr:#04x}, divisor {self.divisor}"

    def details(self) -> dict[str, str]:
        return {
            "connected to": self.where, "sent": f"{self.sent} bytes",
            "to be read": f"{len(self.looped) + len(self.received)} bytes",
            "interrupts": f"IRQ {IRQ}" if self.board.has_interrupts else "none (see --irqchip)",
            "speed": f"{115200 // self.divisor if self.divisor else 0} baud (divisor {self.divisor})",
            "ier": f"{self.ier:#04x}", "fcr": f"{self.fcr:#04x}", "lcr": f"{self.lcr:#04x}", "mcr": f"{self.mcr:#04x}",
            "scr": f"{self.scr:#04x}",
        }  # fmt: skip

    def save(self) -> Any:
        registers = (self.ier, self.fcr, self.lcr, self.mcr, self.scr, self.divisor, self.sent)
        return [*registers, self.thre, self.overrun, self.modem_changes, list(self.looped), list(self.received)]

    def load(self, state: Any) -> None:
        self.ier, self.fcr, self.lcr, self.mcr, self.scr, self.divisor, self.sent, self.thre, *rest = state
        self.overrun, self.modem_changes, looped, received = rest
        self.looped, self.received = deque(looped), deque(received)
        self._interrupt()
