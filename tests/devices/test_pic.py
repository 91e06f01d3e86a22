"""The two 8259A, without a CPU. Source: Intel 8259A data sheet."""

from __future__ import annotations

import pytest

from kvmdbg.devices.pic import Pic
from kvmdbg.machine.board import Board

EOI, READ_IRR, READ_ISR, POLL = 0x20, 0x0A, 0x0B, 0x0C


class Pair(Pic):
    """Initialised to the vectors 0x20 and 0x28; ``unmasked`` lines are let through."""

    def __init__(self, *unmasked: int, icw1: int = 0x11, icw4: int = 1) -> None:
        self.board = Board(lambda data: None)
        super().__init__(self.board)
        self.board.pic = self
        for base, vector, wiring in ((0x20, 0x20, 4), (0xA0, 0x28, 2)):
            self.write(base, 1, icw1)
            for word in (vector, wiring, icw4):
                self.write(base + 1, 1, word)
        self.mask(*unmasked)

    def mask(self, *unmasked: int) -> None:
        for chip, port in enumerate((0x21, 0xA1)):
            self.write(port, 1, 0xFF & ~sum(1 << (line & 7) for line in unmasked if line >> 3 == chip))

    def raise_lines(self, *lines: int) -> None:
        for line in lines:
            self.board.pulse_irq(line)

    def taken(self) -> int | None:
        return self.acknowledge() if self.pending else None

    def first(self, ocw: int) -> int:
        self.write(0x20, 1, ocw)
        return self.read(0x20, 1)


def test_nothing_gets_through_before_it_is_initialised() -> None:
    board = Board(lambda data: None)
    pic = Pic(board)
    pic.write(0x21, 1, 0)
    pic.set_line(0, True)
    assert not pic.pending and not pic.passes(0) and pic.read(0x21, 1) == 0
    assert pic.describe() == "two 8259A interrupt controllers, all lines masked"


def test_a_vector_of_each_line() -> None:
    pic = Pair(*range(16))
    for line in [n for n in range(16) if n != 2]:
        pic.raise_lines(line)
        assert pic.taken() == 0x20 + line
        if line > 7:
            pic.write(0xA0, 1, EOI)
        pic.write(0x20, 1, EOI)
    assert not pic.pending


def test_masked_lines_wait() -> None:
    pic = Pair(1)
    pic.raise_lines(0)
    assert not pic.pending and pic.first(READ_IRR) == 1
    assert pic.waits(0) and not pic.passes(0) and pic.passes(1)
    pic.mask(0)
    assert pic.taken() == 0x20
    assert pic.first(READ_IRR) == 0 and pic.first(READ_ISR) == 1


def test_the_second_needs_line_2_of_the_first() -> None:
    pic = Pair(8)
    pic.raise_lines(8)
    assert not pic.pending and not pic.passes(8)
    pic.mask(2, 8)
    assert pic.passes(8) and pic.taken() == 0x28
    assert pic.first(READ_ISR) == 4


def test_the_lower_line_goes_first_and_the_higher_one_waits_for_its_end() -> None:
    pic = Pair(1, 4, 6)
    pic.raise_lines(6, 4)
    assert pic.taken() == 0x24
    assert pic.taken() is None
    pic.raise_lines(1)
    assert pic.taken() == 0x21
    pic.write(0x20, 1, EOI)
    assert pic.taken() is None
    pic.write(0x20, 1, EOI)
    assert pic.taken() == 0x26


def test_the_lines_of_the_second_come_before_line_3() -> None:
    pic = Pair(2, 3, 15)
    pic.raise_lines(3, 15)
    assert pic.taken() == 0x2F
    pic.write(0xA0, 1, EOI)
    assert pic.taken() is None
    pic.write(0x20, 1, EOI)
    assert pic.taken() == 0x23


def test_two_of_the_second_one_after_the_other() -> None:
    pic = Pair(2, 8, 12)
    pic.raise_lines(12, 8)
    assert pic.taken() == 0x28
    pic.write(0xA0, 1, EOI)
    pic.write(0x20, 1, EOI)
    assert pic.taken() == 0x2C


def test_an_end_of_a_certain_line() -> None:
    pic = Pair(1, 4)
    pic.raise_lines(4)
    pic.acknowledge()
    pic.raise_lines(1)
    pic.acknowledge()
    pic.write(0x20, 1, 0x64)  # specific, 4
    assert pic.first(READ_ISR) == 2
    pic.write(0x20, 1, 0x61)
    assert pic.first(READ_ISR) == 0
    pic.write(0x20, 1, EOI)
    assert pic.first(READ_ISR) == 0


def test_priorities_rotate() -> None:
    pic = Pair(0, 3, 5)
    pic.raise_lines(3)
    pic.acknowledge()
    pic.write(0x20, 1, 0xA0)  # rotate on a plain EOI: 3 is the lowest now
    pic.raise_lines(0, 3, 5)
    assert pic.taken() == 0x25
    pic.write(0x20, 1, 0xE5)  # rotate on the EOI of 5: 6 is the highest
    assert pic.taken() == 0x20
    pic.write(0x20, 1, EOI)
    pic.write(0x20, 1, 0xC2)  # 2 is the lowest, 3 the highest
    pic.write(0x20, 1, 0x45)  # no operation
    pic.raise_lines(0)
    assert pic.taken() == 0x23


def test_automatic_ends() -> None:
    pic = Pair(0, 1, icw4=3)
    pic.raise_lines(0, 1)
    assert (pic.taken(), pic.taken(), pic.taken()) == (0x20, 0x21, None)
    pic.write(0x20, 1, 0x80)  # rotate with them
    pic.raise_lines(0)
    pic.acknowledge()
    pic.raise_lines(0, 1)
    assert (pic.taken(), pic.taken()) == (0x21, 0x20)
    pic.write(0x20, 1, 0x00)
    pic.acknowledge()
    assert pic.registers()["master"]["priority_add"] == 1


def test_special_mask_lets_lower_lines_in() -> None:
    pic = Pair(1, 4)
    pic.raise_lines(1)
    pic.acknowledge()
    pic.raise_lines(4)
    pic.mask(4)
    assert pic.taken() is None
    pic.write(0x20, 1, 0x68)
    assert pic.taken() == 0x24
    pic.write(0x20, 1, EOI)
    assert pic.first(READ_ISR) == 2
    pic.write(0x20, 1, 0x48)
    pic.raise_lines(4)
    assert pic.taken() is None


def test_special_nesting_lets_the_second_interrupt_itself() -> None:
    pic = Pair(2, 3, 8, 12, icw4=0x11)
    pic.raise_lines(12)
    assert pic.taken() == 0x2C
    pic.raise_lines(8)
    assert pic.taken() == 0x28
    pic.raise_lines(3)
    assert pic.taken() is None, "but nothing that goes behind"
    own = Pair(2, 10, icw4=0x11)
    own.raise_lines(10)
    assert own.taken() == 0x2A
    own.raise_lines(10)
    assert own.taken() is None, "of the second it is any line"
    plain = Pair(2, 8, 12)
    plain.raise_lines(12)
    plain.acknowledge()
    plain.raise_lines(8)
    assert plain.taken() is None


def test_polling_takes_the_interrupt() -> None:
    pic = Pair(3, 5)
    assert pic.first(POLL) == 0
    pic.raise_lines(5, 3)
    assert pic.first(POLL) == 0x83
    assert pic.first(READ_ISR) == 8 and not pic.pending


def test_a_line_that_fell_again_is_spurious() -> None:
    pic = Pair(2, 3, 9)
    pic.write(0x4D0, 2, 0x0208)
    assert pic.read(0x4D0, 2) == 0x0208
    pic.set_line(3, True)
    assert pic.pending
    pic.set_line(3, False)
    assert not pic.pending and pic.acknowledge() == 0x27
    assert pic.first(READ_ISR) == 0
    pic.set_line(9, True)
    pic.chips[1].set_line(1, False)  # while the first still has its request
    assert pic.acknowledge() == 0x2F
    assert pic.first(READ_ISR) == 4


def test_a_level_brings_another_interrupt_until_it_falls() -> None:
    pic = Pair(5)
    pic.write(0x4D0, 1, 0x20)
    pic.set_line(5, True)
    assert pic.taken() == 0x25
    pic.write(0x20, 1, EOI)
    assert pic.taken() == 0x25
    pic.set_line(5, False)
    pic.write(0x20, 1, EOI)
    assert pic.taken() is None


def test_an_edge_brings_one() -> None:
    pic = Pair(5)
    pic.set_line(5, True)
    pic.set_line(5, True)
    assert pic.taken() == 0x25
    pic.write(0x20, 1, EOI)
    assert pic.taken() is None
    pic.set_line(5, False)
    pic.set_line(5, True)
    pic.set_line(5, False)
    assert pic.taken() == 0x25


def test_a_line_that_is_up_when_it_is_to_be_triggered_by_levels() -> None:
    pic = Pair(3)
    pic.raise_lines(3)
    assert pic.taken() == 0x23
    pic.write(0x20, 1, EOI)
    assert not pic.pending
    pic.write(0x4D0, 1, 8)
    assert pic.taken() == 0x23


def test_the_timers_line_stays_with_edges() -> None:
    pic = Pair()
    pic.write(0x4D0, 2, 0xFFFF)
    assert pic.read(0x4D0, 2) == 0xDEF8


def test_lines_triggered_by_levels_from_the_beginning() -> None:
    pic = Pair(5, icw1=0x19)
    pic.set_line(5, True)
    pic.acknowledge()
    pic.write(0x20, 1, EOI)
    assert pic.taken() == 0x25


def test_one_alone_and_without_its_last_word() -> None:
    pic = Pair()
    pic.write(0x20, 1, 0x12)
    pic.write(0x21, 1, 0x47)
    pic.write(0x21, 1, 0xFB)
    pic.raise_lines(2)
    assert pic.taken() == 0x42 and pic.read(0x21, 1) == 0xFB


def test_the_beginning_clears_what_was() -> None:
    pic = Pair(0, 1)
    pic.raise_lines(0, 1)
    pic.acknowledge()
    told: list[int] = []
    pic.board.at_taken[1] = lambda: told.append(1)
    pic.write(0x20, 1, 0x11)
    assert not pic.pending and told == [1]
    for word in (0x30, 4, 1):
        pic.write(0x21, 1, word)
    assert (pic.read(0x21, 1), pic.first(READ_IRR), pic.first(READ_ISR)) == (0, 0, 0)
    pic.raise_lines(1)
    assert pic.taken() == 0x31


def test_as_firmware_leaves_it() -> None:
    board = Board(lambda data: None)
    pic = Pic(board)
    assert set(pic.vectors) == {*range(8, 16), *range(0x70, 0x78)}
    pic.set_up(0x40, 0x48, ())
    assert set(pic.vectors) == set(range(0x40, 0x50))
    pic.set_up(8, 0x70, (0, 1, 2, 14))
    assert (pic.read(0x21, 1), pic.read(0xA1, 1)) == (0xF8, 0xBF)
    pic.set_line(14, True)
    assert pic.acknowledge() == 0x76
    assert pic.describe() == "two 8259A interrupt controllers, IRQ 0, 1, 2, 14 let through"
    assert pic.details()["second"] == "vectors from 0x70, irr 0b00000000, isr 0b01000000, imr 0b10111111, elcr 0x00"


def test_the_vcpu_is_called_once_for_what_waits() -> None:
    pic = Pair(0, 1)
    calls: list[int] = []
    pic.board.kick = lambda: calls.append(1)
    pic.board.attention = False
    pic.raise_lines(1)
    assert pic.board.attention and calls == [1]
    pic.raise_lines(0)
    assert calls == [1]
    pic.board.attention = False
    pic.mask()
    assert pic.board.attention  # it need not wait for the vCPU any more


def test_whoever_has_raised_a_line_hears_that_it_is_taken() -> None:
    pic = Pair(2, 3, 9)
    told: list[int] = []
    for line in (3, 9):
        pic.board.at_taken[line] = lambda line=line: told.append(line)  # type: ignore[misc]
    pic.raise_lines(9, 3)
    pic.acknowledge()
    assert told == [9]
    pic.write(0xA0, 1, EOI)
    pic.write(0x20, 1, EOI)
    assert pic.first(POLL) == 0x83
    assert told == [9, 3]


@pytest.mark.parametrize("line", [0, 7, 8, 15])
def test_whoever_has_raised_a_line_hears_that_a_beginning_drops_it(line: int) -> None:
    pic = Pair()
    told: list[int] = []
    for one in range(16):
        pic.board.at_taken[one] = lambda one=one: told.append(one)  # type: ignore[misc]
    pic.raise_lines(line)
    assert told == []
    pic.write(0xA0 if line > 7 else 0x20, 1, 0x11)
    assert told == [line]


def test_states_are_given_back() -> None:
    pic, other = Pair(2, 3, 9), Pair()
    pic.raise_lines(3, 9)
    pic.acknowledge()
    state = pic.save()
    other.load(state)
    assert other.save() == state and other.board.attention
    other.write(0xA0, 1, EOI)
    other.write(0x20, 1, EOI)
    assert other.taken() == 0x23


def test_other_ports_are_nobodys() -> None:
    pic = Pair()
    pic.write(0x22, 1, 0)
    assert pic.read(0x21, 2) == 0xFFFF
