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
from kvmdbg.x86.faults import PF, PF_FETCH, PF_WRITE

if TYPE_CHECKING:
    from kvmdbg.soft.running import Running


class Fetches:
    """Of the vCPU ``cpu``."""

    def __init__(self, cpu: Running) -> None:
        self._cpu, self._state = cpu, cpu.state
        self._end_of_code = EndOfCode(cpu)
        self._cr2, self._cut = 0, -1

    def begin(self) -> None:
        """Before a run."""
        self._cr2, self._cut = self._state.u64[CR2 // 8], -1

    def gives_up(self) -> bool:
        """Behind a piece of it: whether this is why it has ended. Nothing has been raised then."""
        if not self._has_failed():
            return False
        self._forget()
        return True

    def settle(self, begun: int, count: int) -> tuple[int, bool]:
        """Behind a piece of it of ``count`` instructions: how many it has begun, and whether something is to be done
        before what cannot be fetched. Unicorn ends before that then; so where it was not to come to it. Behind the end
        of the code segment it is another fault."""
        cpu, state = self._cpu, self._state
        if cpu.why is None or not self._has_failed():
            return begun, False
        if begun < count and self._cut != state.pc and (known := self._before_the_end()):
            self._forget()
            cpu.places.end_behind(known)
            self._cut = state.pc
            return begun, True
        behind = self._end_of_code.is_crossed(state.pc, 1)
        if behind or begun >= count:
            self._forget()
        if behind and begun < count:
            cpu.before_refusal, cpu.flags_before, cpu.why = bytes(state.bytes), state.flags, ("refused",)
        return begun + 1, False

    def _has_failed(self) -> bool:
        why = self._cpu.why
        assert why is not None
        if why[0] == "memory":
            return why[1] in library.MEM_FETCH and not self._cpu.vm.memory.is_guarded(why[1], why[2])
        return why[:2] == ("exception", PF) and not self._state.u32[IS_INT // 4] and self._is_of_code()

    def _is_of_code(self) -> bool:
        """Whether the page fault is of a page that the code there is in, or runs on into: what can be fetched could be
        read. The bit that says so is there with EFER.NXE or CR4.SMEP only."""
        state = self._state
        code, where, page = state.u32[ERROR_CODE // 4], state.u64[CR2 // 8], state.pc & -PAGE
        if code & (PF_FETCH | PF_WRITE):
            return bool(code & PF_FETCH)
        if where != page + PAGE:
            return where & -PAGE == page
        if not self._before_the_end():
            return True
        return self._cut != state.pc and all(
            not one.linear <= where < one.linear + one.size for one, _ in accesses(self._cpu)
        )

    def _before_the_end(self) -> dict[int, int]:
        """The instructions from here on that are in this page as a whole: how long each is, by where it begins."""
        state = self._state
        return looked_for.lengths(self._cpu.vm.bytes_at(state, state.pc, -state.pc % PAGE), bits_of(state))

    def _forget(self) -> None:
        """Nothing has been raised."""
        cpu, state = self._cpu, self._state
        assert cpu.why is not None
        state.flags = cpu.flags_before if cpu.why[0] == "memory" else cpu.why[2]
        state.u64[CR2 // 8] = self._cr2
        state.load()
        cpu.why = None
