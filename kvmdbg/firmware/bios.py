"""The BIOS of a machine: how a call comes to its service, and what is known of the calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kvmdbg.firmware import rom
from kvmdbg.firmware.call import Call, Caller, part
from kvmdbg.firmware.environment import Environment
from kvmdbg.firmware.registry import find, words
from kvmdbg.machine.board import Board
from kvmdbg.machine.bus import Bus, GuestEnd
from kvmdbg.machine.memory import GuestMemory

if TYPE_CHECKING:
    from kvmdbg.kvm import abi

ANY = -1
"""In the counts, for interrupts without functions."""
SERVICES = frozenset((*range(0x10, 0x18), 0x1A))
"""Interrupts that the guest makes itself, and that return to it."""


class Bios(Environment):
    """A device with a port, to which the code in ``rom`` writes."""

    name = "bios"
    serves_vcpu = True
    """A write to its port is a ``call``."""

    def __init__(self, board: Board, bus: Bus, memory: GuestMemory, boots_from: int | None = None) -> None:
        super().__init__(board, bus, memory, boots_from)
        self.counts: dict[tuple[int, int], int] = {}
        """How often each was called: by interrupt and AH, or AX where that is what chooses the service."""
        self.last = 0, 0

    def call(self, caller: Caller) -> GuestEnd | None:
        """Serve the call that the stub at rip makes."""
        number = self.number(caller)
        if number is None:
            return None
        call = Call(caller, self, number)
        if number == rom.POST_CALL:
            from kvmdbg.firmware.restart import post

            return post(call)
        ax = call.ax
        found = find(number, ax)
        chosen = ax >> 8 if found is None or found.number is not None else ANY
        key = number, ax if found is not None and (found.number or 0) > 0xFF else chosen
        self.counts[key] = self.counts.get(key, 0) + 1
        self.last = key
        if found is None:
            self._unknown(call)
            return None
        end = found.run(call)
        if number in SERVICES:
            call.let_interrupts_in()
        return end

    def number(self, caller: Caller) -> int | None:
        """Which of ``rom.CALLS`` the vCPU makes here; None where it is not the ROM's code that does."""
        return rom.CALLS.get((int(caller.sregs.cs.base), int(caller.regs.rip)))

    @staticmethod
    def has_code_at(pc: int) -> bool:
        """Whether the BIOS's code lies at this linear address."""
        return rom.BASE <= pc < rom.BASE + rom.SIZE

    @staticmethod
    def words(regs: abi.kvm_regs, number: int) -> str:
        """A call with these registers in words."""
        return words(number, lambda name: part(regs, name))

    @staticmethod
    def _unknown(call: Call) -> None:
        """Nothing serves it: what a BIOS answers then, and a word of it, once."""
        call.tell_unserved()
        vector = call.vector
        if vector == 0x13:
            call.done(0x01)
        elif vector == 0x1A:
            call.carry(True)

    # --- as a device

    def read(self, offset: int, size: int) -> int:
        return (1 << size * 8) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        pass

    def describe(self) -> str:
        return f"BIOS services, called {sum(self.counts.values())} times"

    def save(self) -> Any:
        counts = [[vector, ah, count] for (vector, ah), count in self.counts.items()]
        return [counts, sorted(self.told), self.wait_until, self.clock_is_set]

    def load(self, state: Any) -> None:
        counts, told, self.wait_until, self.clock_is_set = state
        self.counts = {(vector, ah): count for vector, ah, count in counts}
        self.told = {(vector, ah) for vector, ah in told}
