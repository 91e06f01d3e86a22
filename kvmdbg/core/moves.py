"""Moves that know of frames: out of the selected one, to a place or out of the function; where a local's watch ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvmdbg.debuginfo.functions import Functions
from kvmdbg.engine import stops
from kvmdbg.engine.breakpoints import Breakpoint, Watchpoint
from kvmdbg.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kvmdbg.core.frames import Frames
    from kvmdbg.debuginfo.backtrace import Frame
    from kvmdbg.debuginfo.files import DebugFiles
    from kvmdbg.debuginfo.source import Source
    from kvmdbg.engine.control import Control
    from kvmdbg.engine.hook_calls import Event
    from kvmdbg.engine.moves import Moves
    from kvmdbg.loaders.symbol_files import Line

STEPS_OF_LOOPS = 3000
"""After so many steps the rest of a loop is run, with breakpoints behind it."""


class FrameMoves:
    """Of the selected vCPU of ``control``; ``moves`` makes those that need no frames, ``places`` gives the addresses of
    a place, as break takes it."""

    def __init__(
        self,
        control: Control,
        moves: Moves,
        frames: Frames,
        files: DebugFiles,
        source: Source,
        places: Callable[[int | str], list[int]],
    ) -> None:
        self._places = places
        self._control = control
        self._moves = moves
        self._frames = frames
        self._files = files
        self._source = source
        self._before_call: int | None = None
        """Where the last step over lines has stopped before an inlined call."""

    def finish(self) -> stops.Stop:
        """Run until the function of the selected frame has returned to its caller; out of an inlined one by steps."""
        self._control.require_stopped()
        chosen = self._frames.of(self._control.runner)
        frame = self._frames.backtrace(chosen.number + 1).frames[-1]
        if frame.inlined:
            return self._leave_inlined(frame)
        if not frame.number:
            return self._moves.finish()
        caller = self._frames.caller_of(frame)
        if caller is None:
            raise UsageError(f"frame {frame.number} is the outermost one that is known: nothing is behind its function")
        return self._moves.run_to([(caller.pc, caller.sp)], as_step=True)

    def _leave_inlined(self, frame: Frame) -> stops.Stop:
        """Step, over calls, until the code is no longer that of the inlined copy."""
        runner = self._control.runner
        outer = self._frames.backtrace(frame.number + 2).frames[frame.number]
        if outer.sp > runner.stack_pointer:  # it has called what runs
            stop = self._moves.run_to([(outer.pc, outer.sp)], as_step=True)
            if not isinstance(stop, stops.StepStop):
                return stop
        for dwarf, base in self._files.dwarf():
            chain = Functions.of(dwarf).chain(frame.place - base)
            block = next((one for one in chain if one.offset == frame.block), None)
            if block is not None:
                depth = runner.stack_pointer
                while True:
                    stop = self._moves.next()
                    there = block.holds(runner.pc - base) and runner.stack_pointer <= depth
                    if not isinstance(stop, stops.StepStop) or not there:
                        return stop
        return self._moves.finish()

    def run_to_place(self, address: int, depth: int, timeout: float) -> stops.Stop:
        """Run to a linear address with the stack no deeper than this, for so many seconds at most."""
        return self._moves.run_to([(address, depth)], timeout=timeout)

    def advance(self, *places: int | str) -> stops.Stop:
        """Run to one of these places, out of the function of the selected frame, or to what stops before.

        They are linear addresses or names, as ``break_at`` takes them. UsageError for none.
        """
        if not places:
            raise UsageError("advance needs a place: a linear address or a name")
        addresses = [address for one in places for address in self._places(one)]
        return self._moves.run_to([*((one, None) for one in addresses), *self._way_out()])

    def until(self, *places: int | str) -> stops.Stop:
        """The same, but addresses in the function of the frame only count there, not in calls of it that are deeper.

        Without a place: next, but lines before this one in the function are run through, as a loop's are; where no
        lines are known one instruction, and a jump backwards is run through to its other side.
        """
        if not places:
            return self._until_a_later_line()
        self._control.require_stopped()
        frame = self._frames.of(self._control.runner)
        ways: list[tuple[int, int | None]] = []
        for one in (address for place in places for address in self._places(place)):
            ways.append((one, frame.sp if self._same_function(one, frame.place) else None))
        return self._moves.run_to([*ways, *self._way_out()])

    def step_line(self, *, over: bool = False) -> stops.Stop:
        """Step to the start of another source line, into calls of functions that have lines, or ``over`` all calls,
        also those that were inlined. Where no line is known at pc, one instruction."""
        runner, inlined = self._control.runner, self._inlined()
        here, resumed = self._line_here(), self._before_call == self._control.runner.pc
        outside = self._way_out() if here is not None else []
        while True:
            before = runner.pc
            stop = self._moves.step_line(over=over)
            now = self._source.at(runner.pc)
            if not isinstance(stop, stops.StepStop) or here is None or now is None:
                return stop
            same_line = (now.file, now.line) == (here.file, here.line) and before < runner.pc
            if over and self._is_within(inlined):
                if self._calls_inlined(inlined, here):
                    return stop
                continue
            if now.begins and not (resumed and same_line and not self._is_behind(outside)):
                return stop
            if self._inlined() != inlined:
                return stop
            resumed = True  # the row is in the middle of a statement, as optimized code has them: on to the next

    def _is_behind(self, ways: list[tuple[int, int | None]]) -> bool:
        """Whether the stack says that the function which had these ways out has returned."""
        return any(depth is not None and self._control.runner.stack_pointer >= depth for _, depth in ways)

    def _inlined(self) -> list[int]:
        """The function at pc and the inlined copies in it, by where they stand in .debug_info.

        Where a step has stopped before an inlined call, that one is not begun yet.
        """
        pc = self._control.runner.pc
        chain, base = self._source.blocks_at(pc)
        found = [one for one in chain if one.kind != "block"]
        while self._before_call == pc and found and found[-1].kind == "inlined" and found[-1].entry + base == pc:
            del found[-1]
        return [base, *(one.offset for one in found)]

    def _line_here(self) -> Line | None:
        """The line at pc; where a step has stopped before an inlined call, that of the call."""
        pc = self._control.runner.pc
        found = self._source.at(pc)
        if found is None or self._before_call != pc:
            return found
        chain, base = self._source.blocks_at(pc)
        calls = [one for one in chain if one.kind == "inlined" and one.entry + base == pc and one.file]
        return found._replace(file=calls[0].file, line=calls[0].line) if calls else found

    def _calls_inlined(self, outer: list[int], here: Line) -> bool:
        """Whether pc is where a copy begins that another line than ``here`` calls: steps over it stop before it."""
        pc = self._control.runner.pc
        chain, base = self._source.blocks_at(pc)
        first = [one for one in chain if one.kind != "block"][len(outer) - 1]
        if first.entry + base != pc or (first.file, first.line) == (here.file, here.line):
            return False
        self._before_call = pc
        return True

    def _is_within(self, outer: list[int]) -> bool:
        """Whether the code at pc was inlined into that of ``outer``."""
        self._before_call = None
        now = self._inlined()
        return 1 < len(outer) < len(now) and now[: len(outer)] == outer

    def _until_a_later_line(self) -> stops.Stop:
        """Step, over calls, to the start of a line behind this one in the function, or in what it returns to."""
        runner = self._control.runner
        here = self._line_here()
        chain, base = self._source.blocks_at(runner.pc)
        if here is None or not chain:
            return self._moves.until()
        first, end, steps, inlined = chain[0].entry + base, here.end, 0, self._inlined()
        outside = self._way_out()
        while True:
            if steps >= STEPS_OF_LOOPS and (ways := self._ways_behind(end)):
                stop, steps = self._moves.run_to(ways, as_step=True), 0
            else:
                stop, steps = self._moves.over_instruction(), steps + 1
            if not isinstance(stop, stops.StepStop):
                return stop
            if self._is_within(inlined):
                if not first <= runner.pc < end and self._calls_inlined(inlined, here):
                    return stop
                continue
            returned = self._is_behind(outside)
            if first <= runner.pc < end and not returned:
                continue
            now = self._source.at(runner.pc)
            if now is None:
                return stop
            other = (now.file, now.line) != (here.file, here.line) or returned
            if other and runner.pc == now.address:
                if now.begins or self._inlined() != inlined:
                    return stop
                continue  # in the middle of a statement, as optimized code has them
            here, first, end = now, now.address, now.end  # in the middle of a line: on to the start of the next

    def _ways_behind(self, end: int) -> list[tuple[int, int | None]]:
        """Where lines behind ``end`` begin in the function, and where it returns to; none where that is not known."""
        runner, ways = self._control.runner, self._way_out()
        chain, base = self._source.blocks_at(runner.pc)
        if not ways or not chain:
            return []
        last = max(stop for _, stop in chain[0].extent) + base
        while end < last and (row := self._source.at(end)) is not None:
            ways.append((end, runner.stack_pointer))
            end = row.end
        return ways

    def _same_function(self, one: int, other: int) -> bool:
        for dwarf, base in self._files.dwarf():
            chain = Functions.of(dwarf).chain(other - base)
            if chain:
                return chain[0].holds(one - base)
        return False

    def _way_out(self) -> list[tuple[int, int | None]]:
        """Where the function of the selected frame returns to, as far as call frame information tells it.

        What frame pointers say may be no code, and nothing is planted there.
        """
        self._control.require_stopped()
        frame = self._frames.of(self._control.runner)
        caller = self._frames.caller_of(frame)
        return [(caller.pc, caller.sp)] if caller is not None and caller.how == "cfi" else []

    def end_with_frame(self, watch: Watchpoint) -> None:
        """Delete a watchpoint when the function of the selected frame returns, and stop there."""
        way_out = self._way_out()
        if not way_out:
            return
        ((address, depth),) = way_out
        control, points = self._control, self._control.points
        index = control.vcpu.index

        def there(vcpu: int) -> bool:
            return vcpu == index and (depth is None or control.runners[vcpu].stack_pointer >= depth)

        def ended(event: Event) -> stops.Stop | None:
            end.only_if = lambda vcpu: False
            if watch not in list(points):
                return None
            points.discard(watch)
            runner = control.runners[event.vcpu.index]
            return stops.ScopeEndStop(
                vcpu=runner.index, pc=runner.pc, hits=(), number=watch.number, text=watch.location
            )

        end = Breakpoint(address, only_if=there, function=ended, name="end of a frame")
        watch.ends_at = end
        points.ends.append(end)
