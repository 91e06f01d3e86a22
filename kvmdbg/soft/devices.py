"""An instruction that touches guest-physical memory which is none: its accesses become exits.

Unicorn refuses the first one before anything of the instruction is done. The instruction is run alone then, with the
pages it touches shown to it as a device's. What it reads has to be known meanwhile: where it is not, all is taken back,
and the instruction done again when it has been answered.

A device sees an access as the instruction makes it, up to 8 bytes and cut only at the end of a page. Unicorn makes
several of one that is not aligned or has 8 bytes; its hooks tell of the whole one before.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from kvmdbg.soft import library

if TYPE_CHECKING:
    from kvmdbg.soft.running import Running

PAGE = 4096


class DeviceWindow:
    """For one instruction at a time."""

    def __init__(self, cpu: Running) -> None:
        self._cpu = cpu
        self._pages: list[int] = []
        self._answers: list[bytes] = []
        self._given = 0
        self._asked: tuple[int, int] | None = None
        self._writes: list[tuple[int, int, int]] = []
        self._access = 0, 0, 0
        """Of the instruction, and under way: address, size, value."""
        self._fragments: dict[int, bytes] = {}
        """What devices have seen of it, by address, and what they have answered."""
        self._read = library.MMIO_READ(self._on_read)
        self._write = library.MMIO_WRITE(self._on_write)
        self._on_access = library.FOR_MEMORY(self._accesses)

    def _accesses(self, uc: int, kind: int, address: int, size: int, value: int, data: int | None) -> bool:
        self._access, self._fragments = (address, size, value & (1 << 8 * size) - 1), {}
        return True

    def _fragment(self, piece: int) -> tuple[int, int, int]:
        """What of the access lies in the page of ``piece``: address, size, how many of its bytes come before."""
        address, size, _ = self._access
        before = min(size, PAGE - address % PAGE)
        if piece & -PAGE == address & -PAGE:
            return address, before, 0
        return piece & -PAGE, size - before, before

    def _on_read(self, uc: int, offset: int, size: int, data: int | None) -> int:
        piece = (data or 0) + offset
        address, length, _ = self._fragment(piece)
        if address not in self._fragments:
            if self._given < len(self._answers):
                self._fragments[address] = self._answers[self._given]
                self._given += 1
            else:
                self._fragments[address] = bytes(length)
                self._asked = self._asked or (address, length)
        padded = bytes(8) + self._fragments[address] + bytes(8)
        at = 8 + piece - address
        return int.from_bytes(padded[at : at + size], "little")

    def _on_write(self, uc: int, offset: int, size: int, value: int, data: int | None) -> None:
        address, length, before = self._fragment((data or 0) + offset)
        if address not in self._fragments:
            self._fragments[address] = b""
            self._writes.append((address, length, self._access[2] >> 8 * before & (1 << 8 * length) - 1))

    def enter(self, address: int) -> bool:
        """The instruction at hand touches ``address``; whether that has led to an exit."""
        self._answers = []
        self._pages = [address & -PAGE]
        return self._again()

    def _again(self) -> bool:
        cpu = self._cpu
        state, vm = cpu.state, cpu.vm
        before = bytes(state.bytes)
        while True:
            self._given, self._asked, self._writes = 0, None, []
            for page in self._pages:
                vm.show_device(page, self._read, self._write)
            hook = vm.library.hook(vm.uc, library.HOOK_MEMORY_VALID, self._on_access)
            try:
                cpu.go(1)
            finally:
                vm.library.quick.uc_hook_del(vm.uc, hook)
                for page in self._pages:
                    vm.hide_device(page)
            why = cpu.why
            if self._asked is None and (why is None or why[0] != "memory"):
                break
            cpu.instructions -= 1
            state.bytes[:] = before
            state.load()
            if self._asked is not None:
                cpu.answered_by(self._answer)
                cpu.mmio_exit(*self._asked, None)
                return True
            assert why is not None
            if vm.memory.is_guarded(why[1], why[2]):
                if self._answers:  # a device has read them out: they are given again
                    cpu.answered_by(self._again)
                cpu.show()
                raise OSError(errno.EFAULT, "Bad address")
            self._pages.append(why[2] & -PAGE)
        if self._writes:
            first, *rest = self._writes
            if why is not None:
                cpu.ended(False)
            cpu.pieces += rest
            cpu.mmio_exit(*first)
            return True
        return why is not None and cpu.ended(False)

    def _answer(self) -> bool:
        """The read has been answered."""
        assert self._asked is not None
        size = self._asked[1]
        self._answers.append(bytes(self._cpu.mmio_data[:size]))
        return self._again()
