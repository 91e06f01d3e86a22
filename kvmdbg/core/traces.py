"""The traces and counts that the user has asked for: of exits, of their places, of instructions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kvmdbg.core.points import Points
from kvmdbg.debuginfo.symbols import SymbolTable
from kvmdbg.engine.breakpoints import check_catch_kind
from kvmdbg.engine.control import Control
from kvmdbg.engine.listeners import Listeners
from kvmdbg.errors import UsageError

if TYPE_CHECKING:
    from kvmdbg.observe.trace import ExitPlaces, ExitTrace, InsnTrace, Seen


class Traces:
    """One of each kind at a time."""

    def __init__(self, control: Control, points: Points, listeners: Listeners, symbols: SymbolTable) -> None:
        self._control = control
        self._points = points
        self._listeners = listeners
        self._symbols = symbols
        self.exits: ExitTrace | None = None
        self.exit_places: ExitPlaces | None = None
        """Counts of exits by instruction and function, while they are wanted."""
        self.instructions: InsnTrace | None = None
        """The instruction trace, while there is one: the guest is stepped then."""

    def trace_exits(
        self,
        *kinds: str,
        when: str | None = None,
        path: str | None = None,
        show: Callable[[Seen], None] | None = None,
    ) -> ExitTrace:
        """Trace exits from the next resume on, in place of a trace that goes on.

        Those of ``kinds`` (all without any) that pass the condition ``when``, to a file (text; ``.jsonl``; ``.json`` is
        Chrome's and Perfetto's format), or to ``show``. The last are in the trace's ``seen``.
        """
        from kvmdbg.observe.trace import ExitTrace, Sink

        for kind in kinds:
            check_catch_kind(kind)
        self.end_exits()
        sink = Sink(path, self._listeners.tell_warning) if path is not None else None
        self.exits = ExitTrace(self._points.observe, self._symbols, kinds, when, sink=sink, show=show)
        return self.exits

    def end_exits(self) -> None:
        """No more of that; its file is complete then."""
        if self.exits is not None:
            self.exits.close()
            self.exits = None

    def count_exit_places(self, on: bool = True) -> None:
        """Count exits by the instruction that made them, from the next resume on; or no more."""
        from kvmdbg.observe.trace import ExitPlaces

        if self.exit_places is not None:
            self.exit_places.close()
            self.exit_places = None
        if on:
            self.exit_places = ExitPlaces(self._points.observe)

    def trace_instructions(self, path: str | None = None) -> InsnTrace:
        """Step the guest from the next resume on and keep what ran, in place of a trace that goes on.

        With ``path`` each instruction and the registers that it changed go to a file.
        """
        from kvmdbg.observe.trace import InsnTrace, TraceFile

        if len(self._control.runners) > 1:
            raise UsageError("an instruction trace needs a guest with one vCPU")
        self._control.runner.require_step()
        self.end_instructions()
        file = TraceFile(path, self._listeners.tell_warning) if path is not None else None
        self.instructions = self._listeners.instructions = InsnTrace(self._symbols, self._code_at, file)
        return self.instructions

    def _code_at(self, address: int) -> tuple[bytes, int, int]:
        """The code at a linear address as the vCPU sees it that has just stepped, its width in bits and CS's base."""
        runner = self._control.runner
        runner.forget()
        return self._control.space.code_at(runner, address, 15), runner.mode.bits, runner.cs_base

    def end_instructions(self) -> None:
        """No more of that."""
        if self.instructions is not None:
            self.instructions.close()
            self.instructions = self._listeners.instructions = None

    def flush(self) -> None:
        """Write what has been kept for files."""
        if self.exits is not None and self.exits.sink is not None:
            self.exits.sink.flush()
        if self.instructions is not None:
            self.instructions.flush()

    def close(self) -> None:
        self.end_exits()
        self.end_instructions()
