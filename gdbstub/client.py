"""One client and what it has agreed on with us: packets in, replies out, no I/O.

Whoever owns a :class:`Client` gives it the bytes that came (:meth:`Client.receive`), sends what :meth:`Client.take`
gives, and tells it when the target stopped.
"""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import BinaryIO

from gdbstub import packets, registry
from gdbstub.errors import BadPacket, TargetError
from gdbstub.nonstop import NonStop
from gdbstub.registers import Description
from gdbstub.target import SIGTRAP, Exited, FollowsMode, HasBreakpoints, HasConsole, Killed, Stop, Stopped, Target
from gdbstub.wire import Interrupt, Oversized, Wire, hexadecimal

packets.load()
Work = Callable[[], registry.Reply]
Job = Generator[None, None, registry.Reply]
"""Long work in pieces: it yields after each, and returns the reply."""

MOST_WAITING = 64 << 20
"""A client that sends more than this many bytes of packets while it waits for a reply is to be dropped."""
MOST_AT_ONCE = 100
"""Of packets that come together no more than so many are handled before others have their turn."""
HELD_BACK = 1 << 20
"""Replies are sent at the latest when there are so many bytes of them."""
TOO_LONG = b"\0oversized"
"""What stands for a packet that was too long; no packet begins so."""
_OVERSIZED = BadPacket(f"a packet of more than {registry.PACKET_SIZE:#x} bytes")
EINTR = 4
_REASONS = ("swbreak", "hwbreak")


class Client:
    """A debugger at the other end of a connection.

    ``defer`` runs work aside and then calls ``done`` with what it gave; ``flush`` sends what there is at once and says
    whether the client is still there; ``collect`` hands over what the target has said meanwhile; ``report`` takes a
    sentence on what should not have happened. They are the server's, who also calls :meth:`advance` while there is
    something ``left``: without them all is done before :meth:`receive` returns.
    """

    def __init__(
        self,
        target: Target,
        defer: Callable[[Work, Callable[[registry.Reply], None]], None] | None = None,
        flush: Callable[[], bool] = lambda: True,
        collect: Callable[[], None] = lambda: None,
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.target = target
        self._flush = flush
        self.collect = collect
        self._report = report
        self.wire = Wire()
        self.features: set[str] = set()
        """What the client said in qSupported that it can do."""
        self.layout: Description = target.description(target.current())
        """The registers as the client knows them, whatever mode the CPU is in by now."""
        self.thread = target.current()
        """The thread of g, m and the like."""
        self.resume_thread = -1
        """The thread of c and s; -1 is all."""
        self.waiting = False
        """The client let the target run and has not been told of a stop."""
        self.nonstop: NonStop | None = None
        """Set in non-stop mode."""
        self.handling = False
        """A packet is being handled."""
        self.held: Stop | None = None
        """A stop that is told at the next resume; the client believes that the program was replaced by another."""
        self.gone = False
        """The client was told that the program has ended, or has left it: it has no threads any more."""
        self.detached = False
        """It has left the program, and stays (extended mode)."""
        self.plain = False
        """It waits for a stop reply before which nothing may be said."""
        self.ended = False
        """Nothing is to be said any more: the connection is to be closed."""
        self.error_text = False
        self.lldb_error_text = False
        self.thread_suffix = False
        self._within_line = False
        self.thread_list = False
        self.binary_lead: bytes | None = None
        """What stands before the data in the reply to ``x``; None until the first of them tells."""
        self.extended = False
        self.files: dict[int, BinaryIO] = {}
        self._defer = defer
        self.busy = False
        """Long work is under way, and its packet's reply comes later."""
        self.overrun = False
        """It sends without end, or does not read: it is to be dropped."""
        self._job: Job | None = None
        self._aside = False
        """The work is done by another thread, which alone uses the target meanwhile."""
        self._stop_meanwhile: Stop | None = None
        self._said: deque[str] = deque()
        """What is to be said; it may come from a thread that must not wait for whoever sends."""
        self._waiting = bytearray()
        """Packets that came meanwhile, each behind its length; one byte a byte, so that a million of them is little."""
        self._known: dict[str, bool] = {}

    # --- bytes -------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Do what these bytes ask for, or keep it until what is under way has ended."""
        handled = 0
        for event in self.wire.feed(data):
            if self.ended or self.overrun:
                return
            if isinstance(event, Interrupt):
                self._interrupt()
            elif isinstance(event, bytes | Oversized):
                body = event if isinstance(event, bytes) else TOO_LONG
                handled += 1
                if self.busy or self._waiting or handled > MOST_AT_ONCE:
                    self._waiting += len(body).to_bytes(4, "little") + body
                    self.overrun = len(self._waiting) > MOST_WAITING
                else:
                    self._handle(body)
        if self._defer is None:
            while self.left:
                self.advance()

    @property
    def left(self) -> bool:
        """Whether :meth:`advance` has something to do: a piece of long work, or a packet that has waited."""
        return not self.ended and (self._job is not None or (bool(self._waiting) and not self.busy))

    def advance(self) -> None:
        """Do it."""
        if self._job is not None:
            try:
                next(self._job)
            except StopIteration as done:
                self._finish(done.value)
            except Exception as error:
                self._finish(self._failed(error))
        elif self._waiting:
            end = 4 + int.from_bytes(self._waiting[:4], "little")
            body = bytes(self._waiting[4:end])
            del self._waiting[:end]
            self._handle(body)

    def take(self) -> bytes:
        """What is to be sent now."""
        self._send_said()
        return self.wire.take()

    def _interrupt(self) -> None:
        if self._job is not None:
            self._job.close()
            self._finish(self.error(TargetError("interrupted", EINTR)))
        elif self.waiting or self.busy or self.nonstop is not None:
            try:
                self.target.interrupt()
            except TargetError as error:
                self.say(f"{error}\n")

    def _handle(self, body: bytes) -> None:
        found = registry.find(body)
        if found is None or not self._offered(found[0]):
            self._reply(self.error(_OVERSIZED) if body == TOO_LONG else b"")
            return
        self.handling = True
        try:
            self._reply(found[0].function(self, found[1]))
        except (ValueError, IndexError, KeyError, OverflowError, UnicodeError):
            self._reply(self.error(BadPacket(f"the packet {body[:40].decode('latin-1')!r} is malformed")))
        except Exception as error:
            self._reply(self._failed(error))
        finally:
            self.handling = False
        if self.wire.pending > HELD_BACK and not self._flush():
            self.overrun = True
        if self.nonstop is not None:
            self.nonstop.after(body)

    def _offered(self, packet: registry.Packet) -> bool:
        known = self._known.get(packet.name)
        if known is None:
            known = self._known[packet.name] = packet.offered(self.target)
        return known

    def _reply(self, reply: registry.Reply) -> None:
        if reply is not None and not self.ended:
            self._send_said()
            self.wire.send(reply.encode() if isinstance(reply, str) else reply)

    def error(self, error: TargetError) -> bytes:
        """The error reply, with its text where the client takes one."""
        if self.error_text:
            text = str(error).encode("ascii", "replace").translate(None, b"#$}*")
            return b"E." + text
        if self.lldb_error_text:
            return b"E%02x;%b" % (error.number, str(error).encode().hex().encode())
        return b"E%02x" % error.number

    def _failed(self, error: Exception) -> bytes:
        """The error reply to what could not be done; what should not have happened is told to us, too."""
        if isinstance(error, TargetError):
            return self.error(error)
        place = traceback.extract_tb(error.__traceback__)[-1]
        text = f"internal error: {error!r} at {place.filename}:{place.lineno}"
        self._report(f"A packet failed: {text}")
        return self.error(TargetError(text))

    # --- long work ---------------------------------------------------------------------------------

    def aside(self, work: Work) -> None:
        """Answer the packet when ``work`` is done; packets and stops that come meanwhile wait, an interrupt does not.

        It is done on another thread, which alone uses the target until then.
        """

        def guarded() -> registry.Reply:
            try:
                return work()
            except Exception as error:
                return self._failed(error)

        self.busy = True
        if self._defer is None:
            self._finish(guarded())
        else:
            self._aside = True
            self._defer(guarded, self._finish)

    def in_pieces(self, job: Job) -> None:
        """The same for work in pieces, which are done by turns with whatever else there is; an interrupt ends it."""
        self.busy = True
        self._job = job

    def _finish(self, reply: registry.Reply) -> None:
        self.busy = self._aside = False
        self._job = None
        self._reply(reply)
        stop, self._stop_meanwhile = self._stop_meanwhile, None
        if stop is not None:
            self.stopped(stop)

    # --- the target speaks -------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Text for the person at the client, from any thread; only while it waits for a reply that allows for it."""
        if ((self.waiting and not self.plain) or self.busy) and not self.ended:
            self._said.append(text)
            self._flush()

    def _send_said(self) -> None:
        while self._said:
            self.wire.send(b"O" + self._said.popleft().encode("utf-8", "replace").hex().encode())

    def output(self, data: bytes) -> None:
        """What the guest wrote, when the client asked for it."""
        if self.waiting and not self.plain and isinstance(self.target, HasConsole) and self.target.console and data:
            self._within_line = not data.endswith(b"\n")
            self.wire.send(b"O" + data.hex().encode())

    def stopped(self, stop: Stop) -> None:
        """The target stopped: tell the client if it waits for that."""
        if self._aside:
            if self._stop_meanwhile is None and (self.waiting or self.nonstop is not None):
                self._stop_meanwhile = stop
            return
        if self.nonstop is not None:
            self.nonstop.stopped(stop)
            return
        if not self.waiting:
            return
        self.waiting = False
        if isinstance(stop, Stopped):
            self.thread = stop.thread
        plain, self.plain = self.plain, False
        if stop.text and not plain and not (isinstance(stop, Stopped) and stop.reason):
            start = "\n" if self._within_line else ""
            self.wire.send(b"O" + f"{start}{stop.text}\n".encode().hex().encode())
        self._within_line = False
        self._reply(self.render(stop) if plain else self.stop_reply(stop))

    def stop_reply(self, stop: Stop) -> bytes:
        """The stop as the client is to see it: first of all that the CPU's mode has changed, where it has."""
        if isinstance(stop, Stopped) and self._mode_changed(stop):
            target = self.target
            assert isinstance(target, FollowsMode)
            self.held = stop
            return b"T%02xthread:%b;exec:%b;" % (
                stop.signal,
                self.thread_id(stop.thread),
                target.exec_name().encode().hex().encode(),
            )
        return self.render(stop)

    def _mode_changed(self, stop: Stopped) -> bool:
        target = self.target
        if not isinstance(target, FollowsMode) or not target.follow_mode or "exec-events+" not in self.features:
            return False
        try:
            return target.description(stop.thread).key != self.layout.key
        except TargetError:  # somebody else has let it run again
            return False

    def render(self, stop: Stop) -> bytes:
        """A stop reply."""
        process = b";process:%x" % registry.WHOLE_PROCESS if "multiprocess+" in self.features else b""
        self.gone = not isinstance(stop, Stopped)
        if isinstance(stop, Exited):
            return b"W%02x%b" % (stop.status & 0xFF, process)
        if isinstance(stop, Killed):
            return b"X%02x%b" % (stop.signal, process)
        parts = [b"T%02xthread:%b;" % (stop.signal, self.thread_id(stop.thread))]
        parts += self._thread_parts(stop.thread) if self.thread_list else self._expedited(stop.thread)
        if stop.reason in _REASONS and f"{stop.reason}+" in self.features:
            parts.append(b"%b:;" % stop.reason.encode())
        elif stop.reason and stop.reason not in _REASONS:
            parts.append(b"%b:%x;" % (stop.reason.encode(), stop.address))
        elif self.thread_list:
            reason, description = self.lldb_reason(stop)
            parts.append(f"reason:{reason};".encode() if reason else b"")
            parts.append(f"description:{description.encode().hex()};".encode() if description else b"")
        return b"".join(parts)

    @staticmethod
    def lldb_reason(stop: Stopped) -> tuple[str, str]:
        """Why it stopped, in lldb's words, and what lldb shows. A stop without signal and reason it lets run on."""
        if stop.reason in _REASONS:
            return "breakpoint", ""
        if stop.reason:
            return "watchpoint", f"{stop.address} -1"
        if stop.text:
            return "exception", stop.text
        return ("trace", "") if stop.signal == SIGTRAP else ("", "")

    def _thread_parts(self, stopped: int) -> list[bytes]:
        """For lldb: all threads, where they are, and the registers that it wants at once."""
        threads = self.target.threads()
        listed = b"threads:" + b",".join(b"%x" % thread for thread in threads) + b";"
        try:
            pcs = b",".join(b"%x" % self._register_value(thread, "pc") for thread in threads)
        except TargetError:  # somebody else has let it run again
            return [listed]
        return [listed, b"thread-pcs:" + pcs + b";", *self._expedited(stopped)]

    def _register_value(self, thread: int, generic: str) -> int:
        number = self.layout.named(generic)
        if number is None:
            return 0
        return int.from_bytes(self.target.read_register(thread, self.layout, number), "little")

    def _expedited(self, thread: int) -> list[bytes]:
        """The registers that every client asks for first."""
        layout, read = self.layout, self.target.read_register
        try:
            return [lead + read(thread, layout, number).hex().encode() + b";" for number, lead in layout.expedited]
        except TargetError:  # somebody else has let it run again
            return []

    # --- thread ids --------------------------------------------------------------------------------

    def threads(self) -> Sequence[int]:
        """The target's threads as this client is to see them."""
        return () if self.gone else self.target.threads()

    def thread_id(self, thread: int) -> bytes:
        """A thread's id as the client writes it."""
        return b"p%x.%x" % (registry.WHOLE_PROCESS, thread) if "multiprocess+" in self.features else b"%x" % thread

    def parse_thread(self, text: bytes) -> int:
        """A thread, -1 for all, 0 for any. BadPacket for one that is none, TargetError for one that is not there."""
        if text.startswith(b"p"):
            process, _, text = text[1:].partition(b".")
            if process not in (b"-1", b"0") and hexadecimal(process) != registry.WHOLE_PROCESS:
                raise TargetError(f"there is no process {hexadecimal(process)}", 3)
            text = text or b"-1"
        if text == b"-1":
            return -1
        thread = hexadecimal(text)
        if thread and thread not in self.threads():
            raise TargetError(f"there is no thread {thread}", 3)
        return thread

    def paused(self) -> AbstractContextManager[None]:
        """A context in which no thread runs."""
        return self.nonstop.paused() if self.nonstop is not None else nullcontext()

    # --- coming and going --------------------------------------------------------------------------

    def refresh(self) -> Description:
        """The client reads the registers' description: from now on that is what it knows."""
        self.layout = self.target.description(self.thread)
        return self.layout

    def let_go(self) -> None:
        """The client has left the program: take its breakpoints away, leave the target as it is."""
        self.detached = self.gone = True
        self.held = None
        if isinstance(self.target, HasBreakpoints):
            self.target.remove_all()

    def leave(self) -> None:
        """The connection is gone."""
        self.ended = True
        self._job = None
        for file in self.files.values():
            file.close()
        self.files.clear()
        self.let_go()
