"""Code that unicorn cannot fetch. It translates on beyond the end of a page, and tells of the fault before anything of
that has run; and it counts nothing for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvmdbg.soft import library, looked_for
from kvmdbg.soft.alignment import accesses
from kvmdbg.soft.end_of_code import EndOfCode
from kvmdbg.soft.nothing_done import bits_of
from kvmdbg.soft.registers import PAGE
from kvmdbg.soft.state import CR2, ERROR_CODE, IS_INT
from kvmdbg.x86.disasm import prefixes_of
from kvmdbg.x86.faults import PF, PF_FETCH, PF_WRITE

if TYPE_CHECKING:
    from kvmdbg.soft.running import Running

READ_DESCRIPTORS = frozenset((b"\x8e", b"\x07", b"\x17", b"\x1f", b"\xc4", b"\xc5")) | {
    bytes((0x0F, opcode)) for opcode in (0x00, 0x02, 0x03, 0xA1, 0xA9, 0xB2, 0xB4, 0xB5)
}
"""MOV and POP to segment registers, LES and their like, LLDT, VERR, LAR, LSL."""


class Fetches:
    """Of the vCPU ``cpu``."""

    def __init__(self, cpu: Running) -> None:
        self._cpu, self._state = cpu, cpu.state
        self._end_of_code = EndOfCode(cpu)
        self._cr2, self._cut, self._from = 0, -1, -1

    def begin(self) -> None:
        """Before a run."""
        self._cr2, self._cut, self._from = self._state.u64[CR2 // 8], -1, self._state.rip

    def gives_up(self, begun_at: int) -> bool:
        """Behind a step from RIP ``begun_at``: whether this is why it has ended. Nothing has been raised then."""
        self._from = begun_at
        if not self._has_failed(self._cpu.vm.begun.value):
            return False
        self._forget()
        return True

    def settle(self, begun: int, count: int) -> tuple[int, bool]:
        """Behind a piece of it of ``count`` instructions: how many it has begun, and whether something is to be done
        before what cannot be fetched. Unicorn ends before that then; so where it was not to come to it. Behind the end
        of the code segment it is another fault."""
        cpu, state = self._cpu, self._state
        if cpu.why is None or not self._has_failed(begun):
            return begun, False
        if begun < count and self._cut != state.pc and (known := self._before_the_end()):
            self._forget()
            cpu.places.end_behind(known)
            self._cut, self._from = state.pc, state.rip
            return begun, True
        behind = self._end_of_code.is_crossed(state.pc, 1)
        if behind or begun >= count:
            self._forget()
        if behind and begun < count:
            cpu.before_refusal, cpu.flags_before, cpu.why = bytes(state.bytes), state.flags, ("refused",)
        return begun + 1, False

    def _has_failed(self, begun: int) -> bool:
        why = self._cpu.why
        assert why is not None
        if why[0] == "memory":
            return why[1] in library.MEM_FETCH and not self._cpu.vm.memory.is_guarded(why[1], why[2])
        return why[:2] == ("exception", PF) and not self._state.u32[IS_INT // 4] and self._is_of_code(begun)

    def _is_of_code(self, begun: int) -> bool:
        """Whether the page fault is of a page that the code there is in, or runs on into: what can be fetched could be
        read. The bit that says so is there with EFER.NXE or CR4.SMEP only."""
        state = self._state
        code, where, page = state.u32[ERROR_CODE // 4], state.u64[CR2 // 8], state.pc & -PAGE
        if begun == 1 and state.rip == self._from:
            return False
        if code & (PF_FETCH | PF_WRITE):
            return bool(code & PF_FETCH)
        if where != page + PAGE:
            return where & -PAGE == page
        if not self._before_the_end():
            return True
        if begun and self._reads_a_descriptor():
            return False
        return all(not one.linear <= where < one.linear + one.size for one, _ in accesses(self._cpu))

    def _reads_a_descriptor(self) -> bool:
        """Whether the instruction there does, and unicorn translates on behind it."""
        code = self._cpu.vm.bytes_at(self._state, self._state.pc, 15)
        at = prefixes_of(code, bits_of(self._state))
        return code[at : at + 1] in READ_DESCRIPTORS or code[at : at + 2] in READ_DESCRIPTORS

    def _before_the_end(self) -> dict[int, int]:
        """The instructions from here on that are in this page as a whole, if that can be fetched: how long each is, by
        where it begins."""
        cpu, state = self._cpu, self._state
        if cpu.why is not None and cpu.why[0] == "exception" and state.u64[CR2 // 8] & -PAGE == state.pc & -PAGE:
            return {}
        return looked_for.lengths(cpu.vm.bytes_at(state, state.pc, -state.pc % PAGE), bits_of(state))

    def _forget(self) -> None:
        """Nothing has been raised."""
        cpu, state = self._cpu, self._state
        assert cpu.why is not None
        state.flags = cpu.flags_before if cpu.why[0] == "memory" else cpu.why[2]
        state.u64[CR2 // 8] = self._cr2
        state.load()
        cpu.why = None
