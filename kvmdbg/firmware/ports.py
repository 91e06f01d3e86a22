"""int 14h, the serial port, int 17h, printers, which are not there, and interrupts that do nothing by themselves."""

from __future__ import annotations

from kvmdbg.devices.pic import Pic
from kvmdbg.firmware.call import Call
from kvmdbg.firmware.environment import FIRST_VECTOR
from kvmdbg.firmware.registry import service

DATA, DIVISOR_HIGH, LINE_CONTROL, MODEM_CONTROL, LINE_STATUS, MODEM_STATUS = 0, 1, 3, 4, 5, 6
DATA_READY, CAN_SEND, TIME_OUT = 1, 0x20, 0x80
BAUD = (110, 150, 300, 600, 1200, 2400, 4800, 9600)
CLOCK = 115200


def _port(call: Call) -> int:
    """Where the port that DX names begins; 0: there is none."""
    return call.word(0x400 + 2 * call.dx) if call.dx < 4 else 0


def _status(call: Call, port: int) -> None:
    bus = call.bios.bus
    call.ah, call.al = bus.read_port(port + LINE_STATUS, 1), bus.read_port(port + MODEM_STATUS, 1)


@service(0x14, 0x00, "al dx")
def set_up_serial_port(call: Call) -> None:
    """Set up serial port."""
    port, bus, wanted = _port(call), call.bios.bus, call.al
    if not port:
        return
    divisor = CLOCK // BAUD[wanted >> 5]
    bus.write_port(port + LINE_CONTROL, 1, 0x80 | wanted & 0x1F)
    bus.write_port(port + DATA, 1, divisor & 0xFF)
    bus.write_port(port + DIVISOR_HIGH, 1, divisor >> 8)
    bus.write_port(port + LINE_CONTROL, 1, wanted & 0x1F)
    bus.write_port(port + MODEM_CONTROL, 1, 3)
    _status(call, port)


@service(0x14, 0x01, "al dx")
def send(call: Call) -> None:
    """Send to serial port."""
    port = _port(call)
    if not port:
        call.ah = TIME_OUT
        return
    call.bios.bus.write_port(port + DATA, 1, call.al)
    call.ah = call.bios.bus.read_port(port + LINE_STATUS, 1) & ~TIME_OUT


@service(0x14, 0x02, "dx")
def receive(call: Call) -> None:
    """Receive from serial port."""
    port, bus = _port(call), call.bios.bus
    status = bus.read_port(port + LINE_STATUS, 1) if port else 0
    if not status & DATA_READY:
        call.ah = TIME_OUT
        return
    call.al = bus.read_port(port + DATA, 1)
    call.ah = status & 0x1E


@service(0x14, 0x03, "dx")
def serial_status(call: Call) -> None:
    """Get status of serial port."""
    port = _port(call)
    if port:
        _status(call, port)
    else:
        call.ax = TIME_OUT << 8


@service(0x17, shown="al dx")
def printer(call: Call) -> None:
    """Printer."""
    call.ah = 0x30 | 1  # no paper, out of order, timed out: there is none


@service(0x05)
def print_screen(call: Call) -> None:
    """Print screen."""


@service(0x02)
def non_maskable(call: Call) -> None:
    """Non-maskable interrupt."""


def _interrupt(call: Call) -> None:
    """Interrupt of a device."""


for _vector in (0x0A, 0x0B, 0x0F, 0x71, 0x72, 0x73, 0x75, 0x77):
    service(_vector)(_interrupt)


def _interrupt_or_exception(call: Call) -> None:
    """Interrupt of a device, or an exception."""
    pic = call.bios.device(Pic)
    if pic is not None and not pic.chips[0].isr >> (call.vector - FIRST_VECTOR) & 1:
        call.tell_unhandled()


for _vector in (0x0C, 0x0D):
    service(_vector)(_interrupt_or_exception)


@service(0x0E)
def diskette_interrupt(call: Call) -> None:
    """Diskette interrupt (IRQ 6)."""
    call.set_byte(0x43E, call.byte(0x43E) | 0x80)


@service(0x76)
def disk_interrupt(call: Call) -> None:
    """Disk interrupt (IRQ 14)."""
    call.set_byte(0x48E, 0xFF)
