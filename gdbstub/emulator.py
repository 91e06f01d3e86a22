"""What targets have in common whose CPU is an emulator's: one thread, which runs some instructions each call."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Collection

from gdbstub.errors import TargetError
from gdbstub.registers import Description
from gdbstub.target import SIGINT, SIGSEGV, HasBreakpoints, HasConsole, HasDetach, Point, Resume, Stop, Stopped, Target

SLICE = 100_000
"""Instructions between two looks whether the client has interrupted."""


class Emulator(Target, HasBreakpoints, HasConsole, HasDetach):
    """One CPU with the registers of ``layout``, which runs on a thread of its own.

    A subclass says how registers and memory are read and written, and what ``run`` does.
    """

    running = False
    console = True

    def __init__(self, layout: Description) -> None:
        self.layout = layout
        self._pc = next(one.name for one in layout.registers if one.generic == "pc")
        self._points: dict[tuple[str, int], Point] = {}
        self._interrupted = False
        self._stop: Stop = Stopped(1)

    # --- what a subclass says ------------------------------------------------------------------------

    @abstractmethod
    def register(self, name: str) -> int:
        """The value of a register, unsigned."""

    @abstractmethod
    def set_register(self, name: str, value: int) -> None:
        """Write it."""

    @abstractmethod
    def run(self, ends: Collection[int], count: int) -> None:
        """Run ``count`` instructions, or until the next one is at one of the addresses ``ends``.

        TargetError where the CPU cannot go on: the client is told, as of a SIGSEGV.
        """

    # --- what follows of it --------------------------------------------------------------------------

    def description(self, thread: int) -> Description:
        return self.layout

    def read_register(self, thread: int, layout: Description, number: int) -> bytes:
        one = layout.registers[number]
        return self.register(one.name).to_bytes(one.size, "little")

    def write_register(self, thread: int, layout: Description, number: int, data: bytes) -> None:
        self.set_register(layout.registers[number].name, int.from_bytes(data, "little"))

    def insert(self, point: Point) -> None:
        if point.kind not in ("sw", "hw"):
            raise TargetError("there are no watchpoints here")
        self._points[point.kind, point.address] = point

    def remove(self, kind: str, address: int, length: int) -> None:
        self._points.pop((kind, address), None)

    def remove_all(self) -> None:
        self._points = {key: point for key, point in self._points.items() if point.persist}

    def last_stop(self) -> Stop:
        return self._stop

    def interrupt(self) -> None:
        self._interrupted = True

    def detach(self) -> None:
        self.resume(Resume(runs=frozenset({1})))

    def resume(self, what: Resume) -> None:
        self.running, self._interrupted = True, False
        threading.Thread(target=self._go, args=(what.steps.get(1),), name="emulator", daemon=True).start()

    def _go(self, span: tuple[int, int] | None) -> None:
        try:
            self._stop = self._until_stop(span)
        except TargetError as error:
            self._stop = Stopped(1, SIGSEGV, text=str(error))
        self.running = False
        self.on_stop(self._stop)

    def _until_stop(self, span: tuple[int, int] | None) -> Stop:
        """Run, or step until pc is out of ``span``."""
        while True:
            self.run((), 1)  # off a breakpoint
            ends = {address for _, address in self._points}
            if span is None and self.register(self._pc) not in ends:
                self.run(ends, SLICE)
            pc = self.register(self._pc)
            if span is not None and not span[0] <= pc < span[1]:
                return Stopped(1)
            for (kind, address), point in self._points.items():
                if address == pc and point.stops(_Values(self), self._say):
                    return Stopped(1, reason=f"{kind}break")
            if self._interrupted:
                return Stopped(1, SIGINT)

    def _say(self, text: str) -> None:
        """What a breakpoint's commands print."""
        if self.on_output is not None:
            self.on_output(text.encode())


class _Values:
    """What conditions and commands see."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    def register(self, number: int) -> int:
        return self._emulator.register(self._emulator.layout.registers[number].name)

    def memory(self, address: int, size: int) -> bytes:
        data = self._emulator.read_memory(1, address, size)
        if len(data) < size:
            raise TargetError(f"{address:#x}: there are only {len(data)} bytes")
        return data
