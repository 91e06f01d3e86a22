"""What runs and steps can be limited to: UsageError for what is no limit."""

from __future__ import annotations

import math

from kvmdbg.errors import UsageError


def check_run(timeout: float | None, exits: int | None, instructions: int | None) -> None:
    for limit, what in ((exits, "exits"), (instructions, "instructions")):
        if limit is not None and (not isinstance(limit, int) or limit < 1):
            raise UsageError(f"cannot run {limit!r} {what}")
    if timeout is not None and (not isinstance(timeout, int | float) or math.isnan(timeout)):
        raise UsageError(f"{timeout!r} is no time to wait")


def check_steps(count: int) -> None:
    if not isinstance(count, int) or count < 1:
        raise UsageError(f"cannot step {count!r} instructions")
