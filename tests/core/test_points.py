"""What may be a place, for scripts that give it as a number."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kvmdbg.errors import UsageError
from tests.scripted.guest import counting_guest
from tests.scripted.machine import ScriptedSession

LAST = (1 << 64) - 1


@pytest.fixture
def dbg() -> Iterator[ScriptedSession]:
    with counting_guest() as session:
        yield session


def test_addresses_below_0_are_those_at_the_end(dbg: ScriptedSession) -> None:
    assert dbg.break_at(-1).address == dbg.watch(-1).address == dbg.resolve(-1)[0] == LAST


@pytest.mark.parametrize("address", [1 << 64, (-1 << 63) - 1])
def test_addresses_that_there_are_not(dbg: ScriptedSession, address: int) -> None:
    for make in (dbg.break_at, dbg.watch, dbg.resolve):
        with pytest.raises(UsageError, match="does not fit 64 bits"):
            make(address)


def test_nothing_is_not_watched_as_one_byte(dbg: ScriptedSession) -> None:
    with pytest.raises(UsageError, match="cannot watch 0 bytes"):
        dbg.watch(0x5000, 0)
    with pytest.raises(UsageError, match="cannot watch 0 bytes"):
        dbg.on.memory(range(0x5000, 0x5000))(print)
    with pytest.raises(UsageError, match="follow each other"):
        dbg.on.memory(range(0x5000, 0x5010, 4))(print)
    assert dbg.watch("counter").length == 1
    assert dbg.watch(0x5000).length == 1


def test_no_frame_has_a_number_below_0(dbg: ScriptedSession) -> None:
    with pytest.raises(UsageError, match=r"no frame -1: the last one is [0-9]"):
        dbg.select_frame(-1)
