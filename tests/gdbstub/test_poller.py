"""Waiting for connections, with epoll and with select."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from gdbstub.poller import READ, WRITE, Poller, SelectPoller, Wake
from gdbstub.stream import SocketStream, Stream

KINDS: list[Callable[[], Poller]] = [select.epoll, SelectPoller]


@pytest.fixture(params=KINDS, ids=["epoll", "select"])
def poller(request: pytest.FixtureRequest) -> Iterator[Poller]:
    made: Poller = request.param()
    yield made
    made.close()


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    yield one, other
    one.close()
    other.close()


def ready(poller: Poller, timeout: float | None = 0) -> dict[int, int]:
    return {fd: events & (READ | WRITE) for fd, events in poller.poll(timeout)}


def test_what_is_waited_for(poller: Poller, ends: tuple[socket.socket, socket.socket]) -> None:
    here, there = ends
    poller.register(here.fileno(), READ)
    assert ready(poller) == {}
    there.send(b"x")
    assert ready(poller, 30)[here.fileno()] & READ
    poller.modify(here.fileno(), WRITE)
    assert ready(poller, 30) == {here.fileno(): WRITE}
    poller.modify(here.fileno(), 0)
    assert ready(poller) == {}
    poller.unregister(here.fileno())
    with pytest.raises((OSError, KeyError)):
        poller.unregister(here.fileno())


def test_a_change_reaches_who_waits(poller: Poller, ends: tuple[socket.socket, socket.socket]) -> None:
    here, _ = ends
    poller.register(here.fileno(), READ)
    found: list[dict[int, int]] = []
    thread = threading.Thread(target=lambda: found.append(ready(poller, None)))
    thread.start()
    poller.modify(here.fileno(), WRITE)
    thread.join(30)
    assert found == [{here.fileno(): WRITE}]


def test_a_wake_ends_a_wait_once(poller: Poller) -> None:
    wake = Wake()
    poller.register(wake.fd, READ)
    wake.set()
    wake.set()
    assert ready(poller, 30)[wake.fd] & READ
    wake.clear()
    assert ready(poller) == {}
    wake.close()
    wake.set()


def test_one_that_was_closed_is_not_waited_for_for_ever() -> None:
    poller, (here, there) = SelectPoller(), socket.socketpair()
    poller.register(here.fileno(), READ)
    here.close()
    assert poller.poll(0.05) == []
    there.close()
    poller.close()


@pytest.mark.parametrize("kind", ["file", "socket"])
def test_streams(kind: str, ends: tuple[socket.socket, socket.socket]) -> None:
    here, there = ends
    stream = SocketStream(here) if kind == "socket" else Stream(here.fileno(), here.fileno(), here.close)
    assert stream.read() is None and not stream.hung_up()
    assert stream.write(b"abc") and there.recv(3) == b"abc"
    there.send(b"x")
    assert not stream.hung_up() and stream.read() == b"x"
    there.close()
    assert stream.hung_up() and stream.read() == b""
    assert not stream.write(b"abc")
