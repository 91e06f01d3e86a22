"""The UART as a guest that polls it sees it. Registers: PC16550D data sheet, section 8 and its summary table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmdbg.devices.uart import Uart
from kvmdbg.machine.board import Board

DATA, IER, IIR, LCR, MCR, LSR, MSR, SCRATCH = range(8)
FCR = IIR
DLAB = 0x80


class Sent(bytearray):
    """Collects what the guest sends."""

    def __call__(self, data: bytes) -> None:
        self.extend(data)


@pytest.fixture
def sent() -> Sent:
    return Sent()


@pytest.fixture
def uart(sent: Sent) -> Uart:
    return Uart(sent)


def test_each_byte_written_is_sent_at_once(uart: Uart, sent: Sent) -> None:
    for byte in b"4\n\0\xff":
        assert uart.read(LSR, 1) & 0x60 == 0x60  # transmitter holding register and shift register empty
        uart.write(DATA, 1, byte)
    assert sent == b"4\n\0\xff"
    assert uart.sent == 4


def test_nothing_is_ever_received(uart: Uart) -> None:
    assert uart.read(LSR, 1) & 0x9F == 0  # no data, no error, no break
    assert uart.read(DATA, 1) == 0


def test_somebody_is_at_the_other_end(uart: Uart) -> None:
    assert uart.read(MSR, 1) == 0xB0  # DCD, DSR, CTS, and no change of them


def test_no_interrupt_is_pending(uart: Uart) -> None:
    assert uart.read(IIR, 1) == 0x01
    uart.write(FCR, 1, 0x07)
    assert uart.read(IIR, 1) == 0xC1  # FIFOs on, which tells a 16550A from a 16450
    uart.write(FCR, 1, 0xC6)  # bit 0 alone switches them on
    assert uart.read(IIR, 1) == 0x01
    uart.write(FCR, 1, 0)
    assert uart.read(IIR, 1) == 0x01


def test_the_divisor_is_behind_dlab_and_sends_nothing(uart: Uart, sent: Sent) -> None:
    uart.write(IER, 1, 0x05)
    uart.write(LCR, 1, DLAB | 3)
    uart.write(DATA, 1, 0x80)
    uart.write(IER, 1, 0x01)
    assert (uart.read(DATA, 1), uart.read(IER, 1)) == (0x80, 0x01)
    assert uart.divisor == 0x180
    uart.write(LCR, 1, 3)
    assert (uart.read(DATA, 1), uart.read(IER, 1)) == (0, 0x05)
    assert not sent


@pytest.mark.parametrize(
    ("register", "kept"), [(IER, 0x0F), (LCR, 0xFF), (MCR, 0x1F), (SCRATCH, 0xFF)], ids=["ier", "lcr", "mcr", "scratch"]
)
def test_registers_read_back_what_they_have_bits_for(uart: Uart, register: int, kept: int) -> None:
    for value in (0xFF, 0x55, 0xAA, 0):
        uart.write(register, 1, value)
        assert uart.read(register, 1) == value & kept
        uart.write(LCR, 1, 0)


def test_status_registers_cannot_be_written(uart: Uart, sent: Sent) -> None:
    before = uart.read(LSR, 1), uart.read(MSR, 1)
    uart.write(LSR, 1, 0xFF)
    uart.write(MSR, 1, 0xFF)
    assert (uart.read(LSR, 1), uart.read(MSR, 1)) == before
    assert not sent


def test_a_word_is_two_registers(uart: Uart, sent: Sent) -> None:
    uart.write(LCR, 1, DLAB)
    uart.write(DATA, 2, 0x0123)
    assert uart.divisor == 0x0123
    assert uart.read(DATA, 2) == 0x0123
    uart.write(LCR, 1, 0)
    uart.write(DATA, 2, 0x0541)
    assert (bytes(sent), uart.ier) == (b"A", 0x05)


def test_behind_its_last_port_there_is_nothing(uart: Uart, sent: Sent) -> None:
    uart.write(SCRATCH, 4, 0x44332211)
    assert uart.read(SCRATCH, 4) == 0xFFFFFF11
    assert not sent


# --- what goes round ----------------------------------------------------------------------------------


def test_loopback_receives_what_is_sent(uart: Uart, sent: Sent) -> None:
    uart.write(FCR, 1, 1)
    uart.write(MCR, 1, 0x10)
    for byte in b"ab":
        uart.write(DATA, 1, byte)
    assert uart.read(LSR, 1) == 0x61
    assert [uart.read(DATA, 1), uart.read(DATA, 1), uart.read(LSR, 1)] == [0x61, 0x62, 0x60]
    uart.write_many(b"cd")
    assert uart.read(DATA, 1) == 0x63 and not sent and uart.sent == 0


@pytest.mark.parametrize(
    ("outputs", "inputs"), [(0, 0), (1, 0x20), (2, 0x10), (4, 0x40), (8, 0x80), (0xF, 0xF0), (0xA, 0x90)]
)
def test_loopback_connects_the_modem_lines(uart: Uart, outputs: int, inputs: int) -> None:
    uart.write(MCR, 1, 0x10 | outputs)
    assert uart.read(MSR, 1) & 0xF0 == inputs
    uart.write(MCR, 1, outputs)
    assert uart.read(MSR, 1) & 0xF0 == 0xB0


def test_changes_of_the_modem_lines_are_told_once(uart: Uart) -> None:
    """Of RI only that it falls."""
    uart.write(MCR, 1, 0x10)
    assert (uart.read(MSR, 1), uart.read(MSR, 1)) == (0x0B, 0)
    for outputs, status in ((4, 0x40), (0, 4), (2, 0x11), (3, 0x32), (0xB, 0xB8), (0xB, 0xB0)):
        uart.write(MCR, 1, 0x10 | outputs)
        assert uart.read(MSR, 1) == status


def test_loopback_has_the_room_of_the_fifo(uart: Uart) -> None:
    """One byte without it, whose place the next takes; 16 with it, and the next is lost."""
    uart.write(MCR, 1, 0x10)
    uart.write_many(b"ab")
    assert (uart.read(LSR, 1), uart.read(LSR, 1), uart.read(DATA, 1)) == (0x63, 0x61, 0x62)
    uart.write(FCR, 1, 1)
    uart.write_many(bytes(range(17)))
    assert (uart.read(LSR, 1), uart.read(LSR, 1)) == (0x63, 0x61)
    assert [uart.read(DATA, 1) for _ in range(16)] == list(range(16)) and uart.read(LSR, 1) == 0x60


def test_loopback_cuts_the_outside_off(uart: Uart) -> None:
    uart.feed(b"outside")
    uart.write(MCR, 1, 0x10)
    assert uart.read(LSR, 1) == 0x60
    uart.write(DATA, 1, 0xAE)
    assert uart.read(DATA, 1) == 0xAE and uart.read(LSR, 1) == 0x60
    uart.write(MCR, 1, 0x0F)
    assert uart.read(LSR, 1) == 0x61 and uart.read(DATA, 1) == ord("o")


# --- interrupts (PC16550D, table 4) ---------------------------------------------------------------------


class Line:
    """The interrupt line, and every change of it."""

    def __init__(self) -> None:
        self.levels: list[tuple[int, int]] = []

    def __call__(self, line: int, level: int) -> None:
        if not self.levels or self.levels[-1] != (line, level):
            self.levels.append((line, level))

    @property
    def high(self) -> bool:
        return bool(self.levels) and self.levels[-1] == (4, 1)


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def wired(sent: Sent, line: Line) -> Uart:
    return Uart(sent, Board(sent, irq=line))


RECEIVED, EMPTY, NOTHING = 4, 2, 1


def test_received_data_interrupts_until_it_is_read(wired: Uart, line: Line) -> None:
    wired.feed(b"early")
    assert not line.high and wired.read(IIR, 1) == NOTHING
    wired.write(IER, 1, 1)
    assert line.high and wired.read(IIR, 1) == RECEIVED
    for byte in b"early":
        assert line.high and wired.read(IIR, 1) == RECEIVED
        assert wired.read(DATA, 1) == byte
    assert not line.high and wired.read(IIR, 1) == NOTHING
    assert wired.feed(b"xy") == 2
    assert line.high
    wired.write(IER, 1, 0)
    assert not line.high and wired.read(IIR, 1) == NOTHING


def test_nothing_fed_is_no_interrupt(wired: Uart, line: Line) -> None:
    wired.write(IER, 1, 1)
    assert wired.feed(b"") == 0
    assert not line.high


def test_empty_transmitter_interrupts_once(wired: Uart, line: Line) -> None:
    wired.write(IER, 1, 2)
    assert line.high and wired.read(IIR, 1) == EMPTY  # reading it takes the interrupt back
    assert not line.high and wired.read(IIR, 1) == NOTHING
    wired.write(DATA, 1, 0x41)
    assert line.high and wired.read(IIR, 1) == EMPTY and not line.high
    wired.write(IER, 1, 2)
    assert not line.high  # it was on before
    wired.write(IER, 1, 0)
    wired.write(IER, 1, 2)
    assert line.high


def test_received_data_goes_before_an_empty_transmitter(wired: Uart, line: Line) -> None:
    wired.write(FCR, 1, 1)
    wired.write(IER, 1, 3)
    wired.feed(b"a")
    assert wired.read(IIR, 1) == 0xC0 | RECEIVED
    assert wired.read(IIR, 1) == 0xC0 | RECEIVED  # this one is not taken back by reading
    wired.read(DATA, 1)
    assert line.high and wired.read(IIR, 1) == 0xC0 | EMPTY
    assert not line.high and wired.read(IIR, 1) == 0xC0 | NOTHING


def test_errors_go_before_all_and_the_modem_behind_all(wired: Uart, line: Line) -> None:
    wired.write(MCR, 1, 0x10)
    wired.read(MSR, 1)
    wired.write(IER, 1, 0x0F)
    wired.write_many(b"ab")
    wired.write(MCR, 1, 0x12)
    assert wired.read(IIR, 1) == 6 and wired.read(LSR, 1) & 2
    assert wired.read(IIR, 1) == RECEIVED and wired.read(DATA, 1) == ord("b")
    assert wired.read(IIR, 1) == EMPTY
    assert line.high and wired.read(IIR, 1) == 0 and wired.read(MSR, 1) == 0x11
    assert not line.high and wired.read(IIR, 1) == NOTHING


def test_writing_without_the_interrupt_leaves_none_behind(wired: Uart, line: Line) -> None:
    wired.write(IER, 1, 1)
    wired.write(DATA, 1, 0x41)
    assert wired.read(IIR, 1) == NOTHING and not line.high


def test_clearing_the_receiver(wired: Uart, line: Line) -> None:
    wired.write(IER, 1, 1)
    wired.feed(b"abc")
    wired.write(FCR, 1, 1)
    assert line.high and wired.read(LSR, 1) & 1
    wired.write(FCR, 1, 3)
    assert not line.high and not wired.read(LSR, 1) & 1
    wired.feed(b"d")
    wired.write(FCR, 1, 5)  # the transmitter's
    assert wired.read(DATA, 1) == 0x64


def test_loopback_interrupts_as_well(wired: Uart, line: Line) -> None:
    wired.write(MCR, 1, 0x10)
    wired.write(IER, 1, 1)
    wired.write(DATA, 1, 0x55)
    assert line.high and wired.read(IIR, 1) == RECEIVED


def test_it_is_irq_4_and_is_there_after_a_load(wired: Uart, line: Line, sent: Sent) -> None:
    wired.write(IER, 1, 1)
    wired.feed(b"a")
    assert set(line.levels) == {(4, 0), (4, 1)}
    other = Line()
    uart = Uart(sent, Board(sent, irq=other))
    uart.load(wired.save())
    assert other.levels == [(4, 1)] and uart.read(DATA, 1) == 0x61


def test_without_interrupt_controllers_it_says_so(uart: Uart, wired: Uart) -> None:
    uart.write(IER, 1, 3)
    uart.feed(b"a")
    assert uart.read(IIR, 1) == RECEIVED
    assert uart.details()["interrupts"] == "none (see --irqchip)" and wired.details()["interrupts"] == "IRQ 4"


# --- its other side -----------------------------------------------------------------------------------


def test_whoever_feeds_it_is_told_when_the_guest_looks(uart: Uart) -> None:
    looked: list[int] = []
    uart.wanted = lambda: looked.append(1)
    for register, value in ((IER, 2), (LCR, 3), (DATA, 0x41), (SCRATCH, 1), (MCR, 3)):
        uart.write(register, 1, value)
    for register in (IER, IIR, LCR, MCR, MSR, SCRATCH):
        uart.read(register, 1)
    for _ in range(5):  # it waits for the transmitter
        uart.read(LSR, 1)
        uart.write(DATA, 1, 0x41)
    uart.read(LSR, 1)  # as Linux clears what may be left, before it wants anything
    uart.read(DATA, 1)
    assert not looked
    for register in (LSR, LSR, DATA, DATA):
        uart.read(register, 1)
    uart.write(IER, 1, 1)
    assert len(looked) == 3
    uart.write(IER, 1, 0)
    for register in (LSR, MSR, LSR, IIR, MSR, LSR):  # as int 14h, AH=3, asks for the status
        uart.read(register, 1)
    assert len(looked) == 5


def test_which_writes_may_be_collected(sent: Sent) -> None:
    board = Board(sent)
    changes: list[tuple[int, ...]] = []
    uart = Uart(sent, board)
    board.changed = lambda: changes.append(uart.coalesced)
    assert uart.coalesced == (0x3F8,)
    uart.write(IER, 1, 1)
    assert changes == [] and uart.coalesced == (0x3F8,)
    uart.write(IER, 1, 3)
    uart.write(IER, 1, 2)
    uart.write(IER, 1, 0)
    assert changes == [(), (0x3F8,)]


def test_collected_bytes(uart: Uart, sent: Sent) -> None:
    uart.write_many(b"abc")
    assert (bytes(sent), uart.sent) == (b"abc", 3)
    uart.write(LCR, 1, DLAB)
    uart.write_many(b"\x12\x34")
    assert (bytes(sent), uart.divisor) == (b"abc", 0x34)


def test_first_state(uart: Uart) -> None:
    assert [uart.read(register, 1) for register in range(8)] == [0, 0, 1, 0, 0, 0x60, 0xB0, 0]
    assert uart.divisor == 12 and uart.sent == 0


def test_details(uart: Uart) -> None:
    assert uart.details()["speed"] == "9600 baud (divisor 12)"
    uart.write(LCR, 1, DLAB | 3)
    uart.write(DATA, 2, 1)
    uart.write(LCR, 1, 3)
    for register, value in ((IER, 5), (FCR, 0xC1), (MCR, 0xB), (SCRATCH, 0x77), (DATA, 65)):
        uart.write(register, 1, value)
    uart.feed(b"abcd")
    assert uart.details() == {
        "connected to": "stdio", "sent": "1 bytes", "to be read": "4 bytes", "interrupts": "none (see --irqchip)",
        "speed": "115200 baud (divisor 1)", "ier": "0x05", "fcr": "0xc1", "lcr": "0x03", "mcr": "0x0b", "scr": "0x77",
    }  # fmt: skip
    uart.write(LCR, 1, DLAB)
    uart.write(DATA, 2, 0)
    assert uart.details()["speed"] == "0 baud (divisor 0)"


WRITES = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 255)), max_size=20)


@given(WRITES, WRITES)
def test_saved_state_is_the_whole_state(first: list[tuple[int, int]], then: list[tuple[int, int]]) -> None:
    one, two = Sent(), Sent()
    uart, other = Uart(one), Uart(two)
    for offset, value in first:
        uart.write(offset, 1, value)
    other.load(uart.save())
    one.clear()
    for device in (uart, other):
        for offset, value in then:
            device.write(offset, 1, value)
            assert 0 <= device.read(offset, 1) <= 0xFF
    assert one == two
    assert uart.save() == other.save()
    assert uart.describe() == other.describe()


def test_describe(uart: Uart) -> None:
    uart.write(DATA, 1, 0x41)
    for register in (IER, FCR, MCR, SCRATCH, LCR):
        uart.write(register, 1, 0x9F)
    uart.write(DATA, 1, 1)
    assert uart.describe() == "16550 UART, 1 bytes sent, lcr 0x9f, divisor 1"
