"""Lets the guest run and stops it, makes it anew, ends it: for everybody who wants that, one after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property, partial
from typing import Protocol

from kvmdbg.engine import limits, stops
from kvmdbg.engine.coalescing import Coalescing
from kvmdbg.engine.counted_run import run_counted
from kvmdbg.engine.debugged_vcpu import DebuggedVcpu
from kvmdbg.engine.device_memory import DeviceMemory
from kvmdbg.engine.guest import Guest
from kvmdbg.engine.hardware import Hardware
from kvmdbg.engine.holding import Holding
from kvmdbg.engine.inspection import Inspection
from kvmdbg.engine.judge import Judge
from kvmdbg.engine.outside import Door
from kvmdbg.engine.registers import GENERAL
from kvmdbg.engine.runner import Runner
from kvmdbg.engine.traps import Traps
from kvmdbg.engine.vectors import Vectors
from kvmdbg.engine.views import LinearMemory, PhysicalMemory, VcpuView
from kvmdbg.engine.world import Job, World
from kvmdbg.errors import GONE, NotSupportedHere, SessionStateError, UsageError
from kvmdbg.kvm import abi
from kvmdbg.machine.image import Image, LoadOptions
from kvmdbg.machine.machine import reset_vcpu
from kvmdbg.record import replace
from kvmdbg.x86.registers import EFLAGS_IF

PATIENCE = 5.0
"""How many seconds a hook may take to return when the guest is to stop."""


class Lock(Protocol):
    """As those of threading."""

    def acquire(self, blocking: bool = ...) -> bool: ...

    def release(self) -> None: ...


class Control:
    """Of one guest, from its first load to its end; ``registers`` are those that it begins with."""

    def __init__(
        self,
        hardware: Hardware,
        image: Image,
        options: LoadOptions,
        registers: Mapping[str, int],
        judge: Judge,
    ) -> None:
        self.points = judge.points
        self.fresh = True
        """The guest has not run since it was loaded."""
        self.last_stop: stops.Stop | None = None
        self.interrupts = 0  # asked for so far: one may come between two steps
        self._ended_by: stops.Stop | None = None  # the last run
        self.epoch = 0
        """Grows when the guest goes on or is given another state, or another vCPU is selected: a frame that was looked
        at before is no more."""
        self.at_epoch: list[Callable[[], None]] = []
        """Called when the guest goes on or is given another state."""
        self.at_load: list[Callable[[], None]] = []
        """Called when the machine has been made anew."""
        self.at_start: list[Callable[[], None]] = []
        """Called when the guest is about to go on, before anything is put in place for that."""
        self.at_rest: list[Callable[[], None]] = []
        """Called when all vCPUs have come to rest, before the stop is told."""
        self.sharers: list[Lock] = []
        """Locks of those who use the guest on threads of their own: it is not replaced while one of them is held."""
        self.world = World(self._finish, self._announce)
        self.runners: list[Runner] = []
        self.vcpus: list[VcpuView] = []
        self._hardware = hardware
        self._image = image
        self._options = options
        self._registers = dict(registers)
        self._judge = judge
        self._listeners = judge.listeners
        self.interrupts_raise = False
        """A KeyboardInterrupt ends the code of the user's that lets the guest run, too."""
        self._lock = threading.RLock()
        self._dead = self._kill_asked = False
        self._ports_observed = False  # somebody wanted to see exits in the last run
        self._closed = False
        self.guest = self._make_guest()
        try:
            self._make_runners(0)
            self._load()
        except BaseException:
            self.close()
            raise

    @cached_property
    def blocks_interrupts(self) -> bool:
        """Whether KVM has KVM_GUESTDBG_BLOCKIRQ: steps that let no interrupt in."""
        return bool(self.guest.machine.system.check_extension(abi.KVM_CAP_SET_GUEST_DEBUG2) & abi.KVM_GUESTDBG_BLOCKIRQ)

    @property
    def step_interrupts(self) -> bool:
        """Whether an interrupt may come in during a step."""
        return self.world.step_interrupts or not self.blocks_interrupts

    def let_interrupts_in(self, value: bool) -> None:
        """Whether interrupts come in during steps. NotSupportedHere where this KVM cannot keep them out."""
        if not value and not self.blocks_interrupts:
            raise NotSupportedHere("this KVM cannot keep interrupts out of a step: it lacks KVM_GUESTDBG_BLOCKIRQ")
        self.world.step_interrupts = value

    @property
    def output(self) -> bytes:
        """What the guest has sent to its serial port: the last 16 to 32 MiB where that is more."""
        return bytes(self._hardware.serial.output)

    @property
    def space(self) -> Inspection:
        """Questions about the address space and the code of a vCPU."""
        return self.guest.space

    @property
    def runner(self) -> Runner:
        """The selected vCPU's runner."""
        return self.runners[self.vcpu.index]

    def select(self, index: int) -> VcpuView:
        """Make another vCPU the selected one."""
        if not 0 <= index < len(self.vcpus):
            raise UsageError(f"no vCPU {index}: there are {len(self.vcpus)}, numbered from 0")
        self.vcpu = self.vcpus[index]
        self.epoch += 1
        return self.vcpu

    # --- life --------------------------------------------------------------------------------------

    def _make_guest(self) -> Guest:
        """A machine with all that its vCPUs share; they have no threads yet."""
        host = self._hardware.host
        machine = self._hardware.build(self._image, self._coalesced_changed)
        machine.board.tell = self._listeners.tell_warning
        traps = Traps(machine.memory)
        physical = PhysicalMemory(lambda: traps)
        space = Inspection(host, machine, physical)
        world, judge = self.world, self._judge
        vectors = Vectors(self._image, space, world, judge)
        holding = Holding(host, machine, traps, world, space, self.points, judge, vectors)
        coalescing = Coalescing(machine, world, judge)
        door = Door(judge)
        guest = Guest(
            host, machine, traps, physical, space, world, judge, door, vectors, holding, coalescing, self._listeners
        )
        machine.board.dma, machine.board.stopping = DeviceMemory(guest), lambda: world.stopping
        return guest

    def _make_runners(self, selected: int) -> None:
        """Start the vCPUs' threads."""
        blocks = self.blocks_interrupts
        self.runners = [Runner(self.guest, vcpu, blocks_interrupts=blocks) for vcpu in self.guest.machine.vcpus]
        self.world.runners = list(self.runners)
        self.guest.machine.board.kick = self.world.kick_others
        self.vcpus = [
            VcpuView(runner, LinearMemory(lambda runner=runner: (self.space, runner)))  # type: ignore[misc]
            for runner in self.runners
        ]
        self.vcpu = self.vcpus[selected]

    def _load(self) -> None:
        state = self.guest.machine.load(self._image, self._options)
        if (bios := self.guest.machine.bios) is not None:
            boots = bios.boots_from is not None
            if boots:
                state.general["rdx"] = bios.boots_from
            bios.install()
            bios.start_devices()
            state.general["rflags"] |= EFLAGS_IF if boots else 0
        runner = self.runners[0]
        general = {name: value for name, value in self._registers.items() if name in GENERAL}
        runner.call(lambda: reset_vcpu(runner.vcpu, state, general))
        runner.call(runner._set_up)
        runner.forget()
        for name, value in self._registers.items():
            if name not in general:
                self.vcpus[0].registers.set(name, value)
        self.fresh = True

    def restart(self) -> None:
        """Load the image again into cleared memory and reset the vCPUs; breakpoints stay.

        The machine is made anew, so that nothing of the old guest is left. SessionStateError from within the guest's
        run, that is, from a hook or a device.
        """
        self._refuse_while_it_runs_here("restart")
        with self._alone():
            self._restart()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Inside, nobody else begins to use the guest or lets it run."""
        on_a_runner = threading.current_thread() in self.runners
        with ExitStack() as held:
            for lock in (*self.sharers, self._lock):
                if not lock.acquire(blocking=not on_a_runner):  # whoever has it may be waiting for this very runner
                    raise SessionStateError("the guest is in use: try again")
                held.callback(lock.release)
            yield

    def _restart(self) -> None:
        self.interrupt()
        for runner in self.runners:
            runner.end()
        self.guest.machine.close()
        self._begin_anew()
        self._dead = False
        self.last_stop = None
        self.guest.coalescing.close()
        self.guest = self._make_guest()
        self._make_runners(self.vcpu.index)
        for forget in self.at_load:
            forget()
        self._load()

    def kill(self) -> None:
        """End the guest; its memory can still be read, and restart() brings it back.

        A hook or a device may ask for it, too: it is done when that has returned and all vCPUs rest.
        """
        self.interrupt()
        if self._runs_here:
            self._kill_asked = True
            return
        self._dead = True
        self._begin_anew()
        self._listeners.tell_kill()

    @property
    def _on_vcpu_thread(self) -> bool:
        """Whether the caller is a hook, a device or a listener, on a vCPU's thread, which may wait for nobody."""
        return threading.current_thread() in self.runners

    @property
    def _runs_here(self) -> bool:
        """Whether the guest runs, and the caller is called by its run."""
        return self._on_vcpu_thread and bool(self.world.running)

    def _refuse_while_it_runs_here(self, what: str) -> None:
        if self._runs_here:
            raise SessionStateError(
                f"a hook or a device cannot {what} the guest that calls it: interrupt() or kill() the guest, or return "
                f"kvmdbg.Stop(), and {what} it after the stop"
            )

    def require_waiting(self) -> None:
        """SessionStateError on a vCPU's thread: it would wait for itself."""
        if self._on_vcpu_thread:
            raise SessionStateError(
                "a hook, a device or a listener is called on a vCPU's thread, which cannot wait for the guest: "
                "run it, or wait for it, on another thread"
            )

    def _begin_anew(self) -> None:
        """The guest goes on, or has another state: what was looked at, and what might be taken back, is no more."""
        self.epoch += 1
        for forget in self.at_epoch:
            forget()

    def close(self) -> None:
        """Stop the guest and give everything back to the host. SessionStateError from within the guest's run."""
        if self._closed:
            return
        self._refuse_while_it_runs_here("close")
        self._closed = True
        self.world.stop()
        self.world.wait(5)
        self.world.close()
        self.guest.coalescing.close()
        for runner in self.runners:
            runner.end()
        self.guest.machine.close()

    # --- running -----------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """ "stopped", "running" or "dead"."""
        if self._dead or self._closed:
            return "dead"
        return "running" if self.world.running else "stopped"

    def require_stopped(self) -> None:
        """SessionStateError while the guest runs or is dead."""
        if self._dead or self._closed:
            raise SessionStateError("the guest is not alive: run or restart it")
        if self.world.running:
            raise SessionStateError("the guest is running: interrupt it first")

    def resume(self, *, exits: int = 0) -> None:
        """Let all vCPUs run in the background; ``exits`` is a limit for each of them (0: none)."""
        self.start(lambda: {runner: runner.go for runner in self.runners}, plant=True, exits=exits)

    def start(self, jobs: Callable[[], Mapping[DebuggedVcpu, Job]], *, plant: bool, exits: int = 0) -> None:
        """Let vCPUs go in the background; ``jobs`` is asked when nobody replaces them. ``plant`` traps first."""
        # whoever has the lock may be waiting for this very runner
        if not self._lock.acquire(blocking=threading.current_thread() not in self.runners):
            raise SessionStateError("the guest is running: interrupt it first")
        try:
            self.world.starting = True
            self.require_stopped()
            if not (going := dict(jobs())).keys() <= set(self.runners):
                raise SessionStateError(GONE)
            try:
                self._begin(plant=plant, exits=exits)
                self.guest.machine.board.time.start(self.world.guest_rate)
                self.world.start(going)
            except BaseException:
                if not self.world.running:
                    self.guest.traps.lift_all()
                raise
        finally:
            self.world.started(self._lock.release)

    def go(self, steps: Mapping[int, tuple[int, int]], running: Collection[int]) -> None:
        """Let the vCPUs of ``steps`` step and those of ``running`` run, in the background.

        Each steps one instruction, and on while pc is in its range (start, end). The first that is done stops all.
        """
        runners = [self.runners[index] for index in running]
        jobs: dict[DebuggedVcpu, Job] = {runner: runner.go for runner in runners}
        alone = len(steps) == 1 and not runners
        for index, span in steps.items():
            runner = self.runners[index]
            runner.require_step()
            step = runner.stepper.through if alone else runner.stepper.among_others
            jobs[runner] = partial(step, span)
        self.start(lambda: jobs, plant=not alone)

    def wait(self, timeout: float | None = None) -> stops.Stop | None:
        """The stop that ends the current run, or None when it still runs after ``timeout`` seconds."""
        if self.world.running:
            self.require_waiting()
        if not self.world.wait(timeout):
            return None
        return self.last_stop

    def run(
        self, timeout: float | None = None, exits: int | None = None, instructions: int | None = None
    ) -> stops.Stop:
        """Resume and wait for the stop.

        After ``timeout`` seconds, ``exits`` exits or ``instructions`` instructions the guest is stopped (LimitStop).
        On KVM instructions are counted by stepping, which is slow; there may be one vCPU only. A KeyboardInterrupt
        interrupts the guest. SessionStateError where a hook does not return after the time is over.
        """
        limits.check_run(timeout, exits, instructions)
        if self.state == "stopped":
            self.require_waiting()
        if instructions is None:
            self.resume(exits=exits or 0)
        else:
            if len(self.runners) > 1:
                raise UsageError("a limit of instructions needs a guest with one vCPU: use exits or a timeout")
            self.require_stopped()
            (runner := self.runner).require_step()
            jobs: dict[DebuggedVcpu, Job] = {runner: partial(run_counted, runner, instructions)}
            self.start(lambda: jobs, plant=runner.vcpu.counts_instructions, exits=exits or 0)
        return self.wait_for_stop(timeout)

    async def run_async(
        self, timeout: float | None = None, exits: int | None = None, instructions: int | None = None
    ) -> stops.Stop:
        """``run`` for asyncio: other tasks go on meanwhile. Cancelling it interrupts the guest."""
        import asyncio

        task = asyncio.get_running_loop().run_in_executor(None, partial(self.run, timeout, exits, instructions))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self.interrupt()
            await task
            raise

    def wait_for_stop(self, timeout: float | None = None, *, raises: bool = False) -> stops.Stop:
        """The stop that ends the current run; a timeout (LimitStop) or a KeyboardInterrupt brings it about.

        ``raises``: that is raised again then. SessionStateError where a hook does not return.
        """
        left, limit = self.world.time_left(timeout)
        try:
            if self.wait(left) is None and self.world.running:
                self.world.stop_within(PATIENCE, stops.LimitStop(vcpu=self.vcpu.index, pc=0, limit=limit))
        except KeyboardInterrupt:
            self.world.stop_within(PATIENCE)
            if raises or self.interrupts_raise:
                raise
        stop = self.last_stop or self._ended_by  # a listener may have put another state back meanwhile
        assert stop is not None
        return stop

    def interrupt(self) -> stops.Stop | None:
        """Stop the guest if it runs; the stop (None when there never was one).

        Called by the guest's run, as from a hook, this asks only: the guest stops when that has returned.
        """
        self.interrupts += 1
        self.world.stop()
        if not self._on_vcpu_thread:
            self.world.wait(None)
        return self.last_stop

    # --- steps -------------------------------------------------------------------------------------

    def step(self, n: int = 1, record: list[bytes] | None = None) -> stops.Stop:
        """Execute ``n`` instructions on the current vCPU, the others resting; stops early at a breakpoint.

        ``record`` gets struct kvm_regs (144 bytes) after each step. A KeyboardInterrupt stops the guest and goes on.
        """
        limits.check_steps(n)
        self.require_stopped()
        self.require_waiting()
        self.runner.require_step()
        self.start(lambda: {self.runner: partial(self.runner.stepper.run, n, record)}, plant=False)
        return self.wait_for_stop(raises=True)

    # --- what each run begins and ends with --------------------------------------------------------

    def _begin(self, *, plant: bool, exits: int) -> None:
        """Before vCPUs go: decide how points are held, put traps and guards in place."""
        for look in self.at_start:
            look()
        self._begin_anew()
        self.world.arriving, self.fresh = self.fresh and plant, False
        self.guest.holding.begin(plant=plant)
        reads = self.guest.coalescing.reads_watched = self.guest.holding.plan.holds_reads_in_registers
        self.guest.coalescing.arm()
        observed_before, self._ports_observed = self._ports_observed, self._judge.observed or reads
        for runner in self.runners:
            runner.limit = runner.vcpu.exits_left = exits
            if observed_before or self._ports_observed:
                for entry in runner.ports.values():
                    runner.watch_port(entry)
        for view in self.vcpus:
            view.registers.remember()

    def _finish(self, stop: stops.Stop | None) -> stops.Stop:
        """All vCPUs rest. A mistake here must not leave the session waiting for ever: it becomes a stop."""
        try:
            self._ended_by = self._come_to_rest(self.world.in_time(stop))
        except Exception as error:
            self._ended_by = self.last_stop = stops.internal_error(error, self.vcpu.index)
        return self._ended_by

    def _come_to_rest(self, stop: stops.Stop | None) -> stops.Stop:
        """Take the traps out of memory and find why it stopped."""
        self.guest.machine.board.time.stop()
        self.guest.traps.lift_all()
        for runner in self.runners:
            runner.forget()
            runner.stepper.rest()
            if runner is threading.current_thread():
                _ = runner.sregs  # everybody asks for them, and from here it takes no change of threads
        if stop is None:
            stop = stops.InterruptedStop(vcpu=self.vcpu.index, pc=self.vcpu.pc, halted=self.vcpu.halted)
        elif isinstance(stop, stops.LimitStop) and not stop.pc:
            view = self.vcpus[stop.vcpu]
            stop = stops.LimitStop(vcpu=stop.vcpu, pc=view.pc, limit=stop.limit, halted=view.halted)
        elif isinstance(stop, stops.ErrorStop) and not stop.pc:
            stop = replace(stop, pc=self.vcpus[stop.vcpu].pc)
        for point in stop.breakpoints:
            if point.temporary:
                self.points.discard(point)
        self.vcpu = self.vcpus[stop.vcpu]
        self.last_stop = stop
        self._dead |= self._kill_asked
        for flush in self.at_rest:
            flush()
        return stop

    def _announce(self, stop: stops.Stop) -> None:
        self._judge.call_stop_hooks(stop)
        self._listeners.tell_stop(stop)
        if self._kill_asked:
            self._kill_asked = False
            self._listeners.tell_kill()

    def note_restored(self, output: bytes) -> None:
        """The machine has been given an earlier state, up to which the guest had sent ``output``."""
        self._begin_anew()
        self._hardware.serial.output[:] = output
        self.fresh = False
        self.last_stop = None
        for view in self.vcpus:
            view.registers.remember()

    def _coalesced_changed(self) -> None:
        if self.world.running:
            self.guest.coalescing.arm()
