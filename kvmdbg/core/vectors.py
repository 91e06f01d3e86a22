"""Exceptions and interrupts, caught at the entries of their handlers.

No KVM exits for a single chosen exception or interrupt. So a breakpoint of the debugger's own is held at the handler
that the guest's table (IDT, or IVT in real mode) names for each wanted vector. Two things keep it right when the guest
changes its tables: the pages of the table are read-only while it runs, so that a write to it is seen and the
breakpoints are set anew; and the LIDT instructions in the image have a breakpoint as well, after which the table is
looked at again. A table that is loaded by code which was not in the image is noticed at the vCPU's next exit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from kvmdbg.core import stops
from kvmdbg.core.breakpoints import Breakpoint, Catchpoint, passes
from kvmdbg.core.events import VECTORS, WITH_ERROR_CODE, ExceptionEvent, InterruptEvent
from kvmdbg.errors import KvmdbgError, MemoryFault
from kvmdbg.x86.gates import gate_size, handlers

if TYPE_CHECKING:
    from kvmdbg.core.hooks import Event
    from kvmdbg.core.runner import Runner
    from kvmdbg.core.session import Session

PAGE = 4096
LIDT = re.compile(rb"\x0f\x01[\x18-\x1f\x58-\x5f\x98-\x9f]", re.DOTALL)
"""0F 01 /3 with a memory operand (SDM volume 2A, LGDT/LIDT)."""
Table = tuple[int, int, str]


class Vectors:
    """What is armed for the catchpoints on exceptions and interrupts of ``session``."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.wanted: list[Catchpoint] = []
        self._tables: dict[Runner, Table] = {}
        self._waiting: set[Runner] = set()
        """vCPUs that could run no code yet when the breakpoints were set: only their tables' pages are held."""
        self._ranges: list[tuple[int, int]] = []
        self._sites: list[int] | None = None

    @property
    def active(self) -> bool:
        return bool(self.wanted)

    def points(self) -> list[Breakpoint]:
        """The breakpoints to hold now: at wanted handlers, and at the image's LIDT instructions."""
        session = self.session
        self.wanted = [p for p in session.breakpoints.catchpoints() if p.enabled and p.kind in VECTORS]
        self._tables.clear()
        self._waiting = {runner for runner in session.runners if not runner.may_run} if self.wanted else set()
        self._ranges = []
        if not self.wanted:
            return []
        entries: dict[int, list[int]] = {}
        for runner in session.runners:
            known = set(self._tables.values())
            table = self._tables[runner] = self._table(runner)
            if table in known:
                continue
            base, limit, _ = table
            self._ranges += self._physical(runner, base, limit)
            if runner in self._waiting:
                continue  # what lies there need not be a table yet
            table_itself = range(base, base + min(limit + 1, 256 * gate_size(runner.mode)))
            for vector, linear in self._handlers(runner).items():
                if linear not in table_itself and session.physical_of(runner, linear) is not None:
                    entries.setdefault(linear, []).append(vector)
        points = [
            self._at_handler(linear, vectors)
            for linear, vectors in entries.items()
            if any(self._wants(vector) for vector in vectors)
        ]
        found = f"{len(points)} handler{'s' if len(points) != 1 else ''}"
        for point in self.wanted:
            point.held_by = found if points else "waits for a table of handlers"
        return [*points, *(Breakpoint(site, space="phys", function=self._nothing) for site in self.sites)]

    @property
    def sites(self) -> list[int]:
        """Where LIDT instructions lie in the loaded image."""
        if self._sites is None:
            self._sites = [
                segment.address + match.start()
                for segment in self.session.image.segments
                for match in LIDT.finditer(bytes(segment.data))
            ]
        return self._sites

    def pages(self) -> Iterator[int]:
        """Guest-physical pages of the tables."""
        return iter({page for start, end in self._ranges for page in range(start & -PAGE, end, PAGE)})

    def covers(self, physical: int, size: int) -> bool:
        """Whether a write there changes a table."""
        return any(start < physical + size and physical < end for start, end in self._ranges)

    def moved(self, runner: Runner) -> bool:
        """Whether this vCPU has another table than when the breakpoints were set, or could run no code then."""
        if runner in self._waiting and runner.may_run:
            return True
        return self._tables.get(runner) != self._table(runner)

    @staticmethod
    def _table(runner: Runner) -> Table:
        idt = runner.sregs.idt
        return idt.base, idt.limit, runner.mode.name if gate_size(runner.mode) == 4 else str(gate_size(runner.mode))

    def _physical(self, runner: Runner, base: int, limit: int) -> Iterator[tuple[int, int]]:
        at, end = base, base + min(limit, 256 * gate_size(runner.mode) - 1) + 1
        while at < end:
            stop = min(end, (at & -PAGE) + PAGE)
            physical = self.session.physical_of(runner, at)
            if physical is not None:
                yield physical, physical + stop - at
            at = stop

    def _handlers(self, runner: Runner) -> dict[int, int]:
        idt = runner.sregs.idt
        return handlers(lambda at, n: self.session.read_linear(runner, at, n), idt.base, idt.limit, runner.mode)

    def _wants(self, vector: int) -> bool:
        return any(self._matches(point, vector) for point in self.wanted)

    @staticmethod
    def _matches(point: Catchpoint, vector: int) -> bool:
        if "vector" in point.filters:
            return passes(point.filters["vector"], vector)
        return (vector < 32) == (point.kind == "exception")

    @staticmethod
    def _nothing(event: Event) -> None:
        """A hook that does nothing: the breakpoint is there so that the vCPU comes by."""

    def _at_handler(self, linear: int, vectors: list[int]) -> Breakpoint:
        def reached(event: Event) -> stops.Stop | None:
            runner = event._runner
            for kind in ("exception", "interrupt"):
                mine = [v for v in vectors if any(p.kind == kind and self._matches(p, v) for p in self.wanted)]
                if mine:
                    stop = self.session.offer(runner, self._describe(runner, kind, mine[0], vectors))[1]
                    if stop is not None:
                        return stop
            return None

        return Breakpoint(linear, function=reached)

    def _describe(self, runner: Runner, kind: str, vector: int, vectors: list[int]) -> ExceptionEvent | InterruptEvent:
        """The event, from the frame on the handler's stack (SDM volume 3A, figures 6-4 and 6-9, and 20.1.4)."""
        session, mode = self.session, runner.mode
        width = mode.bits // 8
        coded = kind == "exception" and vector in WITH_ERROR_CODE and not mode.segmented
        others = tuple(other for other in vectors if other != vector)
        try:
            frame = session.read_linear(runner, runner.stack_pointer, 3 * width)
        except MemoryFault:
            frame = bytes(3 * width)
        words = [int.from_bytes(frame[n * width : (n + 1) * width], "little") for n in range(3)]
        error_code = words.pop(0) & 0xFFFFFFFF if coded else None
        ip = words[0]
        if mode.bits != 64:
            with suppress(KvmdbgError):
                ip += session.context_of(runner).segment(words[1] & 0xFFFF)
        if kind == "interrupt":
            return InterruptEvent(vector, ip, others)
        address = int(runner.sregs.cr2) if vector == 14 and not mode.segmented else None
        return ExceptionEvent(vector, ip, others, error_code, address)
