"""Whose a stop of the guest is, and who is told of it."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from kvmdbg.engine.stops import Stop
from tests.commands.conftest import Typist


@pytest.fixture
def told(counter: Typist) -> list[tuple[str, Stop]]:
    """What the user of ``counter`` is told of stops that no command of theirs waits for."""
    found: list[tuple[str, Stop]] = []
    counter.dbg.runs.on_background_stop = lambda stop: found.append(("background", stop))
    counter.dbg.runs.on_foreign_stop = lambda stop: found.append(("foreign", stop))
    return found


def until_stopped(counter: Typist) -> None:
    end = time.monotonic() + 10
    while counter.dbg.session.state == "running" and time.monotonic() < end:
        time.sleep(0.01)


@pytest.mark.parametrize("line", ["snapshot restore here", "restart", "kill", "interrupt"])
def test_a_command_that_ends_a_run_in_the_background_tells_of_no_stop(
    counter: Typist, told: list[tuple[str, Stop]], line: str
) -> None:
    counter.type("snapshot save here\ncontinue &")
    assert counter.dbg.session.state == "running"
    counter.type(line)
    assert counter.dbg.session.state != "running"
    assert told == []


def test_a_stop_of_another_users_run_is_told_after_one_in_the_background(
    counter: Typist, told: list[tuple[str, Stop]]
) -> None:
    counter.type("break *0x10004\ncontinue &")
    until_stopped(counter)
    counter.dbg.session.run()
    assert [whose for whose, stop in told] == ["background", "foreign"]
    counter.type("continue")
    assert len(told) == 2


def test_a_step_that_is_refused_leaves_the_run_in_the_background(counter: Typist, told: list[tuple[str, Stop]]) -> None:
    counter.type("continue &")
    with pytest.raises(Exception, match="running"):
        counter.type("stepi")
    counter.dbg.session.interrupt()
    assert [whose for whose, stop in told] == ["background"]


@pytest.mark.parametrize("command", ["step 1000", "next 1000"])
def test_lines_are_interrupted_between_two_steps(opened: Callable[..., Typist], command: str) -> None:
    guest = opened("kernel-O0.elf")
    session = guest.dbg.session
    guest.type("break run_tasks")
    guest.type("run")
    seen = []

    def stopped(stop: Stop) -> None:
        seen.append(stop)
        if len(seen) == 3:
            session.interrupt()

    session.listeners.on_stop(stopped)
    guest.type(command)
    assert len(seen) == 3
