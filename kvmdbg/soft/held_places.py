"""Instructions that unicorn is to be ended before, as it would do them otherwise, or alone: it tells of none of them.

Where it translates code it is looked through for their bytes. What is translated as one (a block) ends before each
place that may be one of them, and a hook for the block that begins there is laid.
"""

from __future__ import annotations

import ctypes
from collections.abc import Set as AbstractSet
from ctypes import c_uint16, c_uint64, c_void_p
from typing import TYPE_CHECKING

from kvmdbg.soft import library, looked_for, sse_alignment
from kvmdbg.soft.alignment import AlignmentCheck
from kvmdbg.soft.control_moves import FROM_CR, TO_CR, ControlMoves
from kvmdbg.soft.corrections import CorrectedInstructions
from kvmdbg.soft.debug_moves import DebugMoves
from kvmdbg.soft.end_of_code import EndOfCode
from kvmdbg.soft.looked_for import ALIGNED, ALONE, END, HLT, IRET, JUMP, LOCK, POINT, SEGMENT
from kvmdbg.soft.msr_instructions import RDMSR, WRMSR, MsrInstructions
from kvmdbg.soft.nothing_done import bits_of, mask_of
from kvmdbg.soft.refusals import lock_is_refused
from kvmdbg.soft.refused_instructions import KINDS, RefusedInstructions
from kvmdbg.soft.registers import PAGE
from kvmdbg.soft.segment_rights import SegmentRights
from kvmdbg.soft.state import DR6, EFLAGS, GENERAL, HFLAGS, LMA, SEGMENTS, SS32
from kvmdbg.soft.system_calls import SYSCALL, SYSENTER, SYSEXIT, SYSRET, SystemCalls
from kvmdbg.x86.delivery import Event
from kvmdbg.x86.disasm import prefixes_of
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
        self._end_of_code = EndOfCode(cpu)
        self._segment_rights = SegmentRights(cpu)
        self._corrected = CorrectedInstructions(cpu, self._pass)
        self.found: set[int] = set()
        """Places in what has just been translated, before anything there has run: ``hold`` has it end before them."""
        self._held: set[int] = set()
        self._block = 0
        """Where what has just been translated begins."""
        self._ends_early = False
        self._first: tuple[bytes, int] | None = None
        """What its first instruction may be, and how long it is."""
        self._kinds: dict[tuple[int, int], tuple[bytes, int] | None] = {}
        """The same of all that is translated, by address and size."""
        self._lets_pass = False
        self._length, self._kind = 0, b""
        self._code = ctypes.create_string_buffer(PAGE * 2)
        self._frame = ctypes.create_string_buffer(24)
        self._on_block = library.FOR_CODE(self._reached)
        self._on_translated = FOR_TRANSLATED(self._translated)
        self._library.hook(self._uc, library.HOOK_TRANSLATED, self._on_translated)

    # --- where they are ----------------------------------------------------------------------------

    def _translated(self, uc: int, now: ctypes._Pointer[UcTb], before: ctypes._Pointer[UcTb], data: int) -> None:
        self._library.quick.uc_reg_read(self._uc, library.REG_RFLAGS, self._at_rflags)
        self._alignment.translated(self._rflags.value)
        block = now.contents
        if self._ends_early:
            self._end_blocks_at(set())
        elif self._library.quick.uc_vmem_read(self._uc, block.pc, library.EXECUTE, self._code, block.size):
            return
        else:
            self._look(block.pc, self._code.raw[: block.size], block.icount)
            self._block = block.pc
        self._kinds[block.pc, block.size] = self._first
        if self.found:
            self._library.quick.uc_emu_stop(self._uc)

    def _look(self, start: int, code: bytes, count: int) -> None:
        """Through a piece of code of so many instructions that has just been translated as one."""
        state = self._cpu.state
        state.save()
        bits, left = bits_of(state), self._end_of_code.left_at(start)
        self._first = None
        found = [*looked_for.found_in(code, bits, ia32e=bool(state.u32[HFLAGS // 4] & LMA))]
        if code.endswith(IRET):
            found.append((len(code) - 1, IRET))
        refused, fixed = self._segment_rights.refused_in(code), sse_alignment.FIXED.search(code)
        jumps, ends = self._end_of_code.may_be_jumped_over(code), left is not None and left < len(code)
        points = [at - start for at in self._cpu.execute_registers.known if start <= at < start + len(code)]
        if not (found or refused or fixed or jumps or ends or points):
            return
        lengths = looked_for.lengths(code, bits)
        begins = lengths if sum(lengths.values()) == len(code) else range(len(code))
        places = dict[int, bytes]()
        for at, opcode in found:  # with prefixes, as far as these bytes before it may be some
            for place in range(looked_for.first_prefix(code, at), at + 1):
                if place in begins and places.get(place) != LOCK:
                    places[place] = opcode
        if left is not None and ends:
            for place in range(max(left - 14, 0), max(left, 0) + 1):
                if place in begins:
                    places.setdefault(place, END)
        last = max(lengths, default=0)
        if jumps and self._end_of_code.is_jumped_over(start + last, code[last:]):
            places.setdefault(last, JUMP)
        for place in self._segment_rights.places(code, lengths, refused) if refused else ():
            places.setdefault(place, SEGMENT)
        for place in sse_alignment.places(code, start, lengths, bits) if fixed else ():
            places.setdefault(place, ALIGNED)
        for place in points:
            if place in begins:
                places.setdefault(place, POINT)
        for place in [*places]:
            while place and code[place - 1] == HLT:  # else its end there would look like that of a HLT
                known = [one for one in lengths if one < place]
                places.pop(place)
                place = known[-1]
                places.setdefault(place, ALONE)
        if 0 in places:
            self._first = places[0], len(code) if count == 1 else lengths.get(0, min(len(code), 15))
        if any(places) or start not in self._held:
            self.found |= {start + place for place in places}

    def hold(self) -> None:
        """Between two runs: have what has just been translated end before the first of them, and hooks where each of
        them begins, whatever it is translated with. A hook for instructions would make all code slower."""
        for address in self.found - self._held:
            self._library.hook(self._uc, library.HOOK_BLOCK, self._on_block, address, address)
        self._held |= self.found
        self._end_blocks_at(self.found - {self._block})
        self._library.forget_code(self._uc, self._block)
        self.found.clear()

    def end_behind(self, lengths: dict[int, int]) -> None:
        """Have what lies from the vCPU's place on, which could not be translated, end behind these instructions."""
        state, size = self._cpu.state, sum(lengths.values())
        self._block = state.pc
        self._look(state.pc, self._vm.bytes_at(state, state.pc, size), len(lengths))
        self.found.add(state.pc + size)
        self.hold()

    def _end_blocks_at(self, places: AbstractSet[int]) -> None:
        """What is translated next."""
        self._ends_early = bool(places)
        self._library.set_exits(self._uc, places)

    def run_from(self, address: int) -> None:
        """A run begins there: if elsewhere than what was to be translated next, that ends where it would anyway. Code
        that begins where it is to end would never run."""
        if self._ends_early and address != self._block:
            self._end_blocks_at(set())

    def has_ended_before_one(self) -> bool:
        """Whether unicorn's run, which nothing has ended, has done so before one of them, and not at a HLT."""
        state = self._cpu.state
        return state.pc in self._held and self._vm.bytes_at(state, state.pc - 1, 1) != bytes((HLT,))

    # --- what they do ------------------------------------------------------------------------------

    def _reached(self, uc: int, address: int, block_size: int, data: int) -> None:
        begun, first = self._vm.begun, self._kinds.get((address, block_size))
        if self._lets_pass or first is None or begun.value >= self._vm.limit.value:
            return
        begun.value += 1  # as where an instruction has been come to: of blocks unicorn tells before
        opcode, size = first
        if self._cpu.execute_registers.ends_before(address):
            return
        if self._is_unicorns(address, opcode, size):
            begun.value -= 1
            return
        self._length, self._kind = size, opcode
        self._cpu.end_with("held")

    def _is_unicorns(self, address: int, opcode: bytes, size: int) -> bool:
        """Whether unicorn may do the one at hand, within a hook before it."""
        if opcode == POINT:
            return True
        if opcode in MSRS:
            return self._msrs.is_unicorns(opcode == WRMSR)
        if opcode in CONTROL_MOVES:
            return self._control_moves.is_unicorns(opcode == TO_CR, self._code_at(address, size))
        if opcode in SYSTEM_CALLS:
            return self._system_calls.is_unicorns(opcode, size)
        if opcode == IRET:
            return not self._cpu.nmi_masked and not self._is_looked_at(size)
        if opcode == END:
            self._cpu.state.save()
            return not self._end_of_code.is_crossed(address, size)
        return opcode in KINDS and self._refused.is_unicorns(opcode, self._code_at(address, size))

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
        end = self._end_of_code
        if end.is_crossed(state.pc, self._length) or (self._kind == JUMP and end.refuses_jump(state.pc, code)):
            return cpu.deliver(Event.exception(GP))
        if lock_is_refused(code, bits_of(state)):
            return cpu.deliver(Event.exception(UD))
        fault = self._segment_rights.fault() if self._kind == SEGMENT else None
        if self._kind == ALIGNED:
            fault = sse_alignment.fault(cpu)
        if fault is not None:
            return cpu.deliver(Event.of(fault))
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
        mask = mask_of(state)
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
