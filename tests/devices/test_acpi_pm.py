"""The ACPI timer of a PIIX4, without a CPU. Sources: Intel 82371AB data sheet (290562); ACPI 6.4, section 4.8."""

from __future__ import annotations

import pytest

from kvmdbg.devices import registry
from kvmdbg.devices.acpi_pm import AcpiPm
from kvmdbg.machine.board import Board
from kvmdbg.machine.bus import Bus

PMBA, PMREGMISC = 0x40, 0x80
HZ = 3_579_545


class Pc(Bus):
    """Guest time goes on by ``after``."""

    def __init__(self) -> None:
        super().__init__()
        board = Board(lambda data: None)
        board.firmware = True
        registry.add_standard(self, board)
        self.host = 0
        board.time._host = lambda: self.host
        board.time.start()

    def after(self, ticks: int) -> None:
        self.host = -(-ticks * 10**9 // HZ)

    def config(self, at: int, size: int, value: int | None = None) -> int:
        """Read or write the configuration space of 00:01.3."""
        self.write_port(0xCF8, 4, 1 << 31 | 0x0B << 8 | at)
        if value is not None:
            self.write_port(0xCFC, size, value)
        return self.read_port(0xCFC, size)

    def at(self, base: int) -> Pc:
        """Have the registers there, as firmware does."""
        self.config(PMBA, 4, base)
        self.config(PMREGMISC, 1, 1)
        return self


@pytest.fixture
def pc() -> Pc:
    return Pc()


def test_it_is_a_piix4(pc: Pc) -> None:
    assert pc.config(0, 4) == 0x71138086 and pc.config(8, 4) == 0x06800000
    assert pc.config(0x58, 4) == 0x02000000  # no SMM to be set up
    assert pc.config(PMBA, 4) == 1 and pc.config(PMREGMISC, 1) == 0
    assert pc.config(PMBA, 4, 0xFFFFFFFF) == 0xFFC1


@pytest.mark.parametrize("base", [0x600, 0xB000, 0xE400])
def test_the_timer_is_where_firmware_puts_it(pc: Pc, base: int) -> None:
    assert pc.read_port(base + 8, 4) == 0xFFFFFFFF
    pc.config(PMBA, 4, base | 1)
    assert pc.read_port(base + 8, 4) == 0xFFFFFFFF
    pc.config(PMREGMISC, 1, 1)
    pc.after(1000)
    assert pc.read_port(base + 8, 4) == 1000
    others = {0x600, 0xB000, 0xE400} - {base}
    assert all(pc.read_port(other + 8, 4) == 0xFFFFFFFF for other in others)


def test_it_has_24_bits_and_tells_when_the_highest_changes(pc: Pc) -> None:
    pc.at(0x600).after((1 << 23) - 1)
    assert pc.read_port(0x608, 4) == 0x7FFFFF and pc.read_port(0x600, 2) == 0
    for ticks, seen in ((1 << 23, 0x800000), ((1 << 24) + 5, 5)):
        pc.after(ticks)
        assert pc.read_port(0x608, 4) == seen and pc.read_port(0x60A, 1) == seen >> 16
        pc.write_port(0x600, 2, 0)
        assert pc.read_port(0x600, 2) == 1
        pc.write_port(0x600, 2, 1)
        assert pc.read_port(0x600, 2) == 0


def test_the_enable_register_keeps_what_is_written(pc: Pc) -> None:
    pc.at(0xB000)
    pc.write_port(0xB002, 2, 0x0121)
    assert pc.read_port(0xB000, 4) == 0x01210000 and pc.read_port(0xB003, 1) == 1
    pc.write_port(0xB003, 1, 4)
    pc.write_port(0x602, 2, 0xFFFF)  # not where it is
    assert pc.read_port(0xB002, 2) == 0x0421
    pc.write_port(0xB000, 4, 0x00070000)
    assert pc.read_port(0xB002, 2) == 7


def test_snapshots_have_it(pc: Pc) -> None:
    pc.at(0x600).after(1 << 23)
    pc.write_port(0x602, 2, 3)
    state = pc.save()
    pc.write_port(0x600, 4, 1)
    assert pc.read_port(0x600, 4) == 0
    pc.load(state)
    assert pc.read_port(0x600, 4) == 0x30001
    (made,) = (one for one in pc.devices if isinstance(one, AcpiPm))
    assert made.describe() == "ACPI timer, 3579545 Hz"
    assert made.details() == {"timer": "0x800000", "enabled events": "0x3"}
