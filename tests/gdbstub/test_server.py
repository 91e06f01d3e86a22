"""The server: one client at a time, whatever happens to its connection."""

from __future__ import annotations

import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gdbstub import Address, Server
from gdbstub.address import LOOPBACK
from gdbstub.refusal import MOST_AT_ONCE
from gdbstub.target import Resume
from gdbstub.testing import FakeTarget, Remote
from gdbstub.wire import frame
from tests.gdbstub.expedited import bare


class SlowTarget(FakeTarget):
    """Its monitor command takes until it is interrupted."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()

    def monitor(self, command: str, show: Callable[[str], None]) -> None:
        show("begun\n")
        assert self.let_go.wait(10)
        show("ended\n")

    def interrupt(self) -> None:
        self.let_go.set()
        super().interrupt()


@pytest.fixture
def server() -> Iterator[Server]:
    said: list[str] = []
    found = Server(SlowTarget(), Address(LOOPBACK, 0), said.append)
    found.said = said  # type: ignore[attr-defined]
    found.start()
    yield found
    found.close()
    assert found.finished.is_set()


def attach(server: Server) -> Remote:
    """A client that was taken at once, whatever became of the one before."""
    client = Remote(socket.create_connection((server.address.host, server.address.port)))
    assert client.ask(b"QStartNoAckMode") == b"OK"
    client.wire.acknowledge = False
    return client


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("text", "address", "exposed"),
    [
        ("1234", Address("127.0.0.1", 1234), False),
        (":1234", Address("127.0.0.1", 1234), False),
        ("localhost:0", Address("localhost", 0), False),
        ("0.0.0.0:80", Address("0.0.0.0", 80), True),
        ("[::1]:80", Address("::1", 80), False),
        ("[::]:80", Address("::", 80), True),
        ("unix:/tmp/x", Address(path="/tmp/x"), False),
        ("stdio", Address(), False),
    ],
)
def test_addresses(text: str, address: Address, exposed: bool) -> None:
    assert Address.parse(text) == address
    assert address.exposed == exposed


@pytest.mark.parametrize("text", ["", "host", "host:", ":x", "70000", "unix:"])
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"no PORT|path of a socket"):
        Address.parse(text)


def test_a_session(server: Server) -> None:
    client = attach(server)
    assert client.ask(b"m100,2") == b"0000"
    client.send(b"vCont;c")
    client.interrupt()
    assert bare(client.receive()) == b"T02thread:1;"
    assert server.said == ["A debugger has attached."]  # type: ignore[attr-defined]
    client.close()
    attach(server).close()


def test_a_client_that_leaves_behind_long_work_is_let_go(server: Server) -> None:
    """Its packets wait for the work; then the connection ends."""
    client = attach(server)
    client.wire.send(b"qCRC:0,10000")
    client.wire.send(b"D")
    client.socket.sendall(client.wire.take())
    assert client.receive()[:1] == b"C" and client.receive() == b"OK"
    with pytest.raises((EOFError, ConnectionResetError)):
        client.receive()
    assert isinstance(server.target, SlowTarget) and server.target.detached


@pytest.mark.parametrize(
    ("text", "shown", "remote"),
    [
        ("1234", "127.0.0.1:1234", "127.0.0.1:1234"), ("[::1]:80", "[::1]:80", "[::1]:80"), ("stdio", "stdio", "stdio"),
        ("unix:/tmp/x", "unix:/tmp/x", "/tmp/x"), ("127.9.9.9:65535", "127.9.9.9:65535", "127.9.9.9:65535"),
    ],
)  # fmt: skip
def test_addresses_as_text(text: str, shown: str, remote: str) -> None:
    address = Address.parse(text)
    assert (str(address), address.remote, address.exposed) == (shown, remote, False)
    assert address.stdio == (text == "stdio")


def test_no_thread_keeps_the_program_alive(server: Server) -> None:
    first = attach(server)
    second = Remote(socket.create_connection((server.address.host, server.address.port)))
    second.ask(b"?")
    assert isinstance(server.target, SlowTarget)
    server.target.let_go.clear()
    first.send(b"qRcmd," + b"wait".hex().encode())
    first.receive()
    names = {"gdbstub", "gdbstub-refuse", "gdbstub-monitor"}
    until(lambda: names <= {thread.name for thread in threading.enumerate()})
    assert all(thread.daemon for thread in threading.enumerate() if thread.name in names)
    server.target.interrupt()
    second.close()
    first.close()


class Late(FakeTarget):
    """It stops a while after it was asked to."""

    def interrupt(self) -> None:
        if self._runs:
            threading.Timer(0.2, super().interrupt).start()


def test_a_client_is_served_when_the_guest_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """And turned away where it does not stop."""
    said: list[str] = []
    target = Late()
    server = Server(target, Address(LOOPBACK, 0), said.append)
    server.start()
    target._runs = True
    client = attach(server)
    assert not target.running
    assert bare(client.ask(b"?")) == b"T02thread:1;"
    client.close()
    until(lambda: server.client is None)
    target._runs = True
    monkeypatch.setattr("gdbstub.server.STOPS_WITHIN", 0.05)
    monkeypatch.setattr(target, "interrupt", lambda: None)
    other = Remote(socket.create_connection((server.address.host, server.address.port)))
    with pytest.raises((EOFError, ConnectionResetError)):
        other.ask(b"?")
    assert "A debugger was turned away: the guest does not stop." in said
    server.close()


def test_a_second_client_is_told_who_is_there(server: Server) -> None:
    """When it has asked something, not before: gdb and lldb do not look at what nobody asked for."""
    first = attach(server)
    second = Remote(socket.create_connection((server.address.host, server.address.port)), timeout=0.3)
    with pytest.raises(TimeoutError):
        second.receive()
    second.socket.settimeout(10)
    host, port = first.socket.getsockname()
    for body in (b"qSupported:error-message+", b"vMustReplyEmpty"):
        assert second.ask(body) == f"E.another debugger is attached, from {host}:{port}".encode()
    assert first.ask(b"qC") == b"QC1"
    second.close()
    first.close()
    attach(server).close()


def test_one_that_asks_nothing_is_turned_away_after_a_while(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gdbstub.refusal.ASKS_WITHIN", 0.05)
    first = attach(server)
    second = Remote(socket.create_connection((server.address.host, server.address.port)))
    with pytest.raises(EOFError):
        second.receive()
    second.close()
    first.close()


def test_a_second_lldb_is_turned_away(server: Server) -> None:
    """With an answer to its handshake it would wait for ever for a process."""
    first = attach(server)
    second = Remote(socket.create_connection((server.address.host, server.address.port)))
    second.socket.sendall(b"+")
    second.send(b"QStartNoAckMode")
    with pytest.raises((EOFError, ConnectionResetError)):
        second.receive()
    second.close()
    first.close()


def test_many_that_are_turned_away(server: Server) -> None:
    """They do not pile up."""
    first = attach(server)
    others = [socket.create_connection((server.address.host, server.address.port), timeout=10) for _ in range(40)]
    assert any(other.recv(1) == b"" for other in others[MOST_AT_ONCE:])
    assert first.ask(b"qC") == b"QC1"
    for other in others:
        other.close()
    first.close()


SESSION = [b"qSupported:swbreak+", b"QStartNoAckMode", b"qXfer:features:read:target.xml:0,fff", b"?", b"g", b"Z0,180,1"]


@pytest.mark.parametrize("packets", range(len(SESSION) + 1))
@pytest.mark.parametrize("half", [False, True])
def test_a_connection_that_breaks(server: Server, packets: int, half: bool) -> None:
    """After any packet, or within the next one: the guest stays as it was, and the next client attaches."""
    target = server.target
    assert isinstance(target, FakeTarget)
    client = socket.create_connection((server.address.host, server.address.port))
    for body in SESSION[:packets]:
        client.sendall(frame(body) + b"+")
    if half:
        client.sendall(b"$m10")
    before = [list(values) for values in target.values.values()]
    client.close()
    attach(server).close()
    until(lambda: server.client is None)
    assert not target.points
    assert [list(values) for values in target.values.values()] == before


def test_a_connection_that_breaks_while_the_guest_runs(server: Server) -> None:
    client = attach(server)
    client.send(b"vCont;c")
    until(lambda: server.target.running)
    client.close()
    until(lambda: server.client is None)
    assert server.target.running
    again = attach(server)
    assert not server.target.running
    again.close()


def test_a_client_that_does_not_read(server: Server) -> None:
    """It asks for 64 MiB and takes none of it; nobody waits for it, and it is dropped at some point."""
    client = attach(server)
    began = time.monotonic()
    client.socket.settimeout(0.5)
    try:
        for _ in range(4000):
            client.socket.sendall(frame(b"m0,8000"))
    except OSError:
        pass
    server._output(b"the guest goes on")
    assert time.monotonic() - began < 20
    client.close()
    attach(server).close()


def test_monitor_streams_and_can_be_interrupted(server: Server) -> None:
    client = attach(server)
    client.send(b"qRcmd," + b"wait".hex().encode())
    assert client.receive() == b"O" + b"begun\n".hex().encode()
    client.send(b"qC")  # waits for its turn
    client.interrupt()
    assert client.receive() == b"O" + b"ended\n".hex().encode()
    assert client.receive() == b"OK"
    assert client.receive() == b"QC1"
    client.close()


def test_a_stop_from_another_thread(server: Server) -> None:
    client = attach(server)
    client.send(b"vCont;c")
    until(lambda: server.target.running)
    threading.Thread(target=server.target.interrupt).start()
    assert bare(client.receive()) == b"T02thread:1;"
    client.close()


def test_unix_sockets(tmp_path: Path) -> None:
    path = tmp_path / "gdb"
    for _ in range(2):
        server = Server(FakeTarget(), Address(path=str(path)))
        server.start()
        assert path.stat().st_mode & 0o777 == 0o600
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(path))
        client = Remote(connection)
        assert client.ask(b"qC") == b"QC1"
        with pytest.raises(OSError):
            Server(FakeTarget(), Address(path=str(path))).start()
        client.close()
        server.close()
        assert not path.exists()
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()  # left behind by somebody who was killed
    server = Server(FakeTarget(), Address(path=str(path)))
    server.start()
    server.close()


def test_stdio() -> None:
    program = (
        "from gdbstub import Address, Server; from gdbstub.testing import FakeTarget\n"
        "server = Server(FakeTarget(), Address.parse('stdio')); server.start(); server.finished.wait()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input=frame(b"qC") + frame(b"m0,1"), stdout=subprocess.PIPE, timeout=20
    )
    assert done.stdout == b"+" + frame(b"QC1") + b"+" + frame(b"00")
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("target", "closed"), [("FakeTarget()", "os.close(0)"), ("Gone()", "pass")], ids=["no stdin", "no guest"]
)
def test_a_server_that_cannot_begin_over_stdio_ends(target: str, closed: str) -> None:
    program = f"""
import os
from gdbstub import Address, Server, TargetError
from gdbstub.testing import FakeTarget
class Gone(FakeTarget):
    def description(self, thread):
        raise TargetError("the guest has gone")
{closed}
server = Server({target}, Address.parse("stdio")); server.start(); assert server.finished.wait(10)
"""
    done = subprocess.run([sys.executable, "-c", program], stdin=subprocess.PIPE, capture_output=True, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_port_that_is_taken(server: Server) -> None:
    with pytest.raises(OSError):
        Server(FakeTarget(), server.address).start()


class Lending(FakeTarget):
    """It runs on a thread of its own, which serves the client when it has stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.served_by: list[str] = []
        self.jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="lent", daemon=True).start()

    def _work(self) -> None:
        while True:
            self.jobs.get()()

    def resume(self, what: Resume) -> None:
        self._runs = True

        def job() -> None:
            super(Lending, self).resume(what)
            self.on_idle()

        self.jobs.put(job)

    def read_memory(self, thread: int, address: int, length: int) -> bytes:
        self.served_by.append(threading.current_thread().name)
        return super().read_memory(thread, address, length)


@pytest.fixture
def lending(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr("gdbstub.server.LOOKS_FOR", 0.5)
    found = Server(Lending(), Address(LOOPBACK, 0))
    found.start()
    yield found
    found.close()


def test_a_thread_of_the_targets_serves_what_comes_at_once(lending: Server) -> None:
    target = lending.target
    assert isinstance(target, Lending)
    client = attach(lending)
    for _ in range(5):
        assert client.ask(b"vCont;s:1").startswith(b"T05")
        time.sleep(0.1)
        assert client.ask(b"m100,1") == b"00"
    assert set(target.served_by) == {"lent"}
    client.ask(b"vCont;s:1")
    time.sleep(0.8)
    target.served_by.clear()
    assert client.ask(b"m100,1") == b"00"
    assert target.served_by == ["gdbstub"]
    client.close()


@pytest.mark.parametrize("follows", [True, False])
def test_the_packet_after_a_stop_is_left_to_the_thread_that_is_lent(lending: Server, follows: bool) -> None:
    """Where that is sure to come, however late it comes."""
    target = lending.target
    assert isinstance(target, Lending)
    target.idle_follows = follows
    served = target.on_idle

    def late() -> None:
        time.sleep(0.3)
        served()

    target.on_idle = late
    client = attach(lending)
    assert client.ask(b"vCont;s:1").startswith(b"T05")
    time.sleep(0.4)
    for _ in range(3):
        assert client.ask(b"m100,1") == b"00"
        assert client.ask(b"vCont;s:1").startswith(b"T05")
    target.served_by.clear()
    assert client.ask(b"m100,1") == b"00"
    assert target.served_by == ["lent" if follows else "gdbstub"]
    client.close()


@pytest.mark.parametrize("follows", [True, False])
def test_a_thread_that_cannot_serve_gives_the_client_back(lending: Server, follows: bool) -> None:
    target = lending.target
    assert isinstance(target, Lending)
    target.idle_follows = follows
    served = target.on_idle

    def in_vain() -> None:
        with lending.lock:
            thread = threading.Thread(target=served)
            thread.start()
            thread.join()

    target.on_idle = in_vain
    client = attach(lending)
    assert client.ask(b"vCont;s:1").startswith(b"T05")
    assert client.ask(b"m100,1") == b"00"
    assert set(target.served_by) == {"gdbstub"}
    client.close()


@pytest.mark.parametrize("pause", [0, 0.8], ids=["while it is lent", "later"])
def test_a_client_that_goes_while_a_thread_is_lent(lending: Server, pause: float) -> None:
    for _ in range(3):
        client = attach(lending)
        assert client.ask(b"vCont;s:1").startswith(b"T05")
        assert client.ask(b"m100,1") == b"00"
        time.sleep(pause)
        client.close()


def test_a_client_that_detaches_while_a_thread_is_lent_is_let_go(lending: Server) -> None:
    client = attach(lending)
    assert client.ask(b"vCont;s:1").startswith(b"T05")
    assert client.ask(b"D") == b"OK"
    assert client.socket.recv(1) == b""
    client.close()


def test_a_lent_thread_waits_for_nobody(lending: Server) -> None:
    client = attach(lending)
    with lending.lock:
        done = threading.Thread(target=lending.target.on_idle)
        done.start()
        done.join(5)
        assert not done.is_alive()
    assert client.ask(b"qC") == b"QC1"
    client.close()


def test_a_unix_socket_that_is_there_can_be_connected_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name appears when somebody listens: whoever waits for the name may connect at once."""
    path = tmp_path / "gdb"
    listen = socket.socket.listen
    seen: list[bool] = []

    def watched(one: socket.socket, backlog: int = 128) -> None:
        seen.append(path.exists())
        listen(one, backlog)

    monkeypatch.setattr(socket.socket, "listen", watched)
    server = Server(FakeTarget(), Address(path=str(path)))
    server.start()
    server.close()
    assert seen == [False]
    assert not list(tmp_path.iterdir())
