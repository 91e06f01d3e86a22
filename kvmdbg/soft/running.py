"""What runs unicorn's vCPU, as its parts see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from kvmdbg.soft.exit_page import ExitPage
from kvmdbg.x86.delivery import Event

if TYPE_CHECKING:
    from kvmdbg.soft.execute_registers import ExecuteRegisters


class Places(Protocol):
    """Instructions that unicorn is ended before (held_places.py)."""

    found: set[int]
    """Those in what has just been translated, which is not to run so."""

    def hold(self) -> None:
        """From here on it ends before them."""

    def end_behind(self, lengths: dict[int, int]) -> None:
        """From the instruction at hand on these are to be done, and what follows not yet."""

    def run_from(self, address: int) -> None:
        """A run is about to begin there."""

    def has_ended_before_one(self) -> bool:
        """Whether a run, which nothing has ended, has done so for one of them."""


class Alignment(Protocol):
    """The alignment check (alignment.py)."""

    def is_on(self) -> bool:
        """Whether each instruction is to be run alone."""


class Fetched(Protocol):
    """Code that cannot be fetched (fetches.py)."""

    def begin(self) -> None:
        """Before a run."""

    def gives_up(self, begun_at: int) -> bool:
        """Whether that is why a step from this RIP has ended: nothing has been raised then."""


class Running(ExitPage):
    """Implemented by ``SoftCpu``."""

    control = 0
    """Flags of KVM_SET_GUEST_DEBUG."""
    why: tuple[Any, ...] | None
    """What ended unicorn's run: the word, and what goes with it."""
    instructions: int
    """How many it has run; a round of a repeated string instruction is one."""
    _last: int | None = None
    """At which of them a free run ends."""
    pieces: list[tuple[int, int, int]]
    """Writes to devices by the instruction that is done: address, size, value."""
    before_refusal, flags_before = b"", 0
    """The state, and RFLAGS, where an instruction is refused."""
    places: Places
    alignment: Alignment
    fetches: Fetched
    resumes: bool
    """Whether EFLAGS.RF was set where unicorn's run began, and still counts."""
    execute_registers: ExecuteRegisters

    @property
    def instructions_left(self) -> int | None:
        return None if self._last is None else self._last - self.instructions

    @instructions_left.setter
    def instructions_left(self, count: int | None) -> None:
        self._last = None if count is None else self.instructions + count

    @property
    def steps(self) -> bool:
        """Whether each run ends behind one instruction."""
        raise NotImplementedError

    @property
    def nmi_comes_in(self) -> bool:
        """Whether one is pending that a step may not keep out."""
        raise NotImplementedError

    def take_changes(self) -> None:
        """Before unicorn runs: what has been written from outside becomes its state."""
        raise NotImplementedError

    def go(self, count: int) -> bool:
        """Have unicorn run so many instructions; whether it was not ended by anything else."""
        raise NotImplementedError

    def end_with(self, *why: Any) -> None:
        """End unicorn's run for this reason, from within a hook."""
        raise NotImplementedError

    def end_behind(self, *why: Any) -> None:
        """End unicorn's run for this reason behind the instruction at hand, from within a hook for its accesses."""
        raise NotImplementedError

    def refuse_port(self) -> None:
        """End unicorn's run with #GP, from within a hook for IN or OUT; ``state`` has been saved there."""
        raise NotImplementedError

    def end_step(self, rip: int, before: bytes, own: int, exhausted: bool) -> None:
        """Behind a run of one instruction, which began with registers ``before`` and the guest's own EFLAGS.TF."""
        raise NotImplementedError

    def ended(self, exhausted: bool) -> bool:
        """What unicorn's run has led to; whether that is an exit."""
        raise NotImplementedError

    def deliver(self, event: Event) -> bool:
        """Take the vCPU to the handler; whether that has led to an exit. OSError (EFAULT) where a guard is in the way:
        it is delivered at the next entry."""
        raise NotImplementedError

    def answered_by(self, repeat: Callable[[], bool]) -> None:
        """The exit at hand is a read: what ends its instruction when the answer is there."""
        raise NotImplementedError
