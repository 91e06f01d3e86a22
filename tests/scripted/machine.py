"""The machine around a scripted vCPU, and the host that makes such machines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import SimpleNamespace
from typing import Any

from kvmdbg.core.session import Session
from kvmdbg.engine.probe import INT3, Behaviour, HostProfile
from kvmdbg.errors import NotSupportedHere
from kvmdbg.kvm import abi
from kvmdbg.machine.bus import Bus
from kvmdbg.machine.cpu import Cpu
from kvmdbg.machine.image import Entry, Image, LoadOptions, Segment, Symbol
from kvmdbg.machine.machine import Machine
from kvmdbg.machine.memory import GuestMemory
from kvmdbg.record import replace
from kvmdbg.x86.paging import ANY_CPU
from tests.scripted.cpu import Instruction, ScriptedCpu

START = 0x1000
EXTENSIONS = {
    abi.KVM_CAP_NR_MEMSLOTS: 64,
    abi.KVM_CAP_X86_USER_SPACE_MSR: 1,
    abi.KVM_CAP_X86_MSR_FILTER: 1,
    abi.KVM_CAP_SET_GUEST_DEBUG2: abi.KVM_GUESTDBG_BLOCKIRQ,
}
MODES = ("real", "prot32", "long", "user")


def profile(trap: int | None = INT3, *, registers: bool = False, **changes: bool) -> HostProfile:
    """What the vCPUs do: ``registers`` says whether debug registers fire; ``changes`` are fields of HostProfile."""
    behaviour = Behaviour(trap, registers, registers, True)
    plain = HostProfile(
        dict.fromkeys(MODES, behaviour),
        steps_into_handlers=True,
        leaks_trap_flag=False,
        steps_iret=True,
        halts_late=False,
        runs_on=False,
        int1_before=False,
        out_is_past=False,
        guards_restart=False,
        step_trap_waits=False,
    )
    return replace(plain, **changes)


class ScriptedMachine(Machine):
    """Memory, a bus and one vCPU, and no VM."""

    def __init__(self, memory: int, out_is_past: bool) -> None:
        nothing: Any = SimpleNamespace(
            close=lambda: None,
            check_extension=lambda which: EXTENSIONS.get(which, 0),
            set_memory_region=lambda *_: None,
            dirty_log=lambda slot, pages: bytes((pages + 7) // 8),
            msr_indices=list,
            enable_capability=lambda *_: None,
            filter_msrs=lambda *_: None,
        )
        nothing.system = nothing
        self.system = self.vm = nothing
        self.irqchip = False
        self.paging_limits = ANY_CPU
        self.memory = GuestMemory(nothing)
        self.memory.add(0, memory)
        self.bus = Bus()
        self.cpu = ScriptedCpu(self.memory, out_is_past=out_is_past)
        self.vcpus = [self.cpu]


class ScriptedHost:
    """Its vCPUs do what ``profile`` says, and run ``program``."""

    shutdown_resets = False
    legacy_paging_works = True
    misses_windows = False
    has_kernel_irqchip = True

    def __init__(self, profile: HostProfile, program: Mapping[int, tuple[int, Instruction]] | None = None) -> None:
        self.profile = profile
        self.program = program or {}

    def machine(self, memory: int, cpus: int, irqchip: bool, change_cpuid: Callable[[abi.kvm_cpuid2], None]) -> Machine:
        machine = ScriptedMachine(memory, self.profile.out_is_past)
        machine.cpu.program = self.program
        return machine

    def scratch_vcpu(
        self, machine: Machine, hidden: Mapping[int, int], cpuid: abi.kvm_cpuid2
    ) -> AbstractContextManager[Cpu]:
        raise NotSupportedHere("there is no scratch machine for a script")


class ScriptedSession(Session):
    """A session on a scripted vCPU: 64 KiB, real mode, ``code`` at ``START``."""

    def __init__(
        self,
        code: bytes,
        program: Mapping[int, tuple[int, Instruction]] | None = None,
        host: ScriptedHost | None = None,
        symbols: Sequence[Symbol] = (),
        **options: Any,
    ) -> None:
        image = Image("guest", "flat", [Segment(START, code)], "real", Entry(None, START), symbols=list(symbols))
        self._scripted = host or ScriptedHost(profile(), program)
        super().__init__(image, LoadOptions(memory=0x10000), host=self._scripted, **options)

    def let_probe_find(self, found: HostProfile) -> None:
        """Have the vCPU do from now on as this says."""
        self._scripted.profile = found

    @property
    def cpu(self) -> ScriptedCpu:
        cpu = self.machine.vcpus[0]
        assert isinstance(cpu, ScriptedCpu)
        return cpu


@contextmanager
def scripted_session(
    code: bytes,
    program: Mapping[int, tuple[int, Instruction]] | None = None,
    host: ScriptedHost | None = None,
    **options: Any,
) -> Iterator[ScriptedSession]:
    with ScriptedSession(code, program, host, **options) as session:
        yield session
