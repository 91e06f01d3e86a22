"""CMOS memory and its real-time clock, at ports 0x70 and 0x71; IRQ 8.

Registers: Motorola MC146818A data sheet; what firmware keeps in the memory: Ralf Brown's list of CMOS registers, as
QEMU's pc_cmos_init fills it. The clock begins at the host's date, in UTC, and goes on in guest time.
"""

from __future__ import annotations

import time
from typing import Any, ClassVar

from kvmdbg.devices.cmos_drives import drive_settings
from kvmdbg.devices.registry import device
from kvmdbg.machine.board import Board
from kvmdbg.machine.guest_time import SECOND, Deadline

STATUS_A, STATUS_B, STATUS_C, STATUS_D = 10, 11, 12, 13
A_UPDATING = 0x80
B_SET, B_PERIODIC, B_ALARM, B_UPDATE, B_BINARY, B_24 = 0x80, 0x40, 0x20, 0x10, 4, 2
INTERRUPT = 0x80
"""Of status C: one of its other bits is set that status B lets through; these are those of status B."""
SECONDS, MINUTES, HOURS, WEEKDAY, DAY, MONTH, YEAR, CENTURY = 0, 2, 4, 6, 7, 8, 9, 0x32
DATE = (SECONDS, MINUTES, HOURS, WEEKDAY, DAY, MONTH, YEAR, CENTURY)
ALARM_SECONDS, ALARM_MINUTES, ALARM_HOURS = 1, 3, 5
ANY = 0xC0
"""An alarm register with both bits set matches always."""
UPDATE = 2_228_000
"""Nanoseconds before a new second in which an update is under way: 244 µs of warning, 1,984 µs for it."""
MOST_OWED = SECOND // 4
"""Nanoseconds worth of periodic interrupts that are made up for, where the guest was too slow for them."""
IRQ = 8
KIB, MIB = 1 << 10, 1 << 20
LAST_YEAR = 9998
"""The calendar's last, with room for hours and minutes beyond a day."""


@device
class Cmos:
    """cmos: memory size, date and its interrupts, at ports 0x70 and 0x71."""

    name = "cmos"
    options: ClassVar[dict[str, int]] = {"iobase": 0x70, "iosize": 2}
    standard = True

    def __init__(self, board: Board, options: dict[str, int]) -> None:
        self._board = board
        self._memory = board.memory
        self._began = time.time_ns() // SECOND * SECOND
        """The date (ns since 1970) at the beginning of guest time."""
        self._looked = 0
        """Up to when (guest time) status C knows of seconds and alarms."""
        self._period = 0
        """The end of the last period (guest time) that it was read for."""
        self._written_until = 0
        """Up to when (guest time) the date's registers have what was written to them, be it no date."""
        self._deadline: Deadline | None = None
        self.index = 0
        self.data = bytearray(128)
        self.data[STATUS_A], self.data[STATUS_B], self.data[STATUS_D] = 0x26, B_24, 0x80
        below = min(self._memory, 0xC0000000)
        self._word(0x15, 640)
        extended = min(max(below - MIB, 0) // KIB, 0xFFFF)
        self._word(0x17, extended)
        self._word(0x30, extended)
        self._word(0x34, max(below - 16 * MIB, 0) // (64 * KIB))
        above = (self._memory - below) // (64 * KIB)
        self.data[0x5B:0x5E] = min(above, 0xFFFFFF).to_bytes(3, "little")
        for at, value in drive_settings(board).items():
            self.data[at] = value

    def _word(self, at: int, value: int) -> None:
        self.data[at : at + 2] = value.to_bytes(2, "little")

    # --- the clock ---------------------------------------------------------------------------------

    @property
    def _runs(self) -> bool:
        """Whether seconds go by: it is not being set, and its divider chain works at its 32,768 Hz."""
        return not self.data[STATUS_B] & B_SET and self.data[STATUS_A] >> 4 & 7 == 2

    @property
    def _date(self) -> int:
        """In ns since 1970."""
        return self._began + self._board.time.now()

    def _coded(self, index: int, value: int) -> int:
        """A number as its register has it: BCD, and hours by halves of the day, if so set."""
        half = 0
        if index in (HOURS, ALARM_HOURS) and not self.data[STATUS_B] & B_24:
            half = 0x80 if value >= 12 else 0
            value = value % 12 or 12
        return (value if self.data[STATUS_B] & B_BINARY else value // 10 << 4 | value % 10) | half

    def _decoded(self, index: int, value: int) -> int:
        halves = index in (HOURS, ALARM_HOURS) and not self.data[STATUS_B] & B_24
        afternoon = halves and value & 0x80
        value &= 0x7F if halves else 0xFF
        if not self.data[STATUS_B] & B_BINARY:
            value = (value >> 4) * 10 + (value & 15)
        return value % 12 + (12 if afternoon else 0) if halves else value

    def _fields(self) -> dict[int, int]:
        """The date by register."""
        now = time.gmtime(self._date // SECOND)
        values = (now.tm_sec, now.tm_min, now.tm_hour, (now.tm_wday + 1) % 7 + 1, now.tm_mday, now.tm_mon)
        years = (now.tm_year % 100, now.tm_year // 100)
        return {index: self._coded(index, value) for index, value in zip(DATE, (*values, *years), strict=True)}

    def _hold(self) -> None:
        """Keep the date in the registers, as it does not go on from here."""
        for index, value in self._fields().items():
            self.data[index] = value

    def _go_on(self) -> None:
        """Take the date from the registers. One that is none becomes the nearest that the calendar has."""
        import calendar

        one = {index: self._decoded(index, self.data[index]) for index in DATE}
        year, month = min(max(one[CENTURY] * 100 + one[YEAR], 1970), LAST_YEAR), min(max(one[MONTH], 1), 12)
        day = min(max(one[DAY], 1), calendar.monthrange(year, month)[1])
        seconds = calendar.timegm((year, month, day, one[HOURS], one[MINUTES], one[SECONDS]))
        now = self._board.time.now()
        self._began = seconds * SECOND - now
        self._looked = now

    # --- what it tells -----------------------------------------------------------------------------

    @property
    def _periods(self) -> int:
        """How many periods a second has; 0 for none (data sheet, table 5)."""
        rate = self.data[STATUS_A] & 15
        if not rate or self.data[STATUS_A] >> 4 & 7 != 2:
            return 0
        return 32768 >> (rate - 1 if rate > 2 else rate + 6)

    def _next_period(self, after: int) -> int | None:
        """The first guest time after ``after`` at which a period ends."""
        periods = self._periods
        return -(-(after * periods // SECOND + 1) * SECOND // periods) if periods else None

    def _next_second(self, after: int) -> int | None:
        return (((self._began + after) // SECOND + 1) * SECOND - self._began) if self._runs else None

    def _alarm(self, index: int, most: int) -> range:
        """The values that match; none where the register has one that the clock never has."""
        value = self.data[index]
        if value & ANY == ANY:
            return range(most)
        wanted = self._decoded(index, value)
        return range(wanted, min(wanted + 1, most))

    def _next_alarm(self, after: int) -> int | None:
        if not self._runs:
            return None
        date = (self._began + after) // SECOND
        today = date - date % 86400
        hours, minutes = self._alarm(ALARM_HOURS, 24), self._alarm(ALARM_MINUTES, 60)
        seconds = self._alarm(ALARM_SECONDS, 60)
        if not (hours and minutes and seconds):
            return None
        for day in (today, today + 86400):
            for hour in hours:
                if day + hour * 3600 + 3599 <= date:
                    continue
                for minute in minutes:
                    if day + hour * 3600 + minute * 60 + 59 <= date:
                        continue
                    for second in seconds:
                        at = day + hour * 3600 + minute * 60 + second
                        if at > date:
                            return at * SECOND - self._began
        return None

    def _events(self) -> dict[int, int | None]:
        """By bit of status C when the next of its kind is."""
        after = self._looked
        return {
            B_PERIODIC: self._next_period(self._period),
            B_ALARM: self._next_alarm(after),
            B_UPDATE: self._next_second(after),
        }

    def _look(self) -> None:
        """Note in status C what has happened up to now."""
        now = self._board.time.now()
        for bit, when in self._events().items():
            if when is not None and when <= now:
                self.data[STATUS_C] |= bit
        self._looked = now

    def _update_interrupt(self) -> None:
        """The line as status B and C say, and a deadline for what may raise it next."""
        self.data[STATUS_C] &= ~INTERRUPT
        let_through = self.data[STATUS_B] & (B_PERIODIC | B_ALARM | B_UPDATE)
        if self.data[STATUS_C] & let_through:
            self.data[STATUS_C] |= INTERRUPT
        self._board.set_irq(IRQ, bool(self.data[STATUS_C] & INTERRUPT))
        self._await()

    def _await(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        let_through = self.data[STATUS_B] & (B_PERIODIC | B_ALARM | B_UPDATE)
        if not let_through or self.data[STATUS_C] & INTERRUPT:
            return
        times = [when for bit, when in self._events().items() if when is not None and bit & let_through]
        if times:
            self._deadline = self._board.time.at(min(times), self._due)

    def _due(self) -> None:
        self._deadline = None
        self._look()
        self._update_interrupt()

    def _taken(self) -> int:
        """Status C is read, and clear then. Periods of a while that are over already follow at once."""
        self._look()
        value = self.data[STATUS_C]
        self.data[STATUS_C] = 0
        if value & B_PERIODIC:
            told = self._next_period(self._period) or 0
            owed = value & self.data[STATUS_B] & B_PERIODIC
            self._period = max(told, self._looked - MOST_OWED) if owed else self._looked
        self._update_interrupt()
        return value

    # --- ports -------------------------------------------------------------------------------------

    def read(self, offset: int, size: int) -> int:
        value = 0
        for n in range(size):
            value |= (self._register(self.index) if offset + n == 1 else 0xFF) << 8 * n
        return value

    def _register(self, index: int) -> int:
        if index == STATUS_C:
            return self._taken()
        if index == STATUS_A:
            updating = self._runs and -self._date % SECOND <= UPDATE and self._date % SECOND
            return self.data[STATUS_A] | (A_UPDATING if updating else 0)
        runs = index in DATE and self._runs and self._board.time.now() >= self._written_until
        return self._fields()[index] if runs else self.data[index]

    def write(self, offset: int, size: int, value: int) -> None:
        """A word at the first port is an index and its data."""
        for n in range(size):
            self._write(offset + n, value >> 8 * n & 0xFF)

    def _write(self, offset: int, value: int) -> None:
        if offset == 0:
            self.index = value & 0x7F
        elif offset == 1:
            self._set_register(self.index, value)

    def _set_register(self, index: int, value: int) -> None:
        if index in (STATUS_C, STATUS_D):
            return
        self._look()
        if index == STATUS_A or (index == STATUS_B and value & ~self.data[STATUS_B] & B_PERIODIC):
            self._period = self._looked
        ran = self._runs
        if ran and index in (*DATE, STATUS_A, STATUS_B) and self._looked >= self._written_until:
            self._hold()
        self.data[index] = value & 0x7F if index == STATUS_A else value
        if index == STATUS_B and value & B_SET:
            self.data[index] &= ~B_UPDATE
        if self._runs and (not ran or index in DATE):
            # setting it stops no dividers; once they are let go the first second takes half of one
            part = SECOND // 2 if not ran and index == STATUS_A else self._date % SECOND
            self._go_on()
            self._began += part
            self._written_until = self._next_second(self._looked) or 0
        self._update_interrupt()

    # --- state -------------------------------------------------------------------------------------

    def describe(self) -> str:
        return f"CMOS memory and clock, index {self.index:#04x}"

    def details(self) -> dict[str, str]:
        now = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self._date // SECOND))
        words = ((B_PERIODIC, "periodic"), (B_ALARM, "alarm"), (B_UPDATE, "update"))
        on = [word for bit, word in words if self.data[STATUS_B] & bit]
        rows = {f"{at:#04x}": self.data[at : at + 16].hex(" ") for at in range(0, 128, 16)}
        return {
            "clock": now if self._runs else "is being set",
            "interrupts": ", ".join(on) or "none",
            "index": f"{self.index:#04x}",
            **rows,
        }

    def save(self) -> Any:
        times = [self._began, self._looked, self._period, self._written_until]
        return [self.index, bytes(self.data), *times]

    def load(self, state: Any) -> None:
        self.index, data, *times = state
        self._began, self._looked, self._period, self._written_until = times
        self.data = bytearray(data)
        self._update_interrupt()
