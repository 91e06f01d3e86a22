"""The virtual machine around the vCPUs: memory, bus, devices, and the image's state at start."""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Sequence
from ctypes import memset
from itertools import pairwise
from typing import Any

from kvmdbg.errors import KvmIoctlError, KvmUnavailable, UsageError
from kvmdbg.kvm import System, abi
from kvmdbg.machine import mp_table
from kvmdbg.machine.board import Board
from kvmdbg.machine.boot import BootState, SegmentState, boot_state, check_placement
from kvmdbg.machine.bus import Bus
from kvmdbg.machine.cpu import Cpu
from kvmdbg.machine.image import Image, LoadOptions, Segment
from kvmdbg.machine.layout import IDENTITY_MAP_ADDRESS, TSS_ADDRESS, ram_areas
from kvmdbg.machine.memory import PAGE, GuestMemory
from kvmdbg.x86 import paging

PIC_IMR, PIC_BASE, PIC_INITIALISED_BY_4 = 2, 5, 13
PIT_ACCESS, PIT_MODE, PIT_GATE = 12, 13, 15


class Machine:
    """A VM with ``memory`` bytes of RAM and an empty bus.

    With ``irqchip`` PIC, IOAPIC, LAPICs and PIT are in the kernel; with more than one vCPU they always are, so that the
    others wait for INIT and SIPI as on real hardware. ``change_cpuid`` may change what the guest sees of the CPU.
    """

    board: Board
    """What its devices know of it."""
    _roms: Sequence[tuple[int, int]] = ()
    bios: Any = None
    """Firmware of ours (firmware/bios.py), where the guest finds one."""

    def __init__(
        self,
        memory: int,
        cpus: int,
        irqchip: bool = False,
        change_cpuid: Callable[[abi.kvm_cpuid2], None] = lambda table: None,
        system: System | None = None,
    ) -> None:
        if memory <= 0:
            raise UsageError(f"a guest needs memory: {memory} bytes were asked for")
        memory = -(-memory // PAGE) * PAGE
        self.system = System() if system is None else system
        self.system.require(abi.KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY", "guest memory cannot be mapped")
        self.system.require(abi.KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT", "it needs Linux 4.11 or later")
        self.system.require(abi.KVM_CAP_SYNC_REGS, "KVM_CAP_SYNC_REGS", "it needs Linux 4.17 or later")
        self.system.require(abi.KVM_CAP_SET_GUEST_DEBUG, "KVM_CAP_SET_GUEST_DEBUG", "guests cannot be debugged on it")
        limit = self.system.check_extension(abi.KVM_CAP_MAX_VCPUS) or 4
        if cpus > limit:
            raise UsageError(f"this KVM has at most {limit} vCPUs a guest, {cpus} were asked for")
        self.vm = self.system.create_vm()
        self.irqchip = irqchip or cpus > 1
        try:
            self.vm.set_identity_map_address(IDENTITY_MAP_ADDRESS)
            self.vm.set_tss_address(TSS_ADDRESS)
        except KvmIoctlError:
            pass  # only Intel hosts without unrestricted guest need them; others may refuse
        if self.system.check_extension(abi.KVM_CAP_EXIT_ON_EMULATION_FAILURE):
            self.vm.enable_capability(abi.KVM_CAP_EXIT_ON_EMULATION_FAILURE, 1)
        if self.irqchip:
            if not self.system.check_extension(abi.KVM_CAP_IRQCHIP):
                raise KvmUnavailable("this KVM has no in-kernel irqchip: --irqchip and several vCPUs need it")
            self.vm.create_irqchip()
            self.vm.create_pit()
        self.memory = self._make_memory()
        for address, size in ram_areas(memory):
            self.memory.add(address, size)
        self.bus = Bus()
        cpuid = self.system.supported_cpuid()
        if not self.irqchip:
            _hide_apic(cpuid)
        change_cpuid(cpuid)
        self.paging_limits = paging.limits(lambda leaf: _leaf(cpuid, leaf))
        """What the guest's paging structures may hold."""
        self.vcpus: list[Cpu] = []
        for index in range(cpus):
            vcpu = self.vm.create_vcpu(index)
            vcpu.set_cpuid(_for_vcpu(cpuid, index))
            if not self.irqchip:
                _switch_apic_off(vcpu)
            self.vcpus.append(vcpu)

    def _make_memory(self) -> GuestMemory:
        return GuestMemory(self.vm)

    @property
    def tsc_hz(self) -> int:
        """How often a second the first vCPU's time stamp counter counts, 0 where KVM does not say."""
        return self.vcpus[0].get_tsc_khz() * 1000

    def load(self, image: Image, options: LoadOptions) -> BootState:
        """Put the image and what its mode needs into memory; the state its first vCPU starts with."""
        check_placement(image, self.memory.size)
        if image.start is None:
            state = boot_state(image, options, self.memory.size)
        else:
            state = image.start(self)
        roms = [segment for segment in image.segments if segment.rom]
        for rom in roms:
            if self.memory.find(rom.address) is None:
                self.memory.add(rom.address, rom.size, rom=True)
        self._roms = [(rom.address, rom.end) for rom in roms]
        self.memory.make_read_only(self._roms)
        made = [*image.segments, *state.writes]
        for segment in (*made, *self._mp_tables(image, made)):
            self.memory.load(segment.address, segment.data, segment.size, segment.name)
        return state

    def _mp_tables(self, image: Image, made: Sequence[Segment]) -> list[Segment]:
        """The tables that tell of several processors, unless firmware makes its own, or there is no room for them."""
        if len(self.vcpus) == 1 and not (image.interrupts and self.irqchip):
            return []
        if any(one.rom for one in image.segments):
            return []
        signature, _, _, features = _leaf(self.vcpus[0].get_cpuid(), 1)
        tables = mp_table.tables(len(self.vcpus), signature, features)
        return tables if mp_table.clear_of(tables, made, self.memory.size) else []

    def shadow(self, writable: list[tuple[int, int]]) -> None:
        """Let the guest write over its firmware in these ranges (first address, end), and nowhere else."""
        edges = {edge for piece in (*self._roms, *writable) for edge in piece}
        read_only = [
            (start, end)
            for start, end in pairwise(sorted(edges))
            if any(first <= start < last for first, last in self._roms)
            and not any(first <= start < last for first, last in writable)
        ]
        self.memory.make_read_only(read_only)

    def set_up_chips(self, first: int, second: int, unmasked: Collection[int]) -> None:
        """Leave interrupt controllers and timer of the kernel as firmware does.

        ``first`` and ``second`` are the vectors of IRQ 0 and IRQ 8, ``unmasked`` the lines that are let through; the
        timer's channel 0 ticks 18.2 times a second. Nothing where the kernel has none. Layout: struct kvm_pic_state and
        kvm_pit_channel_state of the kernel's asm/kvm.h.
        """
        if not self.irqchip:
            return
        for number, base in enumerate((first, second)):
            chip = self.vm.get_irqchip(number)
            chip.chip[PIC_IMR] = 0xFF & ~sum(1 << (line & 7) for line in unmasked if line >> 3 == number)
            chip.chip[PIC_BASE], chip.chip[PIC_INITIALISED_BY_4] = base, 1
            self.vm.set_irqchip(chip)
        pit = self.vm.get_pit()
        struct.pack_into("<I", pit.channels, 0, 0x10000)
        pit.channels[PIT_ACCESS], pit.channels[PIT_MODE], pit.channels[PIT_GATE] = 3, 3, 1
        self.vm.set_pit(pit)

    def close(self) -> None:
        if hasattr(self, "board"):
            self.board.disks.close()
        self.memory.close()
        self.vm.close()
        self.system.close()


def _leaf(cpuid: abi.kvm_cpuid2, number: int) -> tuple[int, int, int, int]:
    """EAX, EBX, ECX and EDX of a CPUID leaf; zeros where there is none."""
    for entry in cpuid.entries[: cpuid.nent]:
        if entry.function == number:
            return entry.eax, entry.ebx, entry.ecx, entry.edx
    return 0, 0, 0, 0


APIC_ENABLED = 1 << 11
"""In IA32_APIC_BASE: KVM tells of a local APIC in CPUID while it is set (SDM volume 3A, section 12.4.4)."""
NEED_APIC = {
    (1, "edx"): 1 << 9,  # APIC
    (1, "ecx"): 1 << 21 | 1 << 24,  # x2APIC, its timer's TSC deadline
    (0x80000001, "edx"): 1 << 9,  # APIC
    (0x80000001, "ecx"): 1 << 3,  # its extended registers
    (0x40000001, "eax"): 1 << 4 | 1 << 6 | 1 << 7 | 1 << 11 | 1 << 13 | 1 << 14 | 1 << 15,
}
"""Bits of CPUID by leaf and register. KVM's own (Documentation/virt/kvm/x86/cpuid.rst) are those whose interrupts
or calls go by way of the APIC: asynchronous page faults, EOI, unhalt, IPIs, yield, MSI destinations."""


def _hide_apic(cpuid: abi.kvm_cpuid2) -> None:
    """Without KVM's interrupt controllers there is no local APIC, and a guest is not to look for one."""
    for entry in cpuid.entries[: cpuid.nent]:
        for (leaf, register), bits in NEED_APIC.items():
            if entry.function == leaf:
                setattr(entry, register, getattr(entry, register) & ~bits)


def _switch_apic_off(vcpu: Cpu) -> None:
    sregs = vcpu.get_sregs()
    if sregs.apic_base & APIC_ENABLED:
        sregs.apic_base &= ~APIC_ENABLED
        vcpu.set_sregs(sregs)


def _for_vcpu(cpuid: abi.kvm_cpuid2, index: int) -> abi.kvm_cpuid2:
    """The CPUID leaves with this vCPU's APIC id in leaf 1 (EBX 31:24), 0xB and 0x1F (EDX)."""
    copy = abi.kvm_cpuid2.from_buffer_copy(cpuid)
    for entry in copy.entries[: copy.nent]:
        if entry.function == 1:
            entry.ebx = entry.ebx & 0x00FFFFFF | index << 24
        elif entry.function in (0xB, 0x1F):
            entry.edx = index
    return copy


def reset_vcpu(vcpu: Cpu, state: BootState, registers: dict[str, int]) -> None:
    """Give the boot vCPU its first state; ``registers`` are general registers that go before the state's own."""
    sregs = vcpu.get_sregs()
    for name, segment in state.segments.items():
        _set_segment(getattr(sregs, "ldt" if name == "ldtr" else name), segment)
    sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer = state.cr0, state.cr3, state.cr4, state.efer
    sregs.cr2 = sregs.cr8 = 0
    sregs.gdt.base, sregs.gdt.limit = state.gdt
    sregs.idt.base, sregs.idt.limit = state.idt
    memset(sregs.interrupt_bitmap, 0, 32)
    vcpu.set_sregs(sregs)
    regs = abi.kvm_regs(rflags=2)
    for name, value in (state.general | registers).items():
        setattr(regs, name, value)
    vcpu.set_regs(regs)
    events = vcpu.get_events()
    events.exception.injected = events.exception.pending = 0
    events.interrupt.injected = events.interrupt.shadow = 0
    events.nmi.injected = events.nmi.pending = events.nmi.masked = 0
    vcpu.set_events(events)
    vcpu.set_debugregs(abi.kvm_debugregs(dr6=0xFFFF0FF0, dr7=0x400))


def _set_segment(segment: Any, state: SegmentState) -> None:
    for name in ("selector", "base", "limit", "type", "present", "dpl", "db", "s", "l", "g"):
        setattr(segment, name, getattr(state, name))
    segment.avl = 0
    segment.unusable = 0 if state.present else 1
