"""One client and what it has agreed on with us: packets in, replies out, no I/O.

Whoever owns a :class:`Client` gives it the bytes that came (:meth:`Client.receive`), sends what :meth:`Client.take`
gives, and tells it when the target stopped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from gdbstub import packets, registry
from gdbstub.errors import BadPacket, TargetError
from gdbstub.nonstop import NonStop
from gdbstub.registers import Description
from gdbstub.target import SIGTRAP, Exited, FollowsMode, HasBreakpoints, HasConsole, Killed, Stop, Stopped, Target
from gdbstub.wire import Interrupt, Oversized, Wire

packets.load()
Work = Callable[[], registry.Reply]

WHOLE_PROCESS = 1
_REASONS = ("swbreak", "hwbreak")


class Client:
    """A debugger at the other end of a connection.

    ``defer`` runs work aside and then calls ``done`` with what it gave; ``flush`` sends what there is at once;
    ``collect`` hands over what the target has said meanwhile. They are the server's: without them all is done before
    :meth:`receive` returns.
    """

    def __init__(
        self,
        target: Target,
        defer: Callable[[Work, Callable[[registry.Reply], None]], None] | None = None,
        flush: Callable[[], None] = lambda: None,
        collect: Callable[[], None] = lambda: None,
    ) -> None:
        self.target = target
        self._flush = flush
        self.collect = collect
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
        """The client was told that the program has ended: it has no threads any more."""
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
        self.files: dict[int, object] = {}
        self._defer = defer
        self.busy = False
        """Long work is under way, and its packet's reply comes later."""
        self._queue: deque[bytes] = deque()
        self._known: dict[str, bool] = {}

    # --- bytes -------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Do what these bytes ask for."""
        for event in self.wire.feed(data):
            if self.ended:
                return
            if isinstance(event, Interrupt):
                self._interrupt()
            elif isinstance(event, Oversized):
                self._reply(self.error(BadPacket(f"a packet of more than {registry.PACKET_SIZE:#x} bytes")))
            elif isinstance(event, bytes):
                if self.busy:
                    self._queue.append(event)
                else:
                    self._handle(event)

    def take(self) -> bytes:
        """What is to be sent now."""
        return self.wire.take()

    def _interrupt(self) -> None:
        if self.waiting or self.busy or self.nonstop is not None:
            try:
                self.target.interrupt()
            except TargetError as error:
                self.say(f"{error}\n")

    def _handle(self, body: bytes) -> None:
        found = registry.find(body)
        if found is None or not self._offered(found[0]):
            self._reply(b"")
            return
        self.handling = True
        try:
            self._reply(found[0].function(self, found[1]))
        except TargetError as error:
            self._reply(self.error(error))
        except (ValueError, IndexError, KeyError, OverflowError, UnicodeError):
            self._reply(self.error(BadPacket(f"the packet {body[:40].decode('latin-1')!r} is malformed")))
        finally:
            self.handling = False
        if self.nonstop is not None:
            self.nonstop.after(body)

    def _offered(self, packet: registry.Packet) -> bool:
        known = self._known.get(packet.name)
        if known is None:
            known = self._known[packet.name] = packet.offered(self.target)
        return known

    def _reply(self, reply: registry.Reply) -> None:
        if reply is not None and not self.ended:
            self.wire.send(reply.encode() if isinstance(reply, str) else reply)

    def error(self, error: TargetError) -> bytes:
        """The error reply, with its text where the client takes one."""
        if self.error_text:
            text = str(error).encode("ascii", "replace").translate(None, b"#$}*")
            return b"E." + text
        if self.lldb_error_text:
            return b"E%02x;%b" % (error.number, str(error).encode().hex().encode())
        return b"E%02x" % error.number

    # --- long work ---------------------------------------------------------------------------------

    def aside(self, work: Work) -> None:
        """Answer the packet when ``work`` is done; packets that come meanwhile wait, an interrupt does not."""
        self.busy = True
        if self._defer is None:
            self._finish(work())
        else:
            self._defer(work, self._finish)

    def _finish(self, reply: registry.Reply) -> None:
        self.busy = False
        self._reply(reply)
        while self._queue and not self.busy and not self.ended:
            self._handle(self._queue.popleft())

    # --- the target speaks -------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Text for the person at the client; only while it waits for a reply that allows for it."""
        if self.waiting or self.busy:
            self.wire.send(b"O" + text.encode("utf-8", "replace").hex().encode())
            self._flush()

    def output(self, data: bytes) -> None:
        """What the guest wrote, when the client asked for it."""
        if self.waiting and isinstance(self.target, HasConsole) and self.target.console and data:
            self._within_line = not data.endswith(b"\n")
            self.wire.send(b"O" + data.hex().encode())

    def stopped(self, stop: Stop) -> None:
        """The target stopped: tell the client if it waits for that."""
        if self.nonstop is not None:
            self.nonstop.stopped(stop)
            return
        if not self.waiting:
            return
        self.waiting = False
        if isinstance(stop, Stopped):
            self.thread = stop.thread
        if stop.text and not (isinstance(stop, Stopped) and stop.reason):
            start = "\n" if self._within_line else ""
            self.wire.send(b"O" + f"{start}{stop.text}\n".encode().hex().encode())
        self._within_line = False
        self._reply(self.stop_reply(stop))

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
        process = b";process:%x" % WHOLE_PROCESS if "multiprocess+" in self.features else b""
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
        numbers = [number for name in ("pc", "sp", "fp") if (number := self.layout.named(name)) is not None]
        read = self.target.read_register
        try:
            return [b"%02x:%b;" % (n, read(thread, self.layout, n).hex().encode()) for n in numbers]
        except TargetError:  # somebody else has let it run again
            return []

    # --- thread ids --------------------------------------------------------------------------------

    def threads(self) -> Sequence[int]:
        """The target's threads as this client is to see them."""
        return () if self.gone else self.target.threads()

    def thread_id(self, thread: int) -> bytes:
        """A thread's id as the client writes it."""
        return b"p%x.%x" % (WHOLE_PROCESS, thread) if "multiprocess+" in self.features else b"%x" % thread

    def parse_thread(self, text: bytes) -> int:
        """A thread, -1 for all, 0 for any. BadPacket for one that is none, TargetError for one that is not there."""
        if text.startswith(b"p"):
            process, _, text = text[1:].partition(b".")
            if process not in (b"-1", b"0") and int(process, 16) != WHOLE_PROCESS:
                raise TargetError(f"there is no process {int(process, 16)}", 3)
            text = text or b"-1"
        if text == b"-1":
            return -1
        thread = int(text, 16)
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

    def leave(self) -> None:
        """The connection is gone: take the client's breakpoints away, leave the target as it is."""
        self.ended = True
        self.files.clear()
        if isinstance(self.target, HasBreakpoints):
            self.target.remove_all()
