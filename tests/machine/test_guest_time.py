"""Guest time: it stands still with the guest, and deadlines come in order."""

from __future__ import annotations

import pytest

from kvmdbg.machine.guest_time import GuestTime


class HostClock:
    def __init__(self) -> None:
        self.now = 1_000_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def host() -> HostClock:
    return HostClock()


@pytest.fixture
def time(host: HostClock) -> GuestTime:
    return GuestTime(host)


def test_it_stands_still_while_the_guest_does(host: HostClock, time: GuestTime) -> None:
    host.now += 500
    assert time.now() == 0 and time.runs is False
    time.start()
    assert time.runs is True
    host.now += 70
    assert time.now() == 70
    time.stop()
    host.now += 500
    assert time.now() == 70 and time.runs is False
    time.start()
    time.start()
    host.now += 5
    assert time.now() == 75


def test_what_the_debugger_does_takes_none_of_it(host: HostClock, time: GuestTime) -> None:
    with time.standing_still():
        host.now += 10
    assert time.now() == 0
    time.start(2)
    host.now += 10
    with time.standing_still():
        host.now += 100
    host.now += 10
    assert time.now() == 40


def test_deadlines_are_met_in_order_and_once(host: HostClock, time: GuestTime) -> None:
    met: list[str] = []
    time.at(30, lambda: met.append("later"))
    dropped = time.at(20, lambda: met.append("dropped"))
    time.at(10, lambda: met.append("soon"))
    time.start()
    assert (time.next, time.next_on_host, time.due) == (10, 1_000_010, False)
    dropped.cancel()
    dropped.cancel()
    host.now += 10
    assert time.due
    time.pass_to(time.now())
    assert (met, time.next) == (["soon"], 30)
    host.now += 100
    time.pass_to(time.now())
    time.pass_to(time.now())
    assert (met, time.next, time.next_on_host, time.due) == (["soon", "later"], None, None, False)


def test_whoever_waits_hears_of_another_first_deadline(time: GuestTime) -> None:
    changes: list[int | None] = []
    time.changed = lambda: changes.append(time.next)
    time.at(20, lambda: None)
    time.at(30, lambda: None)
    time.at(10, lambda: None)
    assert changes == [20, 10]


def test_there_is_no_deadline_on_the_hosts_clock_while_it_stands_still(time: GuestTime) -> None:
    time.at(20, lambda: None)
    assert time.next_on_host is None


def test_its_pace_can_be_another(host: HostClock, time: GuestTime) -> None:
    time.start()
    host.now += 100
    time.start(0.5)
    time.at(200, lambda: None)
    assert time.next_on_host == 1_000_100 + 200 + 1
    host.now += 100
    assert time.now() == 150
    host.now += 101
    assert time.due
    time.stop()
    host.now += 100
    assert time.now() == 200
    time.start(4)
    host.now += 100
    assert time.now() == 600


def test_a_state_is_given_back_without_deadlines(host: HostClock, time: GuestTime) -> None:
    time.start()
    host.now += 100
    state = time.save()
    time.at(50, lambda: None)
    host.now += 100
    time.load(state)
    assert (time.now(), time.next) == (100, None)
    host.now += 1
    assert time.now() == 101


def test_it_tells_of_itself(host: HostClock, time: GuestTime) -> None:
    time.start()
    host.now += 1_500_000_000
    assert time.describe() == "guest time, 1.500 s"
    time.at(2_000_000_000, lambda: None)
    assert time.details() == {"now": "1.500000 s", "next deadline": "2.000000 s", "pace": "the host's"}
    time.start(0.25)
    assert time.describe() == "guest time, 1.500 s, 0.25 times the host's"
    assert time.details()["pace"] == "0.25 times the host's"


@pytest.mark.parametrize("state", ["x", b"AAAA", None, 1.5])
def test_a_state_that_is_no_number_is_refused(time: GuestTime, state: object) -> None:
    with pytest.raises(ValueError, match="a time is a number of nanoseconds"):
        time.load(state)
