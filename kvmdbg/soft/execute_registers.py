"""Debug registers that end a run at an instruction, the debugger's and the guest's own: a hook of unicorn's is laid at
each.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

from kvmdbg.kvm import abi
from kvmdbg.soft import library

if TYPE_CHECKING:
    from kvmdbg.soft.running import Running

MOST_HOOKS = 64


class ExecuteRegisters:
    """Of the vCPU ``cpu``."""

    def __init__(self, cpu: Running) -> None:
        self._cpu = cpu
        self.armed: dict[int, int] = {}
        """The debugger's: their bits in DR6, by address."""
        self.guests: dict[int, int] = {}
        """The same of the guest's own."""
        self._hooks: dict[int, int] = {}
        """Where a register is or was."""
        self._callback = library.FOR_CODE(self._reached)

    def _reached(self, uc: int, address: int, size: int, data: int) -> None:
        self.ends_before(address)

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
        vm = self._cpu.vm
        wanted = self.armed.keys() | self.guests.keys()
        for address in wanted - self._hooks.keys():
            if len(self._hooks) >= MOST_HOOKS:
                self._forget(wanted)
            self._hooks[address] = vm.library.hook(vm.uc, library.HOOK_CODE, self._callback, address, address)
            vm.code_changed = True

    def _forget(self, wanted: AbstractSet[int]) -> None:
        """Hooks cost time where they are, though nothing is armed there."""
        for address in self._hooks.keys() - wanted:
            self._cpu.vm.library.quick.uc_hook_del(self._cpu.vm.uc, self._hooks.pop(address))
            self._cpu.vm.registers_touched = True
