"""A VM's descriptor: memory slots, interrupt controllers, coalesced zones (api.rst section 4, "vm ioctls")."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Collection
from ctypes import addressof, c_uint8, c_uint64
from typing import TYPE_CHECKING

from kvmdbg import suspending
from kvmdbg.errors import KvmIoctlError, UsageError
from kvmdbg.kvm import abi
from kvmdbg.kvm.system import System, ioctl

if TYPE_CHECKING:
    from kvmdbg.kvm.vcpu import Vcpu


MSR_SPAN = 0x3000
"""MSRs that one range of the filter can hold: its bitmap has at most 0x600 bytes (KVM_MSR_FILTER_MAX_BITMAP_SIZE)."""
MSR_RANGES = 16
NO_MSR = 0x7FFFFFFF


class Vm:
    """What KVM_CREATE_VM gave. ``system`` is the /dev/kvm it came from."""

    def __init__(self, system: System, fd: int) -> None:
        self.system = system
        self.fd = fd
        self.has_irqchip = False
        """Whether it has interrupt controllers, and each vCPU a local APIC."""

    def set_memory_region(self, slot: int, guest_address: int, size: int, host_address: int, flags: int = 0) -> None:
        """Map ``size`` bytes at ``host_address`` into guest-physical memory; size 0 deletes the slot.

        ``flags`` are KVM_MEM_READONLY and KVM_MEM_LOG_DIRTY_PAGES. The flags of
        an existing slot cannot become read-only or stop being so: delete it first.
        """
        region = abi.kvm_userspace_memory_region(slot, flags, guest_address, size, host_address)
        ioctl(
            self.fd,
            "KVM_SET_USER_MEMORY_REGION",
            abi.KVM_SET_USER_MEMORY_REGION,
            region,
            f"slot {slot} at {guest_address:#x}, {size:#x} bytes",
        )

    def dirty_log(self, slot: int, pages: int) -> bytes:
        """The slot's dirty bitmap since the last call, one bit a page, and cleared by this call."""
        words = (c_uint64 * ((pages + 63) // 64))()
        log = abi.kvm_dirty_log(slot, 0, addressof(words))
        ioctl(self.fd, "KVM_GET_DIRTY_LOG", abi.KVM_GET_DIRTY_LOG, log)
        return bytes(words)

    def set_tss_address(self, address: int) -> None:
        """Where Intel hosts without unrestricted guest keep three pages for real mode (below 4 GiB, off the slots)."""
        # fcntl.ioctl takes a signed int, the address is an unsigned long
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.ioctl(self.fd, ctypes.c_ulong(abi.KVM_SET_TSS_ADDR), ctypes.c_ulong(address)) < 0:
            raise KvmIoctlError("KVM_SET_TSS_ADDR", ctypes.get_errno(), f"address {address:#x}")

    def set_identity_map_address(self, address: int) -> None:
        """The page of the identity map that Intel hosts need in real mode; before the first vCPU."""
        ioctl(self.fd, "KVM_SET_IDENTITY_MAP_ADDR", abi.KVM_SET_IDENTITY_MAP_ADDR, c_uint64(address))

    def create_irqchip(self) -> None:
        """PIC, IOAPIC and a LAPIC for each vCPU, in the kernel; before the first vCPU."""
        ioctl(self.fd, "KVM_CREATE_IRQCHIP", abi.KVM_CREATE_IRQCHIP)
        self.has_irqchip = True

    def create_pit(self) -> None:
        """The i8254 timer, in the kernel, and port 0x61, which has its channel 2; needs the irqchip."""
        config = abi.kvm_pit_config(flags=abi.KVM_PIT_SPEAKER_DUMMY)
        ioctl(self.fd, "KVM_CREATE_PIT2", abi.KVM_CREATE_PIT2, config)

    def irq_line(self, line: int, level: int) -> None:
        """Raise (1) or lower (0) a line of the interrupt controllers in the kernel."""
        ioctl(self.fd, "KVM_IRQ_LINE", abi.KVM_IRQ_LINE, abi.kvm_irq_level(line, level))

    def get_irqchip(self, chip: int) -> abi.kvm_irqchip:
        """PIC 0, PIC 1 or IOAPIC (``chip`` 0 to 2)."""
        found = abi.kvm_irqchip(chip_id=chip)
        ioctl(self.fd, "KVM_GET_IRQCHIP", abi.KVM_GET_IRQCHIP, found)
        return found

    def set_irqchip(self, chip: abi.kvm_irqchip) -> None:
        ioctl(self.fd, "KVM_SET_IRQCHIP", abi.KVM_SET_IRQCHIP, chip)

    def get_pit(self) -> abi.kvm_pit_state2:
        found = abi.kvm_pit_state2()
        ioctl(self.fd, "KVM_GET_PIT2", abi.KVM_GET_PIT2, found)
        return found

    def set_pit(self, pit: abi.kvm_pit_state2) -> None:
        ioctl(self.fd, "KVM_SET_PIT2", abi.KVM_SET_PIT2, pit)

    def register_coalesced_zone(self, address: int, size: int, *, pio: bool) -> None:
        """Let KVM collect writes to these ports (or addresses) in the ring instead of exiting at each."""
        zone = abi.kvm_coalesced_mmio_zone(address, size, int(pio))
        ioctl(self.fd, "KVM_REGISTER_COALESCED_MMIO", abi.KVM_REGISTER_COALESCED_MMIO, zone)

    def unregister_coalesced_zone(self, address: int, size: int, *, pio: bool) -> None:
        zone = abi.kvm_coalesced_mmio_zone(address, size, int(pio))
        ioctl(self.fd, "KVM_UNREGISTER_COALESCED_MMIO", abi.KVM_UNREGISTER_COALESCED_MMIO, zone)

    def enable_capability(self, capability: int, argument: int = 0) -> None:
        """KVM_ENABLE_CAP on the VM."""
        request = abi.kvm_enable_cap(cap=capability)
        request.args[0] = argument
        ioctl(self.fd, "KVM_ENABLE_CAP", abi.KVM_ENABLE_CAP, request, f"capability {capability}")

    def filter_msrs(self, indices: Collection[int] | None) -> None:
        """Exit at RDMSR and WRMSR of these MSRs (None: of all that KVM lets us see), after KVM_CAP_X86_USER_SPACE_MSR.

        UsageError when they are spread over more ranges than the filter has (api.rst, KVM_X86_SET_MSR_FILTER).
        """
        request = abi.kvm_msr_filter()
        bitmaps = []
        if indices is None:
            request.flags = abi.KVM_MSR_FILTER_DEFAULT_DENY
            indices = [NO_MSR]  # the filter may not be empty; this one is let through
        starts: list[int] = []
        for index in sorted(indices):
            if not starts or index >= starts[-1] + MSR_SPAN:
                starts.append(index)
        if len(starts) > MSR_RANGES:
            raise UsageError(f"KVM can watch MSRs in at most {MSR_RANGES} ranges, these are spread over {len(starts)}")
        for entry, start in zip(request.ranges, starts, strict=False):
            inside = [index - start for index in indices if start <= index < start + MSR_SPAN]
            bitmap = (c_uint8 * (max(inside) // 8 + 1))(*[0xFF] * (max(inside) // 8 + 1))
            for bit in inside if not request.flags else ():
                bitmap[bit // 8] &= ~(1 << bit % 8)  # a clear bit denies, which is what exits
            bitmaps.append(bitmap)
            entry.flags = abi.KVM_MSR_FILTER_READ | abi.KVM_MSR_FILTER_WRITE
            entry.nmsrs, entry.base, entry.bitmap = len(bitmap) * 8, start, addressof(bitmap)
        ioctl(self.fd, "KVM_X86_SET_MSR_FILTER", abi.KVM_X86_SET_MSR_FILTER, request)

    def create_vcpu(self, index: int) -> Vcpu:
        """A new vCPU with this APIC id."""
        from kvmdbg.kvm.vcpu import Vcpu

        return Vcpu(self, ioctl(self.fd, "KVM_CREATE_VCPU", abi.KVM_CREATE_VCPU, index), index)

    def close(self) -> None:
        if self.fd >= 0:
            with suspending.held_off:
                os.close(self.fd)
            self.fd = -1
