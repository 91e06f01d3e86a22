"""What happened: exits as they come (to the screen, to files), counts by place, and instructions by stepping."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO, Any, Protocol

from kvmdbg.debuginfo.symbols import SymbolTable
from kvmdbg.errors import LoadError
from kvmdbg.kvm.exits import Exit, IoExit, MmioExit
from kvmdbg.record import record
from kvmdbg.x86 import disasm, registers

KEPT = 200_000


class Vcpu(Protocol):
    index: int


class Event(Protocol):
    """An exit or event that has been served; ``pc`` is the linear address of the instruction that made it."""

    exit: Exit

    @property
    def vcpu(self) -> Vcpu: ...

    @property
    def pc(self) -> int: ...


Observe = Callable[[Sequence[str], Callable[[Event], None], "str | None"], Callable[[], None]]
"""Has a function called with all events of some kinds that pass a condition; what is given back ends that."""


@record
class Seen:
    """One exit: ``time`` in seconds since the trace began, the vCPU, the linear address of the instruction."""

    time: float
    vcpu: int
    pc: int
    symbol: str
    exit: Exit

    def describe(self) -> str:
        """``0.001234 vcpu0 0x7c03 main+0x3: out port 0x10, 1 byte, data 0x01``."""
        place = f"{self.pc:#x} {self.symbol}".rstrip()
        return f"{self.time:.6f} vcpu{self.vcpu} {place}: {self.exit.describe()}"

    def to_json(self) -> dict[str, Any]:
        """``time``, ``vcpu``, ``pc``, ``symbol``, ``kind`` and ``data`` (the exit's own fields)."""
        data = self.exit.to_json()
        kind = data.pop("kind")
        place = {"time": round(self.time, 9), "vcpu": self.vcpu, "pc": self.pc, "symbol": self.symbol}
        return {**place, "kind": kind, "data": data}


class TraceFile:
    """A text file that is written while the guest runs. LoadError where it cannot be opened.

    When it cannot be written any more, ``tell`` is told once and the rest is dropped: the guest goes on.
    """

    def __init__(self, path: str, tell: Callable[[str], None]) -> None:
        self.path = path
        self._tell = tell
        self.lost = False
        """Not all that belongs there is in the file."""
        try:
            self._file: IO[str] = open(path, "w", encoding="utf-8")  # noqa: SIM115  closed by close()
        except OSError as error:
            raise LoadError(f"cannot write {path}: {error.strerror}") from None

    def write(self, text: str) -> None:
        self._try(lambda: self._file.write(text))

    def flush(self) -> None:
        self._try(self._file.flush)

    def close(self) -> None:
        self._try(self._file.close)

    def _try(self, action: Callable[[], object]) -> None:
        if self.lost:
            return
        try:
            action()
        except OSError as error:
            self.lost = True
            with suppress(OSError):
                self._file.close()
            self._tell(f"cannot write {self.path}: {error.strerror}; the rest of the trace is lost")


class Sink:
    """A file that a trace goes to, in the format that its name's ending says: text, ``.jsonl``, or ``.json``, which is
    Chrome's and Perfetto's trace format (an array of events, with times in microseconds)."""

    def __init__(self, path: str, tell: Callable[[str], None]) -> None:
        self.path = path
        self._file = TraceFile(path, tell)
        self.format = "chrome" if path.endswith(".json") else "jsonl" if path.endswith(".jsonl") else "text"
        self._last: dict[int, float] = {}
        if self.format == "chrome":
            self._file.write('[{"name": "process_name", "ph": "M", "pid": 1, "args": {"name": "kvmdbg guest"}}')

    def write(self, one: Seen) -> None:
        if self.format == "text":
            self._file.write(one.describe() + "\n")
        elif self.format == "jsonl":
            self._file.write(json.dumps(one.to_json()) + "\n")
        else:
            self._chrome(one)

    def _chrome(self, one: Seen) -> None:
        now = one.time * 1e6
        thread = {"pid": 1, "tid": one.vcpu}
        began = self._last.get(one.vcpu)
        if began is None:
            name = {"name": "thread_name", "ph": "M", **thread, "args": {"name": f"vCPU {one.vcpu}"}}
            self._file.write(",\n" + json.dumps(name))
            began = 0.0
        run = {"name": one.symbol or "guest", "cat": "guest", "ph": "X", "ts": began, "dur": now - began}
        args = {"pc": f"{one.pc:#x}", "symbol": one.symbol, **one.to_json()["data"]}
        exit = {"name": one.exit.describe(), "cat": one.exit.kind, "ph": "i", "s": "t", "ts": now, "args": args}
        self._last[one.vcpu] = now
        self._file.write(",\n" + json.dumps(run | thread) + ",\n" + json.dumps(exit | thread))

    @property
    def lost(self) -> bool:
        """Whether exits are missing in the file, as it could not be written."""
        return self._file.lost

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        if self.format == "chrome":
            self._file.write("]\n")
        self._file.close()


class ExitTrace:
    """Exits from the next resume on: those of ``kinds`` (all without any) that pass ``condition``.

    They go to ``sink``, else to ``show``; the last are kept in ``seen``.
    """

    def __init__(
        self,
        observe: Observe,
        symbols: SymbolTable,
        kinds: Sequence[str] = (),
        condition: str | None = None,
        *,
        sink: Sink | None = None,
        show: Callable[[Seen], None] | None = None,
    ) -> None:
        self._symbols = symbols
        self.kinds = tuple(kinds) or ("any",)
        self.seen: deque[Seen] = deque(maxlen=KEPT)
        self.count = 0
        self.sink = sink
        self._show = show
        self._began = time.perf_counter()
        self._end = observe(self.kinds, self._saw, condition)

    def _saw(self, event: Event) -> None:
        pc = event.pc
        one = Seen(time.perf_counter() - self._began, event.vcpu.index, pc, self._symbols.format(pc), event.exit)
        self.seen.append(one)
        self.count += 1
        if self.sink is not None:
            self.sink.write(one)
        elif self._show is not None:
            self._show(one)

    def close(self) -> None:
        """End the trace and its file."""
        self._end()
        if self.sink is not None:
            self.sink.close()


class ExitPlaces:
    """Counts of exits by what they touch and by the instruction that made them, from the next resume on."""

    def __init__(self, observe: Observe) -> None:
        self.counts: dict[tuple[str, int], int] = {}
        """By (what it was, linear address of the instruction)."""
        self.close = observe(("any",), self._saw, None)
        """Ends the counting."""

    def _saw(self, event: Event) -> None:
        key = (what(event.exit), event.pc)
        self.counts[key] = self.counts.get(key, 0) + 1


def what(exit: Exit) -> str:
    """An exit without its data: ``out port 0x10``, ``mmio read 0xfee00000``, ``hlt``."""
    if isinstance(exit, IoExit):
        return f"{exit.direction} port {exit.port:#x}"
    if isinstance(exit, MmioExit):
        return f"mmio {exit.direction} {exit.address:#x}"
    index = getattr(exit, "index", None)
    return exit.kind if index is None else f"{exit.kind} {index:#x}"


# --- instructions --------------------------------------------------------------------------------------

WORDS = [(name, at * 8) for at, name in enumerate(registers.GENERAL) if name != "rip"]


@record
class Place:
    """What is known of an instruction that ran: its text, length, symbol (with offset) and the symbol's own name."""

    text: str
    size: int
    symbol: str
    function: str
    is_call: bool
    is_ret: bool
    ends_block: bool


class InsnTrace:
    """Each instruction as it is stepped: how often each ran, where the time went, and a file of all of them.

    ``counts`` by linear address; ``folded`` by the functions called, outermost first. ``code_at`` gives the code at a
    linear address, as far as it can be read, its width in bits and the base of its segment.
    """

    def __init__(
        self, symbols: SymbolTable, code_at: Callable[[int], tuple[bytes, int, int]], file: TraceFile | None = None
    ) -> None:
        self._symbols = symbols
        self._code_at = code_at
        self.counts: dict[int, int] = {}
        self.places: dict[int, Place] = {}
        self.folded: dict[tuple[str, ...], int] = {}
        self._stack: list[str] = []
        self._key: tuple[str, ...] = ()
        self._file = file

    @property
    def total(self) -> int:
        """Instructions run."""
        return sum(self.counts.values())

    def step(self, pc: int, before: bytes, after: bytes) -> None:
        """The instruction at ``pc`` has run; registers (struct kvm_regs) before and after it."""
        place = self.places.get(pc)
        if place is None:
            place = self.places[pc] = self._look(pc)
        self.counts[pc] = self.counts.get(pc, 0) + 1
        stack = self._stack
        if not stack:
            stack.append(place.function)
            self._key = tuple(stack)
        elif stack[-1] != place.function:
            stack[-1] = place.function
            self._key = tuple(stack)
        self.folded[self._key] = self.folded.get(self._key, 0) + 1
        if place.is_call:
            stack.append("")
        elif place.is_ret and len(stack) > 1:
            stack.pop()
            self._key = tuple(stack)
        if self._file is not None:
            changed = [
                f"{name}={int.from_bytes(after[at : at + 8], 'little'):#x}"
                for name, at in WORDS
                if before[at : at + 8] != after[at : at + 8]
            ]
            line = f"{pc:#x} {place.symbol}: {place.text}" if place.symbol else f"{pc:#x}: {place.text}"
            self._file.write(f"{line}  ; {' '.join(changed)}\n" if changed else f"{line}\n")

    def _look(self, pc: int) -> Place:
        code, bits, base = self._code_at(pc)
        found = disasm.disassemble(code, pc, bits, 1, base=base) if code else []
        info = disasm.classify(code, pc, bits) if code else None
        near = self._symbols.nearest(pc)
        name = near[0].name if near else f"{pc & ~0xFFF:#x}"
        ends = info is not None and (info.is_jump or info.is_call or info.is_ret or info.is_int or info.is_hlt)
        return Place(
            found[0].text if found else "(cannot be read)",
            found[0].size if found else 1,
            self._symbols.format(pc),
            name,
            info is not None and info.is_call,
            info is not None and info.is_ret,
            ends,
        )

    def flush(self) -> None:
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
