"""What the stub asks of the machine that it shows: one class that every target has, and one for each capability more.

A target inherits from :class:`Target` and from those capabilities that it has; what it does not have is not offered
to the client. All methods are called one at a time. Where something cannot be done they raise
:class:`gdbstub.errors.TargetError`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from gdbstub.agent import Expression, Machine
from gdbstub.errors import TargetError
from gdbstub.registers import Description

SIGINT, SIGTRAP, SIGSEGV = 2, 5, 11
"""gdb's numbers (include/gdb/signals.def); the first thirty or so are those of POSIX."""


# --- why the target stopped ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stopped:
    """Thread ``thread`` stopped with ``signal``.

    ``reason`` is "swbreak", "hwbreak", "watch", "rwatch" or "awatch" (with the ``address`` that was touched) where
    one of the client's points did it; ``text`` says it for people. A stop with signal 0 is nobody's fault, as a halt;
    lldb lets it run on unless it has a ``text``.
    """

    thread: int
    signal: int = SIGTRAP
    reason: str = ""
    address: int = 0
    text: str = ""


@dataclass(frozen=True)
class Exited:
    """The guest is at its end, with exit status ``status``."""

    status: int = 0
    text: str = ""


@dataclass(frozen=True)
class Killed:
    """The guest was ended by ``signal``."""

    signal: int = 9
    text: str = ""


Stop = Stopped | Exited | Killed


# --- how it goes on ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Resume:
    """What runs: ``steps`` single instructions by thread, each until pc leaves its range; and ``runs`` freely.

    A range of (0, 0) is exactly one instruction. Threads in neither stay where they are.
    """

    steps: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    runs: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Point:
    """A breakpoint ("sw", "hw") or watchpoint ("write", "read", "access") of the client's; ``length`` bytes.

    It stops when one of ``conditions`` is true, or when there are none. ``commands`` run at each stop that the
    conditions allow, and the guest then goes on; ``persist`` keeps them when the client leaves.
    """

    kind: str
    address: int
    length: int
    conditions: tuple[Expression, ...] = ()
    commands: tuple[Expression, ...] = ()
    persist: bool = False
    layout: Description | None = None
    """The registers that the expressions mean by their numbers."""

    def stops(self, machine: Machine, show: Callable[[str], None]) -> bool:
        """Whether the guest stops where it has come to it; commands are run, and ``show`` takes what they print.

        What cannot be evaluated there is for the client to judge.
        """
        try:
            if self.conditions and not any(one.evaluate(machine) for one in self.conditions):
                return False
            for command in self.commands:
                command.evaluate(machine, show)
        except TargetError:
            return True
        return not self.commands


class Target(ABC):
    """The least that can be debugged: threads, registers, memory, and running."""

    on_stop: Callable[[Stop], None]
    """Set by the server. The target calls it, from any thread, when what ``resume`` began has come to a stop."""

    on_idle: Callable[[], None]
    """Set by the server. A target may call it after ``on_stop``, when a thread of its own has nothing else to do and
    nobody's lock: the client's next packets are handled on it while they come at once, each without a change of
    threads."""

    idle_follows = False
    """Whether ``on_idle`` is called soon after each ``on_stop``, whatever happens: the server's thread then leaves the
    packet that comes right after a stop reply to that call."""

    def threads(self) -> Sequence[int]:
        """Their ids, from 1 up; of a target that says nothing there is one."""
        return (1,)

    def thread_name(self, thread: int) -> str:
        """What a thread list shows beside the id."""
        return ""

    def current(self) -> int:
        """The thread that stopped last."""
        return 1

    @abstractmethod
    def description(self, thread: int) -> Description:
        """The registers that the thread has now."""

    def read_registers(self, thread: int, layout: Description) -> bytes:
        """All of them, little-endian, in the order of ``layout``.

        That is a description which the target gave before, perhaps in another mode: what it names and the CPU has
        no more is what is left of it (the lower half of a wider register, zero). Without this method each is read by
        itself.
        """
        return b"".join(self.read_register(thread, layout, number) for number in range(len(layout.registers)))

    def write_registers(self, thread: int, layout: Description, data: bytes) -> None:
        """The same way."""
        for number, (register, at) in enumerate(zip(layout.registers, layout.offsets, strict=True)):
            self.write_register(thread, layout, number, data[at : at + register.size])

    @abstractmethod
    def read_register(self, thread: int, layout: Description, number: int) -> bytes:
        """The one of that number in ``layout``."""

    @abstractmethod
    def write_register(self, thread: int, layout: Description, number: int, data: bytes) -> None:
        """The one of that number in ``layout``."""

    @abstractmethod
    def read_memory(self, thread: int, address: int, length: int) -> bytes:
        """``length`` bytes as the thread sees them, or as many as can be read from the first on; TargetError when
        that is none."""

    @abstractmethod
    def write_memory(self, thread: int, address: int, data: bytes) -> None:
        """All of it or TargetError."""

    @abstractmethod
    def resume(self, what: Resume) -> None:
        """Let it run, and return at once. ``on_stop`` is told how that ended."""

    @abstractmethod
    def interrupt(self) -> None:
        """Stop it; ``on_stop`` is told. Nothing where it does not run."""

    @property
    @abstractmethod
    def running(self) -> bool:
        """Whether it runs."""

    def last_stop(self) -> Stop:
        """How it came to stand where it stands."""
        return Stopped(self.current())


# --- capabilities ------------------------------------------------------------------------------------------


class HasBreakpoints(ABC):
    """Breakpoints and watchpoints."""

    @abstractmethod
    def insert(self, point: Point) -> None:
        """Put it there; one that is there already, with the same kind, address and length, is replaced."""

    @abstractmethod
    def remove(self, kind: str, address: int, length: int) -> None:
        """Take it away; nothing where there is none."""

    @abstractmethod
    def remove_all(self) -> None:
        """The client has left: all but what persists goes."""


class HasKill(ABC):
    @abstractmethod
    def kill(self) -> None:
        """End the guest."""


class HasRestart(ABC):
    @abstractmethod
    def restart(self) -> None:
        """Begin anew; it stands before its first instruction then."""


class HasDetach(ABC):
    @abstractmethod
    def detach(self) -> None:
        """The client leaves the guest to itself: let it run on. In extended mode it may attach again."""


class HasMonitor(ABC):
    @abstractmethod
    def monitor(self, command: str, show: Callable[[str], None]) -> None:
        """Run a command of the target's own. ``show`` takes its output as it comes; TargetError says what failed."""


class HasConsole:
    """The guest writes to a console of its own. The server sets ``on_output`` when the client wants to see that."""

    on_output: Callable[[bytes], None] | None = None
    console: bool = False
    """Whether the client is shown what the guest writes."""


class HasMemoryMap(ABC):
    @abstractmethod
    def memory_map(self) -> Sequence[tuple[str, int, int]]:
        """("ram" or "rom", start, length) of each region."""


class HasMemoryRegions(ABC):
    @abstractmethod
    def memory_region(self, thread: int, address: int) -> tuple[int, int, str]:
        """Start, length and permissions ("rwx", "" for none) of the whole region around an address. Gaps are regions,
        too: together they fill the address space up to 2^64."""


class HasPhysicalMemory:
    """``read_memory`` and ``write_memory`` take physical addresses while ``physical`` is set (Qqemu.PhyMemMode)."""

    physical: bool


class HasQuietSteps(ABC):
    """Steps that let no interrupt in."""

    @property
    @abstractmethod
    def step_flags_possible(self) -> int:
        """The bits that can be had of QEMU's ``sstep``: 1 steps are enabled, 2 no interrupts, 4 no timers."""

    @property
    @abstractmethod
    def step_flags(self) -> int:
        """Those that are set."""

    @step_flags.setter
    @abstractmethod
    def step_flags(self, flags: int) -> None: ...


class HasSearch(ABC):
    @abstractmethod
    def search(self, thread: int, start: int, length: int, pattern: bytes) -> int | None:
        """The first address at or after ``start`` where ``pattern`` lies, within ``length`` bytes."""


class HasFiles(ABC):
    @abstractmethod
    def files(self) -> Mapping[str, str]:
        """The files that the client may read: by the name that it asks for, their path here."""

    def exec_file(self) -> str:
        """The name of the guest's own file, "" for none."""
        return ""


class HasOffsets(ABC):
    @abstractmethod
    def offsets(self) -> tuple[int, int]:
        """How far text and data lie from where they were linked."""


class FollowsMode(ABC):
    """A target whose description changes while it runs."""

    follow_mode: bool = True
    """Whether the client is told of a change by the way of an exec event."""

    @abstractmethod
    def exec_name(self) -> str:
        """What the exec event names."""
