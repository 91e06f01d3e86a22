"""Where machines come from, and what their vCPUs really do."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from kvmdbg.engine import probe
from kvmdbg.errors import KvmUnavailable, NotSupportedHere, UsageError
from kvmdbg.kvm import System, abi
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

    @property
    def has_kernel_irqchip(self) -> bool:
        """Whether there are interrupt controllers in the kernel, with local APICs."""
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

    has_kernel_irqchip = True

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


ENGINES = ("auto", "kvm", "soft")
VARIABLE = "KVMDBG_ENGINE"
"""The environment's word for it, where the user has none."""


def host_of(engine: str = "") -> tuple[Host, str]:
    """Where machines come from, by one of ENGINES; a sentence for the user where that is not what he would expect.

    "auto" is KVM where it can be used, else unicorn where it is installed. "" leaves it to the environment. UsageError
    where there is no such engine, KvmUnavailable or NotSupportedHere where it cannot be had.
    """
    wanted = engine or os.environ.get(VARIABLE, "") or "auto"
    if wanted not in ENGINES:
        whence = "" if engine else f" (of the environment's {VARIABLE})"
        raise UsageError(f"there is no engine {wanted!r}{whence}: there are {', '.join(ENGINES)}")
    why = ""
    if wanted == "auto":
        try:
            System().close()
        except KvmUnavailable as error:
            why = str(error)
    if wanted == "kvm" or not (why or wanted == "soft"):
        return KvmHost(), ""
    from kvmdbg.engine.soft_host import SoftHost, without_it

    if (missing := without_it()) is not None:
        raise KvmUnavailable(f"{why}; or run without KVM: {missing}") if why else NotSupportedHere(missing)
    return SoftHost(), f"{why}. The guest runs in software (--engine soft)." if why else ""
