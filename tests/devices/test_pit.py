"""The 8254 timer, without a CPU. Source: Intel 8254 data sheet."""

from __future__ import annotations

import pytest

from kvmdbg.devices.pic import Pic
from kvmdbg.devices.pit import HZ, Pit
from kvmdbg.machine.board import Board

LATCH, LOW, HIGH, BOTH = 0x00, 0x10, 0x20, 0x30


class Timer(Pit):
    """Guest time goes on in whole clocks, by ``after``."""

    def __init__(self) -> None:
        self.board = Board(lambda data: None)
        self.host = 0
        self.board.time._host = lambda: self.host
        self.pic = Pic(self.board)
        self.board.pic = self.pic
        super().__init__(self.board)
        self.pic.set_up(8, 0x70, (0,))
        self.board.time.start()
        self.clocks = 0

    def after(self, clocks: int) -> None:
        self.clocks += clocks
        self.host = -(-self.clocks * 10**9 // HZ)
        self.board.time.pass_to(self.board.time.now())

    def programmed(self, channel: int, mode: int, count: int, *, bcd: bool = False) -> None:
        self.write(0x43, 1, channel << 6 | BOTH | mode << 1 | bcd)
        self.write(0x40 + channel, 1, count & 0xFF)
        self.write(0x40 + channel, 1, count >> 8)

    def count(self, channel: int) -> int:
        self.write(0x43, 1, channel << 6)
        return self.read(0x40 + channel, 1) | self.read(0x40 + channel, 1) << 8

    def status(self, channel: int) -> int:
        self.write(0x43, 1, 0xE0 | 2 << channel)
        return self.read(0x40 + channel, 1)

    def out(self, channel: int) -> int:
        return self.status(channel) >> 7

    def ticks(self) -> int:
        """How many interrupts can be taken now, each ended at once."""
        found = 0
        while self.pic.pending:
            assert self.pic.acknowledge() == 8
            self.pic.write(0x20, 1, 0x20)
            self.board.time.pass_to(self.board.time.now())
            found += 1
        return found


@pytest.fixture
def timer() -> Timer:
    return Timer()


def test_the_rate_generator(timer: Timer) -> None:
    timer.programmed(2, 2, 100)
    timer.write(0x61, 1, 1)
    seen = []
    for _ in range(3):
        timer.after(49)
        seen.append((timer.count(2), timer.out(2)))
        timer.after(50)
        seen.append((timer.count(2), timer.out(2)))
        timer.after(1)
    assert seen == [(51, 1), (1, 0)] * 3


def test_the_square_wave(timer: Timer) -> None:
    timer.programmed(0, 3, 100)
    seen = []
    for _ in range(4):
        timer.after(25)
        seen.append((timer.count(0), timer.out(0)))
    assert seen == [(50, 1), (100, 0), (50, 0), (100, 1)]


def test_an_odd_square_wave_is_high_for_one_clock_more(timer: Timer) -> None:
    timer.programmed(0, 3, 5)
    seen = []
    for _ in range(5):
        seen.append((timer.out(0), timer.count(0)))
        timer.after(1)
    assert seen == [(1, 4), (1, 2), (1, 0), (0, 4), (0, 2)], "it counts by twos from one less"


def test_one_interrupt_at_the_end_of_the_count(timer: Timer) -> None:
    timer.programmed(0, 0, 100)
    assert (timer.out(0), timer.count(0)) == (0, 100)
    timer.after(99)
    assert (timer.ticks(), timer.out(0), timer.count(0)) == (0, 0, 1)
    timer.after(1)
    assert (timer.ticks(), timer.out(0), timer.count(0)) == (1, 1, 0)
    timer.after(0x10000 + 5)
    assert (timer.ticks(), timer.count(0)) == (0, 0xFFFB)


def test_the_strobe(timer: Timer) -> None:
    timer.programmed(0, 4, 10)
    timer.after(9)
    assert timer.out(0) == 1
    timer.after(1)
    assert (timer.out(0), timer.ticks()) == (0, 0)
    timer.after(1)
    assert (timer.out(0), timer.ticks()) == (1, 1)
    timer.after(0x10000)
    assert timer.ticks() == 0


@pytest.mark.parametrize("mode", [2, 3, 6, 7])
def test_it_ticks_once_a_period(timer: Timer, mode: int) -> None:
    timer.programmed(0, mode, 1000)
    assert timer.ticks() == 0
    counted = []
    for _ in range(5):
        timer.after(999)
        counted.append(timer.ticks())
        timer.after(1)
        counted.append(timer.ticks())
    assert counted == [0, 1] * 5


def test_a_count_of_0_is_the_longest(timer: Timer) -> None:
    timer.programmed(0, 2, 0)
    timer.after(0xFFFF)
    assert timer.ticks() == 0
    timer.after(1)
    assert timer.ticks() == 1


def test_ticks_that_come_late_follow_each_other(timer: Timer) -> None:
    timer.programmed(0, 2, 1000)
    timer.after(5500)
    assert timer.ticks() == 5
    timer.after(499)
    assert timer.ticks() == 0
    timer.after(1)
    assert timer.ticks() == 1


def test_but_not_all_of_a_long_time(timer: Timer) -> None:
    timer.programmed(0, 2, 1000)
    timer.after(HZ)
    assert HZ // 4 // 1000 <= timer.ticks() <= HZ // 4 // 1000 + 2


def test_ticks_while_it_is_masked_are_lost_but_one(timer: Timer) -> None:
    timer.pic.write(0x21, 1, 0xFF)
    timer.programmed(0, 2, 1000)
    timer.after(5500)
    assert timer.board.time.next is None  # nobody is to be kicked for what changes nothing
    timer.pic.write(0x21, 1, 0xFE)
    assert timer.ticks() == 1
    timer.after(500)
    assert timer.ticks() == 1


def test_it_ticks_on_when_its_interrupt_was_dropped(timer: Timer) -> None:
    timer.programmed(0, 2, 1000)
    timer.after(1000)
    timer.pic.set_up(8, 0x70, (0,))
    assert timer.ticks() == 0
    timer.after(1000)
    assert timer.ticks() == 1


def test_another_count_begins_after_the_period(timer: Timer) -> None:
    timer.programmed(2, 2, 100)
    timer.write(0x61, 1, 1)
    timer.after(60)
    timer.write(0x42, 1, 30)
    timer.write(0x42, 1, 0)
    assert timer.count(2) == 40
    timer.after(40)
    assert timer.count(2) == 30
    timer.after(29)
    assert (timer.count(2), timer.out(2)) == (1, 0)


def test_counting_in_decimal(timer: Timer) -> None:
    timer.programmed(0, 0, 0x1234, bcd=True)
    timer.after(35)
    assert timer.count(0) == 0x1199
    timer.programmed(0, 2, 0, bcd=True)
    timer.after(1)
    assert timer.count(0) == 0x9999


def test_one_byte_of_the_count(timer: Timer) -> None:
    timer.write(0x43, 1, 0x40 | LOW | 4)
    timer.write(0x41, 1, 200)
    timer.after(10)
    assert timer.read(0x41, 1) == 190
    timer.write(0x43, 1, 0x40 | HIGH | 4)
    timer.write(0x41, 1, 2)
    timer.after(0x80)
    assert timer.read(0x41, 1) == 1


def test_a_latched_count_stays(timer: Timer) -> None:
    timer.programmed(0, 2, 1000)
    timer.after(100)
    timer.write(0x43, 1, LATCH)
    timer.after(100)
    timer.write(0x43, 1, LATCH)
    assert timer.read(0x40, 1) | timer.read(0x40, 1) << 8 == 900
    assert timer.read(0x40, 1) | timer.read(0x40, 1) << 8 == 800


def test_reading_back_status_and_counts(timer: Timer) -> None:
    timer.programmed(0, 2, 1000)
    timer.write(0x43, 1, 0x40 | BOTH | 6 | 1)
    timer.after(100)
    timer.write(0x43, 1, 0xC0 | 2 | 4)  # both of channels 0 and 1
    assert timer.read(0x40, 1) == 0x80 | BOTH | 4
    assert timer.read(0x41, 1) == 0xC0 | BOTH | 6 | 1  # no count yet
    assert timer.read(0x40, 1) | timer.read(0x40, 1) << 8 == 900


def test_the_gate_of_channel_2(timer: Timer) -> None:
    timer.programmed(2, 0, 100)
    timer.after(50)
    assert timer.count(2) == 100
    timer.write(0x61, 1, 1)
    timer.after(40)
    assert (timer.count(2), timer.read(0x61, 1) & 0x20) == (60, 0)
    timer.write(0x61, 1, 0)
    timer.after(40)
    assert timer.count(2) == 60
    timer.write(0x61, 1, 1)
    timer.after(60)
    assert timer.read(0x61, 1) & 0x20


def test_the_gate_begins_a_period_anew(timer: Timer) -> None:
    timer.write(0x61, 1, 1)
    timer.programmed(2, 3, 100)
    timer.after(70)
    timer.write(0x61, 1, 0)
    assert timer.out(2) == 1
    timer.after(10)
    timer.write(0x61, 1, 1)
    timer.after(10)
    assert timer.count(2) == 80


@pytest.mark.parametrize(("mode", "outs"), [(1, [1, 0, 0, 1]), (5, [1, 1, 1, 0])])
def test_the_gate_triggers(timer: Timer, mode: int, outs: list[int]) -> None:
    timer.programmed(2, mode, 10)
    seen = [timer.out(2)]
    timer.write(0x61, 1, 1)
    seen.append(timer.out(2))
    timer.after(9)
    seen.append(timer.out(2))
    timer.after(1)
    seen.append(timer.out(2))
    assert seen == outs


def test_a_new_count_of_a_one_shot_waits_for_its_gate(timer: Timer) -> None:
    timer.programmed(2, 1, 100)
    assert timer.status(2) == 0xF2, "null count until it is triggered"
    timer.write(0x61, 1, 1)
    assert timer.status(2) == 0x32
    timer.after(40)
    timer.write(0x42, 1, 10)
    timer.write(0x42, 1, 0)
    assert timer.status(2) == 0x72 and timer.count(2) == 60
    timer.after(59)
    assert timer.out(2) == 0
    timer.after(1)
    assert timer.out(2) == 1
    timer.write(0x61, 1, 0)
    timer.write(0x61, 1, 1)
    assert timer.status(2) == 0x32 and timer.count(2) == 10
    timer.after(10)
    assert timer.out(2) == 1


def test_a_count_that_is_to_follow_is_no_count_yet(timer: Timer) -> None:
    timer.programmed(0, 2, 100)
    assert timer.status(0) == 0xB4
    timer.write(0x40, 1, 50)
    timer.write(0x40, 1, 0)
    assert timer.status(0) == 0xF4
    timer.after(100)
    assert timer.status(0) == 0xB4 and timer.count(0) == 50


def test_port_61(timer: Timer) -> None:
    timer.write(0x61, 1, 0xFF)
    assert timer.read(0x61, 1) & 0x0F == 0x0F
    assert timer.details()["speaker"] == "on"


def test_the_refresh_bit_changes_with_each_read_whatever_time_goes_by(timer: Timer) -> None:
    seen = []
    for clocks in (9, 1, 30, 18, 0):
        timer.after(clocks)
        timer.details()
        seen.append(timer.read(0x61, 1) & 0x10)
        timer.write(0x61, 1, 0)
    assert seen == [0x10, 0, 0x10, 0, 0x10]


def test_as_firmware_leaves_it(timer: Timer) -> None:
    timer.set_up()
    timer.after(0x10000)
    assert timer.ticks() == 1
    assert timer.describe() == "8254 timer, channel 0 in mode 3, 18.2 Hz"


def test_states_are_given_back(timer: Timer) -> None:
    timer.programmed(0, 2, 1000)
    timer.after(300)
    timer.write(0x43, 1, LATCH)
    state = [timer.board.time.save(), timer.pic.save(), timer.save()]
    timer.programmed(0, 0, 77)
    timer.after(10000)
    timer.ticks()
    timer.clocks = timer.host = 0
    for device, one in zip((timer.board.time, timer.pic, timer), state, strict=True):
        device.load(one)  # type: ignore[attr-defined]
    assert [timer.board.time.save(), timer.pic.save(), timer.save()] == state
    assert timer.read(0x40, 1) | timer.read(0x40, 1) << 8 == 700
    timer.after(699)
    assert timer.ticks() == 0
    timer.after(1)
    assert timer.ticks() == 1


def test_it_tells_of_itself(timer: Timer) -> None:
    assert timer.describe() == "8254 timer, channel 0 does not count"
    timer.programmed(0, 2, 1000)
    timer.after(400)
    assert timer.details()["channel 0"] == "mode 2, counts from 1000, at 0x0258, out high, gate open"
    assert timer.details()["channel 2"] == "mode 3, does not count from 65536, at 0x0000, out high, gate closed"
    assert timer.registers()[0] == {"count": 1000, "latched": 600, "mode": 2, "bcd": 0, "gate": 1}


def test_other_ports_are_nobodys(timer: Timer) -> None:
    timer.write(0x44, 1, 0)
    assert timer.read(0x43, 2) == 0xFFFF
