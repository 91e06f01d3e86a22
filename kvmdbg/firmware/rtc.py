"""The registers of the real-time clock, as the BIOS reads them (Motorola MC146818A data sheet)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kvmdbg.machine.bus import Bus

TICKS_OF_DAY = 0x1800B0
"""18.2ths of a second."""
SECONDS, MINUTES, HOURS, DAY, MONTH, YEAR, STATUS_A, STATUS_B, STATUS_C, CENTURY = 0, 2, 4, 7, 8, 9, 10, 11, 12, 0x32
INDEX, DATA = 0x70, 0x71


def cmos(bus: Bus, register: int) -> int:
    """A register of the real-time clock's."""
    bus.write_port(INDEX, 1, register)
    return bus.read_port(DATA, 1)


def set_cmos(bus: Bus, register: int, value: int) -> None:
    bus.write_port(INDEX, 1, register)
    bus.write_port(DATA, 1, value)


def _binary(value: int) -> int:
    return (value >> 4) * 10 + (value & 15)


def ticks_of_day(bus: Bus) -> int:
    """The clock's time in 18.2ths of a second since midnight."""
    if bus.port(DATA) is None:
        return 0
    seconds, minutes, hours = (_binary(cmos(bus, register)) for register in (SECONDS, MINUTES, HOURS))
    return ((hours * 60 + minutes) * 60 + seconds) * TICKS_OF_DAY // 86400 % TICKS_OF_DAY


def date(bus: Bus) -> tuple[int, int, int, int]:
    """The clock's year, month, day, and day of the week, from 0 for Sunday on."""
    import datetime

    century, year, month, day = (_binary(cmos(bus, register)) for register in (CENTURY, YEAR, MONTH, DAY))
    try:
        return century * 100 + year, month, day, datetime.date(century * 100 + year, month, day).isoweekday() % 7
    except ValueError:  # there is no clock, or none that is set
        return 1980, 1, 1, 2
