"""Serves one client at a time over TCP, a Unix socket or a pair of streams.

Packets are handled one at a time, on the server's thread or on one that the target lends (``Target.on_idle``). A stop
may come from any thread; its reply is sent right there, and what the client does not take at once waits in memory, so
a client that stops reading holds up nobody.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import stat
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from gdbstub.client import Client
from gdbstub.registry import Reply
from gdbstub.target import HasConsole, Stop, Target
from gdbstub.wire import frame

LOOPBACK = "127.0.0.1"
MOST_UNSENT = 64 << 20
"""A client that leaves more than this many bytes unread is dropped."""
READ_SIZE = SEND_BUFFER = 1 << 18
LOOKS_FOR = 100e-6
"""Seconds that the server looks for the next packet before it sleeps; to be woken takes as long."""
POLLS_FILES = 0.05
STOPS_WITHIN = 10
"""Seconds that a running guest has to stop when a client attaches."""
REFUSED_WITHIN = 2
BUSY = b"E.another debugger is attached"


def is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


@dataclass(frozen=True)
class Address:
    """Where to listen: a TCP ``host`` and ``port``, a Unix socket at ``path``, or with neither stdin and stdout."""

    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> Address:
        """``PORT``, ``:PORT`` (both loopback), ``HOST:PORT``, ``[IPv6]:PORT``, ``unix:PATH`` or ``stdio``."""
        if text == "stdio":
            return cls()
        if text.startswith("unix:"):
            if not text[5:]:
                raise ValueError("unix: needs the path of a socket")
            return cls(path=text[5:])
        host, _, port = text.rpartition(":")
        if not port.isdigit() or int(port) > 65535:
            raise ValueError(f"'{text}' is no PORT, HOST:PORT, unix:PATH or stdio")
        return cls(host.strip("[]") or LOOPBACK, int(port))

    @property
    def stdio(self) -> bool:
        return not self.host and not self.path

    @property
    def exposed(self) -> bool:
        """Whether other machines can reach it."""
        return bool(self.host) and not is_loopback(self.host)

    @property
    def remote(self) -> str:
        """What gdb's ``target remote`` takes for it."""
        return self.path or str(self)

    def __str__(self) -> str:
        if self.stdio:
            return "stdio"
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class _Stream:
    """Both directions of a connection, never blocking."""

    def __init__(self, read: int, write: int, close: Callable[[], None]) -> None:
        self.read_fd, self.write_fd, self.close = read, write, close
        self.unsent = bytearray()
        os.set_blocking(read, False)
        os.set_blocking(write, False)

    def read(self) -> bytes | None:
        """What came; b"" at the end, None when there is nothing."""
        try:
            return os.read(self.read_fd, READ_SIZE)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def hung_up(self) -> bool:
        """Whether the other side has closed the connection, though some of what it sent may not have been read."""
        poller = select.poll()
        poller.register(self.read_fd, select.POLLRDHUP)
        return bool(poller.poll(0))

    def write(self, data: bytes) -> bool:
        """Send, or keep what cannot be sent now; False when the other side is gone."""
        if self.unsent or not data:
            self.unsent += data
            data = bytes(self.unsent)
            self.unsent.clear()
        if not data:
            return True
        try:
            sent = os.write(self.write_fd, data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return False
        self.unsent += data[sent:]
        return len(self.unsent) <= MOST_UNSENT


class Server:
    """Listens at ``address`` for clients of ``target``, on a thread of its own from ``start`` to ``close``.

    ``tell`` takes sentences for whoever runs the server. ``lock`` is held while the target is used.
    """

    def __init__(self, target: Target, address: Address, tell: Callable[[str], None] = lambda text: None) -> None:
        self.target = target
        self.address = address
        self.tell = tell
        self.lock = threading.RLock()
        self.client: Client | None = None
        self.finished = threading.Event()
        """Set when the server has ended; over stdio that is when the client has gone."""
        self.on_end: Callable[[], None] = lambda: None
        self.on_leave: Callable[[], None] = lambda: None
        """Called when a client has gone."""
        self._stream: _Stream | None = None
        self._listener: socket.socket | None = None
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        self._events_of = select.epoll()
        self._watched: dict[int, int] = {}
        """Of the client's connection: what the server's thread waits for."""
        self._files: set[int] = set()
        """Files in the connection's place (stdin from a file): nobody can wait for those."""
        self._served_elsewhere = False
        self._gone = False
        """Another thread found that the client is no more."""
        self._closing = False
        self._events: deque[Stop | bytes] = deque()
        self._thread = threading.Thread(target=self._run, name="gdbstub", daemon=True)
        target.on_stop = self._stopped
        target.on_idle = self._serve_here
        if isinstance(target, HasConsole):
            target.on_output = self._output

    # --- beginning and end -------------------------------------------------------------------------

    def start(self) -> None:
        """Listen. OSError where that is not possible."""
        if not self.address.stdio:
            self._listener = self._listen()
        self._thread.start()

    def _listen(self) -> socket.socket:
        address = self.address
        if address.path:
            with contextlib.suppress(OSError):
                if stat.S_ISSOCK(os.stat(address.path).st_mode) and not _answers(address.path):
                    os.unlink(address.path)
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(address.path)
            os.chmod(address.path, 0o600)
            listener.listen()
            return listener
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        listener = socket.create_server((address.host, address.port), family=family)
        self.address = Address(address.host, listener.getsockname()[1])
        return listener

    def close(self) -> None:
        """Let the client go and stop listening; the target stays as it is."""
        self._closing = True
        self._wake()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(5)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            os.write(self._wake_write, b".")

    # --- the thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        self._events_of.register(self._wake_read, select.EPOLLIN)
        if self._listener is not None:
            self._events_of.register(self._listener, select.EPOLLIN)
        if self.address.stdio:
            self._attach(_Stream(0, os.dup(1), lambda: None))
        try:
            while not self._closing:
                self._turn()
        finally:
            self._drop()
            self._events_of.close()
            if self._listener is not None:
                self._listener.close()
                if self.address.path:
                    with contextlib.suppress(OSError):
                        os.unlink(self.address.path)
            self.finished.set()
            self.on_end()

    def _turn(self) -> None:
        """Wait for something and do it."""
        timeout = POLLS_FILES if self._files else None
        for number, _ in self._events_of.poll(timeout) or [(number, 0) for number in self._files]:
            stream = self._stream
            if number == self._wake_read:
                os.read(self._wake_read, 4096)
                with self.lock:
                    self._tell_client()
                    gone = self._gone or not self._flush()
                if gone:
                    self._drop()
            elif self._listener is not None and number == self._listener.fileno():
                self._accept()
            elif stream is not None and number in (stream.read_fd, stream.write_fd):
                self._exchange(stream)

    def _watch(self) -> None:
        """Have this thread's wait end when the client can be read from, or written to where something is unsent.

        Not while another thread serves the client. The wait itself is not disturbed by that.
        """
        stream = self._stream
        if stream is None:
            return
        read = 0 if self._served_elsewhere else select.EPOLLIN | select.EPOLLRDHUP
        write = select.EPOLLOUT if stream.unsent else 0
        if stream.read_fd == stream.write_fd:
            self._set_watch(stream.read_fd, read | write)
        else:
            self._set_watch(stream.read_fd, read)
            self._set_watch(stream.write_fd, write)

    def _set_watch(self, number: int, wanted: int) -> None:
        if self._watched.get(number) == wanted or number in self._files:
            return
        try:
            if number in self._watched:
                self._events_of.modify(number, wanted)
            else:
                self._events_of.register(number, wanted)
        except PermissionError:
            self._files.add(number)
            return
        self._watched[number] = wanted

    def _exchange(self, stream: _Stream) -> None:
        """Do what the client sent, and look for more for a moment: most packets come right after a reply."""
        end = 0.0
        while True:
            data = stream.read()
            if data is None and time.perf_counter() < end and not self._served_elsewhere:
                continue
            with self.lock:
                if stream is not self._stream:
                    return
                alive = self._do(stream, data)
            if not alive:
                self._drop()
                return
            if not data or self._quiet(stream):
                return
            end = time.perf_counter() + LOOKS_FOR

    def _do(self, stream: _Stream, data: bytes | None) -> bool:
        """Handle what was read (b"" at the end, None for nothing); whether the client is still there."""
        client = self.client
        if client is None:
            return True
        if data:
            client.receive(data)
        self._tell_client()
        return self._flush() and data != b"" and not (client.ended and not stream.unsent)

    def _quiet(self, stream: _Stream) -> bool:
        """Whether the client waits for something that is not there yet."""
        client = self.client
        return client is None or client.waiting or client.busy or client.nonstop is not None or bool(stream.unsent)

    def _serve_here(self) -> None:
        """Serve the client on the calling thread, which has nothing else to do, as long as its packets come at once.

        It saves a change of threads for each packet. This thread may be one that others wait for, so it waits for
        nobody: the server's takes over.
        """
        stream = self._stream
        if stream is None or not self.lock.acquire(blocking=False):
            return
        alive = True
        try:
            if self._quiet(stream) or stream is not self._stream:
                return
            self._served_elsewhere = True
            self._watch()
            end = time.perf_counter() + LOOKS_FOR
            while time.perf_counter() < end and alive and not self._closing:
                data = stream.read()
                if data is not None:
                    alive = self._do(stream, data)
                    if self._quiet(stream):
                        return
                    end = time.perf_counter() + LOOKS_FOR
        finally:
            self._served_elsewhere = False
            if alive:
                self._watch()
            else:
                self._gone = True
                self._wake()
            self.lock.release()

    def _flush(self) -> bool:
        """Send what the client is to get; False when it is gone."""
        if self._stream is None or self.client is None:
            return True
        alive = self._stream.write(self.client.take())
        self._watch()
        return alive

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        stream = self._stream
        if stream is not None and stream.hung_up():  # the one before has gone, which nobody has looked at yet
            self._exchange(stream)
            if self._stream is stream:
                self._drop()
        if self.client is not None:
            threading.Thread(target=_refuse, args=(connection,), name="gdbstub-refuse", daemon=True).start()
            return
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        descriptor = connection.fileno()
        self._attach(_Stream(descriptor, descriptor, connection.close), local=_is_local(connection))

    def _attach(self, stream: _Stream, *, local: bool = False) -> None:
        with self.lock:
            self.target.interrupt()
            end = time.monotonic() + STOPS_WITHIN
            while self.target.running:
                if time.monotonic() > end:
                    self.tell("A debugger was turned away: the guest does not stop.")
                    stream.close()
                    return
                time.sleep(0.001)
            self._events.clear()
            self._stream = stream
            self._gone = False
            self.client = Client(self.target, self._defer, self._send, self._tell_client)
            self.client.wire.compressing = not local
            self._watch()
        self.tell("A debugger has attached.")

    def _drop(self) -> None:
        """The client is gone."""
        with self.lock:
            stream, client = self._stream, self.client
            self._stream = self.client = None
            self._gone = False
            for number in self._watched:
                with contextlib.suppress(OSError):
                    self._events_of.unregister(number)
            self._watched.clear()
            self._files.clear()
            if client is not None and not client.ended:
                client.leave()
        if stream is not None:
            stream.close()
            if self.address.stdio:
                self._closing = True
            else:
                self.tell("The debugger has gone.")
            self.on_leave()

    # --- from other threads ------------------------------------------------------------------------

    def _defer(self, work: Callable[[], Reply], done: Callable[[Reply], None]) -> None:
        """Do a client's long work aside."""

        def run() -> None:
            reply = work()
            with self.lock:
                done(reply)
                self._send()

        threading.Thread(target=run, name="gdbstub-monitor", daemon=True).start()

    def _stopped(self, stop: Stop) -> None:
        self._event(stop)

    def _output(self, data: bytes) -> None:
        self._event(data)

    def _event(self, event: Stop | bytes) -> None:
        """From any thread, which must not wait: the server's may be waiting for just that thread."""
        self._events.append(event)
        if self.lock.acquire(blocking=False):
            try:
                self._tell_client()
                self._send()
            finally:
                self.lock.release()
        else:
            self._wake()

    def _tell_client(self) -> None:
        while self._events:
            event = self._events.popleft()
            if self.client is not None:
                if isinstance(event, bytes):
                    self.client.output(event)
                else:
                    self.client.stopped(event)

    def _send(self) -> None:
        """Send from any thread; the server's sends what is left, and notices when the client is gone."""
        with self.lock:
            if not self._flush():
                self._gone = True
                self._wake()


def _refuse(connection: socket.socket) -> None:
    """Say that another client is attached, and stay until that has been read: a reset would take it away."""
    with contextlib.suppress(OSError), connection:
        connection.settimeout(REFUSED_WITHIN)
        connection.sendall(frame(BUSY))
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass


def _is_local(connection: socket.socket) -> bool:
    """Whether the other side is on this machine."""
    if connection.family == socket.AF_UNIX:
        return True
    with contextlib.suppress(OSError):
        return is_loopback(connection.getpeername()[0])
    return False


def _answers(path: str) -> bool:
    """Whether somebody listens at a Unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True
