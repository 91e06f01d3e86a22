"""Moves made of several steps and runs of the current vCPU: over calls, out of a function, to an address or a line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from kvmdbg.engine import limits, stops
from kvmdbg.engine.breakpoints import Breakpoint
from kvmdbg.engine.control import Control

if TYPE_CHECKING:
    from kvmdbg.debuginfo.source import Source
    from kvmdbg.x86.disasm import InsnInfo


class Moves:
    """Of the guest of ``control``, whose source lines ``source`` knows; steps go into no function that ``skipped``
    tells of by its address."""

    def __init__(self, control: Control, source: Source, skipped: Callable[[int], bool]) -> None:
        self._control = control
        self._source = source
        self._skipped = skipped

    def next(self, n: int = 1) -> stops.Stop:
        """Like step, but over calls, software interrupts and repeated string instructions."""
        limits.check_steps(n)
        control = self._control
        asked = control.interrupts
        while True:
            control.require_stopped()
            runner = control.runner
            info = control.space.classify_at(runner, runner.pc)
            if info is not None and info.is_stepped_over:
                stop = self._step_to(runner.pc + info.size, at_depth=runner.stack_pointer)
            else:
                stop = control.step()
            n -= 1
            if n <= 0 or not isinstance(stop, stops.StepStop) or control.interrupts != asked:
                return stop

    def step_line(self, *, over: bool = False) -> stops.Stop:
        """Step to the start of another source line, into calls of functions that have lines, or ``over`` all calls.

        ``over`` also runs through the handlers of exceptions that the line raises, such as page faults.
        Where no line is known at pc, one instruction.
        """
        control, source = self._control, self._source
        control.require_stopped()
        runner = control.runner
        here = source.at(runner.pc)
        if here is None:
            return self.next() if over else control.step()
        asked = control.interrupts
        while True:
            before, info = runner.pc, control.space.classify_at(runner, runner.pc)
            back = before + (info.size if info is not None else 1)
            if info is not None and info.is_call and not over:
                stop = control.step()
                if isinstance(stop, stops.StepStop) and runner.pc != back:
                    if source.at(runner.pc) is not None and not self._skipped(runner.pc):
                        body = source.behind_prologue(runner.pc)
                        return stop if body == runner.pc else self._step_to(body)
                    stop = self._step_to(back, at_depth=runner.stack_pointer)
            elif info is not None and info.is_stepped_over:
                stop = self.next()
            else:
                stop = control.step()
                if over and info is not None and isinstance(stop, stops.StepStop) and _trapped(info, before, runner.pc):
                    stop = self.finish()
            if not isinstance(stop, stops.StepStop) or control.interrupts != asked:
                return stop
            now = source.at(runner.pc)
            if now is None:
                return stop
            if (now.file, now.line) != (here.file, here.line):
                if runner.pc == now.address:
                    return stop
                here = now  # in the middle of a line, behind a call: on to the start of the next

    def over_instruction(self) -> stops.Stop:
        """One instruction; of a call, and of a handler that it is interrupted by, all."""
        control = self._control
        control.require_stopped()
        runner = control.runner
        before, info = runner.pc, control.space.classify_at(runner, runner.pc)
        if info is not None and info.is_stepped_over:
            return self.next()
        stop = control.step()
        if info is not None and isinstance(stop, stops.StepStop) and _trapped(info, before, runner.pc):
            return self.finish()
        return stop

    def finish(self) -> stops.Stop:
        """Run until the current function has returned to its caller.

        Needs no frame pointer: steps, with calls run over, until the return instruction of this level. An iret deeper
        in the stack than where this began ends the handler of a trap that came in between.
        """
        control = self._control
        control.require_stopped()
        control.require_waiting()
        began = control.runner.stack_pointer
        while True:
            control.require_stopped()
            runner = control.runner
            info = control.space.classify_at(runner, runner.pc)
            if info is not None and info.is_ret:
                nested = info.is_iret and runner.stack_pointer < began
                stop = control.step()
                if not nested or not isinstance(stop, stops.StepStop):
                    return stop
                continue
            if info is not None and info.is_stepped_over:
                stop = self.next()
            else:
                runner.require_step()
                control.start(lambda: {control.runner: control.runner.stepper.to_branch}, plant=False)
                stop = control.wait_for_stop(raises=True)
            if not isinstance(stop, stops.StepStop):
                return stop

    def until(self) -> stops.Stop:
        """Next, but a jump backwards is run through to its other side."""
        control = self._control
        control.require_stopped()
        runner = control.runner
        info = control.space.classify_at(runner, runner.pc)
        if info is not None and info.is_jump and info.target is not None and info.target <= runner.pc:
            return self._step_to(runner.pc + info.size)
        return self.next()

    def run_to(
        self, places: Sequence[tuple[int, int | None]], *, as_step: bool = False, timeout: float | None = None
    ) -> stops.Stop:
        """Run to one of some linear addresses, or to whatever stops before.

        Each comes with how deep the stack may at most be there (None: as deep as it likes). ``as_step``: where it gets
        there, the stop is the end of a step.
        """
        control = self._control
        control.require_stopped()
        mine, runner = control.vcpu.index, control.runner

        def at(address: int, depth: int | None) -> Breakpoint:
            def there(index: int) -> bool:
                return index == mine and (depth is None or runner.stack_pointer >= depth)

            return Breakpoint(address=address, hardware=True, only_if=there)

        points = [at(*place) for place in places]
        own = control.points.own_breakpoints
        own += points
        try:
            stop = control.run(timeout)
        finally:
            own[:] = [point for point in own if point not in points]
        if as_step and isinstance(stop, stops.BreakpointStop) and not stop.hits and stop.reason == "breakpoint":
            stop = control.last_stop = stops.StepStop(vcpu=stop.vcpu, pc=stop.pc)
        return stop

    def _step_to(self, address: int, at_depth: int | None = None) -> stops.Stop:
        """Run to a linear address as a part of a step."""
        return self.run_to([(address, at_depth)], as_step=True)


def _trapped(info: InsnInfo, before: int, pc: int) -> bool:
    """Whether a step of an instruction ended in a handler: it should have gone straight on, and did not."""
    return not (info.is_jump or info.is_ret or info.is_syscall) and pc not in (before, before + info.size)
