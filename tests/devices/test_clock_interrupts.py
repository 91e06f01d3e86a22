"""The interrupts of the real-time clock, and how it is set. Source: Motorola MC146818A data sheet."""

from __future__ import annotations

import sys

import pytest

from kvmdbg.devices.cmos import Cmos
from kvmdbg.machine.board import Board

MS, SECOND = 10**6, 10**9
A, B, C = 10, 11, 12
SET, PERIODIC, ALARM, UPDATE, BINARY, HOURS_24 = 0x80, 0x40, 0x20, 0x10, 4, 2
NIGHT = 1_764_201_590
"""2025-11-26 23:59:50."""


class Clock:
    """At NIGHT, in binary; ``after`` lets guest time go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("kvmdbg.devices.cmos.time.time_ns", lambda: NIGHT * SECOND)
        self.host = 0
        self.level = 0
        self.edges = 0
        self.board = Board(lambda data: None, irq=self._irq)
        self.board.time._host = lambda: self.host
        self.cmos = Cmos(self.board, Cmos.options)
        self.board.time.start()
        self.set(B, BINARY | HOURS_24)

    def _irq(self, line: int, level: int) -> None:
        assert line == 8
        self.edges += level and not self.level
        self.level = level

    def after(self, ns: int) -> None:
        self.host += ns
        self.board.time.pass_to(self.board.time.now())

    def get(self, index: int) -> int:
        self.cmos.write(0, 1, index)
        return self.cmos.read(1, 1)

    def set(self, index: int, value: int) -> None:
        self.cmos.write(0, 1, index)
        self.cmos.write(1, 1, value)

    @property
    def time(self) -> tuple[int, ...]:
        """Year, month, day, hour, minute, second."""
        return tuple(self.get(index) for index in (9, 8, 7, 4, 2, 0))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_the_date_goes_on_in_guest_time(clock: Clock) -> None:
    assert clock.time == (25, 11, 26, 23, 59, 50)
    clock.after(9 * SECOND + 999 * MS)
    assert clock.time == (25, 11, 26, 23, 59, 59)
    clock.after(MS)
    assert clock.time == (25, 11, 27, 0, 0, 0)
    clock.board.time.stop()
    clock.after(SECOND)
    assert clock.time == (25, 11, 27, 0, 0, 0)


def test_an_update_is_announced(clock: Clock) -> None:
    seen = []
    for step in (0, 997 * MS, 500_000, 500_000, 2 * MS - 1, 1):
        clock.after(step)
        seen.append(clock.get(A) >> 7)
    assert seen == [0, 0, 0, 1, 1, 0]
    clock.set(B, SET | BINARY | HOURS_24)
    clock.after(SECOND - MS)
    assert clock.get(A) == 0x26


def test_setting_it(clock: Clock) -> None:
    clock.after(300 * MS)
    clock.set(B, SET | BINARY | HOURS_24)
    for index, value in ((9, 99), (0x32, 19), (8, 12), (7, 31), (4, 23), (2, 59), (0, 58)):
        clock.set(index, value)
    clock.after(5 * SECOND)
    assert clock.time == (99, 12, 31, 23, 59, 58)
    clock.set(B, BINARY | HOURS_24)
    clock.after(2 * SECOND)
    assert clock.time == (0, 1, 1, 0, 0, 0) and clock.get(0x32) == 20


def test_setting_it_stops_no_dividers(clock: Clock) -> None:
    """The next second comes when it would have; the first one of dividers that are let go takes half of one."""
    clock.after(300 * MS)
    clock.set(B, SET | BINARY | HOURS_24)
    clock.set(0, 10)
    clock.after(3 * SECOND)
    clock.set(B, BINARY | HOURS_24)
    clock.after(700 * MS - 1)
    assert clock.get(0) == 10
    clock.after(1)
    assert clock.get(0) == 11
    clock.set(A, 0x76)
    clock.after(123 * MS)
    clock.set(A, 0x26)
    clock.after(500 * MS - 1)
    assert clock.get(0) == 11
    clock.after(1)
    assert clock.get(0) == 12


def test_setting_one_register_while_it_runs(clock: Clock) -> None:
    clock.after(300 * MS)
    clock.set(4, 12)
    assert clock.time == (25, 11, 26, 12, 59, 50)
    clock.after(700 * MS)
    assert clock.get(0) == 51


def test_setting_it_in_bcd_with_halves_of_the_day(clock: Clock) -> None:
    clock.set(B, 0)
    clock.set(4, 0x92)
    clock.after(SECOND)
    clock.set(B, HOURS_24)
    assert clock.get(4) == 0x12
    clock.set(B, 0)
    clock.set(4, 0x12)
    clock.after(SECOND)
    clock.set(B, HOURS_24)
    assert clock.get(4) == 0x00


def test_a_date_that_is_none_becomes_one(clock: Clock) -> None:
    for index, value in ((7, 31), (0x32, 0), (8, 0), (8, 2)):
        clock.set(index, value)
    assert clock.time[:3] == (25, 2, 31)
    clock.after(SECOND)
    assert clock.time[:3] == (70, 2, 28)


@pytest.mark.parametrize(("rate", "hertz"), [(1, 256), (2, 128), (3, 8192), (6, 1024), (15, 2)])
def test_periodic_interrupts(clock: Clock, rate: int, hertz: int) -> None:
    clock.set(A, 0x20 | rate)
    clock.set(B, PERIODIC | HOURS_24)
    for _ in range(8):
        clock.after(-(-SECOND // (2 * hertz)))
        if clock.level:
            assert clock.get(C) & 0xC0 == 0xC0
    assert clock.edges == 4 and clock.get(C) & 0xC0 == 0


def test_no_rate_no_interrupts(clock: Clock) -> None:
    clock.set(A, 0x20)
    clock.set(B, PERIODIC | HOURS_24)
    clock.after(2 * SECOND)
    assert (clock.edges, clock.get(C), clock.board.time.next) == (0, UPDATE, None)


def test_the_line_stays_until_status_c_is_read(clock: Clock) -> None:
    clock.set(B, PERIODIC | HOURS_24)
    clock.after(10 * MS)
    assert (clock.level, clock.edges, clock.board.time.next) == (1, 1, None)
    clock.get(A)
    assert clock.level
    assert clock.get(C) == 0xC0


def test_periods_that_come_late_follow_each_other(clock: Clock) -> None:
    clock.set(B, PERIODIC | HOURS_24)
    clock.after(10 * MS)  # ten periods and a bit
    for _ in range(30):
        clock.get(C)
        clock.board.time.pass_to(clock.board.time.now())
    assert clock.edges == 10
    clock.after(10 * SECOND)
    for _ in range(1000):
        clock.get(C)
        clock.board.time.pass_to(clock.board.time.now())
    assert 255 < clock.edges < 275


def test_update_interrupts(clock: Clock) -> None:
    clock.set(B, UPDATE | HOURS_24)
    clock.after(SECOND - 1)
    assert not clock.level
    clock.after(1)
    assert clock.level and clock.get(C) == 0xD0
    clock.after(SECOND)
    assert clock.edges == 2
    clock.set(B, SET | UPDATE | HOURS_24)
    assert clock.get(B) == SET | HOURS_24 and not clock.level


@pytest.mark.parametrize(
    ("hour", "minute", "second", "expected"),
    [
        (23, 59, 55, [5]), (0, 0, 0, [10]), (0xFF, 0xFF, 2, [12]), (0xC0, 0xC0, 0xFF, list(range(1, 16))),
        (0xFF, 0, 3, [13]), (23, 59, 50, []),
    ],
)  # fmt: skip
def test_alarms(clock: Clock, hour: int, minute: int, second: int, expected: list[int]) -> None:
    for index, value in ((5, hour), (3, minute), (1, second)):
        clock.set(index, value)
    clock.set(B, ALARM | BINARY | HOURS_24)
    seen = []
    for n in range(15):
        clock.after(SECOND)
        if clock.level:
            seen.append(n + 1)
            assert clock.get(C) & 0xA0 == 0xA0
    assert seen == expected


@pytest.mark.parametrize("never", [1, 3, 5], ids=["seconds", "minutes", "hours"])
def test_an_alarm_at_no_time_costs_nothing(clock: Clock, never: int) -> None:
    """Each access to the clock counted through two days."""
    for index in (1, 3, 5):
        clock.set(index, 77 if index == never else 0xFF)
    asked = 0

    def trace(frame: object, event: str, argument: object) -> object:
        nonlocal asked
        asked += 1
        return trace

    sys.settrace(trace)
    try:
        clock.set(B, BINARY | HOURS_24 | ALARM)
    finally:
        sys.settrace(None)
    assert asked < 2000
    clock.after(2 * 86400 * SECOND)
    assert not clock.get(C) & ALARM


def test_an_alarm_in_bcd_with_halves_of_the_day(clock: Clock) -> None:
    for index, value in ((5, 0x12), (3, 0x00), (1, 0x01)):
        clock.set(index, value)
    clock.set(B, ALARM)
    clock.after(10 * SECOND)
    assert not clock.level
    clock.after(SECOND)
    assert clock.level


def test_what_has_happened_is_told_without_interrupts_too(clock: Clock) -> None:
    clock.set(1, 0xFF), clock.set(3, 0xFF), clock.set(5, 0xFF)
    assert clock.get(C) == 0
    clock.after(MS)
    assert clock.get(C) == PERIODIC
    clock.after(SECOND)
    assert clock.get(C) == PERIODIC | UPDATE | ALARM and clock.get(C) == 0
    assert clock.board.time.next is None and not clock.edges


def test_a_clock_whose_divider_is_reset_stands_still(clock: Clock) -> None:
    clock.set(A, 0x76)
    clock.after(5 * SECOND)
    assert clock.time == (25, 11, 26, 23, 59, 50) and clock.get(C) == 0
    clock.set(A, 0x26)
    clock.after(SECOND)
    assert clock.get(0) == 51


def test_its_state_is_given_back(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    clock.set(B, UPDATE | BINARY | HOURS_24)
    clock.set(4, 12)
    clock.after(500 * MS)
    state = clock.cmos.save()
    other = Clock(monkeypatch)
    other.after(500 * MS)
    other.cmos.load(state)
    assert other.cmos.save() == state
    other.after(500 * MS)
    assert other.level and other.time == (25, 11, 26, 12, 59, 51)
    assert other.cmos.details()["interrupts"] == "update"
