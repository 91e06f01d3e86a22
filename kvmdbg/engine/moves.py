"""Moves made of several steps and runs of the current vCPU: over calls, out of a function, to an address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvmdbg.engine import stops
from kvmdbg.engine.breakpoints import Breakpoint

if TYPE_CHECKING:
    from kvmdbg.engine.control import Control
    from kvmdbg.x86.disasm import InsnInfo


def to(control: Control, address: int, at_depth: int | None = None) -> stops.Stop:
    """Run to a linear address (with the stack no deeper than ``at_depth``), or to whatever stops before."""
    control.require_stopped()
    mine, runner = control.vcpu.index, control.runner

    def there(index: int) -> bool:
        return index == mine and (at_depth is None or runner.stack_pointer >= at_depth)

    point = Breakpoint(address=address, hardware=True, only_if=there)
    control.points.own_breakpoints.append(point)
    try:
        return control.run()
    finally:
        control.points.own_breakpoints.remove(point)


def arrived(control: Control, stop: stops.Stop) -> stops.Stop:
    """A stop at a breakpoint of the debugger's own is the end of a step."""
    if isinstance(stop, stops.BreakpointStop) and not stop.hits:
        stop = control.last_stop = stops.StepStop(vcpu=stop.vcpu, pc=stop.pc)
    return stop


def over(control: Control, count: int) -> stops.Stop:
    """``count`` steps, over calls, software interrupts and repeated string instructions."""
    while True:
        control.require_stopped()
        runner = control.runner
        info = control.space.classify_at(runner, runner.pc)
        if info is not None and info.is_stepped_over:
            stop = arrived(control, to(control, runner.pc + info.size, at_depth=runner.stack_pointer))
        else:
            stop = control.step()
        count -= 1
        if count <= 0 or not isinstance(stop, stops.StepStop):
            return stop


def _trapped(info: InsnInfo, before: int, pc: int) -> bool:
    """Whether a step of an instruction ended in a handler: it should have gone straight on, and did not."""
    return not (info.is_jump or info.is_ret or info.is_syscall) and pc not in (before, before + info.size)


def line(control: Control, *, over: bool) -> stops.Stop:
    """To the start of another source line; see ``Control.step_line``."""
    control.require_stopped()
    source, runner = control.source, control.runner
    here = source.at(runner.pc)
    if here is None:
        return control.next() if over else control.step()
    while True:
        before, info = runner.pc, control.space.classify_at(runner, runner.pc)
        back = before + (info.size if info is not None else 1)
        if info is not None and info.is_call and not over:
            stop = control.step()
            if isinstance(stop, stops.StepStop) and runner.pc != back:
                if source.at(runner.pc) is not None:
                    body = source.second_line(runner.pc)
                    return stop if body == runner.pc else arrived(control, to(control, body))
                stop = arrived(control, to(control, back, at_depth=runner.stack_pointer))
        elif info is not None and info.is_stepped_over:
            stop = control.next()
        else:
            stop = control.step()
            if over and info is not None and isinstance(stop, stops.StepStop) and _trapped(info, before, runner.pc):
                stop = out(control)
        if not isinstance(stop, stops.StepStop):
            return stop
        now = source.at(runner.pc)
        if now is None:
            return stop
        if (now.file, now.line) != (here.file, here.line):
            if runner.pc == now.address:
                return stop
            here = now  # in the middle of a line, behind a call: on to the start of the next
        elif runner.pc == now.address and runner.pc <= before and now.address != before:
            return stop  # a loop of one line has come round


def past_loop(control: Control) -> stops.Stop:
    """One step over calls; a jump backwards is run through to its other side."""
    control.require_stopped()
    runner = control.runner
    info = control.space.classify_at(runner, runner.pc)
    if info is not None and info.is_jump and info.target is not None and info.target <= runner.pc:
        return arrived(control, to(control, runner.pc + info.size))
    return over(control, 1)


def out(control: Control) -> stops.Stop:
    """Step, with calls run over, through the return instruction of this level.

    An iret deeper in the stack than where this began ends the handler of a trap that came in between.
    """
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
            stop = over(control, 1)
        else:
            runner.require_step()
            control.start({runner: runner.stepper.to_branch}, plant=False)
            stop = control.wait_for_stop()
        if not isinstance(stop, stops.StepStop):
            return stop
