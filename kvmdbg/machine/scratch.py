"""A vCPU in a VM of its own, on a private copy of a guest's memory."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from ctypes import addressof, c_char

from kvmdbg.errors import KvmdbgError
from kvmdbg.kvm import System, abi
from kvmdbg.machine.cpu import Cpu
from kvmdbg.machine.layout import IDENTITY_MAP_ADDRESS, TSS_ADDRESS
from kvmdbg.machine.machine import Machine
from kvmdbg.machine.region import MAP_NORESERVE


@contextmanager
def scratch_vcpu(machine: Machine, hidden: Mapping[int, int], cpuid: abi.kvm_cpuid2) -> Iterator[Cpu]:
    """``hidden`` are bytes of memory that are others there, by guest-physical address. KvmdbgError, OSError."""
    copies: list[mmap.mmap] = []
    with System() as system, closing(system.create_vm()) as vm:
        with suppress(KvmdbgError):
            vm.set_identity_map_address(IDENTITY_MAP_ADDRESS)
            vm.set_tss_address(TSS_ADDRESS)
        if system.check_extension(abi.KVM_CAP_EXIT_ON_EMULATION_FAILURE):
            vm.enable_capability(abi.KVM_CAP_EXIT_ON_EMULATION_FAILURE, 1)
        for slot, region in enumerate(machine.memory.regions):
            flags = mmap.MAP_PRIVATE | MAP_NORESERVE
            copy = mmap.mmap(region.fd, region.size, flags, mmap.PROT_READ | mmap.PROT_WRITE)
            copies.append(copy)
            for address, byte in hidden.items():
                if region.address <= address < region.end:
                    copy[address - region.address] = byte
            anchor = c_char.from_buffer(copy)
            flags = abi.KVM_MEM_READONLY if region.rom else 0
            vm.set_memory_region(slot, region.address, region.size, addressof(anchor), flags)
            del anchor
        with closing(vm.create_vcpu(0)) as vcpu:
            vcpu.set_cpuid(cpuid)
            yield vcpu
