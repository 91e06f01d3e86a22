"""What the debugger tells of beside KVM's own exits: exceptions, interrupts, mode changes, instructions, accesses.

To add one: write its record with ``@event`` and say in engine/ who offers it to the hooks; ``catch`` knows its kind.
"""

from __future__ import annotations

from typing import ClassVar, TypeVar

from kvmdbg.kvm.exits import Exit
from kvmdbg.record import record

E = TypeVar("E", bound=type[Exit])
EVENTS: dict[str, type[Exit]] = {}

EXCEPTIONS = {
    0: "#DE", 1: "#DB", 2: "NMI", 3: "#BP", 4: "#OF", 5: "#BR", 6: "#UD", 7: "#NM", 8: "#DF", 9: "coprocessor overrun",
    10: "#TS", 11: "#NP", 12: "#SS", 13: "#GP", 14: "#PF", 16: "#MF", 17: "#AC", 18: "#MC", 19: "#XM", 20: "#VE",
    21: "#CP",
}  # fmt: skip
"""Short names of the exceptions (Intel SDM volume 3A, table 6-1)."""
WITH_ERROR_CODE = frozenset((8, 10, 11, 12, 13, 14, 17, 21))


def vector_name(vector: int) -> str:
    """``14 (#PF)``; the number alone where it has no name."""
    return f"{vector} ({EXCEPTIONS[vector]})" if vector in EXCEPTIONS else str(vector)


def event(cls: E) -> E:
    """Class decorator: make it known by its kind."""
    EVENTS[cls.kind] = cls
    return cls


@record
class Vector(Exit):
    """The CPU has entered a handler; ``ip`` is the linear address it was called from.

    ``others`` are vectors whose gates lead to the same handler, so that it may have been one of them.
    """

    vector: int
    ip: int
    others: tuple[int, ...] = ()

    def _also(self) -> str:
        return f" (or {', '.join(map(str, self.others))}, which share its handler)" if self.others else ""


@event
@record
class ExceptionEvent(Vector):
    """``error_code`` is None where the exception has none, ``address`` (CR2) where it is no page fault."""

    kind: ClassVar[str] = "exception"
    error_code: int | None = None
    address: int | None = None

    def describe(self) -> str:
        text = f"exception {vector_name(self.vector)}{self._also()} at {self.ip:#x}"
        if self.error_code is not None:
            text += f", error code {self.error_code:#x}"
        return text + (f", address {self.address:#x}" if self.address is not None else "")


@event
@record
class InterruptEvent(Vector):
    """``call`` is what it asks of a BIOS, in words, where the guest has one."""

    kind: ClassVar[str] = "interrupt"
    call: str = ""

    def describe(self) -> str:
        asked = f": {self.call}" if self.call else ""
        return f"interrupt {self.vector:#x}{self._also()} at {self.ip:#x}{asked}"


@event
@record
class ModeEvent(Exit):
    """The CPU's mode changed; names as in x86/modes.py."""

    kind: ClassVar[str] = "mode"
    old: str
    new: str

    def describe(self) -> str:
        return f"mode {self.old} -> {self.new}"


@event
@record
class CpuidEvent(Exit):
    kind: ClassVar[str] = "cpuid"
    leaf: int
    subleaf: int

    def describe(self) -> str:
        return f"cpuid leaf {self.leaf:#x}, sub-leaf {self.subleaf:#x}"


@event
@record
class RdtscEvent(Exit):
    kind: ClassVar[str] = "rdtsc"


@event
@record
class MagicEvent(Exit):
    """``xchg bx, bx``, which does nothing: Bochs's magic breakpoint."""

    kind: ClassVar[str] = "magic"

    def describe(self) -> str:
        return "magic breakpoint (xchg bx, bx)"


@event
@record
class BiosEvent(Exit):
    """The guest has called the BIOS: ``interrupt``, ``function`` (AH) and AX; ``call`` is that in words."""

    kind: ClassVar[str] = "bios"
    interrupt: int
    function: int
    ax: int
    call: str

    def describe(self) -> str:
        return f"BIOS call {self.call}"


@event
@record
class InsnEvent(Exit):
    """The instruction at linear ``address`` is about to run."""

    kind: ClassVar[str] = "insn"
    address: int

    def describe(self) -> str:
        return f"instruction at {self.address:#x}"


@event
@record
class MemoryEvent(Exit):
    """A watched access was made: ``access`` "read" or "write"; bytes before and after."""

    kind: ClassVar[str] = "memory"
    access: str
    address: int
    size: int
    old: bytes
    new: bytes

    @property
    def value(self) -> int:
        return int.from_bytes(self.new, "little")

    def describe(self) -> str:
        return f"{self.access} of {self.size} bytes at {self.address:#x}, value {self.value:#x}"


STEPPED = frozenset(("cpuid", "rdtsc", "hypercall", "magic", "mode"))
"""No KVM exits for these: the vCPU is stepped while somebody wants them."""
VECTORS = frozenset(("exception", "interrupt"))
"""Nor for these: breakpoints at the handlers' entries tell."""
