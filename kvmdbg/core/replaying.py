"""Giving back to a guest what was recorded of another one, and saying where it does something else."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any

from kvmdbg.core.recording import Observer, general_registers
from kvmdbg.engine import stops
from kvmdbg.engine.breakpoints import Breakpoint
from kvmdbg.engine.control import Control
from kvmdbg.engine.debugged_vcpu import DebuggedVcpu
from kvmdbg.engine.outside import Access as Way
from kvmdbg.engine.outside import Live, Outcome, Refused
from kvmdbg.errors import DeviceFailure, UsageError
from kvmdbg.machine import snapshot
from kvmdbg.machine.board import InterruptController
from kvmdbg.machine.bus import attempt
from kvmdbg.record import record, replace
from kvmdbg.timeline.log import Access, Arrival, Change, Interrupt, Log, Moment, Poke


@record
class Diverged:
    at: Moment
    wanted: str
    got: str


class Replaying(Live):
    """Gives back what ``log`` says; ``diverged`` is where the guest did something else, and what."""

    def __init__(self, control: Control, log: Log) -> None:
        self.log = log
        self.accesses = 0
        self.diverged: Diverged | None = None
        self._control = control
        self._next = 0
        self._registers = b""
        self._failed = False
        """The last stop is for a device that has failed when this was recorded, too."""
        self._feeding = False
        self._changing: Change | None = None
        control.guest.machine.board.arrived = self._arrived
        self._time = control.guest.machine.board.time
        self._time.drive_to(self._time.now())

    def end(self) -> None:
        self._control.guest.machine.board.arrived = lambda *_: None
        self._time.let_go()

    def arrival(self, at: DebuggedVcpu, pic: InterruptController) -> int | None:
        return None  # they come in where the log has them

    def _arrived(self, device: str, how: str, data: Any) -> None:
        if not self._feeding:
            raise UsageError("the guest is given what was recorded: nothing else can come in until that ends")

    def upcoming(self) -> Access | Interrupt | Poke | None:
        """What comes next that the guest takes part in; None: the end."""
        entries = self.log.entries
        while self._next < len(entries):
            entry = entries[self._next]
            if isinstance(entry, Access | Interrupt | Poke):
                return entry
            self._next += 1
            if isinstance(entry, Arrival):
                self._feed(entry)
        return None

    def _feed(self, arrival: Arrival) -> None:
        device = next((one for one in self._control.guest.machine.bus.devices if one.name == arrival.device), None)
        if device is None:
            return
        self._feeding = True
        try:
            getattr(device, arrival.how)(arrival.data)
        finally:
            self._feeding = False

    def _taken(self, at: DebuggedVcpu, what: Way, wrote: Any) -> Access | None:
        """The entry that this access is; None where it is none, or where the guest has left the log."""
        if self.diverged is not None:
            return None
        entry = self.upcoming()
        wanted = self._in_words(entry)
        got = what.name if wrote is None else f"{what.name}, value {wrote:#x}"
        if isinstance(entry, Access):
            if wanted == got and entry.registers == self._registers:
                self._next += 1
                self.accesses += 1
                self._time.drive_to(entry.time)
                self._changing = entry.change
                return entry
            if wanted == got:
                wanted, got = f"{wanted}, with the registers as they were", f"{got}, with other registers"
        self.diverged = Diverged(Moment(self.accesses, at.pc, b"", 0), wanted, got)
        return None

    def _in_words(self, entry: Access | Interrupt | Poke | None) -> str:
        if isinstance(entry, Access):
            return entry.what if entry.wrote is None else f"{entry.what}, value {entry.wrote:#x}"
        if isinstance(entry, Interrupt):
            return f"interrupt {entry.vector:#x} at {entry.at.pc:#x}"
        return "the end of the recording" if entry is None else f"a change at {entry.at.pc:#x}"

    def read(self, at: DebuggedVcpu, what: Way, answer: Any) -> Any:
        entry = self._taken(at, what, None)
        if entry is None:
            return super().read(at, what, answer)
        if what.of_device:
            with suppress(DeviceFailure):
                what.ask(at)
        self._require_success(entry)
        return entry.value

    def write(self, at: DebuggedVcpu, what: Way, value: Any, answer: Any) -> tuple[Any, Outcome]:
        entry = self._taken(at, what, value)
        if entry is None:
            return super().write(at, what, value, answer)
        outcome: Outcome = None
        if entry.value is not None:
            with suppress(DeviceFailure):
                outcome = what.tell(at, entry.value)
        self._require_success(entry)
        return entry.value if entry.value is not None else value, outcome if isinstance(outcome, Refused) else entry.end

    def _require_success(self, entry: Access) -> None:
        if entry.failed is not None:
            self._failed = True
            raise DeviceFailure(*entry.failed)

    def reached(self, at: DebuggedVcpu, what: Way) -> None:
        self._registers = general_registers(at)

    def passed(self, at: DebuggedVcpu, what: Way) -> stops.Stop | None:
        """Where the guest has left the log, or is to stand still for what comes next."""
        change, self._changing = self._changing, None
        if change:
            for address, data in change.memory:
                self._control.guest.traps.write(address, data)
            if "regs" in change.vcpu:
                at.write_regs(change.vcpu["regs"])
        if self.diverged is not None:
            return diverged_stop(at, self.diverged)
        if isinstance(self.upcoming(), Access):
            return None
        return stops.ReplayedStop(vcpu=at.index, pc=at.pc)

    # --- on the way ------------------------------------------------------------------------------

    def go_on(self) -> stops.Stop:
        """Run to the end of the log, to where the guest leaves it, or to whatever stops it before."""
        control, observer = self._control, Observer(self._control)
        runner = control.runners[0]
        halted: Moment | None = None
        stop: stops.Stop | None = None
        while self.diverged is None:
            entry = self.upcoming()
            target = None if isinstance(entry, Access) else self.log.end if entry is None else entry.at
            here = observer.moment(self.accesses)
            if target is not None and here.same_as(target):
                if isinstance(entry, Interrupt):
                    runner.call(partial(self._interrupt, entry))
                    stop = None
                elif isinstance(entry, Poke):
                    self._time.drive_to(entry.time)
                    self._apply(entry.change)
                else:
                    self._time.drive_to(self.log.end_time)
                    runner.vcpu.halted = self.log.end_halted
                    return stops.ReplayedStop(vcpu=0, pc=runner.pc)
                self._next += 1
                continue
            if stop is not None and not (self._failed or _is_on_the_way(stop)):
                return stop
            self._failed = False
            if isinstance(stop, stops.HaltedStop):
                if halted is not None and here.same_as(halted):
                    self.diverged = Diverged(here, self._in_words(entry), "nothing: it halts again and again")
                    break
                halted = here
                runner.vcpu.halted = False  # it went on: a step that keeps interrupts out passes the hlt that one ends
            stop = control.run() if target is None else self._run_to(target, observer)
        return diverged_stop(runner, self.diverged)

    def _run_to(self, target: Moment, observer: Observer) -> stops.Stop:
        """Run to where the registers are those of ``target``, or to the next access, or a part of the way.

        No breakpoint comes to where an event waits, nor between two elements of a string instruction: those are for
        steps. Where EFLAGS.RF is set, one by physical address fires: no debug register holds it.
        """
        control = self._control
        runner = control.runners[0]
        in_string = control.guest.space.is_rep(runner, target.pc)
        if target.waits or (in_string and runner.pc == target.pc):
            while True:
                stop = control.step(1)
                left = in_string and not target.waits and runner.pc != target.pc
                if left or not isinstance(stop, stops.StepStop) or observer.registers() == target.registers:
                    return stop
        place = control.guest.space.physical_of(runner, target.pc) if target.resume_flag else None
        point = Breakpoint(
            target.pc if place is None else place,
            space="linear" if place is None else "phys",
            only_if=lambda vcpu: in_string or observer.registers() == target.registers,
        )
        control.points.own_breakpoints.append(point)
        try:
            return control.run()
        finally:
            control.points.own_breakpoints.remove(point)

    def _interrupt(self, entry: Interrupt) -> None:
        """Hand in what came in here; what it answers a controller is in the state that it was in then."""
        runner, pic = self._control.runners[0], self._control.guest.machine.board.pic
        self._time.drive_to(entry.time)
        if pic is not None and pic.pending:
            pic.acknowledge()
        runner.vcpu.halted = False
        runner.vcpu.interrupt(entry.vector)
        runner.start_anew()

    def _apply(self, change: Change) -> None:
        control = self._control
        guest, runner = control.guest, control.runners[0]
        for address, data in change.memory:
            guest.physical.write(address, data)
        if change.vcpu:
            runner.call(partial(self._load_vcpu, change.vcpu))
            runner.start_anew()
        states = dict(change.devices)
        for device in guest.machine.bus.devices:
            if device.name in states:
                attempt(device, device.load, states[device.name])

    def _load_vcpu(self, parts: dict[str, Any]) -> None:
        guest, vcpu = self._control.guest, self._control.runners[0].vcpu
        vcpu.flush_regs()
        now = snapshot.save_vcpu(vcpu, guest.msrs, False)
        snapshot.load_vcpu(vcpu, replace(now, **{"msrs": now.msrs, **parts}), guest.msrs)
        vcpu.show_regs(parts.get("regs", now.regs))


def _is_on_the_way(stop: stops.Stop) -> bool:
    """Whether the guest goes on from such a stop as it did when it was recorded."""
    if isinstance(stop, stops.BreakpointStop):
        return not stop.hits
    return isinstance(stop, stops.StepStop | stops.ReplayedStop | stops.HaltedStop | stops.ExitedStop)


def diverged_stop(at: DebuggedVcpu, found: Diverged) -> stops.DivergedStop:
    return stops.DivergedStop(vcpu=at.index, pc=at.pc, at=found.at, wanted=found.wanted, got=found.got)
