"""Why the guest stopped: small values that everything which prints, scripts or speaks RSP renders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from kvmdbg.faces import InNotebooks
from kvmdbg.kvm.exits import Exit
from kvmdbg.record import record

if TYPE_CHECKING:
    from kvmdbg.engine.breakpoints import Catchpoint, Point, Watchpoint
    from kvmdbg.observe.autopsy import Autopsy
    from kvmdbg.timeline.log import Moment


@record
class Stop(InNotebooks):
    """A stop of vCPU ``vcpu`` at linear address ``pc`` (the next instruction to run)."""

    vcpu: int
    pc: int
    reason: ClassVar[str] = "stop"

    @property
    def is_error(self) -> bool:
        """Whether something failed that is not the guest's: batch mode's exit status is not 0 then."""
        return False

    def describe(self) -> str:
        """One sentence for people."""
        return f"stopped at {self.pc:#x}"

    @property
    def breakpoints(self) -> tuple[Point, ...]:
        """The breakpoints, watchpoints or catchpoints that asked for the stop."""
        return ()

    def fields(self) -> dict[str, Any]:
        """What this kind of stop adds to its JSON object."""
        return {}

    def to_json(self) -> dict[str, Any]:
        """``stop`` (the reason), ``vcpu``, ``pc``, ``text`` and the fields of the kind."""
        return {
            "stop": self.reason,
            "vcpu": self.vcpu,
            "pc": self.pc,
            "text": self.describe(),
            **({"numbers": [p.number for p in self.breakpoints]} if self.breakpoints else {}),
            **self.fields(),
        }


@record
class BreakpointStop(Stop):
    hits: tuple[Point, ...]
    reason: ClassVar[str] = "breakpoint"

    @property
    def breakpoints(self) -> tuple[Point, ...]:
        return self.hits

    def describe(self) -> str:
        if not self.hits:
            return f"reached {self.pc:#x}"
        kind = "temporary breakpoint" if all(p.temporary for p in self.hits) else "breakpoint"
        return f"{kind} {', '.join(str(p.number) for p in self.hits)} at {self.pc:#x}"


@record
class ScopeEndStop(BreakpointStop):
    """The function has returned whose variable watchpoint ``number`` was on, which is deleted; ``text`` was watched."""

    number: int
    text: str
    reason: ClassVar[str] = "scope-end"

    def describe(self) -> str:
        return (
            f"watchpoint {self.number} deleted because the program has left the block in which its expression is valid "
            f"({self.text}), at {self.pc:#x}"
        )

    def fields(self) -> dict[str, Any]:
        return {"watchpoint": self.number, "expression": self.text}


@record
class WatchpointStop(Stop):
    """``address`` is linear where the watch is, ``old`` and ``new`` the watched bytes; ``instruction`` did it."""

    hits: tuple[Watchpoint, ...]
    kind: str
    address: int
    size: int
    old: bytes
    new: bytes
    instruction: int | None
    reason: ClassVar[str] = "watchpoint"

    @property
    def breakpoints(self) -> tuple[Point, ...]:
        return self.hits

    def describe(self) -> str:
        numbers = ", ".join(str(p.number) for p in self.hits)
        by = f" by the instruction at {self.instruction:#x}" if self.instruction is not None else ""

        def show(data: bytes) -> str:
            return f"{int.from_bytes(data, 'little'):#x}" if len(data) <= 8 else data[:32].hex(" ")

        if self.kind == "read":
            return f"watchpoint {numbers}: read of {self.size} bytes at {self.address:#x}{by}, value {show(self.new)}"
        change = f"old {show(self.old)}, new {show(self.new)}"
        return f"watchpoint {numbers}: write of {self.size} bytes at {self.address:#x}{by}, {change}"

    def fields(self) -> dict[str, Any]:
        return {
            "access": self.kind,
            "address": self.address,
            "size": self.size,
            "old": self.old.hex(),
            "new": self.new.hex(),
            "instruction": self.instruction,
        }


@record
class StepStop(Stop):
    """``steps`` instructions were executed."""

    steps: int = 1
    reason: ClassVar[str] = "step"

    def describe(self) -> str:
        return f"stepped to {self.pc:#x}" if self.steps == 1 else f"stepped {self.steps} instructions to {self.pc:#x}"

    def fields(self) -> dict[str, Any]:
        return {"steps": self.steps}


@record
class CaughtStop(Stop):
    """An exit that a catchpoint names; the access has been served and its instruction is done."""

    hits: tuple[Catchpoint, ...]
    exit: Exit
    reason: ClassVar[str] = "exit"

    @property
    def breakpoints(self) -> tuple[Point, ...]:
        return self.hits

    def describe(self) -> str:
        return f"catchpoint {', '.join(str(p.number) for p in self.hits)}: {self.exit.describe()}"

    def fields(self) -> dict[str, Any]:
        return {"exit": self.exit.to_json()}


@record
class HookStop(Stop):
    """A hook asked for the stop, or ``failed``; ``message`` says why."""

    hits: tuple[Point, ...]
    message: str
    failed: bool = False
    reason: ClassVar[str] = "hook"

    @property
    def is_error(self) -> bool:
        return self.failed

    @property
    def breakpoints(self) -> tuple[Point, ...]:
        return self.hits

    def describe(self) -> str:
        return f"stopped at {self.pc:#x}: {self.message}"

    def fields(self) -> dict[str, Any]:
        return {"message": self.message}


WAITS = ", halted: it waits for an interrupt"


@record
class InterruptedStop(Stop):
    """Somebody stopped the guest. ``halted``: the vCPU waits for an interrupt in the hlt before ``pc``."""

    halted: bool = False
    reason: ClassVar[str] = "interrupted"

    def describe(self) -> str:
        return f"interrupted at {self.pc:#x}{WAITS if self.halted else ''}"

    def fields(self) -> dict[str, Any]:
        return {"halted": True} if self.halted else {}


@record
class LimitStop(Stop):
    """A limit of run() was reached: ``limit`` says which, as "2 s" or "100 exits".

    ``halted``: the vCPU waits for an interrupt in the hlt before ``pc``.
    """

    limit: str
    halted: bool = False
    reason: ClassVar[str] = "limit"

    def describe(self) -> str:
        return f"stopped at {self.pc:#x} after {self.limit}{WAITS if self.halted else ''}"

    def fields(self) -> dict[str, Any]:
        return {"limit": self.limit, **({"halted": True} if self.halted else {})}


@record
class ExitedStop(Stop):
    """The guest has ended itself through a device, with exit status ``status``; ``text`` says how.

    All of it can be looked at. Resuming goes on behind the instruction that did it.
    """

    status: int
    text: str
    reason: ClassVar[str] = "exited"

    def describe(self) -> str:
        return f"the guest ended with status {self.status}: {self.text}; next instruction at {self.pc:#x}"

    def fields(self) -> dict[str, Any]:
        return {"status": self.status}


@record
class HaltedStop(Stop):
    """The vCPU executed HLT; ``pc`` is after it. Resuming goes on behind the HLT."""

    reason: ClassVar[str] = "halted"

    def describe(self) -> str:
        return f"halted (KVM_EXIT_HLT), next instruction at {self.pc:#x}"


@record
class FatalStop(Stop):
    """The guest cannot go on; ``autopsy`` is the account of why, None where it was not made."""

    autopsy: Autopsy | None = None

    def _because(self) -> str:
        return f": {self.autopsy.cause}" if self.autopsy is not None else ""

    def fields(self) -> dict[str, Any]:
        return {"autopsy": self.autopsy.to_json()} if self.autopsy is not None else {}


@record
class ShutdownStop(FatalStop):
    reason: ClassVar[str] = "shutdown"

    def describe(self) -> str:
        return f"shutdown (triple fault) at {self.pc:#x}{self._because()}"


WHO_MAY = "a KVM on hardware virtualization (kvm_intel, kvm_amd) may, and so may --engine soft"
"""Run an instruction that this KVM cannot."""


@record
class EmulationFailureStop(FatalStop):
    """KVM could not run the instruction at ``pc``: its ``instruction`` bytes and ``text`` as disassembled."""

    instruction: bytes = b""
    text: str = ""
    reason: ClassVar[str] = "emulation-failure"

    def describe(self) -> str:
        if not self.instruction:
            return f"this KVM cannot go on at {self.pc:#x}: {self.text}"
        return (
            f"this KVM cannot run the instruction at {self.pc:#x}: {self.text} ({self.instruction.hex(' ')}); {WHO_MAY}"
        )

    def fields(self) -> dict[str, Any]:
        return {"instruction": self.instruction.hex(), "assembly": self.text, **FatalStop.fields(self)}


@record
class FailEntryStop(FatalStop):
    hardware_reason: int = 0
    reason: ClassVar[str] = "entry-failure"

    @property
    def is_error(self) -> bool:
        return True

    def describe(self) -> str:
        return (
            f"KVM could not enter the guest at {self.pc:#x}: hardware reason {self.hardware_reason:#x} "
            f"(invalid guest state; Intel SDM volume 3C, 26.3){self._because()}"
        )

    def fields(self) -> dict[str, Any]:
        return {"hardware_reason": self.hardware_reason, **FatalStop.fields(self)}


@record
class ExitStop(Stop):
    """An exit that nothing here can answer."""

    exit: Exit
    reason: ClassVar[str] = "unhandled-exit"

    @property
    def is_error(self) -> bool:
        return True

    def describe(self) -> str:
        return f"unhandled exit at {self.pc:#x}: {self.exit.describe()}"

    def fields(self) -> dict[str, Any]:
        return {"exit": self.exit.to_json()}


@record
class ErrorStop(Stop):
    """Something failed while the guest ran (a condition, a KVM_RUN that was refused); ``message`` says what."""

    message: str
    hits: tuple[Point, ...] = ()
    reason: ClassVar[str] = "error"

    @property
    def is_error(self) -> bool:
        return True

    @property
    def breakpoints(self) -> tuple[Point, ...]:
        return self.hits

    def describe(self) -> str:
        return f"stopped at {self.pc:#x}: {self.message}"

    def fields(self) -> dict[str, Any]:
        return {"message": self.message}


@record
class ReplayedStop(Stop):
    """What was recorded has been run once more, to its end."""

    reason: ClassVar[str] = "replayed"

    def describe(self) -> str:
        return f"the recording ends here, at {self.pc:#x}"


@record
class DivergedStop(Stop):
    """The guest did not do what was recorded: at ``at`` ``wanted`` comes next, and it did ``got``."""

    at: Moment
    wanted: str
    got: str
    reason: ClassVar[str] = "diverged"

    @property
    def is_error(self) -> bool:
        return True

    def describe(self) -> str:
        return f"the guest leaves the recording at {self.at}: recorded is {self.wanted}; it did {self.got}"

    def fields(self) -> dict[str, Any]:
        return {"accesses": self.at.accesses, "wanted": self.wanted, "got": self.got}


def internal_error(error: BaseException, vcpu: int) -> ErrorStop:
    """The stop that a mistake of kvmdbg's own becomes. It imports nothing: there may be no file left to open."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f" at {place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place is not None else ""
    return ErrorStop(vcpu=vcpu, pc=0, message=f"internal error: {error!r}{where}")
