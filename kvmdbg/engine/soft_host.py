"""Machines whose vCPU unicorn runs (soft/), and what it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from kvmdbg.engine.probe import INT3, WHENCE, Behaviour, HostProfile
from kvmdbg.kvm import abi
from kvmdbg.machine.cpu import Cpu
from kvmdbg.machine.machine import Machine

PROFILE = HostProfile(
    dict.fromkeys(WHENCE, Behaviour(trap=INT3, execute_dr=True, data_dr=False, step=True)),
    steps_into_handlers=True,
    leaks_trap_flag=False,
    steps_iret=True,
    halts_late=False,
    runs_on=False,
    int1_before=False,
    out_is_past=True,
    guards_restart=True,
    step_trap_waits=False,
)


def without_it() -> str | None:
    """What to install where unicorn is not; None where it is."""
    from kvmdbg.soft import library

    return None if library.find() else library.WITHOUT_IT


class SoftHost:
    """A ``Host`` (host.py) whose answers need no probe: it is the same everywhere."""

    profile = PROFILE
    shutdown_resets = False
    legacy_paging_works = True
    misses_windows = True
    has_kernel_irqchip = False

    def machine(self, memory: int, cpus: int, irqchip: bool, change_cpuid: Callable[[abi.kvm_cpuid2], None]) -> Machine:
        from kvmdbg.soft.machine import SoftMachine

        return SoftMachine(memory, cpus, irqchip, change_cpuid)

    def scratch_vcpu(
        self, machine: Machine, hidden: Mapping[int, int], cpuid: abi.kvm_cpuid2
    ) -> AbstractContextManager[Cpu]:
        from kvmdbg.soft.scratch import scratch_vcpu

        return scratch_vcpu(machine, hidden, cpuid)
