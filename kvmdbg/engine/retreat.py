"""Going back to the last exit, where a guard has spoilt an instruction and KVM cannot restart it.

A guard made of memory slots lets KVM's emulator do an instruction to its end before it exits: of several writes only
the last one is kept, and an event whose frame cannot be written becomes a triple fault. That is noticed afterwards
(engine/watching.py). The way from the last exit is then run once more, stepped and without guards: nothing that the
guest could see outside of itself has happened since, so that it cannot tell.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from kvmdbg.kvm import exits
from kvmdbg.machine import snapshot
from kvmdbg.record import record

if TYPE_CHECKING:
    from kvmdbg.engine.guest import Guest
    from kvmdbg.engine.vcpu_thread import VcpuThread


@record
class Mark:
    """The machine at an exit, all but its devices, which nothing touches until the next one."""

    pages: snapshot.Pages
    vcpu: snapshot.VcpuState
    chips: tuple[bytes, ...]
    planted: dict[int, tuple[int, int]]


class GuardSpoilt(Exception):
    """A guard made of slots has met the CPU itself in ``pages``, which are to be held by stepping.

    ``done``: whether the instruction has run, wrongly, so that the vCPU must go back to the last mark.
    """

    def __init__(self, pages: set[int], done: bool) -> None:
        super().__init__(pages, done)
        self.pages = pages
        self.done = done


class Retreat:
    """The last mark of the one vCPU of ``guest``, while slots guard pages; all methods run on its thread."""

    def __init__(self, thread: VcpuThread, guest: Guest) -> None:
        self._thread = thread
        self._guest = guest
        self._mark: Mark | None = None
        self.spent = False
        """Something has happened since the mark that must not happen twice."""

    @property
    def marked(self) -> bool:
        return self._mark is not None

    def mark(self) -> None:
        """Here it can be taken up again."""
        guest, machine = self._guest, self._guest.machine
        self._thread.vcpu.flush_regs()
        with guest.traps.kept() as planted:
            pages = guest.memory_history.save()
        vcpu = snapshot.save_vcpu(self._thread.vcpu, guest.msrs, machine.irqchip)
        self._mark = Mark(pages, vcpu, snapshot.save_chips(machine), planted)
        self.spent = False

    def back(self) -> bool:
        """Go back to the mark; whether there is one."""
        mark, self._mark = self._mark, None
        if mark is None:
            return False
        guest, machine, vcpu = self._guest, self._guest.machine, self._thread.vcpu
        guest.coalescing.discard()
        self._end_accesses()
        with guest.traps.replaced(mark.planted):
            guest.memory_history.restore(mark.pages)
        snapshot.load_chips(machine, mark.chips)
        snapshot.load_vcpu(vcpu, mark.vcpu, guest.msrs)
        vcpu.show_regs(mark.vcpu.regs)
        self._thread.forget()
        return True

    def _end_accesses(self) -> None:
        """Let KVM end the instruction whose exit is in the page, whatever it does; it is done again."""
        vcpu, memory = self._thread.vcpu, self._guest.machine.memory
        with suppress(OSError):
            while True:
                if vcpu.reason == exits.KVM_EXIT_MMIO:
                    address, size, writes = vcpu.mmio
                    if not writes and memory.find(address) is not None:
                        vcpu.mmio_data[:size] = memory.read(address, size)
                if not vcpu.complete():
                    return

    def forget(self) -> None:
        """There is no way back from here on."""
        self._mark = None
