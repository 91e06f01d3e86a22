"""Serves one client at a time over TCP, a Unix socket or a pair of streams.

Packets are handled one at a time, on the server's thread or on one that the target lends (``Target.on_idle``). A stop
may come from any thread; its reply is sent right there, and what the client does not take at once waits in memory, so
a client that stops reading holds up nobody.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable

from gdbstub import poller
from gdbstub.address import Address, is_local, peer_of
from gdbstub.client import Client
from gdbstub.listener import Listener
from gdbstub.poller import Wake
from gdbstub.refusal import Refusal
from gdbstub.registry import Reply
from gdbstub.stream import Stream, stream_of
from gdbstub.target import HasConsole, Stop, Target

SEND_BUFFER = 1 << 18
LOOKS_FOR = 100e-6
"""Seconds that the server looks for the next packet before it sleeps; to be woken takes as long."""
WORKS_FOR = 0.01
"""Seconds that a client's long work, or its packets without a pause, may take before others have their turn."""
POLLS_FILES = 0.05
STOPS_WITHIN = 10
"""Seconds that a running guest has to stop when a client attaches."""


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
        self._stream: Stream | None = None
        self._who = "over stdio"
        self._refusal = Refusal(lambda: self._closing)
        self._listener: Listener | None = None
        self._awake = Wake()
        self._events_of = poller.make()
        self._watched: dict[int, int] = {}
        """Of the client's connection: what the server's thread waits for."""
        self._files: set[int] = set()
        """Files in the connection's place (stdin from a file): nobody can wait for those."""
        self._served_elsewhere = False
        self._working = False
        """A thread does a client's work aside, and alone uses the target meanwhile. The client may have gone."""
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
            self._listener = Listener(self.address)
            self.address = self._listener.address
        elif not hasattr(os, "set_blocking"):
            raise OSError(errno.ENOTSUP, "this system's stdin cannot be waited for; give a port")
        self._thread.start()

    def close(self) -> None:
        """Let the client go and stop listening; the target stays as it is."""
        self._closing = True
        self._awake.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(5)

    # --- the thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        self._events_of.register(self._awake.fd, poller.READ)
        if self._listener is not None:
            self._events_of.register(self._listener.fileno(), poller.READ)
        try:
            while not self._closing:
                try:
                    if self.address.stdio and self._stream is None:
                        self._attach(Stream(0, os.dup(1), lambda: None), local=False)
                    else:
                        self._turn()
                except Exception as error:
                    self._unforeseen(error)
                self._closing |= self.address.stdio and self._stream is None  # no other client can come
        finally:
            self._drop()
            self._events_of.close()
            self._awake.close()
            if self._listener is not None:
                self._listener.close()
            self.finished.set()
            self.on_end()

    def _say(self, text: str) -> None:
        with contextlib.suppress(Exception):  # whoever listens has troubles of his own
            self.tell(text)

    def _say_of(self, error: Exception) -> None:
        place = traceback.extract_tb(error.__traceback__)[-1]
        self._say(f"The debugger is dropped: internal error: {error!r} at {place.filename}:{place.lineno}")

    def _unforeseen(self, error: Exception) -> None:
        """The last line of defence: the client has to go, the next may come."""
        self._say_of(error)
        if self._stream is None:
            time.sleep(POLLS_FILES)  # it may happen again at once
        self._drop()

    def _turn(self) -> None:
        """Wait for something and do it."""
        client = self.client
        if client is not None and client.left:
            self._work_on(client)
            timeout = 0.0 if client.left else None
        else:
            timeout = None
        timeout = POLLS_FILES if self._files and timeout is None else timeout
        for number, _ in self._events_of.poll(timeout) or [(number, 0) for number in self._files]:
            stream = self._stream
            if number == self._awake.fd:
                self._awake.clear()
                with self.lock:
                    self._tell_client()
                    gone = self._gone or not self._flush()
                    self._watch()  # who has woken this thread may have left it the client
                if gone:
                    self._drop()
            elif self._listener is not None and number == self._listener.fileno():
                self._accept()
            elif client is not None and client.left and not client.busy:
                continue  # what it sent before comes first
            elif stream is not None and number in (stream.read_fd, stream.write_fd):
                self._exchange(stream)

    def _work_on(self, client: Client) -> None:
        """Go on for a moment with what a client has asked for."""
        end = time.perf_counter() + WORKS_FOR
        with self.lock:
            while client is self.client and client.left and not client.overrun:
                client.advance()
                if time.perf_counter() > end:
                    break
            gone = not self._flush() or client.overrun or (client.ended and not self._unsent)
        if gone and client is self.client:
            self._drop()

    @property
    def _unsent(self) -> bool:
        return self._stream is not None and bool(self._stream.unsent)

    def _watch(self) -> None:
        """Have this thread's wait end when the client can be read from, or written to where something is unsent.

        Not while another thread serves the client. The wait itself is not disturbed by that.
        """
        stream = self._stream
        if stream is None:
            return
        read = 0 if self._served_elsewhere else poller.READ
        write = poller.WRITE if stream.unsent else 0
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

    def _exchange(self, stream: Stream) -> None:
        """Do what the client sent, and look for more for a moment: most packets come right after a reply."""
        end = 0.0
        turn = time.perf_counter() + WORKS_FOR
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
            end = time.perf_counter() + LOOKS_FOR
            if not data or self._quiet(stream) or end > turn:
                return

    def _do(self, stream: Stream, data: bytes | None) -> bool:
        """Handle what was read (b"" at the end, None for nothing); whether the client is still there."""
        client = self.client
        if client is None:
            return True
        if data:
            client.receive(data)
        self._tell_client()
        return self._flush() and data != b"" and not client.overrun and not (client.ended and not stream.unsent)

    def _quiet(self, stream: Stream) -> bool:
        """Whether the client waits for something that is not there yet, or that this thread is not to do."""
        client = self.client
        if client is None or client.waiting or client.busy or client.left:
            return True
        return client.nonstop is not None or bool(stream.unsent)

    def _serve_here(self) -> None:
        """Serve the client on the calling thread, which has nothing else to do, as long as its packets come at once.

        It saves a change of threads for each packet. This thread may be one that others wait for, so it waits for
        nobody: the server's takes over.
        """
        if not self.lock.acquire(blocking=False):
            self._served_elsewhere = False
            self._awake.set()
            return
        alive = True
        try:
            stream = self._stream
            if stream is None or self._quiet(stream):
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
        except Exception as error:
            alive = False
            self._say_of(error)
        finally:
            self._served_elsewhere = False
            if alive:
                self._watch()
                if self.client is not None and self.client.left:
                    self._awake.set()
            else:
                self._gone = True
                self._awake.set()
            self.lock.release()

    def _flush(self) -> bool:
        """Send what the client is to get; False when it is gone."""
        stream = self._stream
        if stream is None or self.client is None:
            return True
        data, left = self.client.take(), bool(stream.unsent)
        if (data or left) and self._served_elsewhere:
            self._watch()  # before the client can answer
        alive = stream.write(data)
        if left or stream.unsent:
            self._watch()
        return alive

    def _accept(self) -> None:
        assert self._listener is not None
        connection = self._listener.accept()
        if connection is None:
            time.sleep(POLLS_FILES)
            return
        stream = self._stream
        if stream is not None and stream.hung_up():  # the one before has gone, which nobody has looked at yet
            self._exchange(stream)
            if self._stream is stream:
                self._drop()
        if self.client is not None:
            self._refusal.give(connection, self._who)
            return
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._who = peer_of(connection)
        self._attach(stream_of(connection), local=is_local(connection))

    def _attach(self, stream: Stream, *, local: bool) -> None:
        end = time.monotonic() + STOPS_WITHIN
        self.target.interrupt()
        while self._working or self.target.running:
            if time.monotonic() > end:
                busy = "the last one's command does not end" if self._working else "the guest does not stop"
                self._say(f"A debugger was turned away: {busy}.")
                stream.close()
                return
            time.sleep(0.001)
            if self._working:  # it may let the guest run again
                self.target.interrupt()
        with self.lock:
            self._events.clear()
            self._stream = stream
            self._gone = False
            self.client = Client(self.target, self._defer, self._send, self._tell_client, self._say)
            self.client.wire.compressing = not local
            self._watch()
        self._say("A debugger has attached.")

    def _drop(self) -> None:
        """The client is gone."""
        with self.lock:
            stream, client = self._stream, self.client
            self._stream = self.client = None
            self._gone = False
            for number in self._watched:
                with contextlib.suppress(OSError, KeyError):
                    self._events_of.unregister(number)
            self._watched.clear()
            self._files.clear()
            if client is not None and not client.ended:
                client.ended = True
                if not self._working:  # else it leaves when that has ended
                    self._leave(client)
        if stream is not None:
            stream.close()
            if not self.address.stdio:
                self._say("The debugger has gone.")
            self.on_leave()

    def _leave(self, client: Client) -> None:
        try:
            client.leave()
        except Exception as error:
            self._say(f"The debugger's breakpoints could not be taken away: {error}")

    # --- from other threads ------------------------------------------------------------------------

    def _defer(self, work: Callable[[], Reply], done: Callable[[Reply], None]) -> None:
        """Do a client's long work aside."""
        client = self.client
        self._working = True

        def run() -> None:
            reply = work()
            with self.lock:
                try:
                    done(reply)
                except Exception as error:
                    self._say(f"The debugger's command has no reply: {error!r}")
                if client is not None and client is not self.client:
                    self._leave(client)
                self._working = False
                self._send()
            self._awake.set()

        threading.Thread(target=run, name="gdbstub-monitor", daemon=True).start()

    def _stopped(self, stop: Stop) -> None:
        if self.target.idle_follows:  # else this thread and the server's would both be at the next packet
            self._served_elsewhere = True
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
            except Exception as error:
                self._say(f"The debugger is dropped: internal error: {error!r}")
                self._gone = True
                self._awake.set()
            finally:
                self.lock.release()
        else:
            self._awake.set()

    def _tell_client(self) -> None:
        while self._events:
            event = self._events.popleft()
            if self.client is not None:
                if isinstance(event, bytes):
                    self.client.output(event)
                else:
                    self.client.stopped(event)

    def _send(self) -> bool:
        """Send from any thread, which must not wait: else the server's does. False when the client is gone."""
        if not self.lock.acquire(blocking=False):
            self._awake.set()
            return True
        try:
            alive = self._flush()
            if not alive:
                self._gone = True
                self._awake.set()
            return alive
        finally:
            self.lock.release()
