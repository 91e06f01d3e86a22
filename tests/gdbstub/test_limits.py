"""Whatever a client sends, or does not read: the stub's memory and the time of one packet are bounded, and it lives."""

from __future__ import annotations

import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import pytest

from gdbstub import Address, Server, TargetError
from gdbstub import client as clients
from gdbstub import stream as streams
from gdbstub.address import LOOPBACK
from gdbstub.agent import formatted
from gdbstub.packets.memory import PIECE
from gdbstub.registers import Description
from gdbstub.target import Stopped
from gdbstub.testing import FakeTarget, Loop, Remote
from gdbstub.wire import LARGEST, Oversized, Wire, frame

from .test_server import attach, until


class Endless(FakeTarget):
    """Its memory has no end, and a piece of it takes its time; a monitor command takes until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces = 0
        self.begun, self.let_go = threading.Event(), threading.Event()

    def read_memory(self, thread: int, address: int, length: int) -> bytes:
        if length < PIECE:
            return bytes(length)
        self.pieces += 1
        time.sleep(0.002)
        return bytes(length)

    def search(self, thread: int, start: int, length: int, pattern: bytes) -> int | None:
        self.read_memory(thread, start, max(length, PIECE))
        return 0x3FFFFF if start <= 0x3FFFFF <= start + length - len(pattern) and pattern == b"here" else None

    def monitor(self, command: str, show: Callable[[str], None]) -> None:
        self.let_go.clear()
        self.begun.set()
        assert self.let_go.wait(20)

    def interrupt(self) -> None:
        super().interrupt()
        self.let_go.set()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def server(said: list[str]) -> Iterator[Server]:
    found = Server(Endless(), Address(LOOPBACK, 0), said.append)
    found.start()
    yield found
    target = found.target
    assert isinstance(target, Endless)
    target.let_go.set()
    found.close()
    assert found.finished.is_set()


def test_a_client_that_never_reads_is_dropped(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    most = 0
    write = streams.Stream.write

    def watched(stream: streams.Stream, data: bytes) -> bool:
        nonlocal most
        most = max(most, len(data) + len(stream.unsent))
        return write(stream, data)

    monkeypatch.setattr(streams, "MOST_UNSENT", 4 << 20)
    monkeypatch.setattr(streams.Stream, "write", watched)
    client = attach(server)
    client.socket.sendall(frame(b"m0,ffff") * 20_000)  # would be 2.6 GB
    until(lambda: server.client is None)
    assert 4 << 20 < most < 6 << 20
    client.close()
    attach(server).close()


def test_many_packets_behind_a_monitor_command(server: Server) -> None:
    target = server.target
    assert isinstance(target, Endless)
    client = attach(server)
    client.send(b"qRcmd," + b"wait".hex().encode())
    assert target.begun.wait(10)
    count = 50_000
    sender = threading.Thread(target=client.socket.sendall, args=(frame(b"qC") * count + b"\x03",))
    sender.start()
    assert client.receive() == b"OK"
    for _ in range(count):
        assert client.receive() == b"QC1"
    sender.join()
    client.close()


def test_many_packets_at_once_are_done_in_parts() -> None:
    """Those behind the first hundred wait until whoever serves has looked at the other connections."""
    client = clients.Client(FakeTarget(), lambda work, done: done(work()))
    client.receive(b"+" + frame(b"QStartNoAckMode") + b"+" + frame(b"p0") * 150)
    wire = Wire(acknowledge=False)
    told = []
    for _ in range(3):
        told.append(sum(event == b"00010000" for event in wire.feed(client.take())))
        client.advance()
    assert client.left and told == [99, 1, 1]


def test_what_is_to_be_sent_does_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a size it is sent between two packets; whoever does not take it is dropped."""
    monkeypatch.setattr(clients, "HELD_BACK", 40)
    sent = []
    taken = [True, False]

    def flush() -> bool:
        sent.append(len(client.take()))
        return taken.pop(0)

    client = clients.Client(FakeTarget(), None, flush)
    client.receive(b"+" + frame(b"QStartNoAckMode") + b"+")
    assert not sent
    client.receive(frame(b"p0") * 20)
    assert client.overrun and not taken
    assert 40 < sent[0] < 60 and 40 < sent[1] < 60


def test_too_many_packets_behind_a_monitor_command(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "MOST_WAITING", 10_000)
    target = server.target
    assert isinstance(target, Endless)
    client = attach(server)
    client.send(b"qRcmd," + b"wait".hex().encode())
    assert target.begun.wait(10)
    client.socket.sendall(frame(b"qC") * 5000)
    until(lambda: server.client is None)
    client.close()
    attach(server).close()  # has the command of the one before interrupted


@pytest.mark.parametrize("long", [b"qCRC:0,ffffffffffff", b"qSearch:memory:0;ffffffffffff;nowhere"])
def test_long_work_ends_at_an_interrupt_and_others_are_served(server: Server, long: bytes) -> None:
    target = server.target
    assert isinstance(target, Endless)
    client = attach(server)
    client.send(long)
    client.send(b"qC")
    until(lambda: target.pieces > 3)
    second = Remote(socket.create_connection((server.address.host, server.address.port)))
    second.send(b"?")
    assert b"another debugger" in second.receive()
    second.close()
    client.interrupt()
    assert client.receive() == b"E04"
    assert client.receive() == b"QC1"
    client.close()


def test_packets_without_a_pause_hold_up_nobody(server: Server) -> None:
    client = attach(server)

    def flood() -> None:
        data = frame(b"qC") * 1000
        with suppress(OSError):
            while True:
                client.socket.sendall(data)

    def drink() -> None:
        with suppress(OSError):
            while client.socket.recv(1 << 20):
                pass

    flooding = [threading.Thread(target=flood), threading.Thread(target=drink)]
    for one in flooding:
        one.start()
    try:
        time.sleep(0.2)
        second = Remote(socket.create_connection((server.address.host, server.address.port)))
        second.send(b"?")
        assert b"another debugger" in second.receive()
        second.close()
    finally:
        client.socket.shutdown(socket.SHUT_RDWR)
        for one in flooding:
            one.join()
    client.close()


def test_a_client_that_goes_in_the_middle_of_long_work(server: Server) -> None:
    target = server.target
    assert isinstance(target, Endless)
    client = attach(server)
    client.send(b"qCRC:0,ffffffffffff")
    until(lambda: target.pieces > 3)
    client.close()
    attach(server).close()


@pytest.mark.parametrize("start", [0, 0x3FFFFF, 0x2FFFFE])
def test_a_search_finds_what_lies_across_pieces(server: Server, start: int) -> None:
    client = attach(server)
    assert client.ask(b"qSearch:memory:%x;600000;here" % start) == b"1,3fffff"
    assert client.ask(b"qSearch:memory:400000;600000;here") == b"0"
    client.close()


def test_the_checksum_is_gdbs() -> None:
    """Values of gdb's own table-driven xcrc32 (libiberty), from 0xffffffff."""
    loop = Loop(FakeTarget())
    target = loop.target
    assert isinstance(target, FakeTarget)
    target.write_memory(1, 0x100, b"123456789")
    assert loop.ask(b"qCRC:100,9") == b"C376e6e7"
    assert loop.ask(b"qCRC:100,0") == b"Cffffffff"


def test_the_monitor_command_has_the_target_for_itself(server: Server, said: list[str]) -> None:
    """Its client goes: the breakpoints are taken away, and the next client is let in, when it has ended."""
    target = server.target
    assert isinstance(target, Endless)
    client = attach(server)
    assert client.ask(b"Z0,180,1") == b"OK"
    target.interrupt = lambda: None  # type: ignore[method-assign]  the command does not end when it is asked to
    client.send(b"qRcmd," + b"wait".hex().encode())
    assert target.begun.wait(10)
    client.close()
    until(lambda: server.client is None)
    assert target.points
    came = Remote(socket.create_connection((server.address.host, server.address.port)))
    came.send(b"qC")
    time.sleep(0.3)
    assert server.client is None
    assert target.points
    target.let_go.set()
    assert came.receive() == b"QC1"
    assert not target.points
    came.close()


def test_a_stop_in_the_middle_of_a_monitor_command_is_told_after_it(server: Server) -> None:
    target = server.target
    assert isinstance(target, Endless)
    client = attach(server)
    client.send(b"vCont;c")
    until(lambda: target.running)
    client.send(b"qRcmd," + b"wait".hex().encode())
    assert target.begun.wait(10)
    asked: list[str] = []
    read_register = target.read_register

    def watched(thread: int, layout: Description, number: int) -> bytes:
        asked.append(threading.current_thread().name)
        return read_register(thread, layout, number)

    target.read_register = watched  # type: ignore[method-assign]
    assert server.client is not None
    server.client.thread_list = True  # a client that is told registers in stop replies
    stopping = threading.Thread(target=lambda: target._end(Stopped(1, 2)))
    stopping.start()
    stopping.join()
    assert not asked
    target.let_go.set()
    assert client.receive() == b"OK"
    assert client.receive().startswith(b"T02")
    client.close()


def broken(*arguments: object) -> NoReturn:
    raise AttributeError("something of ours")


@pytest.mark.parametrize(
    ("method", "packet"),
    [
        ("read_memory", b"m0,1"),
        ("read_registers", b"g"),
        ("monitor", b"qRcmd,61"),
        ("search", b"qSearch:memory:0;10;x"),
        ("read_memory", b"qCRC:0,1"),
        ("insert", b"Z0,180,1"),
    ],
)
def test_what_should_not_happen_is_an_error_reply(server: Server, said: list[str], method: str, packet: bytes) -> None:
    client = attach(server)
    setattr(server.target, method, broken)
    assert client.ask(packet) == b"E01"
    assert any("internal error: AttributeError('something of ours')" in one for one in said)
    assert client.ask(b"qC") == b"QC1"
    client.close()


@pytest.mark.parametrize("method", ["description", "current", "interrupt", "remove_all"])
def test_what_should_not_happen_when_clients_come_and_go(server: Server, said: list[str], method: str) -> None:
    right = getattr(server.target, method)
    client = attach(server)
    setattr(server.target, method, broken)
    client.close()
    other = socket.create_connection((server.address.host, server.address.port))
    until(lambda: any("something of ours" in one for one in said))
    other.close()
    until(lambda: server.client is None)
    setattr(server.target, method, right)
    attach(server).close()


def test_what_should_not_happen_at_a_stop(server: Server, said: list[str]) -> None:
    target = server.target
    assert isinstance(target, Endless)
    client = attach(server)
    client.send(b"vCont;c")
    until(lambda: target.running)
    client_of_it = server.client
    assert client_of_it is not None
    client_of_it.stopped = broken  # type: ignore[method-assign]
    target._end(Stopped(1, 2))
    until(lambda: server.client is None)
    assert any("something of ours" in one for one in said)
    client.close()
    attach(server).close()


def test_who_listens_to_the_server_may_fail() -> None:
    server = Server(FakeTarget(), Address(LOOPBACK, 0), broken)
    server.start()
    attach(server).close()
    attach(server).close()
    server.close()


def test_a_client_that_asks_again_and_again_for_the_last_packet() -> None:
    wire = Wire()
    wire.send(b"x" * 100_000)
    wire.take()
    assert list(wire.feed(b"-" * 100_000)) == []
    assert wire.pending == len(frame(b"x" * 100_000))
    wire.take()
    assert list(wire.feed(b"-")) == []
    assert wire.pending


def test_a_short_packet_that_becomes_a_long_one() -> None:
    """Run-length encoding makes a megabyte of 50 MB."""
    wire = Wire(acknowledge=False)
    packet = frame(b"X0,0:" + b"0*~" * (LARGEST // 3 - 10))
    tracemalloc.start()
    try:
        assert [type(event) for event in wire.feed(packet)] == [Oversized]
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


def test_an_error_of_the_target_is_no_internal_error(server: Server, said: list[str]) -> None:
    def refused(*arguments: object) -> NoReturn:
        raise TargetError("not now", 7)

    client = attach(server)
    server.target.read_memory = refused  # type: ignore[method-assign]
    assert client.ask(b"m0,1") == b"E07"
    assert client.ask(b"qCRC:0,1") == b"E07"
    assert not any("internal" in one for one in said)
    client.close()


def test_a_file_of_any_size_is_not_read_whole(tmp_path: Path) -> None:
    file = tmp_path / "guest"
    with file.open("wb") as made:
        made.truncate(1 << 40)
    target = FakeTarget()
    target.own_files = {str(file): str(file)}
    loop = Loop(target)
    for number in range(3, 10):
        assert loop.ask(b"vFile:open:%s,0,0" % str(file).encode().hex().encode()) == b"F%x" % number
    assert loop.ask(b"vFile:pread:3,4,8000000000") == b"F4;\0\0\0\0"
    assert loop.ask(b"vFile:pread:3,4,ffffffffffffffffffff") == b"F-1,16"
    held = loop.client.files[3]
    loop.client.leave()
    assert held.closed


def test_a_width_of_a_thousand_million_columns() -> None:
    machine = FakeTarget()
    assert len(formatted("%999999999d %.999999999s", [1, 0], machine)) < 100  # type: ignore[arg-type]
    assert len(formatted("%9999d", [1], machine)) == 9999  # type: ignore[arg-type]
