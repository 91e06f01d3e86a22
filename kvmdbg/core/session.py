"""The session: what shell, scripts and stubs talk to. Each part of it does one thing; this brings them together.

The guest is ``stopped``, ``running`` or ``dead`` (killed). Whatever looks at registers or changes how the guest runs
needs it stopped (SessionStateError otherwise); memory and breakpoints can be looked at any time.
"""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING

from kvmdbg.core.calls import Calls
from kvmdbg.core.changes import Changes
from kvmdbg.core.context import Contexts
from kvmdbg.core.faces import Faces
from kvmdbg.core.frames import Frames
from kvmdbg.core.happened import Happened
from kvmdbg.core.hooks import Hooks, On
from kvmdbg.core.linux import Linux
from kvmdbg.core.locations import Locations
from kvmdbg.core.moves import FrameMoves
from kvmdbg.core.patches import Patches
from kvmdbg.core.peripherals import Peripherals
from kvmdbg.core.points import Points
from kvmdbg.core.recordings import Recordings
from kvmdbg.core.skips import Skips
from kvmdbg.core.snapshots import Snapshots
from kvmdbg.core.traces import Traces
from kvmdbg.core.variants import Variants
from kvmdbg.debuginfo.files import DebugFiles
from kvmdbg.debuginfo.source import Source
from kvmdbg.devices.uart import Uart
from kvmdbg.engine import probe, stops
from kvmdbg.engine.breakpoints import Breakpoints
from kvmdbg.engine.control import Control
from kvmdbg.engine.debugged_vcpu import DebuggedVcpu
from kvmdbg.engine.guest import Guest
from kvmdbg.engine.hardware import Hardware, HardwareOptions
from kvmdbg.engine.hook_calls import Event
from kvmdbg.engine.host import Host, KvmHost
from kvmdbg.engine.inspection import Inspection
from kvmdbg.engine.judge import Judge
from kvmdbg.engine.listeners import Listeners
from kvmdbg.engine.moves import Moves
from kvmdbg.engine.registers import RegisterFile
from kvmdbg.engine.runner import Runner
from kvmdbg.engine.serial_port import SerialPort
from kvmdbg.engine.views import LinearMemory, PhysicalMemory, VcpuView
from kvmdbg.faces import Listed
from kvmdbg.kvm.exits import Exit
from kvmdbg.language.convenience import ConvenienceVariables
from kvmdbg.machine.bus import Device
from kvmdbg.machine.image import Image, LoadOptions
from kvmdbg.machine.machine import Machine
from kvmdbg.machine.memory import Slot
from kvmdbg.observe.statistics import ExitStatistics
from kvmdbg.x86 import paging

if TYPE_CHECKING:
    from kvmdbg.core.state import State
    from kvmdbg.debuginfo.backtrace import Frame
    from kvmdbg.debuginfo.variables import Variables
    from kvmdbg.observe.trace import ExitTrace, InsnTrace
    from kvmdbg.x86.disasm import Insn


class Session:
    """A guest under the debugger. Made by ``kvmdbg.open``; close it, or use it as a context manager."""

    engine_note = ""
    """What the user is to know of what runs the guest, if anything."""

    def __init__(
        self,
        image: Image,
        options: LoadOptions,
        machine: HardwareOptions | None = None,
        *,
        registers: dict[str, int] | None = None,
        serial: str = "stdio",
        host: Host | None = None,
    ) -> None:
        self.image, self.options = image, options
        self.listeners = Listeners()
        self.files = DebugFiles(image, lambda: self.points.symbols_changed())
        self.symbols, self.source = self.files.symbols, Source(self.files)
        self.breakpoints, self.changes = Breakpoints(), Changes()
        kept = self.convenience = ConvenienceVariables()
        self.variables, self.history, self.add_to_history = kept.values, kept.history, kept.add_to_history
        self.judge = Judge(self.breakpoints, self.listeners, lambda runner: self.contexts.of(runner), self._event_of)
        self._serial = SerialPort(serial, self.listeners)
        try:
            hardware = Hardware(host or KvmHost(), options.memory, machine or HardwareOptions(), self._serial)
            self.control = Control(hardware, image, options, registers or {}, self.judge)
        except BaseException:
            self._serial.close()
            raise
        self._serial.listen()
        self._delegate()

    def _delegate(self) -> None:
        """What the parts can do is done by their own methods."""
        control = self.control
        self.world, self.sharers = control.world, control.sharers
        self.require_stopped, self.require_waiting = control.require_stopped, control.require_waiting
        self.resume, self.start, self.go, self.wait = control.resume, control.start, control.go, control.wait
        self.run, self.run_async, self.wait_for_stop = control.run, control.run_async, control.wait_for_stop
        self.interrupt, self.kill, self.restart = control.interrupt, control.kill, control.restart
        self.skips = Skips(self.source)
        moves = Moves(control, self.source, self.skips.at)
        self.step, self.next = control.step, moves.next
        self.frames = Frames(control, self.files)
        self.moves = FrameMoves(control, moves, self.frames, self.files, self.source)
        self.finish, self.advance, self.until = self.moves.finish, self.moves.advance, self.moves.until
        self.step_line = self.moves.step_line
        self.frame_of, self.backtrace, self.select_frame = self.frames.of, self.frames.backtrace, self.frames.select
        self.contexts = Contexts(control, self.files, self.frames, self.convenience, self.changes)
        self.linux = Linux(self.symbols, control, self.contexts.evaluate)
        self.evaluate, self.type_of, self.scope = self.contexts.evaluate, self.contexts.type_of, self.contexts.scope
        self.locals, self.arguments = self.contexts.locals, self.contexts.arguments
        self.locations = Locations(self.files, self.source, control, self.contexts, self.frames)
        self.points = Points(self.breakpoints, self.symbols, self.locations, control, self.contexts)
        self.resolve, self.break_at, self.watch = self.points.resolve, self.points.break_at, self.points.watch
        self.catch, self.add_point = self.points.catch, self.points.add
        self.hooks = Hooks(self.breakpoints)
        self.on = On(self.points, self.hooks)
        self.offer, self.exits = self.judge.offer, ExitStatistics(lambda: control.runners)
        traces = self.traces = Traces(control, self.points, self.listeners, self.symbols)
        self.trace_exits, self.end_trace_exits = traces.trace_exits, traces.end_exits
        self.trace_instructions, self.end_trace_instructions = traces.trace_instructions, traces.end_instructions
        self.physical = PhysicalMemory(lambda: control.guest.traps)
        self.memory = LinearMemory(lambda: (control.space, control.runner))
        memories = {"linear": self.memory, "phys": self.physical}
        self.patches = Patches(memories, control.require_stopped, lambda: self.vcpu.mode.bits)
        self.assemble, self.assembled = self.patches.assemble, self.patches.assembled
        self.snapshots, self.calls = Snapshots(control, str(self.image.path)), Calls(self)
        faces, self.fork = Faces(self), Variants(self).fork
        self.report, self.drgn = faces.report, faces.drgn
        self.happened = Happened(control, self.listeners, self.snapshots)
        self.record, self.replay = (recordings := Recordings(control)).record, recordings.replay
        self.peripherals = Peripherals(control, self._serial)
        self.press, self.type, self.screen = self.peripherals.press, self.peripherals.type, self.peripherals.screen
        self.picture, self.save_screen = self.peripherals.picture, self.peripherals.save_screen
        self.select, self.add_symbols = control.select, self.files.read_symbols
        self.take_input, self.differences = self._serial.take_input, self.snapshots.differences
        control.at_epoch.append(self.changes.make_final)
        control.at_load += [self.contexts.forget, self.points.loaded_anew, self.patches.forget]
        control.at_rest.append(self.traces.flush)

    def _event_of(self, runner: DebuggedVcpu, exit: Exit, when: str) -> Event:
        """What hooks are called with."""
        control = self.control
        return Event(self, control.vcpus[runner.index], exit, when, partial(control.guest.space.site_of, runner))

    def close(self) -> None:
        """Stop the guest and give everything back to the host. SessionStateError from within the guest's run."""
        self.control.close()
        self.traces.close()
        self._serial.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def state(self) -> str:
        return self.control.state

    @property
    def fresh(self) -> bool:
        return self.control.fresh

    @property
    def last_stop(self) -> stops.Stop | None:
        return self.control.last_stop

    @property
    def guest(self) -> Guest:
        return self.control.guest

    @property
    def machine(self) -> Machine:
        return self.guest.machine

    @property
    def space(self) -> Inspection:
        return self.guest.space

    @property
    def slots(self) -> list[Slot]:
        return self.machine.memory.slots

    @property
    def devices(self) -> list[Device]:
        return self.machine.bus.devices

    @property
    def uart(self) -> Uart:
        return self._serial.uart

    @property
    def output(self) -> bytes:
        return self.control.output

    @property
    def counts_exit_places(self) -> bool:
        return self.traces.exit_places is not None

    @counts_exit_places.setter
    def counts_exit_places(self, value: bool) -> None:
        self.traces.count_exit_places(value)

    @property
    def exit_trace(self) -> ExitTrace | None:
        return self.traces.exits

    @property
    def instructions(self) -> InsnTrace | None:
        return self.traces.instructions

    @property
    def vcpus(self) -> list[VcpuView]:
        return self.control.vcpus

    @property
    def vcpu(self) -> VcpuView:
        return self.control.vcpu

    @property
    def runners(self) -> list[Runner]:
        return self.control.runners

    @property
    def runner(self) -> Runner:
        return self.control.runner

    @property
    def registers(self) -> RegisterFile:
        return self.vcpu.registers

    regs = registers

    @cached_property
    def state_of(self) -> State:
        """The x86 state beside the registers: descriptor tables, MSRs, FPU, CPUID, interrupt controllers."""
        from kvmdbg.core.state import State

        return State(lambda: (self.space, self.runner))

    @property
    def frame(self) -> Frame:
        return self.frames.of(self.runner)

    @property
    def c_variables(self) -> Variables:
        return self.contexts.selected.source

    @property
    def host(self) -> list[tuple[str, str]]:
        return probe.in_words(self.guest.host.profile, self.control.blocks_interrupts)

    @property
    def step_interrupts(self) -> bool:
        return self.control.step_interrupts

    @step_interrupts.setter
    def step_interrupts(self, value: bool) -> None:
        self.control.let_interrupts_in(value)

    @property
    def breakpoint_hold(self) -> str:
        """How breakpoints are held from the next run on: "auto", "register", "stepping" or "planted".

        "register" takes debug registers only, "planted" only traps in memory, which the guest can read, "stepping"
        compares at each instruction. NotSupportedHere, now or at the run, where a breakpoint cannot be held so.
        """
        return self.breakpoints.hold

    @breakpoint_hold.setter
    def breakpoint_hold(self, value: str) -> None:
        self.points.hold_by(value)

    def disassemble(self, address: int, count: int = 1, bits: int | None = None) -> list[Insn]:
        """``count`` instructions from a linear address (fewer where memory ends; MemoryFault when none)."""
        return Listed(self.space.disassemble(self.runner, address, count, bits))

    def translate(self, linear: int) -> paging.Walk:
        """The page walk of a linear address on the selected vCPU."""
        return self.space.walk(self.runner, linear)

    def mappings(self) -> list[paging.Mapping]:
        """All that the selected vCPU's page tables map, by linear address."""
        return Listed(self.space.mappings(self.runner))
