"""The session: what shell, scripts and stubs talk to. Each part of it does one thing; this brings them together.

The guest is ``stopped``, ``running`` or ``dead`` (killed). Whatever looks at registers or changes how the guest runs
needs it stopped (SessionStateError otherwise); memory and breakpoints can be looked at any time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvmdbg.core.changes import Changes
from kvmdbg.core.filters import filters_checked
from kvmdbg.core.happened import Happened
from kvmdbg.core.parts import Given, Parts
from kvmdbg.core.variants import Variants
from kvmdbg.debuginfo.files import DebugFiles
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
from kvmdbg.x86 import paging

if TYPE_CHECKING:
    from kvmdbg.debuginfo.backtrace import Frame
    from kvmdbg.debuginfo.variables import Variables
    from kvmdbg.observe.trace import ExitTrace, InsnTrace
    from kvmdbg.x86.disasm import Insn


class Session(Parts):
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
        self.files = DebugFiles(image, self._symbols_changed)
        self.symbols = self.files.symbols
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
        self.step = control.step
        self.offer, self.select = self.judge.offer, control.select
        self.physical = PhysicalMemory(lambda: control.guest.traps)
        self.memory = LinearMemory(lambda: (control.space, control.runner))
        self.fork = Variants(self).fork
        self.happened = Happened(control, self.listeners)
        self.add_symbols, self.take_input = self.files.read_symbols, self._serial.take_input
        control.at_epoch.append(self.changes.make_final)
        control.at_load.append(self._loaded_anew)
        control.at_rest.append(lambda: self.traces.flush() if self.made("traces") else None)

    next = Given(lambda session: session.steps.next)
    finish = Given(lambda session: session.moves.finish)
    advance = Given(lambda session: session.moves.advance)
    until = Given(lambda session: session.moves.until)
    step_line = Given(lambda session: session.moves.step_line)
    frame_of = Given(lambda session: session.frames.of)
    backtrace = Given(lambda session: session.frames.backtrace)
    select_frame = Given(lambda session: session.frames.select)
    evaluate = Given(lambda session: session.contexts.evaluate)
    type_of = Given(lambda session: session.contexts.type_of)
    scope = Given(lambda session: session.contexts.scope)
    locals = Given(lambda session: session.contexts.locals)
    arguments = Given(lambda session: session.contexts.arguments)
    resolve = Given(lambda session: session.points.resolve)
    break_at = Given(lambda session: session.points.break_at)
    watch = Given(lambda session: session.points.watch)
    catch = Given(lambda session: filters_checked(session.points.catch))
    add_point = Given(lambda session: session.points.add)
    trace_exits = Given(lambda session: session.traces.trace_exits)
    end_trace_exits = Given(lambda session: session.traces.end_exits)
    trace_instructions = Given(lambda session: session.traces.trace_instructions)
    end_trace_instructions = Given(lambda session: session.traces.end_instructions)
    assemble = Given(lambda session: session.patches.assemble)
    assembled = Given(lambda session: session.patches.assembled)
    differences = Given(lambda session: session.snapshots.differences)
    record = Given(lambda session: session.recordings.record)
    replay = Given(lambda session: session.recordings.replay)
    press = Given(lambda session: session.peripherals.press)
    type = Given(lambda session: session.peripherals.type)
    nmi = Given(lambda session: session.peripherals.nmi)
    screen = Given(lambda session: session.peripherals.screen)
    picture = Given(lambda session: session.peripherals.picture)
    save_screen = Given(lambda session: session.peripherals.save_screen)
    report = Given(lambda session: session.faces.report)
    drgn = Given(lambda session: session.faces.drgn)

    def _symbols_changed(self) -> None:
        if self.made("points"):
            self.points.symbols_changed()

    def _loaded_anew(self) -> None:
        """Parts that have not been made have nothing to forget."""
        if self.made("contexts"):
            self.contexts.forget()
        if self.made("points"):
            self.points.loaded_anew()
        if self.made("patches"):
            self.patches.forget()

    def _event_of(self, runner: DebuggedVcpu, exit: Exit, when: str) -> Event:
        """What hooks are called with."""
        return Event(self, self.control.vcpus[runner.index], exit, when, runner)

    def close(self) -> None:
        """Stop the guest and give everything back to the host. SessionStateError from within the guest's run."""
        self.control.close()
        if self.made("traces"):
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
    def runners(self) -> list[Runner]:
        return self.control.runners

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
