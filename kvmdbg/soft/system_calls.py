"""SYSCALL and SYSENTER, which unicorn does nothing at, and what SYSRET and SYSEXIT refuse (SDM volume 2B)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kvmdbg.masks import LOW32, LOW64
from kvmdbg.soft.nothing_done import bits_of
from kvmdbg.soft.registers import ADDRESS_MSRS, takes
from kvmdbg.soft.state import CR0, EFER, EFLAGS, GENERAL, MSRS, SEGMENTS
from kvmdbg.x86.delivery import Event
from kvmdbg.x86.faults import GP, UD
from kvmdbg.x86.modes import CR0_PE, EFER_LMA, EFLAGS_VM
from kvmdbg.x86.registers import EFLAGS_IF, EFLAGS_RF

if TYPE_CHECKING:
    from kvmdbg.soft.running import Running

SYSCALL, SYSENTER, SYSRET, SYSEXIT = b"\x0f\x05", b"\x0f\x34", b"\x0f\x07", b"\x0f\x35"
SYSENTER_CS, SYSENTER_ESP, SYSENTER_EIP, STAR, LSTAR, FMASK = (
    MSRS[index] // 8 for index in (0x174, 0x175, 0x176, 0xC0000081, 0xC0000082, 0xC0000084)
)
EFER_SCE = 1
RCX, RDX, RSP, R11 = (GENERAL // 8 + number for number in (1, 2, 4, 11))
CODE_64, CODE_32, DATA = 0xA09B00, 0xC09B00, 0xC09300
"""Attributes of flat segments of DPL 0, as QEMU has them."""
AN_ADDRESS = min(ADDRESS_MSRS)


class SystemCalls:
    """Of the vCPU ``cpu``; ``done`` ends the instruction where RIP is already, and says whether that has led to an
    exit."""

    def __init__(self, cpu: Running, done: Callable[[], bool]) -> None:
        self._cpu, self._done = cpu, done

    def is_unicorns(self, opcode: bytes, size: int) -> bool:
        """Whether unicorn may do the one at hand, of so many bytes, within a hook before it."""
        if opcode in (SYSCALL, SYSENTER):
            return False
        state = self._cpu.state
        state.save()
        if opcode == SYSRET and not self._is_known():
            return False
        if bits_of(state) != 64 or state.cpl or size == len(opcode):
            return True
        words = state.u64
        addresses = (words[RCX],) if opcode == SYSRET else (words[RCX], words[RDX])
        return all(takes(AN_ADDRESS, address) for address in addresses)

    def execute(self, opcode: bytes, length: int) -> bool:
        """The one at hand; whether that has led to an exit."""
        if opcode == SYSCALL:
            return self._syscall(length)
        if opcode == SYSENTER:
            return self._sysenter()
        return self._cpu.deliver(Event.exception(GP if opcode == SYSEXIT or self._is_known() else UD))

    def _is_known(self) -> bool:
        """SYSCALL and SYSRET: Intel has them in 64-bit mode, where EFER.SCE lets them be."""
        state = self._cpu.state
        return bits_of(state) == 64 and bool(state.u64[EFER // 8] & EFER_SCE)

    def _syscall(self, length: int) -> bool:
        state, words = self._cpu.state, self._cpu.state.u64
        if not self._is_known():
            return self._cpu.deliver(Event.exception(UD))
        words[RCX], words[R11] = state.rip + length, state.flags & ~EFLAGS_RF
        state.flags &= ~(words[FMASK] | EFLAGS_RF)
        return self._enter(words[STAR] >> 32, words[LSTAR], long=True)

    def _sysenter(self) -> bool:
        words = self._cpu.state.u64
        if not words[CR0 // 8] & CR0_PE or not words[SYSENTER_CS] & 0xFFFC:
            return self._cpu.deliver(Event.exception(GP))
        long = bool(words[EFER // 8] & EFER_LMA)
        mask = LOW64 if long else LOW32
        words[RSP] = words[SYSENTER_ESP] & mask
        words[EFLAGS // 8] &= ~(EFLAGS_VM | EFLAGS_IF | EFLAGS_RF)
        return self._enter(words[SYSENTER_CS], words[SYSENTER_EIP] & mask, long=long)

    def _enter(self, selector: int, rip: int, *, long: bool) -> bool:
        """CPL 0, at this place in a flat segment."""
        state = self._cpu.state
        words, doubles, selector = state.u64, state.u32, selector & 0xFFFC
        for name, loaded, attributes in (("cs", selector, CODE_64 if long else CODE_32), ("ss", selector + 8, DATA)):
            at = SEGMENTS[name]
            words[at // 8 + 1] = 0
            doubles[at // 4], doubles[at // 4 + 4], doubles[at // 4 + 5] = loaded & 0xFFFF, LOW32, attributes
        state.derive_hflags(0)
        state.rip = rip
        return self._done()
