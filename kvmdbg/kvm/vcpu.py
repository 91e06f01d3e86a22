"""A vCPU's descriptor: its ioctls (api.rst section 4, "vcpu ioctls").

They belong to one thread (engine/vcpu_thread.py); this class does not check that.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from ctypes import Structure
from functools import lru_cache
from typing import TypeVar

from kvmdbg import suspending
from kvmdbg.errors import KvmIoctlError
from kvmdbg.kvm import abi
from kvmdbg.kvm.coalesced import PAGE, CoalescedRing
from kvmdbg.kvm.run_page import U64_DIRTY_REGS, RunPage
from kvmdbg.kvm.system import ioctl
from kvmdbg.kvm.vm import Vm

S = TypeVar("S", bound=Structure)
EFLAGS_IF = 1 << 9
MSR_HEADER, MSR_ENTRY = 8, 16
"""Bytes of struct kvm_msrs before its entries, and of each of them."""


@lru_cache(maxsize=64)
def _guest_debug(control: int, debugreg: tuple[int, ...]) -> abi.kvm_guest_debug:
    request = abi.kvm_guest_debug(control=control)
    for number, value in enumerate(debugreg):
        request.debugreg[number] = value
    return request


class Vcpu(RunPage):
    """What KVM_CREATE_VCPU gave: a ``Cpu`` (machine/cpu.py, which says what its methods do)."""

    def __init__(self, vm: Vm, fd: int, index: int) -> None:
        system = vm.system
        super().__init__(fd, system.vcpu_mmap_size)
        self.vm = vm
        self.index = index
        can_share = system.check_extension(abi.KVM_CAP_SYNC_REGS)
        self._can_share_sregs = bool(can_share & abi.KVM_SYNC_X86_SREGS)
        self._can_share_events = bool(can_share & abi.KVM_SYNC_X86_EVENTS)
        offset = system.check_extension(abi.KVM_CAP_COALESCED_MMIO) * PAGE
        if offset and system.check_extension(abi.KVM_CAP_COALESCED_PIO):
            self.ring = CoalescedRing(self.raw, offset)
        self.sregs_at_reset = bytes(self.get_sregs())

    def _get(self, name: str, request: int, structure: S) -> S:
        ioctl(self.fd, name, request, structure)
        return structure

    # general and special registers

    def get_regs(self) -> abi.kvm_regs:
        return self._get("KVM_GET_REGS", abi.KVM_GET_REGS, abi.kvm_regs())

    def set_regs(self, regs: abi.kvm_regs) -> None:
        self.share_events(None)
        ioctl(self.fd, "KVM_SET_REGS", abi.KVM_SET_REGS, regs)

    def flush_regs(self) -> None:
        if self.regs_written:
            self.set_regs(self.regs)
            self.u64[U64_DIRTY_REGS] = 0

    def get_sregs(self) -> abi.kvm_sregs:
        return self._get("KVM_GET_SREGS", abi.KVM_GET_SREGS, abi.kvm_sregs())

    def set_sregs(self, sregs: abi.kvm_sregs) -> None:
        self.share_events(None)
        self.unshare_sregs()  # the page has those of the last exit
        ioctl(
            self.fd, "KVM_SET_SREGS", abi.KVM_SET_SREGS, sregs, "KVM finds this state of the special registers invalid"
        )

    def share_sregs(self, now: abi.kvm_sregs) -> None:
        """Have KVM put the special registers into the shared page at each exit; ``now`` are those it has now.

        Spares an ioctl where each exit is looked at, and costs a little where it is not.
        """
        if self._can_share_sregs and not self.shares_sregs:
            self.kvm_run.regs.sregs = now
            self.shares_sregs = True

    def unshare_sregs(self) -> None:
        """No more of that."""
        if self.shares_sregs:
            self.shares_sregs = False

    # floating point, debug, MSRs

    def get_xsave(self) -> abi.kvm_xsave:
        return self._get("KVM_GET_XSAVE", abi.KVM_GET_XSAVE, abi.kvm_xsave())

    def set_xsave(self, xsave: abi.kvm_xsave) -> None:
        ioctl(self.fd, "KVM_SET_XSAVE", abi.KVM_SET_XSAVE, xsave)

    def get_xcrs(self) -> abi.kvm_xcrs:
        return self._get("KVM_GET_XCRS", abi.KVM_GET_XCRS, abi.kvm_xcrs())

    def set_xcrs(self, xcrs: abi.kvm_xcrs) -> None:
        ioctl(self.fd, "KVM_SET_XCRS", abi.KVM_SET_XCRS, xcrs)

    def get_debugregs(self) -> abi.kvm_debugregs:
        return self._get("KVM_GET_DEBUGREGS", abi.KVM_GET_DEBUGREGS, abi.kvm_debugregs())

    def set_debugregs(self, debugregs: abi.kvm_debugregs) -> None:
        ioctl(self.fd, "KVM_SET_DEBUGREGS", abi.KVM_SET_DEBUGREGS, debugregs)

    def get_msr(self, index: int) -> int | None:
        """The MSR's value, or None where this vCPU has no such MSR."""
        request = abi.kvm_msrs(nmsrs=1)
        request.entry.index = index
        done = ioctl(self.fd, "KVM_GET_MSRS", abi.KVM_GET_MSRS, request)
        return int(request.entry.data) if done == 1 else None

    def set_msr(self, index: int, value: int) -> bool:
        """Whether the vCPU took the value."""
        request = abi.kvm_msrs(nmsrs=1)
        request.entry.index = index
        request.entry.data = value
        return ioctl(self.fd, "KVM_SET_MSRS", abi.KVM_SET_MSRS, request) == 1

    def get_msrs(self, indices: Sequence[int]) -> bytes:
        """The entries (struct kvm_msr_entry, 16 bytes each) of these MSRs, as far as the vCPU has them."""
        found = b""
        left = list(indices)
        while left:
            size = MSR_HEADER + MSR_ENTRY * len(left)
            buffer = bytearray(struct.pack("II", len(left), 0) + b"".join(struct.pack("IIQ", i, 0, 0) for i in left))
            done = self._msrs("KVM_GET_MSRS", abi.KVM_GET_MSRS, buffer)
            found += buffer[MSR_HEADER : min(size, MSR_HEADER + done * MSR_ENTRY)]
            left = left[done + 1 :]  # KVM ends at one that it lacks
        return found

    def set_msrs(self, entries: bytes) -> None:
        """Write entries of ``get_msrs``; one that the vCPU refuses is left out."""
        while entries:
            buffer = bytearray(struct.pack("II", len(entries) // MSR_ENTRY, 0) + entries)
            done = self._msrs("KVM_SET_MSRS", abi.KVM_SET_MSRS, buffer)
            entries = entries[(done + 1) * MSR_ENTRY :]

    def _msrs(self, name: str, request: int, buffer: bytearray) -> int:
        buffer.extend(bytes(max(0, 1025 - len(buffer))))  # fcntl.ioctl then works on the buffer itself
        return ioctl(self.fd, name, request, buffer)

    # events and state

    def get_events(self) -> abi.kvm_vcpu_events:
        events = self.shared_events
        if events is None:
            events = self._get("KVM_GET_VCPU_EVENTS", abi.KVM_GET_VCPU_EVENTS, abi.kvm_vcpu_events())
            if self._can_share_events:  # whoever asks once asks at each exit
                self.share_events(events)
        return events

    def holds_event(self) -> bool:
        """Whether an exception, interrupt or NMI is about to be delivered, before the instruction at rip."""
        events = self.get_events()
        exception = events.exception.injected or events.exception.pending
        return bool(exception or events.interrupt.injected or events.nmi.injected)

    def set_events(self, events: abi.kvm_vcpu_events) -> None:
        self.share_events(None)
        ioctl(self.fd, "KVM_SET_VCPU_EVENTS", abi.KVM_SET_VCPU_EVENTS, events)

    def takes_interrupt(self) -> bool:
        if not self.regs.rflags & EFLAGS_IF:
            return False
        events = self.get_events()
        exception = events.exception.injected or events.exception.pending
        return not (exception or events.interrupt.injected or events.interrupt.shadow or events.nmi.injected)

    def interrupt(self, vector: int) -> None:
        self.share_events(None)
        ioctl(self.fd, "KVM_INTERRUPT", abi.KVM_INTERRUPT, abi.kvm_interrupt(vector))

    def get_tsc_khz(self) -> int:
        try:
            return ioctl(self.fd, "KVM_GET_TSC_KHZ", abi.KVM_GET_TSC_KHZ)
        except KvmIoctlError:  # the host's is unstable
            return 0

    def get_mp_state(self) -> int:
        """KVM_MP_STATE_* of asm/kvm.h; ``abi.KVM_MP_STATE_NAMES`` has the words.

        KVM takes an INIT or SIPI that waits meanwhile: the registers in the shared page are those behind it.
        """
        self.flush_regs()
        self.share_events(None)
        state = int(self._get("KVM_GET_MP_STATE", abi.KVM_GET_MP_STATE, abi.kvm_mp_state()).mp_state)
        regs, flags = bytes(self.get_regs()), abi.kvm_regs.rflags.offset
        if regs[:flags] != bytes(self.regs)[:flags]:  # else KVM may hide a TF that is the guest's own
            self.show_regs(regs)
        if self.shares_sregs:
            self.kvm_run.regs.sregs = self.get_sregs()
        return abi.KVM_MP_STATE_HALTED if self.halted else state

    def set_mp_state(self, state: int) -> None:
        """Where KVM has no local APIC for it, it knows of no hlt that has not ended, and this is kept here."""
        if not self.vm.has_irqchip:
            self.halted = state == abi.KVM_MP_STATE_HALTED
            state = abi.KVM_MP_STATE_RUNNABLE if self.halted else state
        self.share_events(None)
        ioctl(self.fd, "KVM_SET_MP_STATE", abi.KVM_SET_MP_STATE, abi.kvm_mp_state(state))

    def get_lapic(self) -> abi.kvm_lapic_state:
        """The local APIC; needs the irqchip in the kernel."""
        return self._get("KVM_GET_LAPIC", abi.KVM_GET_LAPIC, abi.kvm_lapic_state())

    def set_lapic(self, lapic: abi.kvm_lapic_state) -> None:
        ioctl(self.fd, "KVM_SET_LAPIC", abi.KVM_SET_LAPIC, lapic)

    def get_cpuid(self) -> abi.kvm_cpuid2:
        return self._get("KVM_GET_CPUID2", abi.KVM_GET_CPUID2, abi.kvm_cpuid2(nent=abi.CPUID_ENTRIES))

    def set_cpuid(self, cpuid: abi.kvm_cpuid2) -> None:
        ioctl(self.fd, "KVM_SET_CPUID2", abi.KVM_SET_CPUID2, cpuid)

    def set_guest_debug(self, control: int, debugreg: tuple[int, ...] = ()) -> None:
        """``control`` of KVM_GUESTDBG_*, ``debugreg`` DR0 to DR7 for USE_HW_BP."""
        ioctl(self.fd, "KVM_SET_GUEST_DEBUG", abi.KVM_SET_GUEST_DEBUG, _guest_debug(control, debugreg))

    def set_signal_mask(self, *unblocked: int) -> None:
        """While in KVM_RUN block every signal but these; one that is pending ends KVM_RUN with EINTR."""
        blocked = (1 << 64) - 1 & ~sum(1 << number - 1 for number in unblocked)
        ioctl(self.fd, "KVM_SET_SIGNAL_MASK", abi.KVM_SET_SIGNAL_MASK, abi.kvm_signal_mask(8, blocked))

    def translate(self, linear: int) -> abi.kvm_translation:
        """KVM's own page walk of a linear address (``valid`` is 0 where nothing is mapped)."""
        return self._get("KVM_TRANSLATE", abi.KVM_TRANSLATE, abi.kvm_translation(linear_address=linear))

    def close(self) -> None:
        if self.fd < 0:
            return
        with suspending.held_off:  # the last descriptor of a VM that goes destroys it
            self.close_page()
            os.close(self.fd)
        self.fd = -1
