"""The UART as a guest that polls it sees it. Registers: PC16550D data sheet, section 8 and its summary table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmdbg.devices.uart import Uart

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
