"""Traps at the entries of the guest's handlers, which end a step that delivers an event there.

On a KVM that runs through a handler in one step they are needed; elsewhere there are none, and only changes of the
guest's table of handlers are noticed.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kvmdbg.engine.probe import HLT, INT1, INT3
from kvmdbg.kvm import exits
from kvmdbg.machine.memory import PAGE
from kvmdbg.x86 import disasm
from kvmdbg.x86.gates import handler_entries
from kvmdbg.x86.modes import CR0_PG
from kvmdbg.x86.reach import HANDLER_SIZE

if TYPE_CHECKING:
    from kvmdbg.engine.exit_loop import ExitLoop
    from kvmdbg.engine.guest import Guest
    from kvmdbg.machine.memory import GuestMemory

OUT = 0xEE
"""out dx, al: the trap at handlers' entries where a hlt does not exit. DX is there what it was before the step."""
KERNEL_PORTS = frozenset((0x20, 0x21, *range(0x40, 0x44), 0x61, 0xA0, 0xA1, 0x4D0, 0x4D1))
"""The ports of the chips that KVM has in the kernel: an out there does not exit."""


class Survey:
    """What was found of the handlers' entries without paging; ``key`` says of which table."""

    def __init__(self, memory: GuestMemory, key: object, plantable: dict[int, int], others: list[int]) -> None:
        self.key, self.plantable, self.others = key, plantable, others
        places = [*plantable, *others]
        pages = {at & -PAGE for linear in places for at in (linear, linear + HANDLER_SIZE)}
        self._code = []
        for page in pages:
            region = memory.find(page)
            if region is not None:
                start = page - region.address
                self._code.append((region.mapping, start, region.mapping[start : start + PAGE]))

    def holds(self, key: object) -> bool:
        return key == self.key and all(mapping[at : at + PAGE] == known for mapping, at, known in self._code)


class HandlerTraps:
    """Of one vCPU. They are held in debug registers as far as there are any, which the guest cannot read; by traps in
    memory beyond."""

    def __init__(self, vcpu: ExitLoop, guest: Guest) -> None:
        self._vcpu = vcpu
        self._guest = guest
        self.entries: set[int] = set()
        """Guest-physical addresses of the traps in memory."""
        self.points: dict[int, int | None] = {}
        """The entries of handlers by linear address: where their trap lies during steps, None for a debug register."""
        self._idtr = b""
        self._table: list[tuple[mmap.mmap, int, int, bytes]] = []
        """Where in memory the guest's table of handlers lies, and what it held."""
        self._dx_serves = True
        """Whether OUT exits, as DX is now."""
        self._survey: Survey | None = None

    @property
    def by_out(self) -> bool:
        """Whether the traps are OUT."""
        return self.kernel_trap == OUT

    def outdated(self, by_out: bool) -> bool:
        """Whether the guest has another table of handlers, or (``by_out``) another DX, than when they were set up."""
        changed = self._vcpu.vcpu.shared_idtr != self._idtr
        for mapping, start, end, known in self._table:
            changed |= mapping[start:end] != known
        return changed or (by_out and self._out_exits() != self._dx_serves)

    def forget_table(self) -> None:
        """Let go of the guest's memory; its translations may change."""
        self._table.clear()

    def may_lie_within(self, linear: int) -> bool:
        """Whether a handler may begin within the instruction there."""
        return not self.points.keys().isdisjoint(range(linear, linear + disasm.MAX_INSTRUCTION))

    @contextmanager
    def none_within(self, linear: int) -> Iterator[None]:
        """While inside, no trap lies in the bytes of the instruction there, which the vCPU stands at."""
        runner = self._vcpu
        insn = disasm.decode(self._guest.space.code_at(runner, linear, disasm.MAX_INSTRUCTION), runner.mode.bits)
        end = linear + (insn.size if insn else disasm.MAX_INSTRUCTION)
        within = [entry for entry in self.points if linear <= entry < end]
        for entry in within:
            self._let_go(entry)
        try:
            yield
        finally:
            for entry in within:
                self._hold_again(entry)

    def _let_go(self, linear: int) -> None:
        """Have none at this entry."""
        physical = self.points[linear]
        if physical is None:
            self._vcpu.step_entries = tuple(entry for entry in self._vcpu.step_entries if entry != linear)
            self._vcpu.debug_for_stepping()
        else:
            self.untrap(physical)

    def _hold_again(self, linear: int) -> None:
        """After ``_let_go``, unless they were set up anew without it."""
        if linear not in self.points:
            return
        physical = self.points[linear]
        if physical is None:
            self._vcpu.step_entries += (linear,)
            self._vcpu.debug_for_stepping()
        else:
            self.trap(physical)

    def release(self) -> None:
        """Take the traps out of memory; ``set_up_again`` puts them back."""
        if self.entries:
            self._guest.traps.lift(*self.entries - self._vcpu.plan.traps)
            self.entries.clear()

    def set_up_again(self) -> None:
        """As they were at the last ``set_up``: nothing that they depend on has changed."""
        self._trap_all({physical for physical in self.points.values() if physical is not None})

    def _note_table(self) -> None:
        """Remember the guest's table of handlers, to see when it is another one."""
        runner = self._vcpu
        idt = runner.sregs.idt
        self._idtr = runner.vcpu.shared_idtr
        self._table = []
        at, end = idt.base, idt.base + min(idt.limit + 1, 1024 if runner.mode.segmented else 4096)
        while at < end:
            size = min(end - at, 4096 - at % 4096)
            physical = self._guest.space.physical_of(runner, at)
            region = None if physical is None else self._guest.machine.memory.find(physical)
            if physical is not None and region is not None:
                start = physical - region.address
                self._table.append((region.mapping, start, start + size, region.mapping[start : start + size]))
            at += size

    def set_up(self) -> None:
        runner = self._vcpu
        self.points.clear()
        runner.step_entries, runner.step_trap = (), None
        self._note_table()
        profile = runner.host.profile
        if profile.steps_into_handlers:
            return
        trap = self.kernel_trap
        self._dx_serves = self._out_exits()
        if trap is None:
            return
        if trap == OUT and not self._dx_serves:
            return
        plantable, others = self._entries()
        free = runner.free_debug_registers if profile.kernel_execute_dr else 0
        held = (others + list(plantable))[:free]
        self.points.update(dict.fromkeys(held))
        runner.step_entries, runner.step_trap = tuple(held), trap
        planted = {linear: physical for linear, physical in plantable.items() if linear not in self.points}
        self.points.update(planted)
        self._trap_all(set(planted.values()))

    def _entries(self) -> tuple[dict[int, int], list[int]]:
        """The handlers' entries: those where a trap can lie, with their guest-physical addresses, and the others.

        Without paging it is known from last time, where neither the table nor the pages of the code have changed.
        """
        runner = self._vcpu
        unpaged = not runner.sregs.cr0 & CR0_PG
        key = self._idtr, runner.mode.name, [known for *_, known in self._table]
        if unpaged and self._survey is not None and self._survey.holds(key):
            return self._survey.plantable, self._survey.others
        sregs = runner.sregs
        entries = handler_entries(
            lambda at, size: self._guest.space.read_linear(runner, at, size),
            sregs.idt.base,
            sregs.idt.limit,
            runner.mode,
        )
        table = min(sregs.idt.limit + 1, 1024 if runner.mode.segmented else 4096)
        idt = range(sregs.idt.base, sregs.idt.base + table)
        plantable = {}
        others = []
        for linear in entries:
            physical = self._guest.space.physical_of(runner, linear)
            known = physical is not None and linear not in idt and self._guest.machine.memory.find(physical)
            if physical is not None and known and self._guest.vectors.is_handler(runner, linear):
                plantable[linear] = physical
            else:
                others.append(linear)
        self._survey = Survey(self._guest.machine.memory, key, plantable, others) if unpaged else None
        return plantable, others

    @property
    def kernel_trap(self) -> int | None:
        """The byte to plant at handlers' entries, if any exits there."""
        trap = self._vcpu.plan.trap or self._vcpu.host.profile.kernel_trap
        if trap != HLT or not self._guest.machine.irqchip:
            return trap
        return None if self._vcpu.host.profile.out_is_past or len(self._guest.world.runners) > 1 else OUT

    def _out_exits(self) -> bool:
        """Whether OUT is an exit, as DX is now: neither the kernel's chips nor a ring take what is written."""
        port = self._vcpu.vcpu.regs.rdx & 0xFFFF
        return port not in KERNEL_PORTS and port not in self._guest.coalescing.ports

    def trap(self, physical: int) -> None:
        self._trap_all({physical})

    def _trap_all(self, places: set[int]) -> None:
        if places:
            assert self._vcpu.step_trap is not None
            self.entries |= places
            self._guest.traps.plant_all(places, self._vcpu.step_trap)

    def untrap(self, physical: int) -> None:
        self.entries.discard(physical)
        self._guest.traps.lift(physical)

    def at_entry(self, reason: int) -> bool:
        """Whether the exit is at the entry of a handler that is trapped; ip is there then."""
        if not self.points:
            return False
        runner = self._vcpu
        trap = runner.step_trap
        pc = runner.pc
        if reason == exits.KVM_EXIT_DEBUG and runner.vcpu.debug_exception != 3:
            fired = runner.vcpu.debug_dr6 & 15
            if not fired or pc not in runner.step_entries:
                return False
        elif trap == HLT and reason == exits.KVM_EXIT_HLT:
            pc -= 1
            if self._guest.space.physical_of(runner, pc) not in self.entries:
                return False
            runner.set_general("rip", runner.vcpu.regs.rip - 1)
        elif trap == OUT and reason == exits.KVM_EXIT_IO:
            if self._guest.space.physical_of(runner, pc) not in self.entries:
                return False
            self._undo_out()
        elif (trap == INT3 and reason == exits.KVM_EXIT_DEBUG) or (
            trap == INT1 and reason == exits.KVM_EXIT_INTERNAL_ERROR
        ):
            if self._guest.space.physical_of(runner, pc) not in self.entries:
                return False
        else:
            return False
        return True

    def _undo_out(self) -> None:
        """After the exit for an OUT of ours: have KVM end it, and ip at it again."""
        runner = self._vcpu
        entry = runner.vcpu.regs.rip
        runner.complete()
        runner.set_general("rip", entry)
