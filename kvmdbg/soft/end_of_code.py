"""The end of the code segment, beyond which unicorn goes on: code that lies across it, and jumps and calls to behind it
(SDM volume 2, JMP, Jcc, CALL), which raise #GP before they do anything."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kvmdbg.masks import LOW32
from kvmdbg.soft.nothing_done import bits_of
from kvmdbg.soft.state import GENERAL, SEGMENTS
from kvmdbg.x86.disasm import branch_taken, classify, prefixes_of

if TYPE_CHECKING:
    from kvmdbg.soft.running import Running

JUMP, JUMP_0F = re.compile(rb"[\x70-\x7f\xe0-\xe3\xeb].", re.DOTALL), re.compile(rb"\x0f[\x80-\x8f]....", re.DOTALL)


class EndOfCode:
    """Of the vCPU ``cpu``, whose ``state`` has been saved."""

    def __init__(self, cpu: Running) -> None:
        self._state = cpu.state

    def left_at(self, address: int) -> int | None:
        """How many bytes of the code segment are left from a linear address on; None in 64-bit code, which has none."""
        if bits_of(self._state) == 64:
            return None
        return self._state.u32[SEGMENTS["cs"] // 4 + 4] + 1 - self._offset(address)

    def _offset(self, address: int) -> int:
        return address - self._state.u64[SEGMENTS["cs"] // 8 + 1] & LOW32

    def is_crossed(self, address: int, size: int) -> bool:
        left = self.left_at(address)
        return left is not None and left < size

    def may_be_jumped_over(self, code: bytes) -> bool:
        """By the last instruction of this code, as far as can be said quickly."""
        bits, limit = bits_of(self._state), self._state.u32[SEGMENTS["cs"] // 4 + 4]
        if bits == 64 or limit == LOW32 or (bits == 16 and 0x66 not in code):
            return False
        return code[-5:-4] in (b"\xe8", b"\xe9") or bool(JUMP.fullmatch(code[-2:]) or JUMP_0F.fullmatch(code[-6:]))

    def is_jumped_over(self, address: int, code: bytes) -> bool:
        """Whether a near jump or call, if it is taken, goes behind it. One of 16 bits stays in 64 KiB."""
        bits = bits_of(self._state)
        if bits == 64 or (0x66 in code[: prefixes_of(code, bits)]) != (bits == 16):
            return False
        info = classify(code, self._offset(address), bits, 0)
        if info is None or info.target is None or not (info.is_jump or info.is_call or info.is_conditional):
            return False
        return info.target > self._state.u32[SEGMENTS["cs"] // 4 + 4]

    def refuses_jump(self, address: int, code: bytes) -> bool:
        """Whether the instruction at hand is one that is taken."""
        state = self._state
        if not self.is_jumped_over(address, code):
            return False
        registers = {"rflags": state.flags, "rcx": state.u64[GENERAL // 8 + 1]}
        return branch_taken(code, self._offset(address), bits_of(state), lambda name: registers[name]) is not False
