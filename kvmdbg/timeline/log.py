"""The log of a run: what entered the guest, in order, and where. The guest is deterministic but for that."""

from __future__ import annotations

from typing import Any

from kvmdbg.machine.bus import GuestEnd
from kvmdbg.record import field, record, replace


@record
class Moment:
    """Where in a run: after so many accesses to what is outside, in this state.

    ``registers`` and ``memory`` are digests (general, segment and control registers without RF; memory without paging
    structures, in which hardware may set bits early). Between two accesses the same state is the same moment.
    ``waits``: an exception or interrupt is about to be delivered here, before the instruction at ``pc``.
    ``resume_flag``: EFLAGS.RF is set, no debug register fires for that instruction. Steps may leave it otherwise.
    """

    accesses: int
    pc: int
    registers: bytes
    memory: int
    waits: bool = False
    resume_flag: bool = False

    def same_as(self, other: Moment) -> bool:
        return self == replace(other, resume_flag=self.resume_flag)

    def __str__(self) -> str:
        return f"{self.pc:#x}, {self.accesses} accesses after the start"


@record
class Change:
    """What somebody has changed: bytes of memory, (address, data); parts of ``VcpuState`` by name; devices' states."""

    memory: tuple[tuple[int, bytes], ...] = ()
    vcpu: dict[str, Any] = field(default_factory=dict)
    devices: tuple[tuple[str, Any], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.memory or self.vcpu)


@record
class Access:
    """The guest has reached out: ``what`` in words, ``wrote`` what it wrote itself, or None.

    ``value`` is what it read, or what was written in the end (None where a hook has kept it); ``failed`` a device's
    name and what it said. ``time`` is the guest's. ``registers`` is a digest of the general ones at the exit;
    ``change`` is what hooks did.
    """

    what: str
    registers: bytes
    wrote: Any = None
    value: Any = None
    end: GuestEnd | None = None
    failed: tuple[str, str] | None = None
    time: int = 0
    change: Change = field(default_factory=Change)


@record
class Arrival:
    """Something came to a device from outside: its method ``how`` was called with ``data``."""

    device: str
    how: str
    data: Any


@record
class Interrupt:
    """An interrupt of the machine's own controllers came in here, at this guest time."""

    at: Moment
    time: int
    vector: int


@record
class Poke:
    """What was changed while the guest stood still, or that it was given another state; ``time`` is the guest's."""

    at: Moment
    change: Change
    time: int = 0


@record
class Kick:
    """The guest was stopped here, and nothing was changed."""

    at: Moment


class Log:
    """Begun at ``start``; ``end`` is where recording ended, None before."""

    def __init__(self, start: Moment) -> None:
        self.start = start
        self.end: Moment | None = None
        self.end_time = 0
        """The guest's time there."""
        self.end_halted = False
        """Whether it waits for an interrupt there."""
        self.entries: list[Access | Arrival | Interrupt | Poke | Kick] = []
        self.inspected: frozenset[str] = frozenset()
        """Kinds of instructions that were looked at one by one: "cpuid", "rdtsc"."""
        self.flaw = ""
        """Why it cannot be given back, if so."""

    @property
    def accesses(self) -> int:
        return sum(isinstance(entry, Access) for entry in self.entries)
