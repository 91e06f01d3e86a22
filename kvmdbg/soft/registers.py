"""The state of a vCPU that unicorn runs, by the calls that KVM has for it."""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from ctypes import Structure, byref, c_uint32, c_uint64
from typing import TYPE_CHECKING

from kvmdbg.errors import KvmIoctlError
from kvmdbg.kvm import abi
from kvmdbg.kvm.run_page import REGS, REGS_END, U64_DIRTY_REGS, RunPage
from kvmdbg.masks import LOW64
from kvmdbg.soft.library import REG_MSR, check
from kvmdbg.soft.state import DR, MSRS, TSC, XCR0, State
from kvmdbg.x86.delivery import INT, INT3, INTERRUPT, INTO, Event
from kvmdbg.x86.modes import CR0_PE, CR0_PG, EFER_LMA, EFER_LME
from kvmdbg.x86.registers import EFLAGS_IF

if TYPE_CHECKING:
    from kvmdbg.soft.system import SoftVm

PAGE = 4096
NMI = 2
TSC_KHZ = 1_000_000
"""It counts nanoseconds of guest time."""
MSR_ENTRY = 16
EFER_BITS = 0xD01
"""SCE, LME, LMA and NXE."""
MSR_EFER, MSR_APIC_BASE, MSR_FS_BASE, MSR_GS_BASE = 0xC0000080, 0x1B, 0xC0000100, 0xC0000101
MSRS_OF_SREGS = frozenset((MSR_EFER, MSR_APIC_BASE, MSR_FS_BASE, MSR_GS_BASE))
"""MSRs that struct kvm_sregs has as well."""
ADDRESS_MSRS = frozenset((0x175, 0x176, 0xC0000082, 0xC0000083, MSR_FS_BASE, MSR_GS_BASE, 0xC0000102))
"""They take canonical addresses alone: SYSENTER_ESP and _EIP, LSTAR, CSTAR, bases of segments."""
MSR_PAT, MSR_TSC_AUX = 0x277, 0xC0000103
MISC_ENABLE, FAST_STRINGS = 0x1A0, 1
FIXED_MTRRS = frozenset((0x250, 0x258, 0x259, *range(0x268, 0x270)))
TYPED_MTRRS = frozenset((*range(0x200, 0x210, 2), 0x2FF))
"""Those whose lowest byte is a type of memory."""
MTRRS = frozenset((0xFE, *range(0x200, 0x210), *FIXED_MTRRS, 0x2FF))
MTRR_TYPES = frozenset((0, 1, 4, 5, 6))
PAT_TYPES = MTRR_TYPES | {7}
READ_ONLY_MSRS = frozenset((0x17, 0xFE, 0x179))
"""PLATFORM_ID, MTRRCAP, MCG_CAP."""
UNICORNS_MSRS = MTRRS | MSRS.keys() | {MSR_FS_BASE, MSR_GS_BASE, 0x179, 0x17A, 0x17B}
"""MSRs that unicorn keeps; the last are MCG_CAP, _STATUS and _CTL."""
ZERO_MSRS = frozenset((0x17, 0x2A, 0x8B, 0x1D9, *range(0x400, 0x428)))
"""What every CPU has, and says nothing here: PLATFORM_ID, EBL_CR_POWERON, UCODE_REV, DEBUGCTL, and of MC0 to MC9."""


class UcX86Msr(Structure):
    """struct uc_x86_msr."""

    _fields_ = (("rid", c_uint32), ("value", c_uint64))


def takes(index: int, value: int) -> bool:
    """Whether an MSR can have this value, as far as its number says so (SDM volume 3A, 11.11 and 11.12)."""
    if index in READ_ONLY_MSRS:
        return False
    if index in ADDRESS_MSRS:
        return value >> 47 in (0, (1 << 17) - 1)
    if index == MSR_TSC_AUX:
        return not value >> 32
    if index == MSR_PAT:
        return all(kind in PAT_TYPES for kind in value.to_bytes(8, "little"))
    if index in FIXED_MTRRS:
        return all(kind in MTRR_TYPES for kind in value.to_bytes(8, "little"))
    return index not in TYPED_MTRRS or value & 0xFF in MTRR_TYPES


class SoftRegisters(RunPage):
    """``state`` is what unicorn had when it was left; ``context_changed``: it is to have it back before it runs."""

    def __init__(self, vm: SoftVm, index: int) -> None:
        super().__init__(-1, 2 * PAGE)
        self.vm, self.index = vm, index
        self.state = State(vm.library, vm.uc)
        self.words = self.u64[REGS // 8 : REGS_END // 8]
        self.context_changed = False
        self.waiting: Event | None = None
        """What is delivered at the next entry."""
        self.last_int3: int | None = None
        """Where the last exit has told of an int3, which is not executed."""
        self.cpuid = abi.kvm_cpuid2()
        self._sregs_of = b"", b""
        """What unicorn had of the special registers when they were last asked for, and the structure of it: to make it
        anew costs more than a step."""
        self._apic_base = 0xFEE00900
        self.cr8 = 0
        self._tsc_offset = 0
        self._nmi_pending = False
        self.nmi_masked = False
        """Until the next IRET."""
        self._reset()
        self.sregs_at_reset = bytes(self.get_sregs())

    def _reset(self) -> None:
        """As after a reset (SDM volume 3A, table 10-1)."""
        sregs = abi.kvm_sregs(cr0=0x60000010, apic_base=self._apic_base)
        for name in ("cs", "ds", "es", "fs", "gs", "ss"):
            segment = getattr(sregs, name)
            segment.limit, segment.type, segment.present, segment.s = 0xFFFF, 11 if name == "cs" else 3, 1, 1
        sregs.cs.selector, sregs.cs.base = 0xF000, 0xFFFF0000
        for segment, kind in ((sregs.tr, 11), (sregs.ldt, 2)):
            segment.limit, segment.type, segment.present = 0xFFFF, kind, 1
        sregs.gdt.limit = sregs.idt.limit = 0xFFFF
        self.set_sregs(sregs)
        self.set_regs(abi.kvm_regs(rip=0xFFF0, rflags=2, rdx=0x600))
        self.set_debugregs(abi.kvm_debugregs(dr6=0xFFFF0FF0, dr7=0x400))
        xsave = abi.kvm_xsave()
        xsave.region[0], xsave.region[6] = 0x37F, 0x1F80
        self.set_xsave(xsave)
        self.state.u64[MSRS[MISC_ENABLE] // 8] = FAST_STRINGS

    def set_signal_mask(self, *unblocked: int) -> None:
        """A kick is looked for between two runs."""

    # --- general and special registers -------------------------------------------------------------

    def get_regs(self) -> abi.kvm_regs:
        regs = abi.kvm_regs()
        self.state.regs_to(memoryview(regs).cast("B").cast("Q"))
        return regs

    def set_regs(self, regs: abi.kvm_regs) -> None:
        self._take_regs(memoryview(regs).cast("B").cast("Q"))

    def _take_regs(self, words: memoryview) -> None:
        self.state.regs_from(words)
        self.state.derive_hflags(self.state.cpl)
        self.context_changed = True

    def flush_regs(self) -> None:
        if self.u64[U64_DIRTY_REGS]:
            self._take_regs(self.words)
            self.u64[U64_DIRTY_REGS] = 0

    def get_sregs(self) -> abi.kvm_sregs:
        special = self.state.special()
        if special != self._sregs_of[0]:
            sregs = abi.kvm_sregs()
            self.state.sregs_to(sregs)
            self._sregs_of = special, bytes(sregs)
        sregs = abi.kvm_sregs.from_buffer_copy(self._sregs_of[1])
        sregs.cr8, sregs.apic_base = self.cr8, self._apic_base
        return sregs

    def set_sregs(self, sregs: abi.kvm_sregs) -> None:
        paging_alone = sregs.cr0 & CR0_PG and not sregs.cr0 & CR0_PE
        if sregs.efer & ~EFER_BITS or sregs.cr8 > 15 or sregs.cr0 >> 32 or paging_alone:
            why = "this state of the special registers is invalid"
            raise KvmIoctlError("KVM_SET_SREGS", errno.EINVAL, why)
        self.unshare_sregs()  # the page has those of the last exit
        if self.state.sregs_from(sregs):
            self.vm.translation_changed = True
        self.cr8, self._apic_base = int(sregs.cr8), int(sregs.apic_base)
        self.context_changed = True

    def share_sregs(self, now: abi.kvm_sregs) -> None:
        if not self.shares_sregs:
            self.kvm_run.regs.sregs = now
            self.shares_sregs = True

    def unshare_sregs(self) -> None:
        if self.shares_sregs:
            self.shares_sregs = False

    # --- floating point, debug registers, MSRs -----------------------------------------------------

    def get_xsave(self) -> abi.kvm_xsave:
        xsave = abi.kvm_xsave()
        self.state.xsave_to(xsave)
        return xsave

    def set_xsave(self, xsave: abi.kvm_xsave) -> None:
        if xsave.region[6] >> 16:
            raise KvmIoctlError("KVM_SET_XSAVE", errno.EINVAL, "reserved bits of MXCSR are set")
        self.state.xsave_from(xsave)

    def get_xcrs(self) -> abi.kvm_xcrs:
        xcrs = abi.kvm_xcrs(nr_xcrs=1)
        xcrs.xcrs[0].value = self.state.u64[XCR0 // 8]
        return xcrs

    def set_xcrs(self, xcrs: abi.kvm_xcrs) -> None:
        if xcrs.nr_xcrs > len(xcrs.xcrs) or xcrs.flags:
            raise KvmIoctlError("KVM_SET_XCRS", errno.EINVAL, "this state of the extended control registers is invalid")
        self.state.u64[XCR0 // 8] = xcrs.xcrs[0].value
        self.context_changed = True

    def get_debugregs(self) -> abi.kvm_debugregs:
        words, first = self.state.u64, DR // 8
        debugregs = abi.kvm_debugregs(dr6=words[first + 6], dr7=words[first + 7])
        for number in range(4):
            debugregs.db[number] = words[first + number]
        return debugregs

    def set_debugregs(self, debugregs: abi.kvm_debugregs) -> None:
        if debugregs.dr6 >> 32 or debugregs.dr7 >> 32:
            raise KvmIoctlError("KVM_SET_DEBUGREGS", errno.EINVAL, "the upper halves of DR6 and DR7 are reserved")
        words, first = self.state.u64, DR // 8
        words[first : first + 4] = memoryview((c_uint64 * 4)(*debugregs.db)).cast("B").cast("Q")
        words[first + 6], words[first + 7] = debugregs.dr6, debugregs.dr7
        self.context_changed = True

    def tsc(self) -> int:
        return self.vm.clock() + self._tsc_offset & LOW64

    def get_msr(self, index: int) -> int | None:
        if index == TSC:
            return self.tsc()
        if index in MSRS_OF_SREGS:
            sregs = self.get_sregs()
            values = {MSR_EFER: sregs.efer, MSR_APIC_BASE: sregs.apic_base, MSR_FS_BASE: sregs.fs.base}
            return int(values.get(index, sregs.gs.base))
        at = MSRS.get(index)
        if at is not None:
            return self.state.u64[at // 8]
        if index not in UNICORNS_MSRS:
            return 0 if index in ZERO_MSRS else None
        msr = UcX86Msr(rid=index)
        check(self.vm.library.quick.uc_reg_read(self.vm.uc, REG_MSR, byref(msr)), "uc_reg_read")
        return int(msr.value)

    def set_msr(self, index: int, value: int) -> bool:
        if index == TSC:
            self._tsc_offset = value - self.vm.clock()
            return True
        if index in MSRS_OF_SREGS:
            return takes(index, value) and self._set_msr_of_sregs(index, value)
        at = MSRS.get(index)
        if not takes(index, value):
            return False
        if at is None:
            return self._set_unicorns_msr(index, value) if index in UNICORNS_MSRS else index in ZERO_MSRS
        self.state.u64[at // 8] = value
        self.context_changed = True
        return True

    def _set_unicorns_msr(self, index: int, value: int) -> bool:
        self.state.load()
        msr = UcX86Msr(index, value)
        check(self.vm.library.quick.uc_reg_write(self.vm.uc, REG_MSR, byref(msr)), "uc_reg_write")
        self.state.save()
        return True

    def _set_msr_of_sregs(self, index: int, value: int) -> bool:
        sregs = self.get_sregs()
        if index == MSR_EFER:
            if value & ~EFER_BITS or (sregs.cr0 & CR0_PG and (value ^ sregs.efer) & EFER_LME):
                return False
            sregs.efer = value & ~EFER_LMA | sregs.efer & EFER_LMA
        elif index == MSR_APIC_BASE:
            sregs.apic_base = value
        else:
            (sregs.fs if index == MSR_FS_BASE else sregs.gs).base = value
        self.set_sregs(sregs)
        if self.shares_sregs:
            self.kvm_run.regs.sregs = sregs
        return True

    def get_msrs(self, indices: Sequence[int]) -> bytes:
        words, found = self.state.u64, list[int]()
        for index in indices:
            at = MSRS.get(index)
            if at is not None:
                found += (index, 0, words[at // 8])
            else:
                value = self.get_msr(index)
                found += () if value is None else (index, 0, value)
        return struct.pack("<" + "IIQ" * (len(found) // 3), *found)

    def set_msrs(self, entries: bytes) -> None:
        for at in range(0, len(entries), MSR_ENTRY):
            entry = abi.kvm_msr_entry.from_buffer_copy(entries, at)
            self.set_msr(entry.index, entry.data)

    # --- events ------------------------------------------------------------------------------------

    def get_events(self) -> abi.kvm_vcpu_events:
        events = abi.kvm_vcpu_events()
        events.interrupt.shadow = int(self.state.shadow)
        events.nmi.pending, events.nmi.masked = int(self._nmi_pending), int(self.nmi_masked)
        event = self.waiting
        if event is None:
            return events
        if event.kind in (INT, INTERRUPT):
            if event.vector == NMI and event.kind == INTERRUPT:
                events.nmi.injected = 1
            else:
                events.interrupt.injected, events.interrupt.nr = 1, event.vector
                events.interrupt.soft = int(event.kind == INT)
        else:
            events.exception.injected, events.exception.nr = 1, event.vector
            events.exception.has_error_code = int(event.error_code is not None)
            events.exception.error_code = event.error_code or 0
        return events

    def set_events(self, events: abi.kvm_vcpu_events) -> None:
        if events.flags & abi.KVM_VCPUEVENT_VALID_SHADOW and bool(events.interrupt.shadow) != self.state.shadow:
            self.state.shadow = bool(events.interrupt.shadow)
            self.context_changed = True
        self._nmi_pending, self.nmi_masked = bool(events.nmi.pending), bool(events.nmi.masked)
        now = self.get_events()
        same = bytes(events.exception) == bytes(now.exception) and events.nmi.injected == now.nmi.injected
        same &= bytes(events.interrupt)[:3] == bytes(now.interrupt)[:3]
        if not same:
            self.waiting = self._event_of(events)

    def _event_of(self, events: abi.kvm_vcpu_events) -> Event | None:
        exception, interrupt = events.exception, events.interrupt
        if exception.injected or exception.pending:
            if exception.nr in (3, 4):  # of an instruction that is as long as this, where it has not been passed
                self.flush_regs()
                length = int(self.last_int3 == self.state.pc)
                return Event.software(exception.nr, self.state.rip + length, INT3 if exception.nr == 3 else INTO)
            return Event.exception(exception.nr, exception.error_code if exception.has_error_code else 0)
        if events.nmi.injected:
            return Event.interrupt(NMI)
        if not interrupt.injected:
            return None
        if interrupt.soft:
            return Event.software(interrupt.nr, self.state.rip + 2)
        return Event.interrupt(interrupt.nr)

    def holds_event(self) -> bool:
        return self.waiting is not None

    def takes_interrupt(self) -> bool:
        flags = self.regs.rflags if self.u64[U64_DIRTY_REGS] else self.state.flags
        return bool(flags & EFLAGS_IF) and self.waiting is None and not self.state.shadow

    def interrupt(self, vector: int) -> None:
        self.waiting = Event.interrupt(vector)

    def take_nmi(self) -> None:
        """One that is pending is delivered next, but into the shadow of sti and mov ss, or the handler of another."""
        if self._nmi_pending and self.waiting is None and not self.nmi_masked and not self.state.shadow:
            self.waiting, self._nmi_pending = Event.interrupt(NMI), False

    @property
    def holds_nmi_back(self) -> bool:
        """Whether one comes in behind the next instruction."""
        return self._nmi_pending and not self.nmi_masked

    def get_tsc_khz(self) -> int:
        return TSC_KHZ

    def get_mp_state(self) -> int:
        self.flush_regs()
        return abi.KVM_MP_STATE_HALTED if self.halted else abi.KVM_MP_STATE_RUNNABLE

    def set_mp_state(self, state: int) -> None:
        self.halted = state == abi.KVM_MP_STATE_HALTED

    def get_lapic(self) -> abi.kvm_lapic_state:
        return abi.kvm_lapic_state()

    def set_lapic(self, lapic: abi.kvm_lapic_state) -> None:
        """There is none."""

    def get_cpuid(self) -> abi.kvm_cpuid2:
        return abi.kvm_cpuid2.from_buffer_copy(self.cpuid)

    def set_cpuid(self, cpuid: abi.kvm_cpuid2) -> None:
        self.cpuid = abi.kvm_cpuid2.from_buffer_copy(cpuid)

    def close(self) -> None:
        if self.raw.closed:
            return
        self.words.release()
        self.state.close()
        self.close_page()
