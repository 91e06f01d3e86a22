"""Exceptions and interrupts, caught at the entries of their handlers.

No KVM exits for a single chosen exception or interrupt. So a breakpoint of the debugger's own is held at the handler
that the guest's table (IDT, or IVT in real mode) names for each wanted vector. Two things keep it right when the guest
changes its tables: the pages of the table are read-only while it runs, so that a write to it is seen and the
breakpoints are set anew; and the LIDT instructions in the image have a breakpoint as well, after which the table is
looked at again.

A trap on data would be seen by the guest. So it is planted only where code is sure to be: on an LIDT that is reached by
decoding from where a vCPU stands or from a function, and on a handler that begins as code does. Bytes that only look
like an LIDT get a debug register, as far as there are any, and such handlers are found by stepping if need be. A table
that none of these notices, or that code loads which was not in the image, is noticed at the vCPU's next exit.

An exception that has no handler ends the guest in a shutdown; the runner tells of it then (``Runner._undelivered``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from kvmdbg.engine import stops
from kvmdbg.engine.breakpoints import NOT_AT_ALL, STEPPED, Breakpoint, Catchpoint, passes
from kvmdbg.engine.events import VECTORS, WITH_ERROR_CODE, ExceptionEvent, InterruptEvent
from kvmdbg.errors import KvmdbgError, MemoryFault
from kvmdbg.x86 import disasm
from kvmdbg.x86.gates import gate_size, handlers
from kvmdbg.x86.reach import HANDLER_SIZE, Place, Read, find, looks_like_code

if TYPE_CHECKING:
    from kvmdbg.engine.debugged_vcpu import DebuggedVcpu
    from kvmdbg.engine.hook_calls import Event
    from kvmdbg.engine.inspection import Inspection
    from kvmdbg.engine.judge import Judge
    from kvmdbg.engine.world import World
    from kvmdbg.machine.image import Image

PAGE = 4096
LIDT = re.compile(rb"\x0f\x01[\x18-\x1f\x58-\x5f\x98-\x9f]", re.DOTALL)
"""0F 01 /3 with a memory operand (SDM volume 2A, LGDT/LIDT)."""
REX = frozenset(bytes((byte,)) for byte in range(0x40, 0x50))
Table = tuple[int, int, str]
GATES_32 = (0xE, 0xF)
"""Types of interrupt and trap gates that push 32-bit frames."""
KEPT_FLAGS = 0x3CD5
"""Flags that an event leaves as they are: CF, PF, AF, ZF, SF, DF, OF and IOPL."""
FIXED_FLAGS = 0x802A
"""Bits of FLAGS that do not change: 1 is set, 3, 5 and 15 are clear (SDM volume 1, figure 3-8)."""


class Vectors:
    """What is armed for the catchpoints on exceptions and interrupts that ``judge`` knows."""

    def __init__(self, image: Image, space: Inspection, world: World, judge: Judge) -> None:
        self._image = image
        self.loaded_at = image.loaded_at
        self._space = space
        self._world = world
        self._judge = judge
        self.wanted: list[Catchpoint] = []
        self._tables: dict[DebuggedVcpu, Table] = {}
        self._waiting: set[DebuggedVcpu] = set()
        """vCPUs that could run no code yet when the breakpoints were set: only their tables' pages are held."""
        self._ranges: list[tuple[int, int]] = []
        self._candidates: dict[int, int] | None = None
        """Linear addresses, by physical ones, of bytes in the image that may be an LIDT."""
        self.sure: dict[int, tuple[int, int]] = {}
        """The physical and linear address of each LIDT, by the physical address of its opcode."""
        self._starts: set[Place] = set()
        """Where code has been decoded from."""
        self._contents: dict[tuple[int, int], bytes] = {}

    @property
    def active(self) -> bool:
        return bool(self.wanted)

    def points(self, look_again: Callable[[DebuggedVcpu], None]) -> list[Breakpoint]:
        """The breakpoints to hold now: at wanted handlers, and at the image's LIDT instructions.

        ``look_again`` is called where a new table may have been loaded just before.
        """
        self.wanted = [p for p in self._judge.points.catchpoints() if p.enabled and p.kind in VECTORS]
        self._tables.clear()
        self._waiting = {runner for runner in self._world.runners if not runner.may_run} if self.wanted else set()
        self._ranges = []
        self._contents = {}
        if not self.wanted:
            return []
        entries: dict[tuple[DebuggedVcpu, int], list[int]] = {}
        for runner in self._world.runners:
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
                if linear not in table_itself and self._space.physical_of(runner, linear) is not None:
                    entries.setdefault((runner, linear), []).append(vector)
        self._contents = {
            (start, end): self._space.machine.memory.read(start, end - start) for start, end in self._ranges
        }
        points = [
            self._at_handler(runner, linear, vectors)
            for (runner, linear), vectors in entries.items()
            if any(self._wants(vector) for vector in vectors)
        ]
        found = f"{len(points)} handler{'s' if len(points) != 1 else ''}"
        for point in self.wanted:
            point.held_by = found if points else "waits for a table of handlers"
        return [*points, *self._sites(look_again)]

    def _sites(self, look_again: Callable[[DebuggedVcpu], None]) -> list[Breakpoint]:
        """What notices a new table: breakpoints on the LIDT instructions of the image, and behind possible ones."""
        if self._candidates is None:
            self._candidates = dict(self._matches_in_image())
        if not self._starts or len(self.sure) < len(self._candidates):
            self._look()
        points = []
        for physical, linear in self.sure.values():
            space = "linear" if physical == linear else "phys"  # where else it will be mapped is not known
            point = Breakpoint(physical, space=space, function=self._nothing)
            point.guarded = False
            points.append(point)
        for physical, linear in self._candidates.items():
            if physical not in self.sure:
                points += [self._perhaps(end, look_again) for end in sorted(self._ends(physical, linear))]
        return points

    def _matches_in_image(self) -> Iterator[tuple[int, int]]:
        """Physical and linear address of all bytes in the image that may be an LIDT."""
        for segment in self._image.segments:
            for match in LIDT.finditer(bytes(segment.data)):
                yield segment.address + match.start(), segment.linear + match.start()

    def _look(self) -> None:
        """Find LIDT instructions among the code that is reached from where the vCPUs are, and from functions."""
        for runner in self._world.runners:
            if runner in self._waiting:
                continue
            start = Place(runner.pc, runner.mode.bits, runner.cs_base, not runner.mode.segmented)
            self._find_from(start, partial(self._space.code_at, runner), partial(self._space.physical_of, runner))
        bits = self._image.function_bits or {"real": 16, "prot": 32, "long": 64}[self._image.mode]
        functions = [symbol.address for symbol in self._image.symbols if symbol.kind == "function"]
        for physical, linear in (self._candidates or {}).items():
            if physical not in self.sure:
                before = max((address for address in functions if address <= linear), default=None)
                if before is not None:
                    self._find_from(Place(before, bits, protected=bits != 16), self._read_linked, self._image.loaded_at)

    def _find_from(self, start: Place, read: Read, physical_of: Callable[[int], int | None]) -> None:
        if start in self._starts:
            return
        self._starts.add(start)
        for linear, size in find(read, "lidt", [start]).items():
            first = physical_of(linear)
            rex = start.bits == 32 and read(linear - 1, 1)[:1] in REX  # it may be code of 64 bits
            if first is not None and not rex:
                opcode = next((at for at in range(first, first + size) if at in (self._candidates or {})), first)
                self.sure[opcode] = first, linear

    def _read_linked(self, linear: int, size: int) -> bytes:
        physical = self._image.loaded_at(linear)
        with suppress(MemoryFault):
            if physical is not None:
                return self._space.physical.read(physical, size)
        return b""

    def _ends(self, physical: int, linear: int) -> set[int]:
        """Where the instruction behind a possible LIDT begins, in each mode that it may be in."""
        code = self._space.physical.read(physical, 8)
        widths = (16, 32) if self._image.mode == "real" else (32,)
        found = (disasm.classify(code, linear, bits) for bits in widths)
        return {linear + info.size for info in found if info is not None}

    def note_missed(self, points: Sequence[Breakpoint]) -> None:
        """Say so where a new table would be noticed at the vCPU's next exit only."""
        if any(point.without_register == NOT_AT_ALL and not point.held_by for point in points):
            for catch in self.wanted:
                catch.held_by += ", a new table at the next exit"

    def _perhaps(self, linear: int, look_again: Callable[[DebuggedVcpu], None]) -> Breakpoint:
        """A breakpoint that may lie on data: a debug register changes nothing that the guest can read."""
        point = Breakpoint(linear, function=lambda event: look_again(self._world.runners[event.vcpu.index]))
        point.without_register = NOT_AT_ALL
        return point

    def pages(self) -> Iterator[int]:
        """Guest-physical pages of the tables."""
        return iter({page for start, end in self._ranges for page in range(start & -PAGE, end, PAGE)})

    def covers(self, physical: int, size: int) -> bool:
        """Whether a write there changes a table."""
        return any(start < physical + size and physical < end for start, end in self._ranges)

    def altered(self) -> bool:
        """Whether a table holds something else than when the breakpoints were set."""
        read = self._space.machine.memory.read
        return any(read(start, end - start) != known for (start, end), known in self._contents.items())

    def moved(self, runner: DebuggedVcpu) -> bool:
        """Whether this vCPU has another table than when the breakpoints were set, or could run no code then."""
        if runner in self._waiting and runner.may_run:
            return True
        return self._tables.get(runner) != self._table(runner)

    @staticmethod
    def _table(runner: DebuggedVcpu) -> Table:
        idt = runner.sregs.idt
        return idt.base, idt.limit, runner.mode.name if gate_size(runner.mode) == 4 else str(gate_size(runner.mode))

    def _physical(self, runner: DebuggedVcpu, base: int, limit: int) -> Iterator[tuple[int, int]]:
        at, end = base, base + min(limit, 256 * gate_size(runner.mode) - 1) + 1
        while at < end:
            stop = min(end, (at & -PAGE) + PAGE)
            physical = self._space.physical_of(runner, at)
            if physical is not None:
                yield physical, physical + stop - at
            at = stop

    def _handlers(self, runner: DebuggedVcpu) -> dict[int, int]:
        idt = runner.sregs.idt
        return handlers(lambda at, n: self._space.read_linear(runner, at, n), idt.base, idt.limit, runner.mode)

    def _wants(self, vector: int) -> bool:
        return any(self._matches(point, vector) for point in self.wanted)

    def wants(self, kind: str, vector: int) -> bool:
        """Whether a catchpoint of this kind is for this vector."""
        return any(point.kind == kind and self._matches(point, vector) for point in self.wanted)

    def _matches(self, point: Catchpoint, vector: int) -> bool:
        """Whether a catchpoint means this one. In real mode a BIOS has calls and IRQs from 8 on."""
        if "vector" in point.filters:
            return passes(point.filters["vector"], vector)
        has_bios = self._space.machine.bios is not None and self._world.runners[0].mode.segmented
        interrupts_from = 8 if has_bios else 32
        if point.kind == "exception":
            return vector < interrupts_from
        pic = self._space.machine.board.pic
        return vector >= interrupts_from or (pic is not None and vector in pic.vectors)

    @staticmethod
    def _nothing(event: Event) -> None:
        """A hook that does nothing: the breakpoint is there so that the vCPU comes by."""

    def _at_handler(self, runner: DebuggedVcpu, linear: int, vectors: list[int]) -> Breakpoint:
        def reached(event: Event) -> stops.Stop | None:
            runner = self._world.runners[event.vcpu.index]
            handed, runner.handed = runner.handed, None
            known = handed in vectors
            here = self._leading_here(runner, vectors)
            for kind in ("interrupt",) if known else ("exception", "interrupt"):
                mine = [v for v in here if self.wants(kind, v) and (not known or v == handed)]
                if mine and (known or self._may_be_delivered(runner, kind, mine[0])):
                    stop = self._judge.offer(runner, self._describe(runner, kind, mine[0], here))[1]
                    if stop is not None:
                        return stop
            return None

        point = Breakpoint(linear, function=reached)
        if not self.is_handler(runner, linear):
            point.without_register = STEPPED
        return point

    def _may_be_delivered(self, runner: DebuggedVcpu, kind: str, vector: int) -> bool:
        """Whether the CPU may have come here by this vector, and not by a jump to the handler's entry.

        Behind a jump the stack holds no frame, or one that has been told, whose flags are mostly not the CPU's.
        """
        mode, idt, regs = runner.mode, runner.sregs.idt, runner.vcpu.regs
        width = 2 if mode.segmented else 8 if gate_size(mode) == 16 else 4
        coded = kind == "exception" and vector in WITH_ERROR_CODE and not mode.segmented
        try:
            if width == 4 and self._space.read_linear(runner, idt.base + 8 * vector + 5, 1)[0] & 15 not in GATES_32:
                return True
            frame = self._space.read_linear(runner, runner.on_stack(coded * width), 3 * width)
        except MemoryFault:
            return True
        flags = int.from_bytes(frame[2 * width :], "little")
        if flags & FIXED_FLAGS != 2:
            return False
        changed = (flags ^ regs.rflags) & KEPT_FLAGS
        place = (runner.pc, regs.rsp, frame)
        told, runner.handler_told = runner.handler_told, place
        return not changed or told != place

    def _leading_here(self, runner: DebuggedVcpu, vectors: list[int]) -> list[int]:
        """Of these vectors, all of one linear address, those whose segment and offset are where the vCPU is."""
        if not runner.mode.segmented:
            return vectors
        sregs, ip = runner.sregs, runner.vcpu.regs.rip
        here = (sregs.cs.selector << 16 | ip & 0xFFFF).to_bytes(4, "little")
        base = sregs.idt.base
        return [v for v in vectors if self._space.read_linear(runner, base + 4 * v, 4) == here] or vectors

    def is_handler(self, runner: DebuggedVcpu, linear: int) -> bool:
        """Whether code lies where a vector leads: unused vectors may lead to data, which no trap may change."""
        code = self._space.code_at(runner, linear, HANDLER_SIZE)
        return looks_like_code(code, {4: 16, 8: 32, 16: 64}[gate_size(runner.mode)])

    def _call(self, runner: DebuggedVcpu, vector: int) -> str:
        """What an interrupt asks of the BIOS."""
        bios = self._space.machine.bios
        if bios is None or not runner.mode.segmented:
            return ""
        return str(bios.words(runner.vcpu.regs, vector))

    def _describe(
        self, runner: DebuggedVcpu, kind: str, vector: int, vectors: list[int]
    ) -> ExceptionEvent | InterruptEvent:
        """The event, from the frame on the handler's stack (SDM volume 3A, figures 6-4 and 6-9, and 20.1.4)."""
        mode = runner.mode
        width = mode.bits // 8
        coded = kind == "exception" and vector in WITH_ERROR_CODE and not mode.segmented
        others = tuple(other for other in vectors if other != vector)
        try:
            frame = [self._space.read_linear(runner, runner.on_stack(n * width), width) for n in range(3)]
        except MemoryFault:
            frame = [bytes(width)] * 3
        words = [int.from_bytes(word, "little") for word in frame]
        error_code = words.pop(0) & 0xFFFFFFFF if coded else None
        ip = words[0]
        if mode.bits != 64:
            with suppress(KvmdbgError):
                ip += self._judge.context_of(runner).segment(words[1] & 0xFFFF)
        if kind == "interrupt":
            return InterruptEvent(vector, ip, others, self._call(runner, vector))
        address = int(runner.sregs.cr2) if vector == 14 and not mode.segmented else None
        return ExceptionEvent(vector, ip, others, error_code, address)
