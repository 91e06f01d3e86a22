"""Where machines come from, and what their vCPUs really do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from kvmdbg.engine import probe
from kvmdbg.kvm import abi
from kvmdbg.machine.cpu import Cpu
from kvmdbg.machine.machine import Machine
from kvmdbg.machine.scratch import scratch_vcpu


class Host(Protocol):
    """This host's KVM, or a script in tests."""

    @property
    def profile(self) -> probe.HostProfile:
        """What its vCPUs do with traps, debug registers and single steps."""
        ...

    @property
    def shutdown_resets(self) -> bool:
        """Whether a vCPU has been reset at KVM_EXIT_SHUTDOWN, so that what it was before is lost."""
        ...

    @property
    def legacy_paging_works(self) -> bool:
        """Whether a guest runs with paging in 32-bit protected mode."""
        ...

    @property
    def misses_windows(self) -> bool:
        """Whether a vCPU that is to exit when an interrupt may come in runs through a few instructions where it may."""
        ...

    def machine(self, memory: int, cpus: int, irqchip: bool, change_cpuid: Callable[[abi.kvm_cpuid2], None]) -> Machine:
        """A new machine, with ``memory`` bytes and an empty bus."""
        ...

    def scratch_vcpu(
        self, machine: Machine, hidden: Mapping[int, int], cpuid: abi.kvm_cpuid2
    ) -> AbstractContextManager[Cpu]:
        """A vCPU on a private copy of the machine's memory, with the bytes of ``hidden`` in place of its own.

        KvmdbgError or OSError where there is none.
        """
        ...


class KvmHost:
    """Each answer is asked of the probe when somebody wants to know, once in a process."""

    @property
    def profile(self) -> probe.HostProfile:
        return probe.host_profile()

    @property
    def shutdown_resets(self) -> bool:
        return probe.shutdown_resets()

    @property
    def legacy_paging_works(self) -> bool:
        return probe.legacy_paging_works()

    @property
    def misses_windows(self) -> bool:
        return probe.misses_windows()

    def machine(self, memory: int, cpus: int, irqchip: bool, change_cpuid: Callable[[abi.kvm_cpuid2], None]) -> Machine:
        return Machine(memory, cpus, irqchip, change_cpuid)

    def scratch_vcpu(
        self, machine: Machine, hidden: Mapping[int, int], cpuid: abi.kvm_cpuid2
    ) -> AbstractContextManager[Cpu]:
        return scratch_vcpu(machine, hidden, cpuid)
