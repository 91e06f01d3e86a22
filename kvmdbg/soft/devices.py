"""An instruction that touches guest-physical memory which is none: its accesses become exits.

Unicorn refuses the first one before anything of the instruction is done. The instruction is run alone then, with the
pages it touches shown to it as a device's. What it reads has to be known meanwhile: where it is not, all is taken back,
and the instruction done again when it has been answered.
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
        self._answers: list[int] = []
        self._given = 0
        self._asked: tuple[int, int] | None = None
        self._writes: list[tuple[int, int, int]] = []
        self._read = library.MMIO_READ(self._on_read)
        self._write = library.MMIO_WRITE(self._on_write)

    def _on_read(self, uc: int, offset: int, size: int, data: int | None) -> int:
        address = (data or 0) + offset
        if self._given < len(self._answers):
            self._given += 1
            return self._answers[self._given - 1]
        if self._asked is None:
            self._asked = address, size
        return 0

    def _on_write(self, uc: int, offset: int, size: int, value: int, data: int | None) -> None:
        self._writes.append(((data or 0) + offset, size, value & (1 << 8 * size) - 1))

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
            try:
                cpu.go(1)
            finally:
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
        self._answers.append(int.from_bytes(self._cpu.mmio_data[:size], "little"))
        return self._again()
