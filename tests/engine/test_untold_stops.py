"""Stops that another vCPU was faster than: they are told when the vCPU goes on, unless they are void by then."""

from __future__ import annotations

from typing import Any, cast

from kvmdbg.engine import stops
from kvmdbg.engine.unreported import Unreported
from kvmdbg.engine.world import World
from kvmdbg.kvm import exits
from tests.scripted.machine import START, ScriptedSession
from tests.scripted.plays import HALT


class Vcpu:
    """As much of one as the world needs when it comes to rest."""

    runs_guest = True

    def __init__(self, index: int) -> None:
        self.index = index
        self.unreported = Unreported()

    def kick(self) -> None:
        pass


def halted(vcpu: int) -> stops.HaltedStop:
    return stops.HaltedStop(vcpu=vcpu, pc=0x1000)


def test_the_stop_of_the_slower_one_waits() -> None:
    told: list[stops.Stop] = []

    def finish(first: stops.Stop | None) -> stops.Stop:
        assert first is not None
        return first

    world = World(finish, told.append)
    first, second = (cast(Any, Vcpu(number)) for number in range(2))
    world.running = {first, second}
    world._at_rest.acquire()
    world._rest(second, halted(1))
    assert told == [] and world.stopping
    world._rest(first, halted(0))
    assert told == [halted(1)]
    assert first.unreported.stop == halted(0) and second.unreported.stop is None


def test_an_untold_hit_is_told_first_unless_void(dbg: ScriptedSession) -> None:
    point = dbg.break_at(START + 5)
    hit = stops.BreakpointStop(vcpu=0, pc=START, hits=(point,))
    unreported = dbg.runner.unreported
    unreported.stop = hit
    assert dbg.run() == hit
    unreported.stop = hit
    point.enabled = False
    dbg.cpu.plays = [HALT]
    assert isinstance(dbg.run(), stops.HaltedStop)
    point.enabled = True


def test_an_untold_stop_is_void_where_pc_was_moved(dbg: ScriptedSession) -> None:
    dbg.runner.unreported.stop = stops.ExitStop(vcpu=0, pc=START, exit=exits.HltExit())
    dbg.regs.set("rip", START + 1)
    dbg.cpu.plays = [HALT]
    assert isinstance(dbg.run(), stops.HaltedStop)
