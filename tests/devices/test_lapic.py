"""The local APIC of firmware's machine, without a CPU. Source: SDM volume 3A, chapter 11."""

from __future__ import annotations

import pytest

from kvmdbg.devices.lapic import LocalApic
from kvmdbg.devices.pic import Pic
from kvmdbg.errors import UsageError
from kvmdbg.machine.board import Board

TPR, PPR, EOI, SPURIOUS, ISR, IRR, COMMAND = 0x80, 0xA0, 0xB0, 0xF0, 0x100, 0x200, 0x300
TIMER, LINT0, INITIAL, CURRENT, DIVIDE = 0x320, 0x350, 0x380, 0x390, 0x3E0
PERIODIC, MASKED, BY_1 = 1 << 17, 1 << 16, 0xB
MS = 1_000_000


class Apic(LocalApic):
    """Guest time goes on by ``after``."""

    def __init__(self) -> None:
        self.board = Board(lambda data: None)
        self.host = 0
        self.board.time._host = lambda: self.host
        self.board.pic = self.pic = Pic(self.board)
        super().__init__(self.board, {})
        self.board.time.start()

    def after(self, ns: int) -> None:
        self.host = ns
        self.board.time.pass_to(ns)

    def set(self, *pairs: tuple[int, int]) -> None:
        for at, value in pairs:
            self.write(at, 4, value)

    def get(self, at: int) -> int:
        return self.read(at, 4)


@pytest.fixture
def apic() -> Apic:
    return Apic()


@pytest.fixture
def enabled(apic: Apic) -> Apic:
    apic.set((SPURIOUS, 0x1FF))
    return apic


def test_it_needs_the_8259s_before_it() -> None:
    with pytest.raises(UsageError, match="--irqchip user"):
        LocalApic(Board(lambda data: None), {})


def test_as_it_comes_out_of_reset(apic: Apic) -> None:
    assert (apic.get(0x20), apic.get(0x30), apic.get(0xE0), apic.get(SPURIOUS)) == (0, 0x50014, 0xFFFFFFFF, 0xFF)
    assert apic.get(TIMER) == MASKED and apic.get(LINT0) == 0x700
    assert not apic.pending and not apic.counts and apic.get(CURRENT) == 0
    apic.set((TIMER, 0x20))  # masked for as long as the APIC is not enabled
    assert apic.get(TIMER) == MASKED | 0x20


def test_the_timer_counts_once(enabled: Apic) -> None:
    enabled.set((DIVIDE, BY_1), (TIMER, 0x40), (INITIAL, 2 * MS))
    enabled.after(MS)
    assert enabled.get(CURRENT) == MS and enabled.counts and not enabled.pending
    enabled.after(2 * MS)
    assert enabled.get(CURRENT) == 0 and not enabled.counts and enabled.pending
    assert enabled.get(IRR + 0x20) == 1 and enabled.acknowledge() == 0x40
    assert not enabled.pending and enabled.get(IRR + 0x20) == 0 and enabled.get(ISR + 0x20) == 1
    enabled.set((EOI, 0))
    assert enabled.get(ISR + 0x20) == 0


def test_again_and_again_by_a_divided_clock(enabled: Apic) -> None:
    enabled.set((DIVIDE, 0b0011), (TIMER, PERIODIC | 0x40), (INITIAL, 100_000))  # by 16
    for n in (1, 2, 3):
        enabled.after(n * 1_600_000)
        assert enabled.acknowledge() == 0x40 and enabled.counts
        enabled.set((EOI, 0))
    enabled.after(3 * 1_600_000 + 16_000)
    assert enabled.get(CURRENT) == 99_000 and not enabled.pending
    enabled.after(6 * 1_600_000)  # two are lost: there is one bit for them
    assert enabled.acknowledge() == 0x40 and not enabled.pending


@pytest.mark.parametrize(("divide", "ns"), [(0b1011, 1), (0b0000, 2), (0b0011, 16), (0b1000, 32), (0b1010, 128)])
def test_what_divides_the_clock(enabled: Apic, divide: int, ns: int) -> None:
    enabled.set((DIVIDE, divide), (INITIAL, 1000))
    enabled.after(10 * ns)
    assert enabled.get(CURRENT) == 990


def test_a_masked_timer_raises_nothing(enabled: Apic) -> None:
    enabled.set((DIVIDE, BY_1), (TIMER, MASKED | 0x40), (INITIAL, MS))
    assert not enabled.counts
    enabled.set((TIMER, 0x40))
    assert enabled.counts
    enabled.set((INITIAL, 0))
    assert not enabled.counts
    enabled.after(2 * MS)
    assert not enabled.pending


def test_the_shortest_period_leaves_the_guest_time(enabled: Apic) -> None:
    enabled.set((DIVIDE, BY_1), (TIMER, PERIODIC | 0x40), (INITIAL, 1))
    assert enabled.board.time.next == 200_000
    enabled.after(200_000)
    assert enabled.board.time.next == 400_000


def test_priorities(enabled: Apic) -> None:
    enabled.set((COMMAND, 1 << 18 | 0x35), (COMMAND, 1 << 18 | 0x51), (TPR, 0x50))
    assert not enabled.pending and enabled.get(PPR) == 0x50
    enabled.set((TPR, 0x4F))
    assert enabled.pending and enabled.acknowledge() == 0x51
    assert not enabled.pending and enabled.get(PPR) == 0x50
    enabled.set((TPR, 0), (EOI, 0))
    assert enabled.acknowledge() == 0x35 and enabled.get(PPR) == 0x30


@pytest.mark.parametrize(("vector", "priority"), [(0x30, 0x30), (0x3F, 0x30), (0x40, 0x40)])
def test_what_is_served_has_the_priority_of_its_sixteen(enabled: Apic, vector: int, priority: int) -> None:
    enabled.set((COMMAND, 1 << 18 | vector))
    assert enabled.acknowledge() == vector and enabled.get(PPR) == priority


def test_what_a_command_does(enabled: Apic) -> None:
    for command in (0x40, 3 << 18 | 0x40, 1 << 18 | 0x500 | 0x40, 1 << 18 | 0x0F):
        enabled.set((COMMAND, command))
        assert not enabled.pending
    enabled.set((COMMAND, 2 << 18 | 0x40))
    assert enabled.pending and enabled.get(COMMAND) == 2 << 18 | 0x40


def test_the_8259s_ask_through_it(apic: Apic) -> None:
    apic.set_up(8, 0x70, {0, 1})
    apic.set_line(1, True)
    assert apic.pending and apic.passes(1) and apic.waits(1) and not apic.passes(3)
    apic.set((SPURIOUS, 0x1FF), (LINT0, MASKED | 0x700))
    assert not apic.pending and not apic.passes(1)
    apic.set((LINT0, 0x700), (COMMAND, 1 << 18 | 0x40))
    assert [apic.acknowledge(), apic.acknowledge()] == [9, 0x40]
    assert {8, 0x77} <= set(apic.vectors) and 0x40 not in apic.vectors
    for vector in (0x40, 0x41, 0xEF):
        apic.set((TIMER, vector))
        assert set(apic.vectors) == {*range(8, 16), *range(0x70, 0x78), vector}
    apic.set((SPURIOUS, 0xFF))
    assert apic.get(LINT0) == MASKED | 0x700 and not apic.passes(1)


def test_a_halted_guest_waits_for_its_timer(enabled: Apic) -> None:
    assert enabled.board.pic is enabled and not enabled.board.may_be_interrupted
    enabled.set((DIVIDE, BY_1), (TIMER, 0x40), (INITIAL, MS))
    assert enabled.board.may_be_interrupted
    enabled.after(MS)
    assert enabled.board.may_be_interrupted
    enabled.acknowledge()
    assert not enabled.board.may_be_interrupted


def test_sizes(enabled: Apic) -> None:
    assert (
        enabled.read(SPURIOUS, 1) == 0xFF and enabled.read(SPURIOUS + 1, 1) == 1 and enabled.read(SPURIOUS + 4, 4) == 0
    )
    enabled.write(TPR, 1, 0x20)
    enabled.write(TPR + 4, 4, 0x20)
    enabled.set((0x20, 0x01000000), (PPR, 0x20))
    assert enabled.get(TPR) == enabled.get(0x20) == enabled.get(PPR) == 0


def test_snapshots_have_it(enabled: Apic) -> None:
    enabled.set((DIVIDE, BY_1), (TIMER, 0x40), (INITIAL, MS), (COMMAND, 1 << 18 | 0x35))
    enabled.acknowledge()
    state = enabled.save()
    enabled.set((INITIAL, 0), (EOI, 0), (SPURIOUS, 0xFF))
    enabled.load(state)
    assert enabled.describe() == "local APIC, enabled; timer counts"
    assert enabled.details() == {
        "enabled": "yes", "timer": "once, vector 0x40", "count": "1000000 of 1000000, 1 ns each",
        "requested": "none", "served": "0x35",
    }  # fmt: skip
    enabled.after(MS)
    assert enabled.acknowledge() == 0x40
