"""For tests of stubs: a target that has every capability, and a client that speaks to one in plain calls."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence

from gdbstub import target as capabilities
from gdbstub.client import Client
from gdbstub.errors import TargetError
from gdbstub.registers import Description, Feature, Register
from gdbstub.target import Exited, Killed, Point, Resume, Stop, Stopped, Target
from gdbstub.wire import Event, Notification, Wire, unescape

SIZE = 0x10000
WRITE, HALT, EXIT = 0x01, 0x02, 0x03
"""Instructions: WRITE A B stores B at 0x9000+A; HALT stops; EXIT ends; every other byte does nothing."""
FREE_RUN = 1000
"""After so many instructions of a free run a fake target waits to be interrupted."""


def toy_description(bits: int = 32) -> Description:
    """pc, sp and two general registers of ``bits``."""
    names = [("pc", "code_ptr", "pc"), ("sp", "data_ptr", "sp"), ("a", f"int{bits}", None), ("b", f"int{bits}", None)]
    registers = tuple(Register(name, bits, kind, generic=generic) for name, kind, generic in names)
    return Description(key=f"toy{bits}", features=(Feature("org.example.toy", registers),), pointer_size=bits // 8)


class _Values:
    def __init__(self, target: FakeTarget, thread: int) -> None:
        self._target, self._thread = target, thread

    def register(self, number: int) -> int:
        return self._target.values[self._thread][number]

    def memory(self, address: int, size: int) -> bytes:
        data = self._target.read_memory(self._thread, address, size)
        if len(data) < size:
            raise TargetError("no memory there")
        return data


class FakeTarget(
    Target,
    capabilities.HasBreakpoints,
    capabilities.HasKill,
    capabilities.HasRestart,
    capabilities.HasDetach,
    capabilities.HasMonitor,
    capabilities.HasConsole,
    capabilities.HasMemoryMap,
    capabilities.HasMemoryRegions,
    capabilities.HasPhysicalMemory,
    capabilities.HasQuietSteps,
    capabilities.HasSearch,
    capabilities.HasFiles,
    capabilities.HasOffsets,
    capabilities.FollowsMode,
):
    """Two threads of a toy CPU over 64 KiB. It runs on the caller's thread, within ``resume``."""

    step_flags_possible = 7
    step_flags = 5

    def __init__(self) -> None:
        self.ram = bytearray(SIZE)
        self.values: dict[int, list[int]] = {1: [0x100, 0xFF00, 0, 0], 2: [0x200, 0xFE00, 0, 0]}
        self.points: dict[tuple[str, int, int], Point] = {}
        self.stop: Stop = Stopped(1)
        self.bits = 32
        self.physical = False

        self.commands: list[str] = []
        self.own_files: dict[str, str] = {}
        self.killed = self.detached = False
        self.restarts = 0
        self._runs = False
        self.resumed = Resume()
        """What the last resume was to do."""
        self.resumes = 0
        self.on_stop: Callable[[Stop], None] = lambda stop: None
        self.on_idle: Callable[[], None] = lambda: None

    # threads and registers

    def threads(self) -> Sequence[int]:
        return (1, 2)

    def thread_name(self, thread: int) -> str:
        return f"core <{thread}>"

    def current(self) -> int:
        return self.stop.thread if isinstance(self.stop, Stopped) else 1

    def description(self, thread: int) -> Description:
        return toy_description(self.bits)

    def read_register(self, thread: int, layout: Description, number: int) -> bytes:
        size = layout.registers[number].size
        return (self.values[thread][number] & (1 << 8 * size) - 1).to_bytes(size, "little")

    def write_register(self, thread: int, layout: Description, number: int, data: bytes) -> None:
        self.values[thread][number] = int.from_bytes(data, "little")

    # memory

    def read_memory(self, thread: int, address: int, length: int) -> bytes:
        if not 0 <= address < SIZE:
            raise TargetError(f"no memory at {address:#x}", 14)
        return bytes(self.ram[address : address + length])

    def write_memory(self, thread: int, address: int, data: bytes) -> None:
        if not 0 <= address <= SIZE - len(data):
            raise TargetError(f"no memory at {address:#x}", 14)
        self.ram[address : address + len(data)] = data

    def memory_map(self) -> Sequence[tuple[str, int, int]]:
        return [("ram", 0, SIZE)]

    def memory_region(self, thread: int, address: int) -> tuple[int, int, str]:
        return (0, SIZE, "rwx") if address < SIZE else (SIZE, (1 << 64) - SIZE, "")

    def search(self, thread: int, start: int, length: int, pattern: bytes) -> int | None:
        found = self.ram.find(pattern, start, start + length)
        return None if found < 0 else found

    # points

    def insert(self, point: Point) -> None:
        self.points[point.kind, point.address, point.length] = point

    def remove(self, kind: str, address: int, length: int) -> None:
        self.points.pop((kind, address, length), None)

    def remove_all(self) -> None:
        self.points = {key: point for key, point in self.points.items() if point.persist}

    # running

    @property
    def running(self) -> bool:
        return self._runs

    def resume(self, what: Resume) -> None:
        self._runs = True
        self.resumed = what
        self.resumes += 1
        for thread, (start, end) in what.steps.items():
            for _ in range(FREE_RUN):
                stop = self._instruction(thread)
                if stop is not None or not start <= self.values[thread][0] < end:
                    self._end(stop or Stopped(thread))
                    return
        for _ in range(FREE_RUN):
            for thread in sorted(what.runs):
                stop = self._instruction(thread)
                if stop is not None:
                    self._end(stop)
                    return

    def _instruction(self, thread: int) -> Stop | None:
        pc = self.values[thread][0] % SIZE
        code = self.ram[pc]
        length = 3 if code == WRITE else 1
        self.values[thread][0] = (pc + length) % SIZE
        if code == EXIT:
            return Exited(self.ram[(pc + 1) % SIZE])
        if code == HALT:
            return Stopped(thread, 0, text="halted")
        if code == WRITE:
            address = 0x9000 + self.ram[(pc + 1) % SIZE]
            self.ram[address] = self.ram[(pc + 2) % SIZE]
            for point in self.points.values():
                if point.kind in ("write", "access") and point.address <= address < point.address + point.length:
                    return Stopped(thread, 5, {"write": "watch", "access": "awatch"}[point.kind], address)
        for kind in ("sw", "hw"):
            found = self.points.get((kind, self.values[thread][0], 1))
            if found is not None and found.stops(_Values(self, thread), lambda text: self.print(text.encode())):
                return Stopped(thread, 5, f"{kind}break")
        return None

    def _end(self, stop: Stop) -> None:
        self.stop = stop
        self._runs = False
        self.on_stop(stop)

    def interrupt(self) -> None:
        if self._runs:
            self._end(Stopped(self.current(), 2))

    def last_stop(self) -> Stop:
        return self.stop

    def kill(self) -> None:
        self.killed, self._runs, self.stop = True, False, Killed()

    def restart(self) -> None:
        self.restarts += 1
        self.killed, self._runs, self.stop = False, False, Stopped(1)
        self.values[1][0], self.values[2][0] = 0x100, 0x200

    def detach(self) -> None:
        self.detached = self._runs = True

    # the rest

    def print(self, data: bytes) -> None:
        """The guest writes to its console."""
        if self.on_output is not None:
            self.on_output(data)

    def monitor(self, command: str, show: Callable[[str], None]) -> None:
        self.commands.append(command)
        if command == "fail":
            raise TargetError("that failed")
        show(f"you said {command}\n")

    def files(self) -> Mapping[str, str]:
        return self.own_files

    def exec_file(self) -> str:
        return next(iter(self.own_files), "")

    def offsets(self) -> tuple[int, int]:
        return 0x1000, 0x2000

    def exec_name(self) -> str:
        return f"{self.bits} bits"


def _body(event: Event) -> bytes | None:
    """What a packet says, escapes undone; a notification behind its ``%``."""
    if isinstance(event, Notification):
        return b"%" + unescape(event.body)
    return unescape(event) if isinstance(event, bytes) else None


class Loop:
    """A client of a target without any connection: packets in, replies out, at once."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.client = Client(target)
        target.on_stop = self.client.stopped
        if isinstance(target, capabilities.HasConsole):
            target.on_output = self.client.output
        self.wire = Wire(notified=True)

    def send(self, body: bytes) -> list[bytes]:
        """Send a packet; the bodies of all packets that come back, escapes undone."""
        self.wire.send(body)
        return self.raw(self.wire.take())

    def raw(self, data: bytes) -> list[bytes]:
        """Send bytes as they are."""
        self.client.receive(data)
        events = list(self.wire.feed(self.client.take()))
        self.client.receive(self.wire.take())  # the acknowledgments
        self.client.take()
        return [found for event in events if (found := _body(event)) is not None]

    def ask(self, body: bytes) -> bytes:
        """Send a packet that has one reply."""
        (reply,) = self.send(body)
        return reply

    def interrupt(self) -> list[bytes]:
        """Send the interrupt byte."""
        return self.raw(b"\x03")


class Remote:
    """A client of a server, over a socket."""

    def __init__(self, connection: socket.socket, timeout: float = 10) -> None:
        self.socket = connection
        self.socket.settimeout(timeout)
        self.wire = Wire(notified=True)
        self._events: list[bytes] = []

    def send(self, body: bytes) -> None:
        """Send a packet."""
        self.wire.send(body)
        self.socket.sendall(self.wire.take())

    def receive(self) -> bytes:
        """The body of the next packet, or notification behind its ``%``; EOFError when the connection has ended."""
        while not self._events:
            data = self.socket.recv(1 << 16)
            if not data:
                raise EOFError
            self._events += [found for event in self.wire.feed(data) if (found := _body(event)) is not None]
            self.socket.sendall(self.wire.take())
        return self._events.pop(0)

    def ask(self, body: bytes) -> bytes:
        """Send a packet and wait for its reply."""
        self.send(body)
        return self.receive()

    def interrupt(self) -> None:
        """Send the interrupt byte."""
        self.socket.sendall(b"\x03")

    def close(self) -> None:
        self.socket.close()
