"""The session: owner of all state, the one thing that shell, scripts and stubs talk to.

The guest is ``stopped``, ``running`` or ``dead`` (killed). Whatever looks at registers or
changes how the guest runs needs it stopped (SessionStateError otherwise); memory and
breakpoints can be looked at any time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from kvmdbg.core import moves, stops
from kvmdbg.core.breakpoints import Breakpoint, Breakpoints, Catchpoint, Watchpoint, check_catch_kind
from kvmdbg.core.changes import Changes
from kvmdbg.core.coalescing import Coalescing
from kvmdbg.core.debugged_vcpu import DebuggedVcpu
from kvmdbg.core.guest import Guest
from kvmdbg.core.holding import Holding
from kvmdbg.core.hook_calls import Event
from kvmdbg.core.hooks import Hooks, On
from kvmdbg.core.inspection import Inspection
from kvmdbg.core.judge import Judge
from kvmdbg.core.listeners import Listeners
from kvmdbg.core.patches import Patch, Patches
from kvmdbg.core.points import P, Points
from kvmdbg.core.probe import TRAP_NAMES, HostProfile, host_profile
from kvmdbg.core.registers import GENERAL, RegisterFile
from kvmdbg.core.runner import Runner
from kvmdbg.core.snapshots import Snapshots
from kvmdbg.core.traps import Traps
from kvmdbg.core.vectors import Vectors
from kvmdbg.core.views import LinearMemory, Memory, PhysicalMemory, VcpuView
from kvmdbg.core.world import Job, World
from kvmdbg.debuginfo.files import DebugFiles
from kvmdbg.debuginfo.source import Source
from kvmdbg.devices import vga
from kvmdbg.devices.backends import Stdio, backend
from kvmdbg.devices.i8042 import Keyboard
from kvmdbg.devices.registry import add as add_device
from kvmdbg.devices.registry import add_standard
from kvmdbg.devices.uart import COM1, PORTS, Uart
from kvmdbg.devices.vga import Vga
from kvmdbg.errors import NotSupportedHere, SessionStateError, UsageError
from kvmdbg.kvm import abi
from kvmdbg.language.convenience import ConvenienceVariables
from kvmdbg.machine.board import Board
from kvmdbg.machine.image import Image, LoadOptions
from kvmdbg.machine.machine import Machine, reset_vcpu
from kvmdbg.machine.memory import Slot
from kvmdbg.observe.statistics import ExitStatistics
from kvmdbg.record import replace
from kvmdbg.x86 import paging

if TYPE_CHECKING:
    from kvmdbg.core.context import SourceScope, VcpuContext
    from kvmdbg.core.differences import Differences
    from kvmdbg.core.state import State
    from kvmdbg.debuginfo.backtrace import Backtrace, Frame
    from kvmdbg.debuginfo.variables import Variables
    from kvmdbg.kvm.exits import Exit
    from kvmdbg.kvm.system import System
    from kvmdbg.language.types import Type, Value
    from kvmdbg.machine.bus import Device
    from kvmdbg.observe.trace import ExitPlaces, ExitTrace, InsnTrace, Seen
    from kvmdbg.x86.disasm import Insn

PAGE = 4096
MACHINES = ("pc", "bare")
PATIENCE = 5.0
"""How many seconds a hook may take to return when the guest is to stop."""
V = TypeVar("V")


class Lock(Protocol):
    """As those of threading."""

    def acquire(self, blocking: bool = ...) -> bool: ...

    def release(self) -> None: ...


class Session:
    """A guest under the debugger. Made by ``kvmdbg.open``; close it, or use it as a context manager."""

    def __init__(
        self,
        image: Image,
        options: LoadOptions,
        *,
        cpus: int = 1,
        registers: dict[str, int] | None = None,
        devices: Sequence[str] = (),
        machine: str = "pc",
        irqchip: bool = False,
        serial: str = "stdio",
        cpu: str = "",
    ) -> None:
        self.image = image
        self._devices = tuple(devices)
        if machine not in MACHINES:
            raise UsageError(f"there is no machine {machine!r}: there are {', '.join(MACHINES)}")
        self._kind = machine
        self._irqchip = irqchip
        self._cpu = cpu
        self._backend = backend(serial)
        self.options = options
        self.initial_registers = dict(registers or {})
        self.listeners = Listeners()
        self._backend.tell = self.listeners.tell_warning
        self.files = DebugFiles(image, self._symbols_changed)
        self.symbols = self.files.symbols
        self.source = Source(self.files)
        self._frame: Frame | None = None
        self._frame_chosen_at = (0, 0)
        self.breakpoints = Breakpoints()
        self.convenience = ConvenienceVariables()
        self.variables = self.convenience.values
        self.history = self.convenience.history
        self.changes = Changes()
        self.exits = ExitStatistics(lambda: self.runners)
        self.judge = Judge(self.breakpoints, self.listeners, self.context_of, self._event_of)
        self._points = Points(self.breakpoints, self.symbols, self.source, self)
        self.hooks = Hooks(self.breakpoints)
        self.on = On(self._points, self.hooks)
        self.exit_trace: ExitTrace | None = None
        self.exit_places: ExitPlaces | None = None
        """Counts of exits by instruction and function, while they are wanted."""
        self.instructions: InsnTrace | None = None
        """The instruction trace, while there is one: the guest is stepped then."""
        self.snapshots = Snapshots(self, str(image.path))
        self.patches = Patches(self._memory_to_patch)
        self.fresh = True
        self.last_stop: stops.Stop | None = None
        self._control = threading.RLock()
        self.sharers: list[Lock] = []
        """Locks of those who use the guest on threads of their own: it is not replaced while one of them is held."""
        self._output = bytearray()
        self._dead = False
        self._kill_asked = False
        self._closed = False
        self._contexts: dict[int, VcpuContext] = {}
        self.world = World(self._finish, self._announce)
        self.runners: list[Runner] = []
        self.physical = PhysicalMemory(lambda: self.guest.traps)
        self.memory = LinearMemory(lambda: (self.space, self.runner))
        try:
            self.guest: Guest = self._make_guest(cpus)
        except BaseException:
            self._backend.close()
            raise
        self._backend.listen(self._received)
        try:
            self._make_runners(0)
            self._load()
        except BaseException:
            self.close()
            raise

    def _change_cpuid(self, table: abi.kvm_cpuid2) -> None:
        """What ``cpu`` says of the features that the guest sees."""
        if self._cpu:
            from kvmdbg.core.state import apply_features

            apply_features(table, self._cpu)

    # --- life --------------------------------------------------------------------------------------

    def _make_machine(self, cpus: int) -> Machine:
        machine = Machine(self.options.memory, cpus, self._irqchip, self._change_cpuid)
        try:
            if self._cpu:
                from kvmdbg.core.state import check_features

                check_features(machine.vcpus[0].get_cpuid(), self._cpu)
            irq = machine.vm.irq_line if machine.irqchip else None
            board = Board(self._serial, irq=irq, memory=machine.memory.size)
            board.changed = self._coalesced_changed
            self.uart = Uart(self._sent, board, self._backend.where)
            self.uart.wanted = self._backend.wanted
            machine.bus.add_ports(COM1, PORTS, self.uart)
            for text in self._devices:
                add_device(machine.bus, text, board)
            if self._kind == "pc":
                add_standard(machine.bus, board)
        except BaseException:
            machine.close()
            raise
        return machine

    def _make_guest(self, cpus: int) -> Guest:
        """A machine with all that its vCPUs share; they have no threads yet."""
        machine = self._make_machine(cpus)
        traps = Traps(machine.memory)
        physical = PhysicalMemory(lambda: traps)
        space = Inspection(machine, physical)
        vectors = Vectors(self.image, space, self.world, self.judge)
        holding = Holding(machine, traps, self.world, space, self.breakpoints, self.judge, vectors)
        coalescing = Coalescing(machine, self.world, self.judge)
        return Guest(
            machine, traps, physical, space, self.world, self.judge, vectors, holding, coalescing, self.listeners
        )

    def _make_runners(self, current: int) -> None:
        """Start the vCPUs' threads; ``current`` is the vCPU that is selected."""
        blocks = self.blocks_interrupts
        self.runners = [Runner(self.guest, vcpu, blocks_interrupts=blocks) for vcpu in self.machine.vcpus]
        self.world.runners = list(self.runners)
        self.vcpus = [
            VcpuView(runner, LinearMemory(lambda runner=runner: (self.space, runner)))  # type: ignore[misc]
            for runner in self.runners
        ]
        self.vcpu = self.vcpus[current]

    def _load(self) -> None:
        self.patches.forget()
        state = self.machine.load(self.image, self.options)
        runner = self.runners[0]
        general = {name: value for name, value in self.initial_registers.items() if name in GENERAL}
        runner.call(lambda: reset_vcpu(runner.vcpu, state, general))
        runner.call(runner._set_up)
        runner.forget()
        for name, value in self.initial_registers.items():
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
            for lock in (*self.sharers, self._control):
                if not lock.acquire(blocking=not on_a_runner):  # whoever has it may be waiting for this very runner
                    raise SessionStateError("the guest is in use: try again")
                held.callback(lock.release)
            yield

    def _restart(self) -> None:
        self.interrupt()
        for runner in self.runners:
            runner.end()
        self.machine.close()
        self._begin_anew()
        self._dead = False
        self._contexts.clear()
        for point in self.breakpoints:
            point.bound.clear()
        self.last_stop = None
        current = self.vcpu.index
        self.guest.coalescing.close()
        self.guest = self._make_guest(len(self.runners))
        self._make_runners(current)
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
        self.listeners.tell_kill()

    @property
    def _on_vcpu_thread(self) -> bool:
        """Whether the caller is a hook, a device or a listener, on a vCPU's thread, which may wait for nobody."""
        thread = threading.current_thread()
        return thread in self.runners

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
        self._frame = None
        self.changes.settle()

    def close(self) -> None:
        """Stop the guest and give everything back to the host. SessionStateError from within the guest's run."""
        if self._closed:
            return
        self._refuse_while_it_runs_here("close")
        self._closed = True
        self.world.stop()
        self.world.wait(5)
        self.world.close()
        self.end_trace_exits()
        self.end_trace_instructions()
        self.guest.coalescing.close()
        for runner in self.runners:
            runner.end()
        self.machine.close()
        self._backend.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def state(self) -> str:
        """ "stopped", "running" or "dead"."""
        if self._dead or self._closed:
            return "dead"
        return "running" if self.world.running else "stopped"

    @property
    def machine(self) -> Machine:
        return self.guest.machine

    @property
    def space(self) -> Inspection:
        """Questions about the address space and the code of a vCPU."""
        return self.guest.space

    @property
    def runner(self) -> Runner:
        """The current vCPU's runner."""
        return self.runners[self.vcpu.index]

    @property
    def registers(self) -> RegisterFile:
        """The current vCPU's registers; ``regs`` is the short name."""
        return self.vcpu.registers

    regs = registers

    def select(self, index: int) -> VcpuView:
        """Make another vCPU the current one."""
        if not 0 <= index < len(self.vcpus):
            raise UsageError(f"no vCPU {index}: there are {len(self.vcpus)}, numbered from 0")
        self.vcpu = self.vcpus[index]
        self._frame = None
        return self.vcpu

    @property
    def step_interrupts(self) -> bool:
        """Whether an interrupt may come in during a step, which then ends in its handler.

        Otherwise interrupts wait for the next free run. NotSupportedHere where this KVM cannot keep them out.
        """
        return self.world.step_interrupts or not self.blocks_interrupts

    @step_interrupts.setter
    def step_interrupts(self, value: bool) -> None:
        if not value and not self.blocks_interrupts:
            raise NotSupportedHere("this KVM cannot keep interrupts out of a step: it lacks KVM_GUESTDBG_BLOCKIRQ")
        self.world.step_interrupts = value

    @property
    def breakpoint_hold(self) -> str:
        """How breakpoints are held from the next run on: "auto", "register", "stepping" or "planted".

        "register" takes debug registers only, "planted" only traps in memory, which the guest can read, "stepping"
        compares at each instruction. NotSupportedHere, now or at the run, where a breakpoint cannot be held so.
        """
        return self.breakpoints.hold

    @breakpoint_hold.setter
    def breakpoint_hold(self, value: str) -> None:
        self._points.hold_by(value)

    @cached_property
    def blocks_interrupts(self) -> bool:
        """Whether KVM has KVM_GUESTDBG_BLOCKIRQ: steps that let no interrupt in."""
        known = self.machine.system.check_extension(abi.KVM_CAP_SET_GUEST_DEBUG2)
        return bool(known & abi.KVM_GUESTDBG_BLOCKIRQ)

    @property
    def system(self) -> System:
        return self.machine.system

    @property
    def pointer_size(self) -> int:
        """Bytes of an address in the current vCPU's mode."""
        return self.vcpu.mode.bits // 8

    def require_step(self) -> None:
        """NotSupportedHere where this KVM cannot single-step the code that the current vCPU is at."""
        self.runner.require_step()

    @property
    def profile(self) -> HostProfile:
        return host_profile()

    @property
    def host(self) -> list[tuple[str, str]]:
        """What the probe found out about this host's KVM."""
        rows = []
        for name, behaviour in self.profile.by_mode.items():
            trap = TRAP_NAMES[behaviour.trap] if behaviour.trap is not None else "none"
            able = [
                f"trap {trap}",
                f"execute debug registers {'fire' if behaviour.execute_dr else 'do not fire'}",
                f"data debug registers {'fire' if behaviour.data_dr else 'do not fire'}",
                f"single step {'works' if behaviour.step else 'does not work'}",
            ]
            rows.append((name if name == "user" else f"{name} (CPL 0)", ", ".join(able)))
        into = "enter the handler of an event" if self.profile.steps_into_handlers else "need traps to enter handlers"
        quiet = "can keep interrupts out" if self.blocks_interrupts else "cannot keep interrupts out"
        rows.append(("steps", f"{into}, {quiet}"))
        return rows

    @cached_property
    def has_avx(self) -> bool:
        """Whether the vCPUs have YMM registers."""
        return self.state_of.has_avx

    @cached_property
    def state_of(self) -> State:
        """The x86 state beside the registers: descriptor tables, MSRs, FPU, CPUID, interrupt controllers."""
        from kvmdbg.core.state import State

        return State(lambda: (self.space, self.runner))

    def frame_of(self, runner: DebuggedVcpu) -> Frame:
        """The selected frame of a vCPU: that of its pc, until ``select_frame`` chooses another at this stop.

        One that was chosen is so no more when pc or the stack pointer are written.
        """
        from kvmdbg.debuginfo.backtrace import innermost

        chosen = self._frame if runner is self.runner else None
        if chosen is not None and self._frame_chosen_at == (runner.pc, runner.stack_pointer):
            return chosen
        return innermost(self.vcpus[runner.index])

    @property
    def frame(self) -> Frame:
        return self.frame_of(self.runner)

    def select_frame(self, number: int) -> Frame:
        """Choose the frame whose variables are meant, counted from the innermost, 0. UsageError where it is none."""
        self.require_stopped()
        found = self.backtrace(number + 1)
        if not 0 <= number < len(found.frames):
            raise UsageError(f"there is no frame {number}: the last one is {len(found.frames) - 1} ({found.end})")
        self._frame = found.frames[number] if number else None
        self._frame_chosen_at = self.runner.pc, self.runner.stack_pointer
        return found.frames[number]

    @property
    def c_variables(self) -> Variables:
        """Variables and types of the guest's source, as the selected frame sees them, from DWARF."""
        return self.context.source

    def scope(self, place: int | None = None) -> SourceScope | None:
        """What names of the source mean in the selected frame, or to the code at a linear address.

        None where there is no debug information, and while the guest runs.
        """
        from kvmdbg.core.context import SourceScope

        if self.state in ("running", "dead") or not (self.c_variables.known or self.convenience.types):
            return None
        source = self.c_variables if place is None else self.c_variables.seen_from(place)
        return SourceScope(source, self.convenience)

    def locals(self) -> dict[str, str]:
        """The local variables of the function that pc is in, with their values in words."""
        return self.c_variables.values(parameters=False)

    def arguments(self) -> dict[str, str]:
        """The same of its arguments."""
        return self.c_variables.values(parameters=True)

    @property
    def devices(self) -> list[Device]:
        return self.machine.bus.devices

    def press(self, key: str) -> None:
        """Press and release a key of the guest's keyboard, as ``ctrl-alt-delete``. UsageError."""
        self._keyboard.press(key)

    def type(self, text: str) -> None:
        """Type a text on the guest's keyboard (US layout). UsageError."""
        self._keyboard.type(text)

    @property
    def _keyboard(self) -> Keyboard:
        for device in self.devices:
            if isinstance(device, Keyboard):
                return device
        raise UsageError("this guest has no keyboard: it was opened with --machine bare")

    def screen(self) -> list[str]:
        """The 25 lines of the text screen (code page 437), without the spaces at their ends."""
        start = next((device.start for device in self.devices if isinstance(device, Vga)), 0)
        data = self.physical.read(vga.TEXT + 2 * start, 2 * vga.COLUMNS * vga.ROWS)
        text = data[::2].replace(b"\0", b" ").decode("cp437").translate(vga.SHOWN)
        return [text[at : at + vga.COLUMNS].rstrip() for at in range(0, len(text), vga.COLUMNS)]

    @property
    def slots(self) -> list[Slot]:
        return self.machine.memory.slots

    # --- running -----------------------------------------------------------------------------------

    def require_stopped(self) -> None:
        """SessionStateError while the guest runs or is dead."""
        if self.state == "dead":
            raise SessionStateError("the guest is not alive: run or restart it")
        if self.state == "running":
            raise SessionStateError("the guest is running: interrupt it first")

    def resume(self, *, exits: int = 0) -> None:
        """Let all vCPUs run in the background; ``exits`` is a limit for each of them (0: none)."""
        self.start({runner: runner.go for runner in self.runners}, plant=True, exits=exits)

    def start(self, jobs: Mapping[DebuggedVcpu, Job], *, plant: bool, exits: int = 0) -> None:
        """Let these vCPUs go in the background, each with its job; ``plant`` the traps of breakpoints before."""
        on_a_runner = threading.current_thread() in self.runners
        if not self._control.acquire(blocking=not on_a_runner):  # whoever has it may be waiting for this very runner
            raise SessionStateError("the guest is running: interrupt it first")
        try:
            self.require_stopped()
            try:
                self._begin(plant=plant, exits=exits)
                self.world.start(dict(jobs))
            except BaseException:
                if not self.world.running:
                    self.guest.traps.lift_all()
                raise
        finally:
            self._control.release()

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
        self.start(jobs, plant=not alone)

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
        Instructions are counted by stepping, which is slow, and works with one vCPU only. A KeyboardInterrupt while
        waiting interrupts the guest. SessionStateError where a hook does not return after the time is over.
        """
        if self.state == "stopped":
            self.require_waiting()
        if instructions is None:
            self.resume(exits=exits or 0)
        else:
            if instructions < 1:
                raise UsageError(f"cannot run {instructions} instructions")
            if len(self.runners) > 1:
                raise UsageError("a limit of instructions needs a guest with one vCPU: use exits or a timeout")
            self.require_stopped()
            runner = self.runner
            runner.require_step()
            job = partial(runner.stepper.run, instructions, limit=True)
            self.start({runner: job}, plant=False, exits=exits or 0)
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

    def wait_for_stop(self, timeout: float | None = None) -> stops.Stop:
        """The stop that ends the current run; a timeout (LimitStop) or a KeyboardInterrupt brings it about."""
        try:
            stop = self.wait(timeout)
            if stop is None:
                self.world.stop(stops.LimitStop(vcpu=self.vcpu.index, pc=0, limit=f"{timeout:g} s"))
                while (stop := self.wait(PATIENCE)) is None:
                    for runner in self.runners:
                        if runner.called is not None:
                            raise SessionStateError(f"the guest does not stop: {runner.called} does not return")
        except KeyboardInterrupt:
            stop = self.interrupt()
        assert stop is not None
        return stop

    def interrupt(self) -> stops.Stop | None:
        """Stop the guest if it runs; the stop (None when there never was one).

        From a hook, a device or a listener, called by the guest's run, this asks only: the guest stops when that has
        returned.
        """
        self.world.stop()
        if not self._on_vcpu_thread:
            self.world.wait(None)
        return self.last_stop

    wait_stopped = interrupt

    def step(self, n: int = 1, record: list[bytes] | None = None) -> stops.Stop:
        """Execute ``n`` instructions on the current vCPU, the others resting; stops early at a breakpoint.

        ``record`` gets struct kvm_regs (144 bytes) after each step.
        """
        if n < 1:
            raise UsageError(f"cannot step {n} instructions")
        self.require_stopped()
        self.require_waiting()
        runner = self.runner
        runner.require_step()
        self.start({runner: lambda: runner.stepper.run(n, record)}, plant=False)
        return self.wait_for_stop()

    def step_line(self, *, over: bool = False) -> stops.Stop:
        """Step to the start of another source line, into calls of functions that have lines, or ``over`` all calls.

        ``over`` also runs through the handlers of exceptions that the line raises, such as page faults.
        Where no line is known at pc, one instruction.
        """
        return moves.line(self, over=over)

    def backtrace(self, most: int = 100) -> Backtrace:
        """The call frames of the current vCPU, innermost first."""
        from kvmdbg.debuginfo.backtrace import backtrace

        self.require_stopped()
        return backtrace(self.vcpu, self.files, most)

    def next(self, n: int = 1) -> stops.Stop:
        """Like step, but over calls, software interrupts and repeated string instructions."""
        return moves.over(self, n)

    def keep(self, value: int, type: Type | None = None) -> int:
        """Add a value to the history, with its type where that matters; its number N, for ``$N``."""
        return self.convenience.keep(value, type)

    def finish(self) -> stops.Stop:
        """Run until the current function has returned to its caller.

        Needs no frame pointer: steps, with calls run over, until the return instruction of this level.
        """
        return moves.out(self)

    def advance(self, address: int) -> stops.Stop:
        """Run to a linear address, or to whatever stops before."""
        return moves.to(self, address)

    def until(self, address: int | None = None) -> stops.Stop:
        """Without an address: next, but a jump backwards is run through to its other side; else as advance."""
        return self.advance(address) if address is not None else moves.past_loop(self)

    # --- traces ------------------------------------------------------------------------------------

    def trace_exits(
        self,
        *kinds: str,
        when: str | None = None,
        path: str | None = None,
        show: Callable[[Seen], None] | None = None,
    ) -> ExitTrace:
        """Trace exits from the next resume on, in place of a trace that goes on.

        Those of ``kinds`` (all without any) that pass the condition ``when``, to a file (text; ``.jsonl``; ``.json`` is
        Chrome's and Perfetto's format), or to ``show``. The last are in the trace's ``seen``.
        """
        from kvmdbg.observe.trace import ExitTrace, Sink

        for kind in kinds:
            check_catch_kind(kind)
        self.end_trace_exits()
        sink = Sink(path, self.listeners.tell_warning) if path is not None else None
        self.exit_trace = ExitTrace(self._points.observe, self.symbols, kinds, when, sink=sink, show=show)
        return self.exit_trace

    def end_trace_exits(self) -> None:
        """No more of that; its file is complete then."""
        if self.exit_trace is not None:
            self.exit_trace.close()
            self.exit_trace = None

    @property
    def counts_exit_places(self) -> bool:
        """Whether exits are counted by the instruction that made them."""
        return self.exit_places is not None

    @counts_exit_places.setter
    def counts_exit_places(self, value: bool) -> None:
        self.count_exit_places(value)

    def count_exit_places(self, on: bool = True) -> None:
        """Count exits by the instruction that made them, from the next resume on; or no more."""
        from kvmdbg.observe.trace import ExitPlaces

        if self.exit_places is not None:
            self.exit_places.close()
            self.exit_places = None
        if on:
            self.exit_places = ExitPlaces(self._points.observe)

    def trace_instructions(self, path: str | None = None) -> InsnTrace:
        """Step the guest from the next resume on and keep what ran, in place of a trace that goes on.

        With ``path`` each instruction and the registers that it changed go to a file.
        """
        from kvmdbg.observe.trace import InsnTrace, TraceFile

        if len(self.runners) > 1:
            raise UsageError("an instruction trace needs a guest with one vCPU")
        self.runner.require_step()
        self.end_trace_instructions()
        file = TraceFile(path, self.listeners.tell_warning) if path is not None else None
        self.instructions = self.listeners.instructions = InsnTrace(self.symbols, self._traced_code, file)
        return self.instructions

    def _traced_code(self, address: int) -> tuple[bytes, int]:
        """The code at a linear address as the vCPU sees it that has just stepped, and its width in bits."""
        runner = self.runner
        runner.forget()
        return self.space.code_at(runner, address, 15), runner.mode.bits

    def end_trace_instructions(self) -> None:
        """No more of that."""
        if self.instructions is not None:
            self.instructions.close()
            self.instructions = self.listeners.instructions = None

    # --- going back --------------------------------------------------------------------------------

    def went_back(self, output: bytes) -> None:
        """The machine has been given an earlier state, up to which the guest had sent ``output``."""
        self._begin_anew()
        self._output[:] = output
        self.fresh = False
        self.last_stop = None
        for view in self.vcpus:
            view.registers.remember()

    def fork(
        self,
        variants: Iterable[V],
        prepare: Callable[[Session, V], object] | None = None,
        *,
        timeout: float | None = None,
        exits: int | None = None,
        instructions: int | None = None,
    ) -> Iterator[tuple[V, stops.Stop]]:
        """Run the guest from here once for each variant; gives each with the stop that it came to.

        ``prepare(session, variant)`` makes the difference before each run, e.g. writes an input to memory. Between two
        of them the guest can be looked at where it stopped; then, and at the end, it is put back to where it stood.
        """
        here = self.snapshots.take()
        try:
            for variant in variants:
                if prepare is not None:
                    prepare(self, variant)
                yield variant, self.run(timeout, exits, instructions)
                self.interrupt()
                self.snapshots.put_back(here)
        finally:
            self.interrupt()
            self.snapshots.put_back(here)

    # --- arming ------------------------------------------------------------------------------------

    def _begin(self, *, plant: bool, exits: int) -> None:
        """Before vCPUs go: decide how points are held, put traps and guards in place."""
        self._begin_anew()
        self.world.arriving = self.fresh and plant
        self.fresh = False
        self.guest.holding.begin(plant=plant)
        self.guest.coalescing.arm()
        for runner in self.runners:
            runner.limit = runner.left = exits
            for entry in runner.ports.values():
                runner.watch_port(entry)
        for view in self.vcpus:
            view.registers.remember()

    def _finish(self, stop: stops.Stop | None) -> stops.Stop:
        """All vCPUs rest. A mistake here must not leave the session waiting for ever: it becomes a stop."""
        try:
            return self._settle(stop)
        except Exception as error:
            self.last_stop = stops.internal_error(error, self.vcpu.index)
            return self.last_stop

    def _settle(self, stop: stops.Stop | None) -> stops.Stop:
        """Take the traps out of memory and settle why it stopped."""
        self.guest.traps.lift_all()
        for runner in self.runners:
            runner.forget()
            runner.stepper.rest()
        if stop is None:
            stop = stops.InterruptedStop(vcpu=self.vcpu.index, pc=self.vcpu.pc, halted=self.vcpu.halted)
        elif isinstance(stop, stops.LimitStop) and not stop.pc:
            view = self.vcpus[stop.vcpu]
            stop = stops.LimitStop(vcpu=stop.vcpu, pc=view.pc, limit=stop.limit, halted=view.halted)
        elif isinstance(stop, stops.ErrorStop) and not stop.pc:
            stop = replace(stop, pc=self.vcpus[stop.vcpu].pc)
        for point in stop.breakpoints:
            if point.temporary:
                self.breakpoints.discard(point)
        self.vcpu = self.vcpus[stop.vcpu]
        self.last_stop = stop
        self._dead |= self._kill_asked
        if self.exit_trace is not None and self.exit_trace.sink is not None:
            self.exit_trace.sink.flush()
        if self.instructions is not None:
            self.instructions.flush()
        return stop

    def _announce(self, stop: stops.Stop) -> None:
        self.judge.call_stop_hooks(stop)
        self.listeners.tell_stop(stop)
        if self._kill_asked:
            self._kill_asked = False
            self.listeners.tell_kill()

    def _coalesced_changed(self) -> None:
        if self.world.running:
            self.guest.coalescing.arm()

    def _sent(self, data: bytes) -> None:
        """What the guest sends through its serial port."""
        if self._backend.where == "stdio":
            self._serial(data)
        else:
            self._output += data
            self._backend.write(data)

    def take_input(self, source: int) -> None:
        """Give the guest's serial port what can be read from a file descriptor, if it is connected to stdio."""
        if isinstance(self._backend, Stdio):
            self._backend.take_input(source)

    def _received(self, data: bytes) -> int:
        """What comes in there; how much of it the guest has yet to read."""
        try:
            return self.uart.feed(data)
        except Exception as error:
            self.listeners.unforeseen(error)
            return 0

    def _serial(self, data: bytes) -> None:
        self._output += data
        self.listeners.tell_output(data)

    @property
    def output(self) -> bytes:
        """All that the guest has sent to its serial port."""
        return bytes(self._output)

    # --- breakpoints -------------------------------------------------------------------------------

    def resolve(self, where: int | str) -> tuple[int, str]:
        """An address and its space ("linear" or "phys") from a number, a symbol, FILE:LINE, or an expression's text."""
        return self._points.resolve(where)

    def break_at(
        self,
        where: int | str,
        *,
        when: str | None = None,
        temporary: bool = False,
        hardware: bool = False,
        ignore: int = 0,
        commands: Sequence[str] = (),
    ) -> Breakpoint:
        """Stop before the instruction at ``where`` (an address or an expression), if ``when`` is true there.

        ``hardware`` insists on a debug register: NotSupportedHere where they do not fire or all four are taken.
        """
        return self._points.break_at(
            where, when=when, temporary=temporary, hardware=hardware, ignore=ignore, commands=commands
        )

    def watch(
        self, where: int | str, length: int | None = None, kind: str = "write", when: str | None = None, **common: Any
    ) -> Watchpoint:
        """Stop after an access to ``length`` bytes at ``where``; $old and $new are its values in ``when``.

        ``where`` is an address, a symbol (its size is the length) or an lvalue as ``*(u8*)0x5000``.
        """
        return self._points.watch(where, length, kind, when, **common)

    def catch(self, kind: str, when: str | None = None, *, temporary: bool = False, **filters: Any) -> Catchpoint:
        """Stop after each exit or event of ``kind`` whose fields pass ``filters`` (see ``Catchpoint``).

        ``when`` is a condition. The kinds are those of kvm/exits.py and core/events.py, "msr" for both its accesses,
        and "any" for all exits.
        """
        return self._points.catch(kind, when, temporary=temporary, **filters)

    def add_point(self, point: P, condition: str | None = None) -> P:
        """Take in a breakpoint, watchpoint or catchpoint with its condition. NotSupportedHere where it cannot work."""
        return self._points.add(point, condition)

    def _event_of(self, runner: DebuggedVcpu, exit: Exit, when: str) -> Event:
        """What hooks are called with."""
        return Event(self, self.vcpus[runner.index], exit, when, partial(self.space.site_of, runner))

    def offer(self, runner: Runner, event: Exit) -> tuple[Any, stops.Stop | None]:
        """Let catchpoints and hooks see an event, on this vCPU's thread: a hook's answer, and the stop they want."""
        return self.judge.offer(runner, event)

    # --- looking -----------------------------------------------------------------------------------

    def context_of(self, runner: DebuggedVcpu) -> VcpuContext:
        """Expressions as this vCPU sees them."""
        from kvmdbg.core.context import VcpuContext
        from kvmdbg.debuginfo.variables import Variables

        context = self._contexts.get(runner.index)
        if context is None:
            source = Variables(self.files, self.vcpus[runner.index], partial(self.frame_of, runner))
            context = self._contexts[runner.index] = VcpuContext(
                runner, self.space, self.symbols, source, self.convenience, self.changes, self._standing_at
            )
        return context

    def _standing_at(self) -> stops.Stop | None:
        """The stop that the guest stands at, None while it runs, and when it is dead."""
        return self.last_stop if self.state == "stopped" else None

    @property
    def context(self) -> VcpuContext:
        return self.context_of(self.runner)

    def evaluate(self, text: str) -> Value:
        """The value of a C-like expression on the current vCPU (ExpressionError, MemoryFault)."""
        from kvmdbg.language.expressions import parse

        expression = parse(text, scope=self.scope())
        value = expression.evaluate(self.context)
        if expression.assigned is not None:
            name, type_ = expression.assigned
            if type_ is not None and name in self.variables:
                self.convenience.types[name] = type_
        return value

    def disassemble(self, address: int, count: int = 1, bits: int | None = None) -> list[Insn]:
        """``count`` instructions from a linear address (fewer where memory ends; MemoryFault when none)."""
        from kvmdbg.x86 import disasm

        width = bits or self.vcpu.mode.bits
        code = self.space.code_at(self.runner, address, count * 15)
        while not code and count * 15 > PAGE:
            code = self.space.code_at(self.runner, address, PAGE)
        if not code:
            self.space.read_linear(self.runner, address, 1)
        return disasm.disassemble(code, address, width, count)

    def assembled(self, address: int, text: str) -> bytes:
        """Machine code of instructions for a linear address, in the CPU's mode (UsageError)."""
        from kvmdbg.x86 import asm

        return asm.assemble(text, address, self.vcpu.mode.bits)

    def _memory_to_patch(self, space: str) -> Memory:
        self.require_stopped()
        return self.physical if space == "phys" else self.memory

    def assemble(self, address: int, text: str) -> Patch:
        """Patch instructions in, Intel syntax, separated by ``;``; ``patches`` takes them back."""
        return self.patches.write(address, self.assembled(address, text))

    def translate(self, linear: int) -> paging.Walk:
        """The page walk of a linear address on the current vCPU."""
        return self.space.walk(self.runner, linear)

    def mappings(self) -> list[paging.Mapping]:
        """All that the current vCPU's page tables map, by linear address."""
        machine, sregs = self.machine, self.runner.sregs
        registers = sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer
        return paging.mappings(machine.memory.read, *registers, machine.paging_limits)

    def differences(self, before: str, after: str | None = None) -> Differences:
        """What differs between a snapshot and now, or a second snapshot. UsageError for a name that is none."""
        from kvmdbg.core.differences import between

        first = self.snapshots[before]
        second = self.snapshots[after] if after is not None else self.snapshots.take()
        return between(first.state, second.state, self.vcpu.index, self.machine.paging_limits)

    def add_symbols(self, path: str, base: int = 0, *, replace: bool = False) -> int:
        """Read a symbol file, moved by ``base``, to what is known or in its place; how many symbols there were."""
        return self.files.read_symbols(path, base, replace=replace)

    def _symbols_changed(self) -> None:
        for point in self.breakpoints:
            point.bound.clear()  # a condition looks its symbols up when it is bound
