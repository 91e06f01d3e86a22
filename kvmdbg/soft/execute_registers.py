"""Debug registers of the debugger's that end a run at an instruction: a hook of unicorn's is laid at each."""

from __future__ import annotations

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
        """Their bits in DR6, by address."""
        self._hooks: dict[int, int] = {}
        """Where a register is or was."""
        self._callback = library.FOR_CODE(self._reached)

    def _reached(self, uc: int, address: int, size: int, data: int) -> None:
        self.ends_before(address)

    def ends_before(self, address: int) -> bool:
        """End the run there, from within a hook, where a register is."""
        if address not in self.armed or self._cpu.steps:
            return False
        self._cpu.end_with("breakpoint", address)
        return True

    def set(self, control: int, debugreg: tuple[int, ...]) -> None:
        """As KVM_SET_GUEST_DEBUG has them."""
        self.armed = {}
        if control & abi.KVM_GUESTDBG_USE_HW_BP:
            for n in range(4):
                if debugreg[7] >> 2 * n & 3 and not debugreg[7] >> 16 + 4 * n & 3:
                    self.armed[debugreg[n]] = self.armed.get(debugreg[n], 0) | 1 << n
        vm = self._cpu.vm
        for address in self.armed.keys() - self._hooks.keys():
            if len(self._hooks) >= MOST_HOOKS:
                self._forget()
            self._hooks[address] = vm.library.hook(vm.uc, library.HOOK_CODE, self._callback, address, address)
            vm.code_changed = True

    def _forget(self) -> None:
        """Hooks cost time where they are, though nothing is armed there."""
        for address in self._hooks.keys() - self.armed.keys():
            self._cpu.vm.library.quick.uc_hook_del(self._cpu.vm.uc, self._hooks.pop(address))
            self._cpu.vm.registers_touched = True
