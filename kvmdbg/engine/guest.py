"""What the vCPUs of one machine share, from the load of an image to the next restart."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from kvmdbg.machine.snapshot import MemoryHistory

if TYPE_CHECKING:
    from kvmdbg.engine.coalescing import Coalescing
    from kvmdbg.engine.holding import Holding
    from kvmdbg.engine.host import Host
    from kvmdbg.engine.inspection import Inspection
    from kvmdbg.engine.judge import Judge
    from kvmdbg.engine.listeners import Listeners
    from kvmdbg.engine.outside import Door
    from kvmdbg.engine.traps import Traps
    from kvmdbg.engine.vectors import Vectors
    from kvmdbg.engine.views import PhysicalMemory
    from kvmdbg.engine.world import World
    from kvmdbg.machine.machine import Machine


class Guest:
    """The parts that a runner and its helpers use, by name."""

    def __init__(
        self,
        host: Host,
        machine: Machine,
        traps: Traps,
        physical: PhysicalMemory,
        space: Inspection,
        world: World,
        judge: Judge,
        door: Door,
        vectors: Vectors,
        holding: Holding,
        coalescing: Coalescing,
        listeners: Listeners,
    ) -> None:
        self.host = host
        self.machine = machine
        self.traps = traps
        self.physical = physical
        self.space = space
        self.world = world
        self.judge = judge
        self.door = door
        self.vectors = vectors
        self.holding = holding
        self.coalescing = coalescing
        self.listeners = listeners

    @cached_property
    def memory_history(self) -> MemoryHistory:
        """The pages that memory consisted of when it was last saved."""
        return MemoryHistory(self.machine)

    @cached_property
    def msrs(self) -> list[int]:
        """The MSRs that belong to the state of a vCPU."""
        return self.machine.system.msr_indices()
