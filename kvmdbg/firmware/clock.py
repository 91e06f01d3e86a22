"""int 1Ah: time of day; int 8 and int 70h, which keep it (IBM PC AT Technical Reference)."""

from __future__ import annotations

from contextlib import suppress

from kvmdbg.errors import MemoryFault
from kvmdbg.firmware import data_area as bda
from kvmdbg.firmware.call import Call
from kvmdbg.firmware.registry import service
from kvmdbg.firmware.rtc import (
    CENTURY,
    DAY,
    HOURS,
    MINUTES,
    MONTH,
    SECONDS,
    STATUS_B,
    STATUS_C,
    TICKS_OF_DAY,
    YEAR,
    cmos,
    set_cmos,
    ticks_of_day,
)

PERIODIC = 0x40
"""Bit of status B and C."""
PERIOD = 976
"""Microseconds, as the AT's BIOS counts them."""
ALARM = {1: "dh", 3: "cl", 5: "ch"}
"""Its registers: seconds, minutes and hours."""


@service(0x08)
def timer_interrupt(call: Call) -> None:
    """Timer interrupt (IRQ 0)."""
    data = call.read(bda.TICKS, 5)
    ticks = int.from_bytes(data[:4], "little") + 1
    if ticks >= TICKS_OF_DAY:
        call.write(bda.TICKS, bytes((0, 0, 0, 0, data[4] + 1 & 0xFF)))
    else:
        call.write(bda.TICKS, ticks.to_bytes(4, "little"))


@service(0x70)
def clock_interrupt(call: Call) -> None:
    """Clock interrupt (IRQ 8)."""
    reasons = cmos(call.bios.bus, STATUS_C)
    enabled = cmos(call.bios.bus, STATUS_B)
    if reasons & enabled & PERIODIC and call.byte(bda.WAIT_ACTIVE) & 1:
        _wait_goes_on(call)
    call.branch(bool(reasons & enabled & 0x20))


def _wait_goes_on(call: Call) -> None:
    """A 1,024th of a second of int 15h/83 is over."""
    left = int.from_bytes(call.read(bda.WAIT_LEFT, 4), "little") - PERIOD
    if left > 0:
        call.write(bda.WAIT_LEFT, left.to_bytes(4, "little"))
        return
    end_wait(call)
    at = call.word(bda.WAIT_FLAG) + (call.word(bda.WAIT_FLAG + 2) << 4)
    with suppress(MemoryFault):
        call.set_byte(at, call.byte(at) | 0x80)


def end_wait(call: Call) -> None:
    bus = call.bios.bus
    set_cmos(bus, STATUS_B, cmos(bus, STATUS_B) & ~PERIODIC)
    call.set_byte(bda.WAIT_ACTIVE, 0)


@service(0x1A, 0x00)
def get_ticks(call: Call) -> None:
    """Get timer ticks."""
    data = call.read(bda.TICKS, 5)
    if not call.bios.clock_is_set:
        call.bios.clock_is_set = True
        now = (int.from_bytes(data[:4], "little") + ticks_of_day(call.bios.bus)) % TICKS_OF_DAY
        data = now.to_bytes(4, "little") + data[4:]
        call.write(bda.TICKS, data)
    call.dx, call.cx = int.from_bytes(data[:2], "little"), int.from_bytes(data[2:4], "little")
    call.ax = data[4]
    if data[4]:
        call.set_byte(bda.MIDNIGHT, 0)
    call.carry(False)


@service(0x1A, 0x01, "cx dx")
def set_ticks(call: Call) -> None:
    """Set timer ticks."""
    call.bios.clock_is_set = True
    call.write(bda.TICKS, call.dx.to_bytes(2, "little") + call.cx.to_bytes(2, "little") + b"\0")
    call.ah = 0
    call.carry(False)


@service(0x1A, 0x02)
def get_time(call: Call) -> None:
    """Get time of the real-time clock."""
    bus = call.bios.bus
    call.ch, call.cl, call.dh = cmos(bus, HOURS), cmos(bus, MINUTES), cmos(bus, SECONDS)
    call.dl = cmos(bus, STATUS_B) & 1
    call.done()


@service(0x1A, 0x03, "cx dx")
def set_time(call: Call) -> None:
    """Set time of the real-time clock."""
    bus = call.bios.bus
    for register, value in ((SECONDS, call.dh), (MINUTES, call.cl), (HOURS, call.ch)):
        set_cmos(bus, register, value)
    set_cmos(bus, STATUS_B, cmos(bus, STATUS_B) & ~1 | call.dl & 1)
    call.done()


@service(0x1A, 0x04)
def get_date(call: Call) -> None:
    """Get date of the real-time clock."""
    bus = call.bios.bus
    call.ch, call.cl, call.dh, call.dl = (cmos(bus, one) for one in (CENTURY, YEAR, MONTH, DAY))
    call.done()


@service(0x1A, 0x05, "cx dx")
def set_date(call: Call) -> None:
    """Set date of the real-time clock."""
    for register, value in ((CENTURY, call.ch), (YEAR, call.cl), (MONTH, call.dh), (DAY, call.dl)):
        set_cmos(call.bios.bus, register, value)
    call.done()


@service(0x1A, 0x06, "cx dx")
def set_alarm(call: Call) -> None:
    """Set alarm."""
    bus = call.bios.bus
    if cmos(bus, STATUS_B) & 0x20:
        call.done(0)
        call.carry(True)
        return
    for register, name in ALARM.items():
        set_cmos(bus, register, getattr(call, name))
    set_cmos(bus, STATUS_B, cmos(bus, STATUS_B) | 0x20)
    call.done()


@service(0x1A, 0x07)
def end_alarm(call: Call) -> None:
    """Reset alarm."""
    bus = call.bios.bus
    set_cmos(bus, STATUS_B, cmos(bus, STATUS_B) & ~0x20)
    call.done()
