"""Recording what enters a guest through the door (engine/outside.py).

What was changed at a stop is found by comparing the stopped guest with what it is when it goes on, so that it does not
matter who has changed it or by which way. It is made again in the very state in which it was made.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from hashlib import blake2b
from typing import Any

from kvmdbg.engine.control import Control
from kvmdbg.engine.debugged_vcpu import DebuggedVcpu
from kvmdbg.engine.hook_calls import SWALLOW
from kvmdbg.engine.outside import Access as Way
from kvmdbg.engine.outside import Live, Outcome
from kvmdbg.errors import DeviceFailure
from kvmdbg.kvm.saved_regs import RFLAGS
from kvmdbg.kvm.vcpu import MSR_ENTRY
from kvmdbg.machine import snapshot
from kvmdbg.machine.board import InterruptController
from kvmdbg.machine.bus import GuestEnd
from kvmdbg.record import fields, record, replace
from kvmdbg.timeline.log import Access, Arrival, Change, Interrupt, Kick, Log, Moment, Poke
from kvmdbg.x86 import paging
from kvmdbg.x86.registers import EFLAGS_RF

CLOCKS = frozenset((0x10, 0xE7, 0xE8, 0x40000010, 0x40000020))
"""MSRs that go on by themselves: IA32_TIME_STAMP_COUNTER, IA32_MPERF, IA32_APERF (Intel SDM volume 4), and Hyper-V's
HV_X64_MSR_VP_RUNTIME and HV_X64_MSR_TIME_REF_COUNT, which KVM has, too."""
PAGE = 4096


def _digest(data: bytes | bytearray) -> bytes:
    return blake2b(data, digest_size=8).digest()


def general_registers(at: DebuggedVcpu) -> bytes:
    """A digest of struct kvm_regs at an exit, without EFLAGS.TF and RF, which steps change."""
    regs = bytearray(at.vcpu.copy_of_regs())
    regs[RFLAGS + 1] &= 0xFE
    regs[RFLAGS + 2] &= 0xFE
    return _digest(regs)


class MemoryDigest:
    """One number for all of memory; only pages that have changed since the last time are looked at."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[bytes, int]] = {}
        self._sum = 0

    def of(self, pages: snapshot.Pages, without: set[int]) -> int:
        known = self._known
        for address in known.keys() - pages.keys():
            self._sum -= known.pop(address)[1]
        for address, page in pages.items():
            before = known.get(address)
            if before is None or before[0] is not page:
                number = int.from_bytes(_digest(address.to_bytes(8, "little") + page), "little")
                self._sum += number - (0 if before is None else before[1])
                known[address] = page, number
        return self._sum - sum(known[address][1] for address in without & known.keys())


@record
class Standing:
    """The whole guest while it stands still."""

    moment: Moment
    vcpu: snapshot.VcpuState
    pages: snapshot.Pages
    devices: list[tuple[str, Any]]


class Observer:
    """Looks at ``control``'s guest while it stands still."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._memory = MemoryDigest()

    def registers(self) -> bytes:
        values = self._control.vcpus[0].registers.snapshot()
        values["rflags"] &= ~EFLAGS_RF
        return _digest(repr(sorted(values.items())).encode())

    def moment(self, accesses: int) -> Moment:
        return self._moment(accesses, self._control.guest.memory_history.save())

    def _moment(self, accesses: int, pages: snapshot.Pages) -> Moment:
        runner, memory = self._control.runners[0], self._control.guest.machine.memory
        sregs = runner.sregs
        tables = set(paging.tables(memory.read, sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer))
        waits = runner.call(runner.vcpu.holds_event)
        resume_flag = bool(self._control.vcpus[0].registers.get("rflags") & EFLAGS_RF)
        return Moment(accesses, runner.pc, self.registers(), self._memory.of(pages, tables), waits, resume_flag)

    def standing(self, accesses: int) -> Standing:
        guest, runner = self._control.guest, self._control.runners[0]
        runner.call(runner.vcpu.flush_regs)
        vcpu = runner.call(partial(snapshot.save_vcpu, runner.vcpu, guest.msrs, False))
        pages = guest.memory_history.save()
        return Standing(self._moment(accesses, pages), vcpu, pages, guest.machine.bus.save())


def difference(before: Standing, after: Standing) -> Change:
    """What was changed between the two, all but clocks, which go on by themselves."""
    pages = before.pages.keys() | after.pages.keys()
    memory = tuple(
        (address, after.pages.get(address, snapshot.ZERO))
        for address in sorted(pages)
        if before.pages.get(address) is not after.pages.get(address)
        and before.pages.get(address) != after.pages.get(address)
    )
    old = fields(before.vcpu)
    vcpu = {name: value for name, value in fields(after.vcpu).items() if value != old[name] and name != "msrs"}
    msrs = b"".join(sorted(set(_entries(after.vcpu.msrs)) - set(_entries(before.vcpu.msrs))))
    if msrs:
        vcpu["msrs"] = msrs
    changed = tuple(one for one, other in zip(after.devices, before.devices, strict=True) if one != other)
    return Change(memory, vcpu, changed)


def _entries(msrs: bytes) -> Iterator[bytes]:
    for at in range(0, len(msrs), MSR_ENTRY):
        if int.from_bytes(msrs[at : at + 4], "little") not in CLOCKS:
            yield msrs[at : at + MSR_ENTRY]


class Recording(Live):
    """Live, and what enters goes into ``log``."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._observer = Observer(control)
        self._guest = control.guest
        self._stood: Standing | None = self._observer.standing(0)
        self._accesses = 0
        self._registers = self._before = b""
        self._changed: list[tuple[int, bytes]] = []
        """What hooks write to memory at an access."""
        self.log = Log(self._stood.moment)
        self._guest.machine.board.arrived = self._arrived
        self._guest.traps.written = self._written
        control.at_start.append(self._starting)
        control.at_rest.append(self._resting)

    def end(self) -> None:
        """No more of that. The guest stands still."""
        control = self._control
        control.at_start.remove(self._starting)
        control.at_rest.remove(self._resting)
        self._guest.machine.board.arrived = lambda *_: None
        self._guest.traps.written = None
        if control.guest is not self._guest or control.state == "dead":
            self.log.flaw = self.log.flaw or "the guest was restarted or killed meanwhile"
            return
        self._starting()
        self.log.end = self._observer.moment(self._accesses)
        self.log.end_time = self._guest.machine.board.time.now()
        self.log.end_halted = control.runners[0].vcpu.halted

    # --- while it runs -----------------------------------------------------------------------------

    def read(self, at: DebuggedVcpu, what: Way, answer: Any) -> Any:
        registers = self._registers
        with self._guest.machine.board.time.held() as time:
            try:
                value = super().read(at, what, answer)
            except DeviceFailure as error:
                self._add(Access(what.name, registers, failed=(error.device, error.what), time=time))
                raise
        self._add(Access(what.name, registers, value=value, time=time))
        return value

    def write(self, at: DebuggedVcpu, what: Way, value: Any, answer: Any) -> tuple[Any, Outcome]:
        registers = self._registers
        with self._guest.machine.board.time.held() as time:
            try:
                done, outcome = super().write(at, what, value, answer)
            except DeviceFailure as error:
                self._add(Access(what.name, registers, value, failed=(error.device, error.what), time=time))
                raise
        end = outcome if isinstance(outcome, GuestEnd) else None
        self._add(Access(what.name, registers, value, None if answer is SWALLOW else done, end, time=time))
        return done, outcome

    def _add(self, access: Access) -> None:
        self.log.entries.append(access)
        self._accesses += 1

    def reached(self, at: DebuggedVcpu, what: Way) -> None:
        self._registers = general_registers(at)
        self._before = at.vcpu.copy_of_regs()

    def passed(self, at: DebuggedVcpu, what: Way) -> None:
        """Keep what hooks have changed beside the access itself."""
        now = at.vcpu.copy_of_regs() if what.is_exit else self._before
        if now != self._before or self._changed:
            change = Change(tuple(self._changed), {"regs": now} if now != self._before else {})
            self._changed.clear()
            for n in reversed(range(len(self.log.entries))):
                entry = self.log.entries[n]
                if isinstance(entry, Access):
                    self.log.entries[n] = replace(entry, change=change)
                    break

    def _written(self, address: int, data: bytes) -> None:
        """The debugger has written to memory; what it does at a stop is seen when the guest goes on."""
        thread = threading.current_thread()
        if isinstance(thread, DebuggedVcpu):
            if thread.called is not None:
                self._changed.append((address, data))
        elif self._control.world.running:
            self.log.flaw = "memory was written while the guest ran, which is at no place of its run"

    def arrival(self, at: DebuggedVcpu, pic: InterruptController) -> int | None:
        if at.vcpu.unfinished:
            at.vcpu.complete()  # its place is behind the instruction
            at.forget()
        with self._guest.traps.hidden():
            moment = self._observer.moment(self._accesses)
        with self._guest.machine.board.time.held() as time:
            vector = super().arrival(at, pic)
        if vector is not None:
            self.log.entries.append(Interrupt(moment, time, vector))
        return vector

    def _arrived(self, device: str, how: str, data: Any) -> None:
        self.log.entries.append(Arrival(device, how, data))

    # --- while it stands still ---------------------------------------------------------------------

    def _resting(self) -> None:
        if self._changed:
            self.log.flaw = "a hook has changed memory elsewhere than at an access to what is outside"
        self._stood = self._observer.standing(self._accesses)

    def _starting(self) -> None:
        if self._control.guest is not self._guest or self._stood is None:
            return
        stood, now = self._stood, self._observer.standing(self._accesses)
        change = difference(stood, now)
        time = self._guest.machine.board.time.now()
        self.log.entries.append(Poke(stood.moment, change, time) if change else Kick(stood.moment))
        self.log.inspected |= self._guest.judge.inspected
        self._stood = None
