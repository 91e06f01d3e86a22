"""The machine around a vCPU that unicorn runs."""

from __future__ import annotations

from collections.abc import Callable

from kvmdbg.errors import NotSupportedHere
from kvmdbg.kvm import abi
from kvmdbg.machine.machine import Machine
from kvmdbg.machine.memory import GuestMemory
from kvmdbg.soft.cpu import SoftCpu
from kvmdbg.soft.memory import SoftMemory
from kvmdbg.soft.system import SoftSystem, SoftVm


class SoftMachine(Machine):
    """It has one vCPU, and interrupt controllers of its own at most."""

    vm: SoftVm  # type: ignore[assignment]

    def __init__(self, memory: int, cpus: int, irqchip: bool, change_cpuid: Callable[[abi.kvm_cpuid2], None]) -> None:
        if irqchip or cpus > 1:
            raise NotSupportedHere(
                "the software engine has no local APICs: several vCPUs and --irqchip kernel need KVM (--engine kvm)"
            )
        super().__init__(memory, cpus, False, change_cpuid, system=SoftSystem(SoftCpu))  # type: ignore[arg-type]
        self.vm.clock = lambda: self.board.time.now()

    def _make_memory(self) -> GuestMemory:
        return SoftMemory(self.vm)
