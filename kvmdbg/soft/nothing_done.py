"""Steps of unicorn's in which nothing was done, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvmdbg.masks import LOW32, LOW64
from kvmdbg.soft.state import CS32, CS64, GENERAL, HFLAGS, State
from kvmdbg.x86.disasm import classify, prefixes_of

if TYPE_CHECKING:
    from kvmdbg.soft.system import SoftVm

REPEATS = frozenset((0xF2, 0xF3))


def bits_of(state: State) -> int:
    """16, 32 or 64: of the code that it runs."""
    mode = state.u32[HFLAGS // 4]
    return 64 if mode & CS64 else 32 if mode & CS32 else 16


def mask_of(state: State) -> int:
    """The bits that an instruction pointer has in its code: of EIP or of RIP."""
    return LOW64 if bits_of(state) == 64 else LOW32


def may_be_begun_again(vm: SoftVm, state: State) -> bool:
    """Whether the instruction writes to code that was translated along with it, which has it begin again, and so to an
    end before it is done. Else it is a jump to itself.
    """
    info = classify(vm.bytes_at(state, state.pc, 15), state.pc, bits_of(state))
    return info is not None and not info.is_jump


def repeats_no_more(vm: SoftVm, state: State) -> bool:
    """Whether a string instruction has done its last round: unicorn finds that out in a round of its own."""
    return repeats_zero_times(vm.bytes_at(state, state.pc, 15), state)


def repeats_zero_times(code: bytes, state: State) -> bool:
    """Whether these bytes begin with a repeated instruction whose count, in CX, ECX or RCX, is 0."""
    bits = bits_of(state)
    long, at = bits == 64, prefixes_of(code, bits)
    size = 8 if long else 4 if (0x67 in code[:at]) != (bits == 32) else 2
    if long and 0x67 in code[:at]:
        size = 4
    rcx = state.u64[GENERAL // 8 + 1] & (1 << 8 * size) - 1
    return not REPEATS.isdisjoint(code[:at]) and rcx == 0
