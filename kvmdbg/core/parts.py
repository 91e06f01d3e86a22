"""The parts of a session that only some sessions use: each is imported and made when it is first asked for.

Most runs in batch mode set no breakpoint, name no place and read no source; start-up time is measured.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Generic, TypeVar, overload

from kvmdbg.core.changes import Changes
from kvmdbg.core.happened import Happened
from kvmdbg.debuginfo.files import DebugFiles
from kvmdbg.engine.breakpoints import Breakpoints
from kvmdbg.engine.control import Control
from kvmdbg.engine.listeners import Listeners
from kvmdbg.engine.registers import RegisterFile
from kvmdbg.engine.runner import Runner
from kvmdbg.engine.serial_port import SerialPort
from kvmdbg.engine.views import LinearMemory, PhysicalMemory, VcpuView
from kvmdbg.language.convenience import ConvenienceVariables
from kvmdbg.machine.image import Image

if TYPE_CHECKING:
    from kvmdbg.core.calls import Calls
    from kvmdbg.core.context import Contexts
    from kvmdbg.core.faces import Faces
    from kvmdbg.core.frames import Frames
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
    from kvmdbg.core.state import State
    from kvmdbg.core.traces import Traces
    from kvmdbg.debuginfo.source import Source
    from kvmdbg.engine.moves import Moves
    from kvmdbg.observe.statistics import ExitStatistics

T = TypeVar("T")


class Given(Generic[T]):
    """What a part gives out as the session's own; the part is made when this is first used."""

    def __init__(self, get: Callable[[Parts], T]) -> None:
        self._get = get

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, session: None, owner: type) -> Given[T]: ...

    @overload
    def __get__(self, session: Parts, owner: type) -> T: ...

    def __get__(self, session: Parts | None, owner: type) -> Given[T] | T:
        if session is None:
            return self
        found: T = session.__dict__.setdefault(self._name, self._get(session))
        return found


class Parts:
    """Of one session, beside those that every run needs."""

    image: Image
    control: Control
    files: DebugFiles
    listeners: Listeners
    breakpoints: Breakpoints
    convenience: ConvenienceVariables
    changes: Changes
    physical: PhysicalMemory
    memory: LinearMemory
    happened: Happened
    _serial: SerialPort

    def made(self, part: str) -> bool:
        """Whether it has been asked for."""
        return part in self.__dict__

    @property
    def vcpu(self) -> VcpuView:
        return self.control.vcpu

    @property
    def runner(self) -> Runner:
        return self.control.runner

    @property
    def registers(self) -> RegisterFile:
        return self.vcpu.registers

    regs = registers

    @cached_property
    def source(self) -> Source:
        from kvmdbg.debuginfo.source import Source

        return Source(self.files)

    @cached_property
    def skips(self) -> Skips:
        from kvmdbg.core.skips import Skips

        return Skips(self.source)

    @cached_property
    def steps(self) -> Moves:
        from kvmdbg.engine.moves import Moves

        return Moves(self.control, self.source, self.skips.at)

    @cached_property
    def frames(self) -> Frames:
        from kvmdbg.core.frames import Frames

        return Frames(self.control, self.files)

    @cached_property
    def moves(self) -> FrameMoves:
        from kvmdbg.core.moves import FrameMoves

        return FrameMoves(
            self.control, self.steps, self.frames, self.files, self.source, lambda one: self.points.linear(one)
        )

    @cached_property
    def contexts(self) -> Contexts:
        from kvmdbg.core.context import Contexts

        made = Contexts(self.control, self.files, self.frames, self.convenience, self.changes)
        made.calls = lambda *call: self.calls.call(*call)
        return made

    @cached_property
    def calls(self) -> Calls:
        from kvmdbg.core.calls import Calls

        return Calls(self)

    @cached_property
    def linux(self) -> Linux:
        from kvmdbg.core.linux import Linux

        return Linux(self.files.symbols, self.control, self.contexts.evaluate)

    @cached_property
    def locations(self) -> Locations:
        from kvmdbg.core.locations import Locations

        return Locations(self.files, self.source, self.control, self.contexts, self.frames)

    @cached_property
    def points(self) -> Points:
        from kvmdbg.core.points import Points

        return Points(self.breakpoints, self.files.symbols, self.locations, self.control, self.contexts)

    @cached_property
    def hooks(self) -> Hooks:
        from kvmdbg.core.hooks import Hooks

        return Hooks(self.breakpoints)

    @cached_property
    def on(self) -> On:
        from kvmdbg.core.hooks import On

        return On(self.points, self.hooks)

    @cached_property
    def exits(self) -> ExitStatistics:
        from kvmdbg.observe.statistics import ExitStatistics

        return ExitStatistics(lambda: self.control.runners)

    @cached_property
    def traces(self) -> Traces:
        from kvmdbg.core.traces import Traces

        return Traces(self.control, self.points, self.listeners, self.files.symbols)

    @cached_property
    def patches(self) -> Patches:
        from kvmdbg.core.patches import Patches

        memories = {"linear": self.memory, "phys": self.physical}
        return Patches(memories, self.control.require_stopped, lambda: self.control.vcpu.mode.bits)

    @cached_property
    def snapshots(self) -> Snapshots:
        from kvmdbg.core.snapshots import Snapshots

        made = Snapshots(self.control, str(self.image.path))
        made.at_restore.append(self.happened.restored)
        return made

    @cached_property
    def recordings(self) -> Recordings:
        from kvmdbg.core.recordings import Recordings

        return Recordings(self.control)

    @cached_property
    def faces(self) -> Faces:
        from kvmdbg.core.faces import Faces

        return Faces(self)

    @cached_property
    def peripherals(self) -> Peripherals:
        from kvmdbg.core.peripherals import Peripherals

        return Peripherals(self.control, self._serial)

    @cached_property
    def state_of(self) -> State:
        """The x86 state beside the registers: descriptor tables, MSRs, FPU, CPUID, interrupt controllers."""
        from kvmdbg.core.state import State

        return State(lambda: (self.control.space, self.control.runner))
