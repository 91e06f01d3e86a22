"""The clock of the CMOS, register by register. Source: Motorola MC146818A data sheet, tables 2 and 3."""

from __future__ import annotations

import calendar
import time
from pathlib import Path

import pytest

from kvmdbg.devices.cmos import B_24, B_BINARY, STATUS_B, Cmos
from kvmdbg.machine.board import Board
from kvmdbg.machine.layout import LOW_END

SECONDS, MINUTES, HOURS, DAY_OF_WEEK, DAY, MONTH, YEAR, CENTURY = 0, 2, 4, 6, 7, 8, 9, 0x32


def cmos_at(monkeypatch: pytest.MonkeyPatch, moment: str, status_b: int) -> Cmos:
    seconds = calendar.timegm(time.strptime(moment, "%Y-%m-%d %H:%M:%S"))
    monkeypatch.setattr("kvmdbg.devices.cmos.time.time_ns", lambda: seconds * 10**9)
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
        (B_BINARY, HOURS, 0x80 | 9), (B_24 | 1, SECONDS, 0x59),
    ],
)  # fmt: skip
def test_registers(monkeypatch: pytest.MonkeyPatch, status_b: int, index: int, value: int) -> None:
    assert register(cmos_at(monkeypatch, "1997-12-31 21:48:59", status_b), index) == value


@pytest.mark.parametrize(("hour", "value"), [(0, 0x12), (1, 0x01), (11, 0x11), (12, 0x92), (13, 0x81), (23, 0x91)])
def test_twelve_hours(monkeypatch: pytest.MonkeyPatch, hour: int, value: int) -> None:
    assert register(cmos_at(monkeypatch, f"2026-11-26 {hour:02}:00:00", 0), HOURS) == value


def test_two_digits_are_not_one(monkeypatch: pytest.MonkeyPatch) -> None:
    cmos = cmos_at(monkeypatch, "2003-04-05 06:07:08", B_24)
    wanted = {SECONDS: 8, MINUTES: 7, HOURS: 6, DAY: 5, MONTH: 4, YEAR: 3, CENTURY: 0x20, DAY_OF_WEEK: 7}
    assert {index: register(cmos, index) for index in wanted} == wanted


# --- memory (Ralf Brown's list of CMOS registers; QEMU, pc_cmos_init) --------------------------------------

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


@pytest.mark.parametrize(
    ("memory", "extended", "above_16_mib", "above_4_gib"),
    [
        (MIB // 2, 0, 0, 0), (MIB, 0, 0, 0), (MIB + 3 * KIB, 3, 0, 0), (8 * MIB, 7 * 1024, 0, 0),
        (16 * MIB, 15 * 1024, 0, 0), (16 * MIB + 128 * KIB, 15 * 1024 + 128, 2, 0), (64 * MIB, 0xFC00, 48 * 16, 0),
        (65 * MIB, 0xFFFF, 49 * 16, 0), (LOW_END, 0xFFFF, 0xBF00, 0), (4 * GIB, 0xFFFF, 0xBF00, 0x4000),
        (LOW_END + 64 * KIB, 0xFFFF, 0xBF00, 1), (LOW_END + (1 << 40), 0xFFFF, 0xBF00, 0xFFFFFF),
    ],
)  # fmt: skip
def test_memory_sizes(memory: int, extended: int, above_16_mib: int, above_4_gib: int) -> None:
    cmos = Cmos(Board(lambda data: None, memory=memory), Cmos.options)

    def word(index: int) -> int:
        return register(cmos, index) | register(cmos, index + 1) << 8

    assert word(0x15) == 640
    assert word(0x17) == word(0x30) == extended
    assert word(0x34) == above_16_mib
    assert word(0x5B) | register(cmos, 0x5D) << 16 == above_4_gib


# --- the registers themselves (MC146818A, figures 3 and 15 to 18) ------------------------------------------


def made() -> Cmos:
    return Cmos(Board(lambda data: None), Cmos.options)


def test_status_registers_at_first() -> None:
    """A: a 32,768 Hz clock and no update under way; B: 24 hours, BCD; C: no interrupt; D: the battery is good."""
    assert [register(made(), index) for index in (10, 11, 12, 13)] == [0x26, 0x02, 0, 0x80]


def test_what_can_be_written() -> None:
    cmos = made()
    for index in (10, 11, 0x0F, 0x40, 0x7F):
        assert register(cmos, index, 0x5A) == 0x5A
    assert register(cmos, 12, 0xFF) == 0 and register(cmos, 13, 0) == 0x80
    assert register(cmos, 0x40, 0x1FF) == 0xFF
    assert register(cmos, 10, 0xDA) == 0x5A, "bit 7 says that an update is under way"


def test_index_has_seven_bits() -> None:
    """The eighth masks NMIs. Reading the index port gives nothing."""
    cmos = made()
    cmos.write(0, 1, 0x80 | 0x40)
    cmos.write(1, 1, 7)
    assert register(cmos, 0x40) == 7 and cmos.read(0, 1) == 0xFF


def test_memory_is_kept() -> None:
    one, two = made(), made()
    register(one, 0x50, 9)
    state = one.save()
    assert len(state[1]) == 128
    register(one, 0x50, 1)
    two.load(state)
    assert two.index == 0x50 and register(two, 0x50) == 9
    register(two, 0x50, 3)
    assert state[1][0x50] == 9


def test_described() -> None:
    cmos = made()
    register(cmos, 0x12, 0xAB)
    assert cmos.describe() == "CMOS memory and clock, index 0x12"
    details = cmos.details()
    assert details["index"] == "0x12" and details["clock"].endswith(" UTC") and len(details) == 11
    assert details["0x10"].split()[2] == "ab" and len(details["0x70"].split()) == 16


def test_a_date_beyond_the_calendar_fails_nothing() -> None:
    """As int 1Ah, AH=5 sets it with registers of any contents."""
    cmos = Cmos(Board(lambda data: None, memory=64 << 20), Cmos.options)
    for index, value in ((0x32, 0x99), (9, 0x9A), (8, 0xFF), (7, 0xFF), (4, 0xFF)):
        cmos.write(0, 1, index)
        cmos.write(1, 1, value)
        assert 0 <= cmos.read(1, 1) <= 0xFF


def test_drives(tmp_path: Path) -> None:
    """By type 47 and its table, for kernels that look here and not at the BIOS's."""
    board = Board(lambda data: None)
    (tmp_path / "disk").write_bytes(bytes(20 * 16 * 63 * 512))
    (tmp_path / "floppy").write_bytes(bytes(1440 * 1024))
    for kind in ("disk", "disk", "floppy"):
        board.disks.add(str(tmp_path / kind), kind)
    cmos = Cmos(board, Cmos.options)
    assert [register(cmos, at) for at in (0x10, 0x12, 0x14, 0x19, 0x1A)] == [0x40, 0xFF, 0x07, 47, 47]
    table = bytes.fromhex("1400 10 ffff c8 1400 3f")
    assert bytes(register(cmos, at) for at in range(0x1B, 0x2D)) == table * 2
    none = Cmos(Board(lambda data: None), Cmos.options)
    assert [register(none, at) for at in (0x10, 0x12, 0x14, 0x19)] == [0, 0, 0x06, 0]


def test_a_word_at_the_first_port_is_an_index_and_its_data() -> None:
    """As with any two ports of a byte each; `out 0x70, ax` is a boot sector's usual way to set one."""
    cmos = Cmos(Board(lambda data: None), Cmos.options)
    cmos.write(0, 2, 0x5A30)
    assert register(cmos, 0x30) == 0x5A
    assert (cmos.read(0, 2), cmos.read(1, 2)) == (0x5AFF, 0xFF5A)
