"""Instructions that unicorn is to be ended before, as it would do them otherwise, or alone: it tells of none of them.

Where it translates code it is looked through for their bytes, and a hook laid on each place that may be one.
"""

from __future__ import annotations

import ctypes
from collections.abc import Container
from ctypes import c_uint16, c_uint64, c_void_p
from typing import TYPE_CHECKING

from kvmdbg.soft import library, looked_for
from kvmdbg.soft.alignment import AlignmentCheck
from kvmdbg.soft.control_moves import FROM_CR, TO_CR, ControlMoves
from kvmdbg.soft.corrections import CorrectedInstructions
from kvmdbg.soft.debug_moves import DebugMoves
from kvmdbg.soft.looked_for import END, IRET, LOCK
from kvmdbg.soft.msr_instructions import RDMSR, WRMSR, MsrInstructions
from kvmdbg.soft.nothing_done import bits_of, prefixes_of
from kvmdbg.soft.refusals import lock_is_refused
from kvmdbg.soft.refused_instructions import KINDS, RefusedInstructions
from kvmdbg.soft.registers import PAGE
from kvmdbg.soft.state import DR6, EFLAGS, GENERAL, HFLAGS, LMA, SEGMENTS, SS32
from kvmdbg.soft.system_calls import SYSCALL, SYSENTER, SYSEXIT, SYSRET, SystemCalls
from kvmdbg.x86.delivery import Event
from kvmdbg.x86.faults import GP, UD
from kvmdbg.x86.registers import DR6_BS, EFLAGS_RF, EFLAGS_TF

if TYPE_CHECKING:
    from kvmdbg.soft.running import Running

FROM_DR, TO_DR = b"\x0f\x21", b"\x0f\x23"
MSRS, DEBUG_MOVES, CONTROL_MOVES = (RDMSR, WRMSR), (FROM_DR, TO_DR), (FROM_CR, TO_CR)
SYSTEM_CALLS = SYSCALL, SYSENTER, SYSRET, SYSEXIT


class UcTb(ctypes.Structure):
    """struct uc_tb: translated code at a linear address."""

    _fields_ = (("pc", c_uint64), ("icount", c_uint16), ("size", c_uint16))


FOR_TRANSLATED = ctypes.CFUNCTYPE(None, c_void_p, ctypes.POINTER(UcTb), ctypes.POINTER(UcTb), c_void_p)


class HeldPlaces:
    """Of the vCPU ``cpu``."""

    def __init__(self, cpu: Running, alignment: AlignmentCheck) -> None:
        self._cpu, self._vm, self._alignment = cpu, cpu.vm, alignment
        self._rflags = c_uint64()
        self._at_rflags = ctypes.byref(self._rflags)
        self._library, self._uc = cpu.vm.library, cpu.vm.uc
        self._msrs, self._debug_moves = MsrInstructions(cpu, self._over), DebugMoves(cpu, self._over)
        self._control_moves, self._system_calls = (
            ControlMoves(cpu, self._over, self._pass),
            SystemCalls(cpu, self._done),
        )
        self._refused = RefusedInstructions(cpu)
        self._corrected = CorrectedInstructions(cpu, self._pass)
        self.found: set[int] = set()
        """Places that have just been translated, before anything there has run: ``hold`` has hooks laid on them."""
        self._held: set[int] = set()
        self._opcodes: dict[int, bytes] = {}
        """What may be there, as it was last translated."""
        self._lets_pass = False
        self._length = 0
        self._code = ctypes.create_string_buffer(PAGE * 2)
        self._frame = ctypes.create_string_buffer(24)
        self._on_code = library.FOR_CODE(self._reached)
        self._on_translated = FOR_TRANSLATED(self._translated)
        self._library.hook(self._uc, library.HOOK_TRANSLATED, self._on_translated)
        self._is_told = False
        self._looked_through = set[int]()
        """Pages."""

    # --- where they are ----------------------------------------------------------------------------

    def _translated(self, uc: int, now: ctypes._Pointer[UcTb], before: ctypes._Pointer[UcTb], data: int) -> None:
        self._is_told = True
        self._library.quick.uc_reg_read(self._uc, library.REG_RFLAGS, self._at_rflags)
        self._alignment.translated(self._rflags.value)
        block = now.contents
        if self._library.quick.uc_vmem_read(self._uc, block.pc, library.EXECUTE, self._code, block.size):
            return
        code = self._code.raw[: block.size]
        self._look(block.pc, code, is_block=True)
        if code.endswith(IRET):  # which ends what is translated as one
            self._find(block.pc, code, len(code) - 1, IRET, range(len(code)))
        if self.found:
            self._library.quick.uc_emu_stop(self._uc)

    def _look(self, start: int, code: bytes, *, is_block: bool = False) -> None:
        """``is_block``: it begins with an instruction. Hooks have their price, even where nothing comes to them."""
        state = self._cpu.state
        state.save()
        ia32e = bool(state.u32[HFLAGS // 4] & LMA)
        found = [*looked_for.found_in(code, bits_of(state), ia32e=ia32e)]
        begins = looked_for.beginnings(code, bits_of(state)) if is_block and found else range(len(code))
        for at, opcode in found:
            self._find(start, code, at, opcode, begins)
        left = self._left_at(start)
        if left is not None and left < len(code):
            for place in range(start + max(left - 14, 0), start + max(left, 0) + 1):
                self._opcodes.setdefault(place, END)
                self.found |= {place} - self._held

    def _left_at(self, address: int) -> int | None:
        """How many bytes of the code segment are left from a linear address on; None in 64-bit code, which has none."""
        state, at = self._cpu.state, SEGMENTS["cs"]
        if bits_of(state) == 64:
            return None
        return state.u32[at // 4 + 4] + 1 - (address - state.u64[at // 8 + 1] & 0xFFFFFFFF)

    def _crosses_end(self, address: int, size: int) -> bool:
        left = self._left_at(address)
        return left is not None and left < size

    def _find(self, start: int, code: bytes, at: int, opcode: bytes, begins: Container[int]) -> None:
        """With prefixes, as far as these bytes before it may be some; where instructions begin."""
        places = {start + one for one in range(looked_for.first_prefix(code, at), at + 1) if one in begins}
        self._opcodes |= {place: opcode for place in places if self._opcodes.get(place) != LOCK}
        self.found |= places - self._held

    def before_run(self) -> None:
        """Look through the page at hand where unicorn would not tell that it translates there: it does so when a run
        has come to code beyond its first translated piece once, which steps may not do for long."""
        state = self._cpu.state
        page = state.pc & -PAGE
        if self._is_told or page in self._looked_through:
            return
        self._looked_through.add(page)
        code = self._vm.bytes_at(state, page, PAGE + 1)
        self._look(page, code)
        at = code.find(IRET)
        while at >= 0:
            self._find(page, code, at, IRET, range(len(code)))
            at = code.find(IRET, at + 1)
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

    def _reached(self, uc: int, address: int, size: int, data: int) -> None:
        if self._lets_pass or self._cpu.execute_registers.ends_before(address):  # unicorn calls one hook that ends
            return
        opcode = self._opcodes[address]
        size = min(size, 15)  # of an instruction that there is not unicorn tells another
        if opcode in MSRS and self._msrs.is_unicorns(opcode == WRMSR):
            return
        if opcode in CONTROL_MOVES and self._control_moves.is_unicorns(opcode == TO_CR, self._code_at(address, size)):
            return
        if opcode in SYSTEM_CALLS and self._system_calls.is_unicorns(opcode, size):
            return
        if opcode == IRET and not self._cpu.nmi_masked and not self._is_looked_at(size):
            return
        if opcode == END:
            self._cpu.state.save()
            if not self._crosses_end(address, size):
                return
        if opcode in KINDS and self._refused.is_unicorns(opcode, self._code_at(address, size)):
            return
        self._length = size
        self._cpu.end_with("held")

    def _code_at(self, address: int, size: int) -> bytes:
        """Within a hook."""
        self._library.quick.uc_vmem_read(self._uc, address, library.EXECUTE, self._code, size)
        return self._code.raw[:size]

    def _is_looked_at(self, size: int) -> bool:
        """Whether an IRET of so many bytes may find EFLAGS.RF set on the stack (unicorn leaves it set over more than
        the next instruction, and PUSHF push it), or a code segment that is refused."""
        state = self._cpu.state
        state.save()
        bits, stack = bits_of(state), state.u64[GENERAL // 8 + 4]
        if bits == 16 and size == 1:
            return False
        if bits != 64:
            stack &= 0xFFFFFFFF if state.u32[HFLAGS // 4] & SS32 else 0xFFFF
            stack += state.u64[SEGMENTS["ss"] // 8 + 1]
        length = 19 if bits == 64 and size > 1 else 11  # no more than it reads itself: CR2 keeps where none is
        if self._library.quick.uc_vmem_read(self._uc, stack, library.READ, self._frame, length):
            return True
        frame = self._frame.raw
        if any(byte & EFLAGS_RF >> 16 for byte in frame[10:length:8]):
            return True
        at = 8 if bits == 64 and size > 1 else 4
        return self._refused.may_refuse_code(int.from_bytes(frame[at : at + 2], "little"))

    def execute(self) -> bool:
        """Unicorn has been ended before what may be one of them; whether that has led to an exit."""
        cpu, state = self._cpu, self._cpu.state
        cpu.instructions -= 1
        code = self._vm.bytes_at(state, state.pc, self._length)
        prefixes = prefixes_of(code, bits_of(state))
        if self._crosses_end(state.pc, self._length):
            return cpu.deliver(Event.exception(GP))
        if lock_is_refused(code, bits_of(state)):
            return cpu.deliver(Event.exception(UD))
        opcode = code[prefixes : prefixes + 2]
        if opcode in MSRS:
            return self._msrs.execute(opcode == WRMSR)
        if opcode in CONTROL_MOVES:
            return self._control_moves.execute(opcode == TO_CR, code)
        if opcode in SYSTEM_CALLS:
            return self._system_calls.execute(opcode, self._length)
        if opcode in DEBUG_MOVES:
            rex = code[prefixes - 1] if prefixes and code[prefixes - 1] >> 4 == 4 else 0
            return self._debug_moves.execute(opcode == TO_DR, rex, code[-1])
        found = self._refused.execute(code, self._length)
        if found is None:
            found = self._corrected.execute(code)
        if found is not None:
            return found
        self._cpu.nmi_masked &= opcode[:1] != IRET
        return self._pass()  # IRET, or it was one of these before the guest wrote there

    def _pass(self) -> bool:
        """Have unicorn do it."""
        self._lets_pass = True
        try:
            self._cpu.go(1)
        finally:
            self._lets_pass = False
        return self._cpu.why is not None and self._cpu.ended(False)

    def _over(self) -> bool:
        """The instruction has been done but for RIP; whether that has led to an exit."""
        state = self._cpu.state
        mask = (1 << 64 if bits_of(state) == 64 else 1 << 32) - 1
        state.rip = state.rip + self._length & mask
        return self._done()

    def _done(self) -> bool:
        """The same, with RIP."""
        cpu, state = self._cpu, self._cpu.state
        state.shadow = False
        state.u64[EFLAGS // 8] &= ~EFLAGS_RF
        cpu.instructions += 1
        cpu.context_changed = True
        if not state.flags & EFLAGS_TF:
            return False
        state.u64[DR6 // 8] |= DR6_BS
        cpu.waiting = Event.exception(1)
        return not cpu.steps and cpu.deliver(cpu.waiting)
