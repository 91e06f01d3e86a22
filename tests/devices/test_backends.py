"""What the serial port is connected to, without a guest: files, pseudo-terminals, TCP ports."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kvmdbg.devices.backends import AHEAD, Backend, File, Pty, Stdio, Tcp, backend
from kvmdbg.errors import UsageError

PATIENCE = 20.0


class Guest:
    """Takes what comes in, and reads of it as much as it is told to."""

    def __init__(self) -> None:
        self.taken = bytearray()
        self.unread = 0
        self._changed = threading.Condition()

    def feed(self, data: bytes) -> int:
        with self._changed:
            self.taken += data
            self._changed.notify_all()
            return self.unread

    def has(self, wanted: Callable[[bytes], bool]) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: wanted(bytes(self.taken)), PATIENCE)


@pytest.fixture
def opened() -> Iterator[Callable[[str], Backend]]:
    made: list[Backend] = []

    def make(text: str) -> Backend:
        made.append(backend(text))
        return made[-1]

    yield make
    for one in made:
        one.close()


def until(done: Callable[[], bool], patience: float = PATIENCE) -> bool:
    """Whether it comes true before long."""
    pause = threading.Event()
    return any(done() or pause.wait(0.02) for _ in range(int(patience / 0.02)))


@pytest.mark.parametrize(
    ("text", "kind", "where"),
    [
        ("stdio", Stdio, "stdio"),
        ("none", Backend, "nothing"),
        ("pty", Pty, "terminal /dev/pts/"),
        ("tcp:0", Tcp, "tcp 127.0.0.1:"),
    ],
)
def test_where_it_is_said_to_be(opened: Callable[[str], Backend], text: str, kind: type[Backend], where: str) -> None:
    made = opened(text)
    assert type(made) is kind and made.where.startswith(where)


@pytest.mark.parametrize(
    "text", ["", "stdio:", "none:", "pty:x", "file", "file:", "tcp", "tcp:", "tcp:-1", "tcp:1x", "udp:1"]
)
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(UsageError, match="--serial takes stdio, none, file:PATH, pty or tcp:PORT, not "):
        backend(text)


def test_a_port_that_is_taken(opened: Callable[[str], Backend]) -> None:
    taken = opened("tcp:0").where.rpartition(":")[2]
    with pytest.raises(UsageError, match=f"cannot listen at port {taken} of 127.0.0.1"):
        backend(f"tcp:{taken}")


def test_a_file_that_has_no_room_is_told_of_once(tmp_path: Path) -> None:
    told: list[str] = []
    full = File("/dev/full")
    full.tell = told.append
    full.write(b"abc")
    full.write(b"def")
    full.close()
    assert told == ["--serial: cannot write /dev/full: No space left on device; what the guest sends is lost"]
    fine = File(str(tmp_path / "log"))
    fine.tell = told.append
    fine.write(b"abc")
    fine.write(b"def")
    fine.close()
    assert (tmp_path / "log").read_bytes() == b"abcdef" and len(told) == 1


def test_a_file_whose_end_fails_says_so(tmp_path: Path) -> None:
    class Failing:
        def close(self) -> None:
            raise OSError(28, "No space left on device")

    told: list[str] = []
    made = File(str(tmp_path / "log"))
    made.tell = told.append
    made._file.close()
    made._file = Failing()  # type: ignore[assignment]
    made.close()
    assert len(told) == 1 and told[0].endswith("log: No space left on device; what the guest sends is lost")


def test_a_pseudo_terminal_carries_bytes_both_ways_as_they_are() -> None:
    before = set(os.listdir("/proc/self/fd"))
    guest, made = Guest(), Pty()
    made.listen(guest.feed)
    user = os.open(made.where.removeprefix("terminal "), os.O_RDWR | os.O_NOCTTY)
    everything = bytes(range(256))
    made.write(everything)
    got = b""
    while len(got) < 256:
        got += os.read(user, 256)
    assert got == everything
    os.write(user, everything)
    assert guest.has(lambda taken: taken == everything)
    os.close(user)
    made.close()
    Pty().close()
    assert until(lambda: set(os.listdir("/proc/self/fd")) <= before)


def test_a_pseudo_terminal_that_nobody_reads_holds_nobody_up(opened: Callable[[str], Backend]) -> None:
    made = opened("pty")
    for _ in range(100):
        made.write(b"x" * 4096)


def test_one_client_after_the_other(opened: Callable[[str], Backend]) -> None:
    guest, made = Guest(), opened("tcp:0")
    made.listen(guest.feed)
    place = ("127.0.0.1", int(made.where.rpartition(":")[2]))
    made.write(b"to nobody")
    for word in (b"first", b"second"):
        with socket.create_connection(place, PATIENCE) as client:
            client.sendall(word)
            assert guest.has(lambda taken, word=word: taken.endswith(word))  # type: ignore[misc]
            made.write(word)
            assert client.recv(100) == word
    with socket.create_connection(place, PATIENCE) as client:
        client.sendall(b"last")
        assert guest.has(lambda taken: taken.endswith(b"last"))
        made.close()
        assert client.recv(100) == b""
    with pytest.raises(OSError):
        socket.create_connection(place, 1)


def test_no_more_is_read_than_the_guest_reads(opened: Callable[[str], Backend]) -> None:
    guest, made = Guest(), opened("stdio")
    source, sink = os.pipe()
    os.set_blocking(sink, False)
    assert isinstance(made, Stdio)
    made.take_input(source)
    made.listen(guest.feed)
    assert os.write(sink, b"x" * 4096) == 4096
    assert not guest.taken, "the guest has not looked for input"
    guest.unread = AHEAD + 1
    made.wanted()
    assert guest.has(lambda taken: len(taken) == 4096)
    os.write(sink, b"y" * 4096)
    assert not until(lambda: b"y" in guest.taken, 0.2)
    guest.unread = AHEAD
    assert guest.has(lambda taken: taken.endswith(b"y" * 4096))
    os.close(sink)
    os.close(source)


@pytest.mark.parametrize("text", ["pty", "tcp:0", "stdio"])
def test_a_process_that_ends_does_not_wait_for_input(opened: Callable[[str], Backend], text: str) -> None:
    before = set(threading.enumerate())
    made = opened(text)
    made.listen(Guest().feed)
    source, sink = os.pipe()
    if isinstance(made, Stdio):
        made.take_input(source)
        made.wanted()
    (reader,) = set(threading.enumerate()) - before
    assert reader.daemon
    os.close(sink)
    if isinstance(made, Stdio):
        reader.join(PATIENCE)
    os.close(source)
