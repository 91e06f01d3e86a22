"""What stands for /dev/kvm and a VM: they answer as kvm/system.py and kvm/vm.py do, as far as machines ask them."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable, Collection, Iterable
from ctypes import c_uint64, c_void_p
from typing import TYPE_CHECKING, Any, Protocol

from kvmdbg.errors import MemoryFault, NotSupportedHere
from kvmdbg.kvm import abi
from kvmdbg.soft import library
from kvmdbg.soft.library import ALL, EXECUTE, READ, check
from kvmdbg.soft.state import MSRS, TSC, State
from kvmdbg.x86 import paging

if TYPE_CHECKING:
    from kvmdbg.machine.cpu import Cpu
    from kvmdbg.x86.faults import State as CpuState

PAGE = 4096
TWO_BLOCKS = b"\xeb\x00\xeb\xfe"
"""Two jumps."""
EXTENSIONS = {
    abi.KVM_CAP_USER_MEMORY: 1,
    abi.KVM_CAP_NR_MEMSLOTS: 1 << 15,
    abi.KVM_CAP_SYNC_REGS: abi.KVM_SYNC_X86_REGS | abi.KVM_SYNC_X86_SREGS,
    abi.KVM_CAP_IMMEDIATE_EXIT: 1,
    abi.KVM_CAP_SET_GUEST_DEBUG: 1,
    abi.KVM_CAP_SET_GUEST_DEBUG2: abi.KVM_GUESTDBG_BLOCKIRQ,
    abi.KVM_CAP_MAX_VCPUS: 1,
    abi.KVM_CAP_X86_USER_SPACE_MSR: 1,
    abi.KVM_CAP_X86_MSR_FILTER: 1,
}
CPUID = (
    (0x0, 0, 0xD, 0x756E6547, 0x6C65746E, 0x49656E69),
    (0x1, 0, 0x306C4, 0x800, 0xCED82203, 0x78BFBFD),
    (0x2, 0, 0x1, 0, 0, 0x2C307D),
    (0x4, 0, 0x121, 0x1C0003F, 0x3F, 0x1),
    (0x4, 1, 0x122, 0x1C0003F, 0x3F, 0x1),
    (0x4, 2, 0, 0, 0, 0),
    (0x5, 0, 0, 0, 0x3, 0),
    (0x6, 0, 0x4, 0, 0, 0),
    (0x7, 0, 0, 0x389, 0, 0),
    (0xD, 0, 0x3, 0x240, 0x240, 0),
    (0xD, 1, 0x1, 0, 0, 0),
    (0x80000000, 0, 0x80000008, 0x756E6547, 0x6C65746E, 0x49656E69),
    (0x80000001, 0, 0x306C4, 0, 0x21, 0x2C100800),
    (0x80000002, 0, 0x63696E75, 0x206E726F, 0x74666F73, 0x65726177),
    (0x80000003, 0, 0x55504320, 0, 0, 0),
    (0x80000004, 0, 0, 0, 0, 0),
    (0x80000005, 0, 0x1FF01FF, 0x1FF01FF, 0x40020140, 0x40020140),
    (0x80000006, 0, 0, 0x42004200, 0x2008140, 0),
    (0x80000008, 0, 0x3028, 0, 0, 0),
)
"""Leaf, index, EAX, EBX, ECX, EDX: what unicorn 2.1 executes, which is QEMU 5's Haswell without AVX."""
INDEXED = frozenset((0x4, 0x7, 0xD))
SIGNIFICANT_INDEX = 1
UNLIKELY = 0x5EED_C0DE_CAFE
"""A value that nothing else has."""


class CpuMemory(Protocol):
    """What the vCPU does with guest memory by itself."""

    @property
    def restartable(self) -> bool:
        """Whether anything is guarded."""

    def read(self, address: int, size: int) -> bytes:
        """MemoryFault."""

    def write(self, address: int, data: bytes) -> None:
        """MemoryFault."""

    def write_of_cpu(self, address: int, data: bytes) -> None:
        """Lost where the guest can write nothing."""

    def lets_pass(self, kind: int, address: int, size: int) -> bool:
        """Whether an access that unicorn refuses, of a kind of UC_MEM_*, is to be done all the same."""

    def is_guarded(self, kind: int, address: int) -> bool:
        """Whether an access that unicorn refuses has met a guard."""

    def guards_against(
        self, state: CpuState, writes: Iterable[tuple[int, bytes]], reads: Iterable[tuple[int, int]]
    ) -> bool:
        """Whether a guard forbids one of these accesses: physical writes, linear reads."""


class SoftSystem:
    """Where machines come from; ``make_vcpu`` makes their vCPUs."""

    def __init__(self, make_vcpu: Callable[[SoftVm, int], Cpu]) -> None:
        self.make_vcpu = make_vcpu
        self.library = library.load()

    def check_extension(self, extension: int) -> int:
        return EXTENSIONS.get(extension, 0)

    def require(self, extension: int, name: str, without: str) -> int:
        return self.check_extension(extension)

    def supported_cpuid(self) -> abi.kvm_cpuid2:
        table = abi.kvm_cpuid2(nent=len(CPUID))
        for entry, (leaf, index, *registers) in zip(table.entries, CPUID, strict=False):
            entry.function, entry.index, entry.flags = leaf, index, SIGNIFICANT_INDEX if leaf in INDEXED else 0
            entry.eax, entry.ebx, entry.ecx, entry.edx = registers
        return table

    def msr_indices(self) -> list[int]:
        return [TSC, *MSRS]

    def create_vm(self) -> SoftVm:
        return SoftVm(self)

    def close(self) -> None:
        """Nothing is held."""


class SoftVm:
    """One of unicorn's engines: its memory map, and its only vCPU."""

    has_irqchip = False
    memory: CpuMemory

    def __init__(self, system: SoftSystem) -> None:
        self.system, self.library = system, system.library
        self.uc = c_void_p()
        check(self.library.quick.uc_open(library.ARCH_X86, library.MODE_64, ctypes.byref(self.uc)), "uc_open")
        self.library.control(self.uc, library.CTL_USE_EXITS, 1)  # with none: "until" means nothing
        self.clock: Callable[[], int] = lambda: 0
        """What the time stamp counter counts."""
        self.code_changed = self.translation_changed = False
        """Unicorn is to forget what it has translated of code, or of addresses, before it runs."""
        self.registers_touched = False
        """Unicorn's own registers are to be set again: where its map loses a page it looks the address up as a linear
        one, and a page fault of that is left in CR2."""
        self._exiting_msrs: Collection[int] | None = ()
        self._slots: dict[int, tuple[int, int, int, int]] = {}
        self._run_something()
        self.begun = self._find_counter()
        """How many instructions the last run has begun; one more than its limit where it ended for that."""
        self.limit = c_uint64.from_address(ctypes.addressof(self.begun) + 8)

    # --- memory ------------------------------------------------------------------------------------

    def set_memory_region(self, slot: int, guest_address: int, size: int, host_address: int, flags: int = 0) -> None:
        quick = self.library.quick
        if slot in self._slots:
            address, length, _, _ = self._slots.pop(slot)
            check(quick.uc_mem_unmap(self.uc, address, length), "uc_mem_unmap")
        if size:
            rights = READ | EXECUTE if flags & abi.KVM_MEM_READONLY else ALL
            check(quick.uc_mem_map_ptr(self.uc, guest_address, size, rights, host_address), "uc_mem_map_ptr")
            self._slots[slot] = guest_address, size, host_address, rights
        self.code_changed = self.translation_changed = self.registers_touched = True

    def _slot_of(self, page: int) -> tuple[int, int] | None:
        """Host address and rights of a page, as its slot has them."""
        for address, size, host, rights in self._slots.values():
            if address <= page < address + size:
                return host + page - address, rights
        return None

    def protect(self, page: int, rights: int) -> None:
        """Let the guest do only this with a page of RAM, nothing with 0; ALL: what its slot lets it.

        It is mapped anew, as unicorn's own walk of page tables may then still read and write it; after uc_mem_protect
        it may not write.
        """
        found = self._slot_of(page)
        if found is None:
            return
        host, own = found
        quick = self.library.quick
        check(quick.uc_mem_unmap(self.uc, page, PAGE), "uc_mem_unmap")
        check(quick.uc_mem_map_ptr(self.uc, page, PAGE, rights & own, host), "uc_mem_map_ptr")
        self.translation_changed = self.registers_touched = True

    def show_device(self, page: int, read: Any, write: Any) -> None:
        """Have a page without memory call these, with its address as their data."""
        data = c_void_p(page)
        check(self.library.quick.uc_mmio_map(self.uc, page, PAGE, read, data, write, data), "uc_mmio_map")

    def hide_device(self, page: int) -> None:
        check(self.library.quick.uc_mem_unmap(self.uc, page, PAGE), "uc_mem_unmap")
        self.registers_touched = True

    def drop_translations(self) -> None:
        """Before it runs: have unicorn forget code and page tables that are no more as it knows them."""
        if self.code_changed:
            self.library.control(self.uc, library.CTL_TB_FLUSH)
            self.code_changed = False
        if self.translation_changed:
            self.library.control(self.uc, library.CTL_TLB_FLUSH)
            self.translation_changed = False

    def bytes_at(self, state: State, linear: int, size: int) -> bytes:
        """Code at a linear address, as far as it can be read."""
        found = b""
        try:
            while size:
                physical = self.physical_at(state, linear)
                if physical is None:
                    break
                length = min(size, PAGE - physical % PAGE)
                found += self.memory.read(physical, length)
                linear, size = linear + length, size - length
        except MemoryFault:
            pass
        return found

    def physical_at(self, state: State, linear: int) -> int | None:
        """None where nothing is mapped."""
        return paging.walk(self.memory.read, *state.paging, linear).physical

    def _run_something(self) -> None:
        """Unicorn tells of all that it translates but the first."""
        page = mmap.mmap(-1, PAGE)
        page[: len(TWO_BLOCKS)] = TWO_BLOCKS
        at = ctypes.addressof(ctypes.c_char.from_buffer(page))
        check(self.library.quick.uc_mem_map_ptr(self.uc, 0, PAGE, ALL, at), "uc_mem_map_ptr")
        check(self.library.quick.uc_emu_start(self.uc, 0, 0, 0, 3), "uc_emu_start")
        check(self.library.quick.uc_mem_unmap(self.uc, 0, PAGE), "uc_mem_unmap")

    # --- what unicorn counts -----------------------------------------------------------------------

    def _find_counter(self) -> c_uint64:
        """Unicorn's own count of the instructions that a run has begun, which it tells nobody.

        It lies before the limit, which is found by a run that ends at once: there is no memory yet.
        """
        self.library.quick.uc_emu_start(self.uc, 0, 0, 0, UNLIKELY)
        assert self.uc.value is not None
        for offset in range(0x200, 0x1000, 8):
            if c_uint64.from_address(self.uc.value + offset).value == UNLIKELY:
                return c_uint64.from_address(self.uc.value + offset - 8)
        raise NotSupportedHere("this unicorn counts otherwise than 2.1.4: pip install 'unicorn==2.1.4'")

    # --- the rest ----------------------------------------------------------------------------------

    def create_vcpu(self, index: int) -> Cpu:
        return self.system.make_vcpu(self, index)

    def leaf(self, table: abi.kvm_cpuid2, leaf: int, index: int) -> tuple[int, int, int, int]:
        """EAX, EBX, ECX and EDX of CPUID; zeros where there is none."""
        for entry in table.entries[: table.nent]:
            if entry.function == leaf and (entry.index == index or not entry.flags & SIGNIFICANT_INDEX):
                return entry.eax, entry.ebx, entry.ecx, entry.edx
        return 0, 0, 0, 0

    def set_identity_map_address(self, address: int) -> None:
        """Nothing needs one."""

    def set_tss_address(self, address: int) -> None:
        """Nothing needs one."""

    def enable_capability(self, capability: int, argument: int = 0) -> None:
        """There is nothing to enable."""

    def filter_msrs(self, indices: Collection[int] | None) -> None:
        """Exit at RDMSR and WRMSR of these MSRs; of all with None."""
        self._exiting_msrs = indices

    def exits_at_msr(self, index: int) -> bool:
        return self._exiting_msrs is None or index in self._exiting_msrs

    def close(self) -> None:
        if self.uc.value:
            self.library.quick.uc_close(self.uc)
            self.uc = c_void_p()
