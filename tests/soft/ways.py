"""Ways in which a guest comes to the jump to itself at its end: a run, single steps, strides."""

from __future__ import annotations

from collections.abc import Callable

import kvmdbg

DONE = b"\xeb\xfe"


def until_done(dbg: kvmdbg.Session, step: Callable[[], object]) -> None:
    for _ in range(60):
        if dbg.memory.read(dbg.regs.eip, 2) != DONE:
            step()


WAYS: list[Callable[[kvmdbg.Session], object]] = [
    lambda dbg: dbg.run(instructions=500),
    lambda dbg: until_done(dbg, dbg.step),
    lambda dbg: until_done(dbg, lambda: dbg.step(3)),
]
