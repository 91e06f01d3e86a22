"""Structures and ioctl numbers of linux/kvm.h and asm/kvm.h (x86-64).

Names are the kernel's, so that each can be looked up in api.rst. A test
compares sizes, offsets and numbers with the system's own headers.
"""

from __future__ import annotations

from ctypes import Structure, Union, c_char, c_uint8, c_uint16, c_uint32, c_uint64, sizeof
from typing import Any

KVMIO = 0xAE


def _io(nr: int) -> int:
    return KVMIO << 8 | nr


def _ior(nr: int, size: int) -> int:
    return 2 << 30 | size << 16 | KVMIO << 8 | nr


def _iow(nr: int, size: int) -> int:
    return 1 << 30 | size << 16 | KVMIO << 8 | nr


def _iowr(nr: int, size: int) -> int:
    return 3 << 30 | size << 16 | KVMIO << 8 | nr


class Struct(Structure):
    """A kernel structure, shown with its fields."""

    def __repr__(self) -> str:
        parts: list[str] = []
        for field in self._fields_:
            value: Any = getattr(self, field[0])
            parts.append(f"{field[0]}={value:#x}" if isinstance(value, int) else f"{field[0]}=…")
        return f"{type(self).__name__}({', '.join(parts)})"


class kvm_regs(Struct):
    _fields_ = [
        (name, c_uint64)
        for name in (
            "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp",
            "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip", "rflags",
        )
    ]  # fmt: skip


class kvm_segment(Struct):
    _fields_ = [
        ("base", c_uint64),
        ("limit", c_uint32),
        ("selector", c_uint16),
        ("type", c_uint8),
        ("present", c_uint8),
        ("dpl", c_uint8),
        ("db", c_uint8),
        ("s", c_uint8),
        ("l", c_uint8),
        ("g", c_uint8),
        ("avl", c_uint8),
        ("unusable", c_uint8),
        ("padding", c_uint8),
    ]


class kvm_dtable(Struct):
    _fields_ = [("base", c_uint64), ("limit", c_uint16), ("padding", c_uint16 * 3)]


class kvm_sregs(Struct):
    _fields_ = [
        *[(name, kvm_segment) for name in ("cs", "ds", "es", "fs", "gs", "ss", "tr", "ldt")],
        ("gdt", kvm_dtable),
        ("idt", kvm_dtable),
        *[(name, c_uint64) for name in ("cr0", "cr2", "cr3", "cr4", "cr8", "efer", "apic_base")],
        ("interrupt_bitmap", c_uint64 * 4),
    ]


class kvm_xsave(Struct):
    _fields_ = [("region", c_uint32 * 1024)]


class kvm_xcr(Struct):
    _fields_ = [("xcr", c_uint32), ("reserved", c_uint32), ("value", c_uint64)]


class kvm_xcrs(Struct):
    _fields_ = [("nr_xcrs", c_uint32), ("flags", c_uint32), ("xcrs", kvm_xcr * 16), ("padding", c_uint64 * 16)]


class kvm_debugregs(Struct):
    _fields_ = [
        ("db", c_uint64 * 4),
        ("dr6", c_uint64),
        ("dr7", c_uint64),
        ("flags", c_uint64),
        ("reserved", c_uint64 * 9),
    ]


class kvm_msr_entry(Struct):
    _fields_ = [("index", c_uint32), ("reserved", c_uint32), ("data", c_uint64)]


class kvm_msrs(Struct):
    """One MSR at a time: struct kvm_msrs with a single entry."""

    _fields_ = [("nmsrs", c_uint32), ("pad", c_uint32), ("entry", kvm_msr_entry)]


class kvm_cpuid_entry2(Struct):
    _fields_ = [
        ("function", c_uint32),
        ("index", c_uint32),
        ("flags", c_uint32),
        ("eax", c_uint32),
        ("ebx", c_uint32),
        ("ecx", c_uint32),
        ("edx", c_uint32),
        ("padding", c_uint32 * 3),
    ]


CPUID_ENTRIES = 256


class kvm_cpuid2(Struct):
    _fields_ = [("nent", c_uint32), ("padding", c_uint32), ("entries", kvm_cpuid_entry2 * CPUID_ENTRIES)]


class kvm_mp_state(Struct):
    _fields_ = [("mp_state", c_uint32)]


class _exception_event(Struct):
    _fields_ = [
        ("injected", c_uint8),
        ("nr", c_uint8),
        ("has_error_code", c_uint8),
        ("pending", c_uint8),
        ("error_code", c_uint32),
    ]


class _interrupt_event(Struct):
    _fields_ = [("injected", c_uint8), ("nr", c_uint8), ("soft", c_uint8), ("shadow", c_uint8)]


class _nmi_event(Struct):
    _fields_ = [("injected", c_uint8), ("pending", c_uint8), ("masked", c_uint8), ("pad", c_uint8)]


class _smi_event(Struct):
    _fields_ = [("smm", c_uint8), ("pending", c_uint8), ("smm_inside_nmi", c_uint8), ("latched_init", c_uint8)]


class kvm_vcpu_events(Struct):
    _fields_ = [
        ("exception", _exception_event),
        ("interrupt", _interrupt_event),
        ("nmi", _nmi_event),
        ("sipi_vector", c_uint32),
        ("flags", c_uint32),
        ("smi", _smi_event),
        ("triple_fault_pending", c_uint8),
        ("reserved", c_uint8 * 26),
        ("exception_has_payload", c_uint8),
        ("exception_payload", c_uint64),
    ]


class kvm_guest_debug(Struct):
    _fields_ = [("control", c_uint32), ("pad", c_uint32), ("debugreg", c_uint64 * 8)]


class kvm_translation(Struct):
    _fields_ = [
        ("linear_address", c_uint64),
        ("physical_address", c_uint64),
        ("valid", c_uint8),
        ("writeable", c_uint8),
        ("usermode", c_uint8),
        ("pad", c_uint8 * 5),
    ]


class kvm_userspace_memory_region(Struct):
    _fields_ = [
        ("slot", c_uint32),
        ("flags", c_uint32),
        ("guest_phys_addr", c_uint64),
        ("memory_size", c_uint64),
        ("userspace_addr", c_uint64),
    ]


class kvm_dirty_log(Struct):
    _fields_ = [("slot", c_uint32), ("padding1", c_uint32), ("dirty_bitmap", c_uint64)]


class kvm_enable_cap(Struct):
    _fields_ = [("cap", c_uint32), ("flags", c_uint32), ("args", c_uint64 * 4), ("pad", c_uint8 * 64)]


class kvm_pit_config(Struct):
    _fields_ = [("flags", c_uint32), ("pad", c_uint32 * 15)]


class kvm_coalesced_mmio_zone(Struct):
    _fields_ = [("addr", c_uint64), ("size", c_uint32), ("pio", c_uint32)]


class kvm_coalesced_mmio(Struct):
    _fields_ = [("phys_addr", c_uint64), ("len", c_uint32), ("pio", c_uint32), ("data", c_uint8 * 8)]


class kvm_irq_level(Struct):
    _fields_ = [("irq", c_uint32), ("level", c_uint32)]


class kvm_irqchip(Struct):
    """One of PIC 0, PIC 1 and IOAPIC (``chip_id`` 0 to 2); what is in it is the kernel's."""

    _fields_ = [("chip_id", c_uint32), ("pad", c_uint32), ("chip", c_uint8 * 512)]


class kvm_lapic_state(Struct):
    _fields_ = [("regs", c_uint8 * 1024)]


class kvm_pit_state2(Struct):
    _fields_ = [("channels", c_uint8 * 72), ("flags", c_uint32), ("reserved", c_uint32 * 9)]


class kvm_clock_data(Struct):
    _fields_ = [
        ("clock", c_uint64),
        ("flags", c_uint32),
        ("pad0", c_uint32),
        ("realtime", c_uint64),
        ("host_tsc", c_uint64),
        ("pad", c_uint32 * 4),
    ]


class kvm_msr_filter_range(Struct):
    _fields_ = [("flags", c_uint32), ("nmsrs", c_uint32), ("base", c_uint32), ("bitmap", c_uint64)]


class kvm_msr_filter(Struct):
    _fields_ = [("flags", c_uint32), ("ranges", kvm_msr_filter_range * 16)]


class kvm_interrupt(Struct):
    _fields_ = [("irq", c_uint32)]


class kvm_signal_mask(Struct):
    """KVM_SET_SIGNAL_MASK with the kernel's 64-bit signal set (``len`` must be 8)."""

    _layout_ = "ms"  # what _pack_ means where it is not said
    _pack_ = 1
    _fields_ = [("len", c_uint32), ("sigset", c_uint64)]


class kvm_sync_regs(Struct):
    _fields_ = [("regs", kvm_regs), ("sregs", kvm_sregs), ("events", kvm_vcpu_events)]


# --- struct kvm_run, the page shared with a vCPU ---------------------------------------------------


class _exit_io(Struct):
    _fields_ = [
        ("direction", c_uint8),
        ("size", c_uint8),
        ("port", c_uint16),
        ("count", c_uint32),
        ("data_offset", c_uint64),
    ]


class kvm_debug_exit_arch(Struct):
    _fields_ = [("exception", c_uint32), ("pad", c_uint32), ("pc", c_uint64), ("dr6", c_uint64), ("dr7", c_uint64)]


class _exit_mmio(Struct):
    _fields_ = [("phys_addr", c_uint64), ("data", c_uint8 * 8), ("len", c_uint32), ("is_write", c_uint8)]


class _exit_hypercall(Struct):
    _fields_ = [("nr", c_uint64), ("args", c_uint64 * 6), ("ret", c_uint64), ("longmode", c_uint32), ("pad", c_uint32)]


class _exit_tpr_access(Struct):
    _fields_ = [("rip", c_uint64), ("is_write", c_uint32), ("pad", c_uint32)]


class _exit_fail_entry(Struct):
    _fields_ = [("hardware_entry_failure_reason", c_uint64), ("cpu", c_uint32)]


class _exit_exception(Struct):
    _fields_ = [("exception", c_uint32), ("error_code", c_uint32)]


class _exit_internal(Struct):
    _fields_ = [("suberror", c_uint32), ("ndata", c_uint32), ("data", c_uint64 * 16)]


class _exit_system_event(Struct):
    _fields_ = [("type", c_uint32), ("ndata", c_uint32), ("data", c_uint64 * 16)]


class _exit_msr(Struct):
    _fields_ = [
        ("error", c_uint8),
        ("pad", c_uint8 * 7),
        ("reason", c_uint32),
        ("index", c_uint32),
        ("data", c_uint64),
    ]


class _exit_union(Union):
    _fields_ = [
        ("hardware_exit_reason", c_uint64),
        ("fail_entry", _exit_fail_entry),
        ("ex", _exit_exception),
        ("io", _exit_io),
        ("debug", kvm_debug_exit_arch),
        ("mmio", _exit_mmio),
        ("hypercall", _exit_hypercall),
        ("tpr_access", _exit_tpr_access),
        ("internal", _exit_internal),
        ("system_event", _exit_system_event),
        ("eoi_vector", c_uint8),
        ("msr", _exit_msr),
        ("notify_flags", c_uint32),
        ("padding", c_char * 256),
    ]


class kvm_run(Struct):
    _anonymous_ = ("exit",)
    _fields_ = [
        ("request_interrupt_window", c_uint8),
        ("immediate_exit", c_uint8),
        ("padding1", c_uint8 * 6),
        ("exit_reason", c_uint32),
        ("ready_for_interrupt_injection", c_uint8),
        ("if_flag", c_uint8),
        ("flags", c_uint16),
        ("cr8", c_uint64),
        ("apic_base", c_uint64),
        ("exit", _exit_union),
        ("kvm_valid_regs", c_uint64),
        ("kvm_dirty_regs", c_uint64),
        ("regs", kvm_sync_regs),
        ("sync_padding", c_uint8 * (2048 - sizeof(kvm_sync_regs))),
    ]


# --- ioctls: /dev/kvm ------------------------------------------------------------------------------

KVM_API_VERSION = 12
KVM_GET_API_VERSION = _io(0x00)
KVM_CREATE_VM = _io(0x01)
KVM_CHECK_EXTENSION = _io(0x03)
KVM_GET_VCPU_MMAP_SIZE = _io(0x04)
KVM_GET_SUPPORTED_CPUID = _iowr(0x05, 8)

# --- ioctls: a VM ----------------------------------------------------------------------------------

KVM_CREATE_VCPU = _io(0x41)
KVM_GET_DIRTY_LOG = _iow(0x42, sizeof(kvm_dirty_log))
KVM_SET_USER_MEMORY_REGION = _iow(0x46, sizeof(kvm_userspace_memory_region))
KVM_SET_TSS_ADDR = _io(0x47)
KVM_SET_IDENTITY_MAP_ADDR = _iow(0x48, 8)
KVM_CREATE_IRQCHIP = _io(0x60)
KVM_REGISTER_COALESCED_MMIO = _iow(0x67, sizeof(kvm_coalesced_mmio_zone))
KVM_UNREGISTER_COALESCED_MMIO = _iow(0x68, sizeof(kvm_coalesced_mmio_zone))
KVM_CREATE_PIT2 = _iow(0x77, sizeof(kvm_pit_config))
KVM_PIT_SPEAKER_DUMMY = 1
KVM_GET_MSR_INDEX_LIST = _iowr(0x02, 4)
KVM_GET_IRQCHIP = _iowr(0x62, sizeof(kvm_irqchip))
KVM_SET_IRQCHIP = _ior(0x63, sizeof(kvm_irqchip))
KVM_SET_CLOCK = _iow(0x7B, sizeof(kvm_clock_data))
KVM_GET_CLOCK = _ior(0x7C, sizeof(kvm_clock_data))
KVM_GET_LAPIC = _ior(0x8E, sizeof(kvm_lapic_state))
KVM_SET_LAPIC = _iow(0x8F, sizeof(kvm_lapic_state))
KVM_GET_PIT2 = _ior(0x9F, sizeof(kvm_pit_state2))
KVM_SET_PIT2 = _iow(0xA0, sizeof(kvm_pit_state2))
KVM_IRQ_LINE = _iow(0x61, sizeof(kvm_irq_level))
KVM_X86_SET_MSR_FILTER = _iow(0xC6, sizeof(kvm_msr_filter))
KVM_ENABLE_CAP = _iow(0xA3, sizeof(kvm_enable_cap))

# --- ioctls: a vCPU --------------------------------------------------------------------------------

KVM_RUN = _io(0x80)
KVM_GET_REGS = _ior(0x81, sizeof(kvm_regs))
KVM_SET_REGS = _iow(0x82, sizeof(kvm_regs))
KVM_GET_SREGS = _ior(0x83, sizeof(kvm_sregs))
KVM_SET_SREGS = _iow(0x84, sizeof(kvm_sregs))
KVM_TRANSLATE = _iowr(0x85, sizeof(kvm_translation))
KVM_GET_MSRS = _iowr(0x88, 8)
KVM_SET_MSRS = _iow(0x89, 8)
KVM_INTERRUPT = _iow(0x86, sizeof(kvm_interrupt))
KVM_SET_SIGNAL_MASK = _iow(0x8B, 4)
KVM_SET_CPUID2 = _iow(0x90, 8)
KVM_GET_CPUID2 = _iowr(0x91, 8)
KVM_GET_MP_STATE = _ior(0x98, sizeof(kvm_mp_state))
KVM_SET_MP_STATE = _iow(0x99, sizeof(kvm_mp_state))
KVM_SET_GUEST_DEBUG = _iow(0x9B, sizeof(kvm_guest_debug))
KVM_GET_VCPU_EVENTS = _ior(0x9F, sizeof(kvm_vcpu_events))
KVM_SET_VCPU_EVENTS = _iow(0xA0, sizeof(kvm_vcpu_events))
KVM_GET_DEBUGREGS = _ior(0xA1, sizeof(kvm_debugregs))
KVM_SET_DEBUGREGS = _iow(0xA2, sizeof(kvm_debugregs))
KVM_GET_TSC_KHZ = _io(0xA3)
KVM_GET_XSAVE = _ior(0xA4, sizeof(kvm_xsave))
KVM_SET_XSAVE = _iow(0xA5, sizeof(kvm_xsave))
KVM_GET_XCRS = _ior(0xA6, sizeof(kvm_xcrs))
KVM_SET_XCRS = _iow(0xA7, sizeof(kvm_xcrs))

# --- extensions ------------------------------------------------------------------------------------

KVM_CAP_IRQCHIP = 0
KVM_CAP_HLT = 1
KVM_CAP_USER_MEMORY = 3
KVM_CAP_EXT_CPUID = 7
KVM_CAP_NR_VCPUS = 9
KVM_CAP_NR_MEMSLOTS = 10
KVM_CAP_MP_STATE = 14
KVM_CAP_COALESCED_MMIO = 15
KVM_CAP_SET_GUEST_DEBUG = 23
KVM_CAP_PIT2 = 33
KVM_CAP_VCPU_EVENTS = 41
KVM_CAP_DEBUGREGS = 50
KVM_CAP_XSAVE = 55
KVM_CAP_XCRS = 56
KVM_CAP_MAX_VCPUS = 66
KVM_CAP_SYNC_REGS = 74
KVM_CAP_READONLY_MEM = 81
KVM_CAP_IMMEDIATE_EXIT = 136
KVM_CAP_COALESCED_PIO = 162
KVM_CAP_X86_USER_SPACE_MSR = 188
KVM_CAP_X86_MSR_FILTER = 189
KVM_CAP_SET_GUEST_DEBUG2 = 195
KVM_CAP_EXIT_ON_EMULATION_FAILURE = 204

# --- flags and small enumerations ------------------------------------------------------------------

KVM_MEM_LOG_DIRTY_PAGES = 1 << 0
KVM_MEM_READONLY = 1 << 1

KVM_MSR_EXIT_REASON_FILTER = 1 << 2
KVM_MSR_FILTER_DEFAULT_DENY = 1 << 0
KVM_MSR_FILTER_READ = 1 << 0
KVM_MSR_FILTER_WRITE = 1 << 1

KVM_SYNC_X86_REGS = 1 << 0
KVM_SYNC_X86_SREGS = 1 << 1
KVM_SYNC_X86_EVENTS = 1 << 2

KVM_GUESTDBG_ENABLE = 0x00000001
KVM_GUESTDBG_SINGLESTEP = 0x00000002
KVM_GUESTDBG_USE_SW_BP = 0x00010000
KVM_GUESTDBG_USE_HW_BP = 0x00020000
KVM_GUESTDBG_INJECT_DB = 0x00040000
KVM_GUESTDBG_INJECT_BP = 0x00080000
KVM_GUESTDBG_BLOCKIRQ = 0x00100000

KVM_MP_STATE_RUNNABLE = 0
KVM_MP_STATE_UNINITIALIZED = 1
KVM_MP_STATE_HALTED = 3
KVM_MP_STATE_NAMES = {
    0: "runnable",
    1: "uninitialized (waits for INIT)",
    2: "init received (waits for SIPI)",
    3: "halted",
    4: "sipi received",
}

KVM_VCPUEVENT_VALID_SHADOW = 0x00000004
KVM_VCPUEVENT_VALID_PAYLOAD = 0x00000010
