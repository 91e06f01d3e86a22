"""What one entry into the guest does: the plays of a ``ScriptedCpu``."""

from __future__ import annotations

import os
from typing import Any

from kvmdbg.engine import stops
from kvmdbg.kvm import exits
from tests.scripted.cpu import Play, ScriptedCpu
from tests.scripted.machine import START, ScriptedSession


def leaves(exit: exits.Exit, *, to: int | None = None) -> Play:
    """It ends with this exit, with rip at ``to``."""
    return lambda cpu: cpu.leave(exit, to=to)


def port_out(port: int, data: bytes = b"\0", size: int = 1) -> Play:
    return leaves(exits.IoExit("out", port, size, len(data) // size, data))


def port_in(port: int, size: int = 1, count: int = 1) -> Play:
    return leaves(exits.IoExit("in", port, size, count, b""))


def mmio_write(address: int, data: bytes) -> Play:
    return leaves(exits.MmioExit("write", address, len(data), data))


def mmio_read(address: int, size: int) -> Play:
    return leaves(exits.MmioExit("read", address, size, b""))


def debugs(at: int, dr6: int, *, exception: int = 1, dr7: int = 0) -> Play:
    """A debug exit before the instruction at ``at``."""
    return leaves(exits.DebugExit(exception, at, dr6, dr7), to=at)


def fails(number: int) -> Play:
    """It is refused with this errno."""

    def play(cpu: ScriptedCpu) -> None:
        raise OSError(number, os.strerror(number))

    return play


HALT = leaves(exits.HltExit(), to=START + 4)
NO_EMULATION = leaves(exits.InternalErrorExit(exits.SUBERROR_EMULATION, (), b""), to=START)


def played(dbg: ScriptedSession, *plays: Play, **limits: Any) -> stops.Stop:
    """The stop to which a run with these plays leads; all of them have been played."""
    dbg.cpu.plays = list(plays)
    stop = dbg.run(**limits)
    assert dbg.cpu.plays == []
    return stop
