"""A run of so many instructions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvmdbg.engine import stops
from kvmdbg.machine.cpu import CountReached

if TYPE_CHECKING:
    from kvmdbg.engine.runner import Runner


def run_counted(runner: Runner, count: int) -> stops.Stop | None:
    """Run ``count`` instructions: freely where the vCPU counts them itself, else by stepping; the stop, LimitStop
    where nothing else has come before."""
    vcpu = runner.vcpu
    if not vcpu.counts_instructions or runner.plan.stepping:
        return runner.stepper.run(count, limit=True)
    vcpu.instructions_left = count
    try:
        return runner.go()
    except CountReached:
        runner.forget()
        stop = runner.stop(stops.LimitStop, limit=f"{count} instructions")
        runner.note_unseen(stop)
        return stop
    finally:
        vcpu.instructions_left = None
