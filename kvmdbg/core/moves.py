"""Moves that know of frames: out of the selected one, to a place or out of the function; where a local's watch ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvmdbg.debuginfo.functions import Functions
from kvmdbg.engine import stops
from kvmdbg.engine.breakpoints import Breakpoint, Watchpoint

if TYPE_CHECKING:
    from kvmdbg.core.frames import Frames
    from kvmdbg.debuginfo.backtrace import Frame
    from kvmdbg.debuginfo.files import DebugFiles
    from kvmdbg.engine.control import Control
    from kvmdbg.engine.hook_calls import Event
    from kvmdbg.engine.moves import Moves


class FrameMoves:
    """Of the selected vCPU of ``control``; ``moves`` makes those that need no frames."""

    def __init__(self, control: Control, moves: Moves, frames: Frames, files: DebugFiles) -> None:
        self._control = control
        self._moves = moves
        self._frames = frames
        self._files = files

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
            return self._moves.finish()
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

    def advance(self, *addresses: int) -> stops.Stop:
        """Run to one of these linear addresses, out of the function of the selected frame, or to what stops before."""
        return self._moves.run_to([*((one, None) for one in addresses), *self._way_out()])

    def until(self, *addresses: int) -> stops.Stop:
        """The same, but addresses in the function of the frame only count there, not in calls of it that are deeper.

        Without an address: next, but a jump backwards is run through to its other side.
        """
        if not addresses:
            return self._moves.until()
        self._control.require_stopped()
        frame = self._frames.of(self._control.runner)
        places: list[tuple[int, int | None]] = []
        for one in addresses:
            places.append((one, frame.sp if self._same_function(one, frame.place) else None))
        return self._moves.run_to([*places, *self._way_out()])

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
