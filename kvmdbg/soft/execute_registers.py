"""Debug registers that end a run at an instruction, the debugger's and the guest's own: each is a place that is held
(held_places.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvmdbg.kvm import abi

if TYPE_CHECKING:
    from kvmdbg.soft.running import Running

MOST_KNOWN = 64


class ExecuteRegisters:
    """Of the vCPU ``cpu``."""

    def __init__(self, cpu: Running) -> None:
        self._cpu = cpu
        self.armed: dict[int, int] = {}
        """The debugger's: their bits in DR6, by address."""
        self.guests: dict[int, int] = {}
        """The same of the guest's own."""
        self.known = set[int]()
        """Where one is or was: what is translated ends there."""

    def ends_before(self, address: int) -> bool:
        """End the run there, from within a hook, where a register is."""
        cpu = self._cpu
        if address in self.armed and not cpu.steps:
            cpu.end_with("breakpoint", address)
            return True
        if address not in self.guests or (cpu.resumes and cpu.vm.begun.value == 1):
            return False
        cpu.end_with("guest's breakpoint", self.guests[address])
        return True

    def set(self, control: int, debugreg: tuple[int, ...]) -> None:
        """As KVM_SET_GUEST_DEBUG has them."""
        self.armed = {}
        if control & abi.KVM_GUESTDBG_USE_HW_BP:
            for n in range(4):
                if debugreg[7] >> 2 * n & 3 and not debugreg[7] >> 16 + 4 * n & 3:
                    self.armed[debugreg[n]] = self.armed.get(debugreg[n], 0) | 1 << n
        self._lay()

    def set_guests(self, points: dict[int, int]) -> None:
        self.guests = points
        self._lay()

    def _lay(self) -> None:
        wanted = self.armed.keys() | self.guests.keys()
        if wanted <= self.known:
            return
        self.known = wanted | (self.known if len(self.known) < MOST_KNOWN else set())
        self._cpu.vm.code_changed = True
