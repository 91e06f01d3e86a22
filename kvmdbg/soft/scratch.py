"""A vCPU of its own that unicorn runs, on a private copy of a guest's memory."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from ctypes import addressof, c_char
from typing import TYPE_CHECKING

from kvmdbg.errors import MemoryFault
from kvmdbg.kvm import abi
from kvmdbg.machine.cpu import Cpu
from kvmdbg.machine.machine import Machine
from kvmdbg.machine.region import MAP_NORESERVE, Region
from kvmdbg.soft.cpu import SoftCpu
from kvmdbg.soft.system import SoftSystem, SoftVm

if TYPE_CHECKING:
    from kvmdbg.x86.faults import State as CpuState


def _copy_of(region: Region) -> mmap.mmap:
    if region.fd >= 0:
        return mmap.mmap(region.fd, region.size, mmap.MAP_PRIVATE | MAP_NORESERVE, mmap.PROT_READ | mmap.PROT_WRITE)
    copy = mmap.mmap(-1, region.size)
    for begin, end in region.populated():
        copy[begin:end] = region.mapping[begin:end]
    return copy


class ScratchMemory:
    """Copies of ``regions`` as the memory of ``vm``; nothing is guarded."""

    restartable = False

    def __init__(self, vm: SoftVm, regions: Iterable[Region], hidden: Mapping[int, int]) -> None:
        self._copies: list[tuple[int, int, bool, mmap.mmap]] = []
        vm.memory = self
        for slot, region in enumerate(regions):
            copy = _copy_of(region)
            self._copies.append((region.address, region.end, region.rom, copy))
            at = addressof(c_char.from_buffer(copy))
            vm.set_memory_region(slot, region.address, region.size, at, abi.KVM_MEM_READONLY if region.rom else 0)
        for address, byte in hidden.items():
            with suppress(MemoryFault):
                self.write(address, bytes((byte,)))

    def _at(self, address: int, size: int) -> tuple[mmap.mmap, int, bool]:
        for begin, end, read_only, copy in self._copies:
            if begin <= address and address + size <= end:
                return copy, address - begin, read_only
        raise MemoryFault(address)

    def read(self, address: int, size: int) -> bytes:
        copy, at, _ = self._at(address, size)
        return copy[at : at + size]

    def write(self, address: int, data: bytes) -> None:
        copy, at, _ = self._at(address, len(data))
        copy[at : at + len(data)] = data

    def write_of_cpu(self, address: int, data: bytes) -> None:
        try:
            copy, at, read_only = self._at(address, len(data))
        except MemoryFault:
            return
        if not read_only:
            copy[at : at + len(data)] = data

    def lets_pass(self, kind: int, address: int, size: int) -> bool:
        return False

    def is_guarded(self, kind: int, address: int) -> bool:
        return False

    def guards_against(
        self, state: CpuState, writes: Iterable[tuple[int, bytes]], reads: Iterable[tuple[int, int]]
    ) -> bool:
        return False


@contextmanager
def scratch_vcpu(machine: Machine, hidden: Mapping[int, int], cpuid: abi.kvm_cpuid2) -> Iterator[Cpu]:
    """As ``machine.scratch.scratch_vcpu``."""
    with closing(SoftSystem(SoftCpu)) as system, closing(system.create_vm()) as vm:
        ScratchMemory(vm, machine.memory.regions, hidden)
        with closing(SoftCpu(vm, 0)) as vcpu:
            vcpu.set_cpuid(cpuid)
            yield vcpu
