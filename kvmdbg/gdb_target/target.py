"""The session as gdbstub sees it: vCPUs are threads 1, 2, …; addresses are linear."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from gdbstub import Description, Exited, Killed, Point, Resume, Stopped, Target, TargetError
from gdbstub import Stop as StubStop
from gdbstub import target as capabilities
from kvmdbg.core.session import Session
from kvmdbg.engine import stops
from kvmdbg.engine.breakpoints import Breakpoint, Watchpoint
from kvmdbg.engine.runner import Runner
from kvmdbg.errors import KvmdbgError, MemoryFault, SessionStateError
from kvmdbg.gdb_target import descriptions
from kvmdbg.gdb_target.registers import ThreadRegisters
from kvmdbg.printable import printable
from kvmdbg.x86 import paging

SIGINT, SIGILL, SIGTRAP, SIGABRT, SIGSEGV = 2, 4, 5, 6, 11
EFAULT = 14
WATCH_REASONS = {"write": "watch", "read": "rwatch", "access": "awatch"}
ELF_MACHINES = {descriptions.I386: 3, descriptions.X86_64: 62}
STEPS, NO_INTERRUPTS = 1, 2
"""Of QEMU's ``sstep``. The timers are in the kernel, where nothing stops them."""
SEARCH_PIECE = 1 << 20
MOST_KEPT = 1000
"""Points that are known by number, as the client takes them away and puts them back."""
Monitor = Callable[[str, Callable[[str], None]], None]
Stretch = tuple[int, int, str]


def joined(stretches: Iterable[Stretch]) -> list[Stretch]:
    """Neighbours with the same rights as one."""
    found: list[Stretch] = []
    for start, end, rights in stretches:
        if found and found[-1][1:] == (start, rights):
            start = found.pop()[0]
        found.append((start, end, rights))
    return found


@contextmanager
def translated() -> Iterator[None]:
    """A mistake that the session names is told to the client."""
    try:
        yield
    except KvmdbgError as error:
        raise TargetError(printable(str(error)), EFAULT if isinstance(error, MemoryFault) else 1) from None


class _Values:
    """What a condition sees: registers by the numbers that the client knows, and memory."""

    def __init__(self, target: GdbTarget, index: int, layout: Description) -> None:
        self._target = target
        self._registers = target.registers_of(index + 1)
        self._runner = target.session.runners[index]
        self._layout = layout

    def register(self, number: int) -> int:
        if number >= len(self._layout.registers):
            raise TargetError(f"there is no register {number}")
        return self._registers.value(self._layout.registers[number].name)

    def memory(self, address: int, size: int) -> bytes:
        with translated():
            return self._target.session.space.read_linear(self._runner, address, size)


class GdbTarget(
    Target,
    capabilities.HasBreakpoints,
    capabilities.HasKill,
    capabilities.HasRestart,
    capabilities.HasDetach,
    capabilities.HasMonitor,
    capabilities.HasConsole,
    capabilities.HasMemoryMap,
    capabilities.HasMemoryRegions,
    capabilities.HasPhysicalMemory,
    capabilities.HasQuietSteps,
    capabilities.HasSearch,
    capabilities.HasFiles,
    capabilities.FollowsMode,
):
    """``run_command`` runs a command of the shell's for ``monitor``, ``cancel`` has it end."""

    idle_follows = True

    def __init__(self, session: Session, run_command: Monitor, cancel: Callable[[], None] = lambda: None) -> None:
        self.session = session
        self.physical = False
        self.follow_mode = True
        self._run_command, self._cancel = run_command, cancel
        self._points: dict[tuple[str, int, int], tuple[Point, Breakpoint | Watchpoint]] = {}
        self._lifted: set[tuple[str, int, int]] = set()
        """What the client took away since the last resume. gdb does so at each stop and puts it back before it goes
        on; meanwhile the shell sees it and stops there."""
        self._kept: dict[tuple[str, int, int], Breakpoint | Watchpoint] = {}
        self._registers: dict[int, ThreadRegisters] = {}
        self._steps = STEPS
        """0 when the client does not want steps to be steps (Qqemu.sstep)."""
        self._regions: tuple[object, list[Stretch]] = (None, [])
        self.on_stop = lambda stop: None
        self.on_idle = lambda: None
        session.listeners.on_stop(self._stopped)
        session.listeners.on_output(self._output)

    def close(self) -> None:
        """Stop listening to the session."""
        self.remove_all()
        self.session.listeners.remove(self._stopped)
        self.session.listeners.remove(self._output)

    def _output(self, data: bytes) -> None:
        if self.on_output is not None:
            self.on_output(data)

    # --- threads -----------------------------------------------------------------------------------

    def threads(self) -> Sequence[int]:
        return range(1, len(self.session.vcpus) + 1)

    def thread_name(self, thread: int) -> str:
        state = self.session.vcpus[thread - 1].state
        return f"vCPU {thread - 1} {state}"

    def current(self) -> int:
        return self.session.vcpu.index + 1

    def _runner(self, thread: int) -> Runner:
        return self.session.runners[thread - 1]

    # --- registers ---------------------------------------------------------------------------------

    def registers_of(self, thread: int) -> ThreadRegisters:
        runner = self._runner(thread)
        found = self._registers.get(thread)
        if found is None or found.runner is not runner:  # a restart makes new ones
            found = self._registers[thread] = ThreadRegisters(self.session, runner)
        return found

    def description(self, thread: int) -> Description:
        with translated():
            mode = self._runner(thread).mode
            return descriptions.description(descriptions.architecture(mode), self.session.state_of.has_avx)

    def read_registers(self, thread: int, layout: Description) -> bytes:
        try:
            return self.registers_of(thread).all(layout)
        except KvmdbgError as error:
            raise TargetError(str(error)) from None

    def write_registers(self, thread: int, layout: Description, data: bytes) -> None:
        with translated():
            self.registers_of(thread).write_all(layout, data)

    def read_register(self, thread: int, layout: Description, number: int) -> bytes:
        try:
            return self.registers_of(thread).one(layout, number)
        except KvmdbgError as error:
            raise TargetError(str(error)) from None

    def write_register(self, thread: int, layout: Description, number: int, data: bytes) -> None:
        with translated():
            self.registers_of(thread).write(layout, number, data)

    # --- memory ------------------------------------------------------------------------------------

    def read_memory(self, thread: int, address: int, length: int) -> bytes:
        session = self.session
        try:
            if self.physical:
                return session.physical.read(address, length)
            return session.space.read_linear(session.runners[thread - 1], address, length)
        except MemoryFault as fault:
            if address < fault.address < address + length:
                return self.read_memory(thread, address, fault.address - address)
            raise TargetError(str(fault), EFAULT) from None
        except KvmdbgError as error:
            raise TargetError(str(error)) from None

    def write_memory(self, thread: int, address: int, data: bytes) -> None:
        with translated():
            if self.physical:
                self.session.physical.write(address, data)
            else:
                self.session.space.write_linear(self._runner(thread), address, data)

    def memory_map(self) -> Sequence[tuple[str, int, int]]:
        return [("ram", region.address, region.size) for region in self.session.machine.memory.regions]

    def memory_region(self, thread: int, address: int) -> tuple[int, int, str]:
        """The whole stretch around the address that may be used alike, or the gap."""
        with translated():
            stretches = self._stretches(self._runner(thread))
        index = bisect_right(stretches, address, key=lambda one: one[0]) - 1
        if index >= 0 and address < stretches[index][1]:
            start, end, rights = stretches[index]
            return start, end - start, rights
        start = stretches[index][1] if index >= 0 else 0
        end = stretches[index + 1][0] if index + 1 < len(stretches) else 1 << 64
        return start, end - start, ""

    def _stretches(self, runner: Runner) -> list[Stretch]:
        """Start, end and rights of what the vCPU can reach, by address; neighbours with the same rights are one."""
        memory, sregs = self.session.machine.memory, runner.sregs
        now = runner, runner.changes, memory.writes, self.physical
        if self._regions[0] != now:
            if self.physical:
                found = [(region.address, region.end, "rwx") for region in memory.regions]
            else:
                limits = self.session.machine.paging_limits
                mapped = paging.mappings(memory.read, sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer, limits)
                found = [
                    (
                        one.linear + start - one.physical,
                        one.linear + end - one.physical,
                        one.rights[:3].replace("-", ""),
                    )
                    for one in mapped
                    for region in memory.regions
                    if (start := max(one.physical, region.address)) < (end := min(one.physical + one.size, region.end))
                ]
            self._regions = now, joined(found)
        return self._regions[1]

    def search(self, thread: int, start: int, length: int, pattern: bytes) -> int | None:
        at, end = start, start + length
        while end - at >= len(pattern):
            data = self.read_memory(thread, at, min(SEARCH_PIECE, end - at))
            found = data.find(pattern)
            if found >= 0:
                return at + found
            if len(data) < min(SEARCH_PIECE, end - at):
                raise TargetError(f"the memory at {at + len(data):#x} cannot be read", EFAULT)
            at += len(data) - len(pattern) + 1
        return None

    # --- breakpoints -------------------------------------------------------------------------------

    def insert(self, point: Point) -> None:
        key = point.kind, point.address, point.length
        if self.session.state == "running":
            raise TargetError("the guest is running: interrupt it first")
        self._lifted.discard(key)
        made = self._kept.get(key)
        if made is None:
            if point.kind in ("sw", "hw"):
                made = Breakpoint(point.address, location="gdb")
            else:
                made = Watchpoint(point.address, point.length, kind=point.kind, location="gdb")
            self._kept[key] = made
            gone = [one for one in self._kept if one not in self._points and one != key]
            for one in gone[: max(len(self._kept) - MOST_KEPT, 0)]:
                del self._kept[one]
        made.only_if = self._predicate(point)
        if made not in self.session.breakpoints:  # the shell may have deleted one that the client knows
            self.session.breakpoints.add(made)
        self._points[key] = point, made

    def remove(self, kind: str, address: int, length: int) -> None:
        if (kind, address, length) in self._points:
            self._lifted.add((kind, address, length))

    def remove_all(self) -> None:
        self._lifted |= {key for key, (point, _) in self._points.items() if not point.persist}
        self._drop_lifted()

    def _drop_lifted(self) -> None:
        for key in self._lifted:
            self.session.breakpoints.discard(self._points.pop(key)[1])
        self._lifted.clear()

    def _predicate(self, point: Point) -> Callable[[int], bool] | None:
        """Whether to stop, asked on the vCPU's thread; None for always."""
        layout = point.layout
        if layout is None or not (point.conditions or point.commands):
            return None

        return lambda index: point.stops(_Values(self, index, layout), self._say)

    def _say(self, text: str) -> None:
        """What a breakpoint's commands print."""
        self.session.listeners.tell_output(text.encode())

    # --- running -----------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        return self.session.state == "running"

    def resume(self, what: Resume) -> None:
        self._drop_lifted()
        with translated():
            steps = {thread - 1: span for thread, span in what.steps.items() if self._steps}
            runs = what.runs if self._steps else what.runs | what.steps.keys()
            self.session.go(steps, [thread - 1 for thread in runs])

    def interrupt(self) -> None:
        self._cancel()
        self.session.control.interrupts += 1
        self.session.world.stop()

    @property
    def step_flags_possible(self) -> int:
        return STEPS | NO_INTERRUPTS if self.session.control.blocks_interrupts else STEPS

    @property
    def step_flags(self) -> int:
        return self._steps | (0 if self.session.step_interrupts else NO_INTERRUPTS)

    @step_flags.setter
    def step_flags(self, flags: int) -> None:
        with translated():
            self.session.step_interrupts = not flags & NO_INTERRUPTS
        self._steps = flags & STEPS

    def last_stop(self) -> StubStop:
        if self.session.state == "dead":
            return Killed()
        stop = self.session.last_stop
        if stop is None:
            return Stopped(self.current(), SIGTRAP)
        if isinstance(stop, stops.ExitedStop):  # one who comes now may look at what is left
            return Stopped(stop.vcpu + 1, 0, text=printable(stop.describe()))
        return self._rendered(stop)

    def _stopped(self, stop: stops.Stop) -> None:
        self.on_stop(self._rendered(stop))
        try:
            self._runner(stop.vcpu + 1).post(self.on_idle)
        except SessionStateError:  # the guest is being restarted: there is another vCPU soon
            self.on_idle()

    def _rendered(self, stop: stops.Stop) -> StubStop:
        thread = stop.vcpu + 1
        if isinstance(stop, stops.StepStop):
            return Stopped(thread, SIGTRAP)
        text = printable(stop.describe())
        if isinstance(stop, stops.ExitedStop):
            return Exited(stop.status, text)
        mine = {id(made): point for point, made in self._points.values()}
        points = [mine[id(hit)] for hit in stop.breakpoints if id(hit) in mine]
        if isinstance(stop, stops.BreakpointStop) and points:
            return Stopped(thread, SIGTRAP, "hwbreak" if points[0].kind == "hw" else "swbreak", text=text)
        if isinstance(stop, stops.WatchpointStop) and points:
            return Stopped(thread, SIGTRAP, WATCH_REASONS[points[0].kind], stop.address, text)
        if isinstance(stop, stops.InterruptedStop):
            return Stopped(thread, SIGINT)
        signals = {
            stops.BreakpointStop: SIGTRAP,
            stops.ScopeEndStop: SIGTRAP,
            stops.WatchpointStop: SIGTRAP,
            stops.ShutdownStop: SIGSEGV,
            stops.EmulationFailureStop: SIGILL,
            stops.FailEntryStop: SIGABRT,
            stops.ExitStop: SIGABRT,
            stops.ErrorStop: SIGABRT,
        }
        return Stopped(thread, signals.get(type(stop), 0), text=text)

    def kill(self) -> None:
        self.session.kill()

    def restart(self) -> None:
        with translated():
            self.session.restart()

    def detach(self) -> None:
        if self.session.state == "stopped":
            with translated():
                self.session.resume()

    def monitor(self, command: str, show: Callable[[str], None]) -> None:
        with translated():
            self._run_command(command, show)

    # --- files -------------------------------------------------------------------------------------

    def _image(self) -> str:
        return os.path.abspath(self.session.image.path)

    def files(self) -> Mapping[str, str]:
        paths = [self._image(), *(os.path.abspath(path) for path in self.session.files.paths)]
        return {path: path for path in paths}

    def exec_file(self) -> str:
        """The guest's ELF file, if it is of the architecture that the CPU is in: gdb takes that for the CPU's."""
        machine = ELF_MACHINES.get(descriptions.architecture(self.session.vcpu.mode))
        for path in self.files():
            try:
                with open(path, "rb") as file:
                    head = file.read(20)
            except OSError:
                continue
            if head[:4] == b"\x7fELF" and int.from_bytes(head[18:20], "little") == machine:
                return path
        return ""

    def exec_name(self) -> str:
        """Words that gdb shows; as they name no file, it keeps the symbols that it has."""
        return f"[the CPU is in {self.session.vcpu.mode.name} mode now]"
