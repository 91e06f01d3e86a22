"""The registers of large pictures, as Bochs and QEMU have them."""

from __future__ import annotations

import json

import pytest

from kvmdbg.devices.vbe import ADDRESS, Vbe
from kvmdbg.machine.board import Board
from tests.firmware.machine import Memory

INDEX, DATA = 0, 1
ID, WIDTH, HEIGHT, BITS, ENABLE, BANK, VIRTUAL_WIDTH, VIRTUAL_HEIGHT, X, Y, MEMORY = range(11)


class Adapter:
    def __init__(self) -> None:
        board = Board(lambda data: None)
        self.ram = Memory(1 << 20)
        board.ram = self.ram  # type: ignore[assignment]
        self.vbe = Vbe(board, {})

    def get(self, register: int) -> int:
        self.vbe.write(INDEX, 2, register)
        return self.vbe.read(DATA, 2)

    def set(self, register: int, value: int) -> None:
        self.vbe.write(INDEX, 2, register)
        self.vbe.write(DATA, 2, value)

    def show(self, width: int, height: int, bits: int, enable: int = 0x41) -> None:
        for register, value in ((ENABLE, 0), (WIDTH, width), (HEIGHT, height), (BITS, bits), (ENABLE, enable)):
            self.set(register, value)


@pytest.fixture
def adapter() -> Adapter:
    return Adapter()


def test_it_is_known_by_its_version(adapter: Adapter) -> None:
    assert adapter.get(ID) == 0xB0C5
    adapter.set(ID, 0xB0C2)
    assert adapter.get(ID) == 0xB0C2
    adapter.set(ID, 0x1234)
    assert adapter.get(ID) == 0xB0C2
    assert adapter.get(MEMORY) == 256
    assert adapter.get(99) == 0


def test_what_it_can(adapter: Adapter) -> None:
    adapter.set(ENABLE, 2)
    assert [adapter.get(one) for one in (WIDTH, HEIGHT, BITS)] == [2560, 1600, 32]


def test_a_picture(adapter: Adapter) -> None:
    adapter.ram.write(ADDRESS, b"old")
    adapter.show(800, 600, 32)
    assert adapter.ram.read(ADDRESS, 3) == bytes(3)
    assert [adapter.get(one) for one in (WIDTH, HEIGHT, BITS, VIRTUAL_WIDTH)] == [800, 600, 32, 800]
    assert (adapter.vbe.pitch, adapter.vbe.start, adapter.get(VIRTUAL_HEIGHT)) == (3200, 0, (16 << 20) // 3200)
    adapter.set(WIDTH, 640)
    assert adapter.get(WIDTH) == 800, "not while it is on"
    adapter.set(VIRTUAL_WIDTH, 1024)
    adapter.set(X, 2)
    adapter.set(Y, 3)
    assert (adapter.vbe.pitch, adapter.vbe.start) == (4096, 3 * 4096 + 8)
    adapter.set(VIRTUAL_WIDTH, 700)
    adapter.set(VIRTUAL_WIDTH, 0xFFFF)
    assert adapter.vbe.pitch == 4096, "neither less than is shown nor more than there is memory for"


@pytest.mark.parametrize(("register", "value"), [(WIDTH, 0), (WIDTH, 3000), (HEIGHT, 1601), (BITS, 12), (BITS, 0)])
def test_what_it_cannot_show(adapter: Adapter, register: int, value: int) -> None:
    before = adapter.get(register)
    adapter.set(register, value)
    assert adapter.get(register) == before


def test_its_memory_ends(adapter: Adapter) -> None:
    """However its registers are set, what is shown are whole lines of what there is."""
    adapter.show(2560, 1600, 32, 0x41)
    adapter.set(Y, 0xFFFF)
    assert adapter.vbe.memory() == b""
    adapter.set(Y, 100)
    assert len(adapter.vbe.memory()) == (16 << 20) - 100 * 2560 * 4


def test_its_state_survives(adapter: Adapter) -> None:
    adapter.show(640, 480, 8, 1)
    adapter.set(BANK, 3)
    other = Adapter()
    other.vbe.load(json.loads(json.dumps(adapter.vbe.save())))
    assert other.vbe.save() == adapter.vbe.save()
    assert (other.vbe.is_on, other.vbe.has_window, other.vbe.bank) == (True, True, 3)
    assert "640 x 480" in other.vbe.describe()
    assert "bank 3" in other.vbe.details()["memory"]
