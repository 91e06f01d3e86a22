"""Keys that stay down for a while of the guest's time."""

from __future__ import annotations

import pytest

from kvmdbg.devices.i8042 import Keyboard
from kvmdbg.devices.pic import Pic
from kvmdbg.errors import UsageError
from kvmdbg.machine.board import Board
from tests.devices.test_i8042 import Wired


class OwnTime(Wired):
    """On a machine whose interrupt controllers and time are its own."""

    def __init__(self) -> None:
        super().__init__()
        self.board = Board(lambda data: None)
        self.board.pic = Pic(self.board)
        self.keyboard = Keyboard(self.board, Keyboard.options)

    def pass_time(self, ns: int) -> None:
        self.board.time.pass_to(ns)


def test_a_key_that_is_held_goes_up_when_its_time_is_over() -> None:
    wired = OwnTime()
    wired.keyboard.hold(("shift-a", 200))
    wired.keyboard.hold(("b", 300))
    assert wired.read().hex() == "2a1e30"
    wired.pass_time(199_999_999)
    assert wired.read() == b""
    wired.pass_time(200_000_000)
    assert wired.read().hex() == "9eaa"
    wired.pass_time(300_000_000)
    assert wired.read().hex() == "b0"


def test_a_snapshot_has_the_keys_that_are_held() -> None:
    wired, other = OwnTime(), OwnTime()
    wired.keyboard.hold(("a", 200))
    other.keyboard.load(wired.keyboard.save())
    other.pass_time(200_000_000)
    assert other.read().hex() == "1e9e"


def test_where_no_key_can_be_held() -> None:
    with pytest.raises(UsageError, match="see --irqchip user"):
        Wired().keyboard.hold(("a", 200))
    with pytest.raises(UsageError, match="held for 0 to 60000 ms, not for -1"):
        OwnTime().keyboard.hold(("a", -1))
