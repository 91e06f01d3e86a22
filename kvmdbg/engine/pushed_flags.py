"""Images of EFLAGS on the guest's stack: what is loaded from them, and EFLAGS.TF of the debugger's own taken out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvmdbg.errors import MemoryFault
from kvmdbg.kvm.saved_regs import RFLAGS, RIP, RSP
from kvmdbg.x86.registers import EFLAGS_TF

if TYPE_CHECKING:
    from kvmdbg.engine.guest import Guest
    from kvmdbg.engine.vcpu_thread import VcpuThread

IMAGE_SIZES = {"popf": 2, "popfd": 4, "popfq": 8, "iret": 2, "iretd": 4, "iretq": 8}
"""Bytes of what these instructions load into EFLAGS."""


class PushedFlags:
    """Of one vCPU, as its stack is now; ``before`` is struct kvm_regs before a step."""

    def __init__(self, vcpu: VcpuThread, guest: Guest) -> None:
        self._vcpu = vcpu
        self._guest = guest

    def frame(self, before: bytes) -> list[tuple[int, int]]:
        """What the delivery of an event has just pushed: linear address and size of its one piece, or its two pieces
        where the stack goes on at the other end of its segment. Empty where it cannot be found.

        ``before`` are the registers before it.
        """
        size, top = self._frame_size(before), self._vcpu.stack_pointer
        first = next((n for n in range(size) if self._vcpu.on_stack(n) != top + n), size)
        pieces = [(top, first), (self._vcpu.on_stack(first), size - first)]
        return [piece for piece in pieces if piece[1]]

    def _frame_size(self, before: bytes) -> int:
        """Its bytes; 0 where it is none.

        Known by the return address, that of the instruction or one behind it.
        """
        vcpu = self._vcpu
        width = vcpu.mode.bits // 8
        rip = int.from_bytes(before[RIP : RIP + 8], "little")
        mask = (1 << width * 8) - 1
        slots = 5 if width == 8 else 3
        for error_code in (0, width):
            try:
                back = self._guest.space.read_linear(vcpu, vcpu.on_stack(error_code), width)
            except MemoryFault:
                return 0
            if (int.from_bytes(back, "little") - rip) & mask <= 15:
                return error_code + slots * width
        return 0

    def correct_frame(self, before: bytes) -> None:
        """After the delivery of an event: have EFLAGS.TF in its frame as the guest had it."""
        size = self._frame_size(before)
        if size:
            width = self._vcpu.mode.bits // 8
            error_code = size % (5 * width if width == 8 else 3 * width)
            self._correct_pushed(error_code + 2 * width, width, before)

    def correct_pushf(self, before: bytes) -> None:
        """After a step over pushf: have EFLAGS.TF in the pushed image as the guest had it."""
        vcpu = self._vcpu
        rsp = int.from_bytes(before[RSP : RSP + 8], "little")
        width = (rsp - vcpu.vcpu.regs.rsp) & 0xFFFF
        if width not in (2, 4, 8):
            return
        rip = int.from_bytes(before[RIP : RIP + 8], "little")
        info = self._guest.space.classify_at(vcpu, vcpu.cs_base + rip)
        if info is not None and info.is_pushf:
            self._correct_pushed(0, width, before)

    def _correct_pushed(self, offset: int, width: int, before: bytes) -> None:
        """Have EFLAGS.TF in an image of EFLAGS on the stack as the guest had it in registers ``before``."""
        vcpu = self._vcpu
        at = vcpu.on_stack(offset)
        own = EFLAGS_TF if before[RFLAGS + 1] & 1 else 0
        try:
            flags = int.from_bytes(self._guest.space.read_linear(vcpu, at, width), "little")
            if flags & EFLAGS_TF != own and flags & 2 and not flags & 0x8028:
                self._guest.space.write_linear(vcpu, at, (flags ^ EFLAGS_TF).to_bytes(width, "little"))
        except MemoryFault:
            return

    def source(self) -> range:
        """Linear addresses of what popf or iret at pc is about to load into EFLAGS; none for another instruction."""
        vcpu = self._vcpu
        info = self._guest.space.classify_at(vcpu, vcpu.pc)
        size = IMAGE_SIZES.get(info.mnemonic) if info is not None else None
        if info is None or size is None:
            return range(0)
        at = vcpu.on_stack(2 * size if info.mnemonic.startswith("iret") else 0)
        return range(at, at + size)

    def in_memory(self, source: range) -> int | None:
        """What is there; None where that is no memory."""
        if not source:
            return None
        try:
            memory = self._guest.space.read_linear(self._vcpu, source.start, len(source))
        except MemoryFault:
            return None
        return int.from_bytes(memory, "little")

    def from_devices(self, source: range, reads: dict[int, bytes]) -> int | None:
        """What the instruction has read there of devices (``reads``); None where it was not all of it."""
        space, memory = self._guest.space, self._guest.machine.memory
        given = {address + n: byte for address, data in reads.items() for n, byte in enumerate(data)}
        image = bytearray()
        for linear in source:
            physical = space.physical_of(self._vcpu, linear)
            if physical is not None and memory.find(physical) is not None:
                image += memory.read(physical, 1)
            elif physical in given:
                image.append(given[physical])
            else:
                return None
        return int.from_bytes(image, "little")
