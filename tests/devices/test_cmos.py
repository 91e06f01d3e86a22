"""The clock of the CMOS, register by register. Source: Motorola MC146818A data sheet, tables 2 and 3."""

from __future__ import annotations

import calendar
import time

import pytest

from kvmdbg.devices.cmos import B_24, B_BINARY, STATUS_B, Cmos
from kvmdbg.machine.board import Board

SECONDS, MINUTES, HOURS, DAY_OF_WEEK, DAY, MONTH, YEAR, CENTURY = 0, 2, 4, 6, 7, 8, 9, 0x32


def cmos_at(monkeypatch: pytest.MonkeyPatch, moment: str, status_b: int) -> Cmos:
    seconds = calendar.timegm(time.strptime(moment, "%Y-%m-%d %H:%M:%S"))
    then = time.gmtime(seconds)
    monkeypatch.setattr("kvmdbg.devices.cmos.time.gmtime", lambda: then)
    made = Cmos(Board(lambda data: None), Cmos.options)
    register(made, STATUS_B, status_b)
    return made


def register(cmos: Cmos, index: int, value: int | None = None) -> int:
    cmos.write(0, 1, index)
    if value is not None:
        cmos.write(1, 1, value)
    return cmos.read(1, 1)


@pytest.mark.parametrize(
    ("moment", "day"),
    [
        ("2026-11-22 00:00:00", 1), ("2026-11-23 00:00:00", 2), ("2026-11-24 00:00:00", 3), ("2026-11-25 00:00:00", 4),
        ("2026-11-26 00:00:00", 5), ("2026-11-27 00:00:00", 6), ("2026-11-28 23:59:59", 7), ("2000-01-01 00:00:00", 7),
    ],
)  # fmt: skip
def test_sunday_is_the_first_day(monkeypatch: pytest.MonkeyPatch, moment: str, day: int) -> None:
    assert register(cmos_at(monkeypatch, moment, B_24), DAY_OF_WEEK) == day


@pytest.mark.parametrize(
    ("status_b", "index", "value"),
    [
        (B_24, SECONDS, 0x59), (B_24, MINUTES, 0x48), (B_24, HOURS, 0x21), (B_24, DAY, 0x31), (B_24, MONTH, 0x12),
        (B_24, YEAR, 0x97), (B_24, CENTURY, 0x19), (B_24 | B_BINARY, SECONDS, 59), (B_24 | B_BINARY, HOURS, 21),
        (B_24 | B_BINARY, DAY, 31), (B_24 | B_BINARY, YEAR, 97), (B_24 | B_BINARY, CENTURY, 19), (0, HOURS, 0x89),
        (B_BINARY, HOURS, 0x80 | 9),
    ],
)  # fmt: skip
def test_registers(monkeypatch: pytest.MonkeyPatch, status_b: int, index: int, value: int) -> None:
    assert register(cmos_at(monkeypatch, "1997-12-31 21:48:59", status_b), index) == value


@pytest.mark.parametrize(("hour", "value"), [(0, 0x12), (1, 0x01), (11, 0x11), (12, 0x92), (13, 0x81), (23, 0x91)])
def test_twelve_hours(monkeypatch: pytest.MonkeyPatch, hour: int, value: int) -> None:
    assert register(cmos_at(monkeypatch, f"2026-11-26 {hour:02}:00:00", 0), HOURS) == value
