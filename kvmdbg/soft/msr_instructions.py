"""RDMSR and WRMSR, of which unicorn does not tell, and which it lets pass for any MSR.

Where it translates code it is looked through for their bytes, and a hook laid on each place that may be one. MSRs that
unicorn has it reads and writes itself; what somebody wants to see becomes an exit, the others are done here, as KVM
does them: #GP where there is no such MSR.
"""

from __future__ import annotations

import ctypes
from ctypes import c_uint16, c_uint64, c_void_p
from typing import TYPE_CHECKING

from kvmdbg.kvm import abi, exits
from kvmdbg.soft import library
from kvmdbg.soft.nothing_done import PREFIXES, bits_of
from kvmdbg.soft.registers import PAGE, UNICORNS_MSRS, takes
from kvmdbg.soft.state import GENERAL
from kvmdbg.x86.delivery import Event
from kvmdbg.x86.faults import GP
from kvmdbg.x86.registers import DR6_BS, EFLAGS_TF

if TYPE_CHECKING:
    from kvmdbg.soft.running import Running

RDMSR, WRMSR = b"\x0f\x32", b"\x0f\x30"


class UcTb(ctypes.Structure):
    """struct uc_tb: translated code at a linear address."""

    _fields_ = (("pc", c_uint64), ("icount", c_uint16), ("size", c_uint16))


FOR_TRANSLATED = ctypes.CFUNCTYPE(None, c_void_p, ctypes.POINTER(UcTb), ctypes.POINTER(UcTb), c_void_p)


class MsrInstructions:
    """Of the vCPU ``cpu``."""

    def __init__(self, cpu: Running) -> None:
        self._cpu, self._vm = cpu, cpu.vm
        self._library, self._uc = cpu.vm.library, cpu.vm.uc
        self.found: set[int] = set()
        """Places that have just been translated, before anything there has run: ``hold`` has hooks laid on them."""
        self._held: set[int] = set()
        self._lets_pass = False
        self._length = 0
        self._register = c_uint64()
        self._at_register = ctypes.byref(self._register)
        self._code = ctypes.create_string_buffer(PAGE * 2)
        self._on_code = library.FOR_CODE(self._reached)
        self._on_translated = FOR_TRANSLATED(self._translated)
        self._library.hook(self._uc, library.HOOK_TRANSLATED, self._on_translated)
        self._is_told = False
        self._looked_through = set[int]()
        """Pages."""

    # --- where they are ----------------------------------------------------------------------------

    def _translated(self, uc: int, now: ctypes._Pointer[UcTb], before: ctypes._Pointer[UcTb], data: int) -> None:
        self._is_told = True
        block = now.contents
        if self._library.quick.uc_vmem_read(self._uc, block.pc, library.EXECUTE, self._code, block.size):
            return
        if self._look(block.pc, self._code.raw[: block.size]):
            self._library.quick.uc_emu_stop(self._uc)

    def _look(self, start: int, code: bytes) -> bool:
        """Whether there is a place that has no hook yet."""
        at = code.find(b"\x0f")
        while at >= 0:
            if code[at : at + 2] in (RDMSR, WRMSR):
                first = at
                while first and (code[first - 1] in PREFIXES or code[first - 1] >> 4 == 4):
                    first -= 1
                self.found.update(start + one for one in range(first, at + 1) if start + one not in self._held)
            at = code.find(b"\x0f", at + 1)
        return bool(self.found)

    def before_run(self) -> None:
        """Look through the page at hand where unicorn would not tell that it translates there: it does so when a run
        has come to code beyond its first translated piece once, which steps may not do for long."""
        state = self._cpu.state
        page = state.pc & -PAGE
        if self._is_told or page in self._looked_through:
            return
        self._looked_through.add(page)
        self._look(page, self._vm.bytes_at(state, page, PAGE + 1))
        self.hold()

    def code_changed(self) -> None:
        """What has been looked through may hold other instructions."""
        self._looked_through.clear()

    def hold(self) -> None:
        """Lay the hooks, between two runs."""
        for address in self.found:
            self._library.hook(self._uc, library.HOOK_CODE, self._on_code, address, address)
        if self.found:
            self._library.control(self._uc, library.CTL_TB_FLUSH)
        self._held |= self.found
        self.found.clear()

    # --- what they do ------------------------------------------------------------------------------

    def _read(self, register: int) -> int:
        self._library.quick.uc_reg_read(self._uc, register, self._at_register)
        return self._register.value

    def _reached(self, uc: int, address: int, size: int, data: int) -> None:
        if self._lets_pass or self._cpu.execute_registers.ends_before(address):  # unicorn calls one hook that ends
            return
        index = self._read(library.REG_RCX) & 0xFFFFFFFF
        high = (self._read(library.REG_RDX) & 0xFFFFFFFF) << 32
        if index in UNICORNS_MSRS and not self._vm.exits_at_msr(index) and takes(index, high):
            return
        self._length = size
        self._cpu.end_with("msr")

    def execute(self) -> bool:
        """Unicorn has been ended before what may be one of them; whether that has led to an exit."""
        cpu, state = self._cpu, self._cpu.state
        cpu.instructions -= 1
        code = self._vm.bytes_at(state, state.pc, self._length)
        while code and (code[0] in PREFIXES or (bits_of(state) == 64 and code[0] >> 4 == 4)):
            code = code[1:]
        if code not in (RDMSR, WRMSR):  # it was, before the guest wrote there
            return self._pass()
        if state.cpl:
            return cpu.deliver(Event.exception(GP, 0))
        index = state.u64[GENERAL // 8 + 1] & 0xFFFFFFFF
        value = self._value() if code == WRMSR else None
        if not self._vm.exits_at_msr(index):
            return self._do(index, value)
        cpu.leave(exits.KVM_EXIT_X86_RDMSR if value is None else exits.KVM_EXIT_X86_WRMSR)
        msr = cpu.kvm_run.msr
        msr.error, msr.reason, msr.index, msr.data = 0, abi.KVM_MSR_EXIT_REASON_FILTER, index, value or 0
        cpu.answered_by(lambda: self._answered(value is not None))
        return True

    def _value(self) -> int:
        words, first = self._cpu.state.u64, GENERAL // 8
        return (words[first + 2] & 0xFFFFFFFF) << 32 | words[first] & 0xFFFFFFFF

    def _pass(self) -> bool:
        """Have unicorn do it."""
        self._lets_pass = True
        try:
            self._cpu.go(1)
        finally:
            self._lets_pass = False
        return self._cpu.why is not None and self._cpu.ended(False)

    def _do(self, index: int, value: int | None) -> bool:
        cpu = self._cpu
        if value is None:
            found = cpu.get_msr(index)
        else:
            found = value if cpu.set_msr(index, value) else None
        if found is None:
            return cpu.deliver(Event.exception(GP, 0))
        return self._over(None if value is not None else found)

    def _answered(self, writes: bool) -> bool:
        msr = self._cpu.kvm_run.msr
        if msr.error:
            return self._cpu.deliver(Event.exception(GP, 0))
        return self._over(None if writes else msr.data)

    def _over(self, value: int | None) -> bool:
        """The instruction has been done, and has read ``value``."""
        cpu, state = self._cpu, self._cpu.state
        words, first = state.u64, GENERAL // 8
        if value is not None:
            words[first], words[first + 2] = value & 0xFFFFFFFF, value >> 32
        mask = (1 << 64 if bits_of(state) == 64 else 1 << 32) - 1
        state.rip = state.rip + self._length & mask
        state.shadow = False
        cpu.instructions += 1
        cpu.context_changed = True
        if not state.flags & EFLAGS_TF:
            return False
        debugregs = cpu.get_debugregs()
        debugregs.dr6 |= DR6_BS
        cpu.set_debugregs(debugregs)
        cpu.waiting = Event.exception(1)
        return not cpu.steps and cpu.deliver(cpu.waiting)
