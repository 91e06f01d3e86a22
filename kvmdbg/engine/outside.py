"""The door between the guest and what is outside of it: ports, MMIO, MSRs, and what instructions ask the CPU.

``Door.serve`` is the one place where an access is offered to hooks and catchpoints, answered, and offered again.
Where the answer comes from is ``Outside``: ``Live`` asks the devices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from kvmdbg.engine.hook_calls import SWALLOW
from kvmdbg.kvm import abi, exits
from kvmdbg.machine.bus import GuestEnd, ask, attempt, tell
from kvmdbg.record import record

if TYPE_CHECKING:
    from kvmdbg.engine.debugged_vcpu import DebuggedVcpu
    from kvmdbg.engine.judge import Judge
    from kvmdbg.engine.stops import Stop
    from kvmdbg.machine.board import InterruptController
    from kvmdbg.machine.bus import Bus, Device


ONES = b"\xff" * 8


@record
class Refused:
    """The CPU takes no such value there."""


Outcome = GuestEnd | Refused | None
"""What a write led to, beside that it was done."""


class Access(Protocol):
    """One way for the guest to reach out, once or again and again. A value is mostly a number."""

    writes: bool
    kind: str
    """That of ``exit``."""
    of_device: bool
    """Whether a device answers, and not the CPU itself."""
    is_exit: bool
    """Whether KVM stands still in the middle of the instruction; else the access is the instruction."""

    @property
    def name(self) -> str:
        """In words."""
        ...

    def exit(self, value: Any) -> exits.Exit:
        """What hooks and catchpoints see; ``value`` is None before a read is answered."""
        ...

    def given(self, answer: Any) -> Any:
        """What a hook's answer means to the guest."""
        ...

    def ask(self, at: DebuggedVcpu) -> Any:
        """What the guest reads if no hook answers. DeviceFailure."""
        ...

    def tell(self, at: DebuggedVcpu, value: Any) -> Outcome:
        """Do the write. DeviceFailure."""
        ...


class PortEntry:
    """One way to touch a port (direction, size, port): how often it was, and who answers."""

    __slots__ = (
        "count",
        "device",
        "first",
        "observed",
        "offset",
        "ones",
        "port",
        "quiet",
        "serves_cpu",
        "size",
        "word",
        "writes",
    )

    def __init__(self, key: int, found: tuple[Device, int] | None) -> None:
        self.writes = bool(key & 0xFF)
        self.word = "out" if self.writes else "in"
        self.size = key >> 8 & 0xFF
        self.port = key >> 16
        self.ones = (1 << self.size * 8) - 1
        self.device: Device | None = found[0] if found else None
        self.offset = found[1] if found else 0
        self.serves_cpu = getattr(self.device, "serves_vcpu", False)
        """A write here has the BIOS serve the vCPU."""
        self.count = 0
        self.first: int | None = None
        """Linear address of the instruction that was the first to touch it, of a port that nobody has."""
        self.observed = False
        self.quiet = False
        """A write that nobody takes and nobody looks at."""

    kind = "io"
    of_device = is_exit = True

    @property
    def name(self) -> str:
        return f"{self.word} port {self.port:#x}, {self.size} byte{'s' if self.size > 1 else ''}"

    def exit(self, value: int | None) -> exits.IoExit:
        return exits.IoExit(
            self.word, self.port, self.size, 1, b"" if value is None else value.to_bytes(self.size, "little")
        )

    def given(self, answer: Any) -> int:
        return self.ones if answer is SWALLOW else int(answer) & self.ones

    def answer(self) -> bytes:
        """What the device answers, all ones where there is none. DeviceFailure."""
        return ONES[: self.size] if self.device is None else ask(self.device, self.offset, self.size)

    def ask(self, at: DebuggedVcpu) -> int:
        return int.from_bytes(self.answer(), "little")

    def tell(self, at: DebuggedVcpu, value: int) -> GuestEnd | None:
        return None if self.device is None else tell(self.device, self.offset, self.size, value)


def answer_string(entry: PortEntry, data: memoryview) -> bool:
    """Serve all items of a string instruction in one; whether the device of this port can. DeviceFailure."""
    served = getattr(entry.device, "write_string" if entry.writes else "read_string", None)
    if served is None or entry.device is None:
        return False
    if entry.writes:
        attempt(entry.device, served, entry.offset, entry.size, bytes(data))
    else:
        data[:] = attempt(entry.device, served, entry.offset, entry.size, len(data) // entry.size)
    return True


class Mmio:
    """An access of ``size`` bytes to a guest-physical address without memory."""

    __slots__ = ("address", "bus", "ones", "size", "word", "writes")

    def __init__(self, bus: Bus, address: int, size: int, writes: bool) -> None:
        self.bus = bus
        self.address = address
        self.size = size
        self.ones = (1 << size * 8) - 1
        self.writes = writes
        self.word = "write" if writes else "read"

    kind = "mmio"
    of_device = is_exit = True

    @property
    def name(self) -> str:
        return f"mmio {self.word} {self.address:#x}, {self.size} byte{'s' if self.size > 1 else ''}"

    def exit(self, value: int | None) -> exits.MmioExit:
        data = b"" if value is None else value.to_bytes(self.size, "little")
        return exits.MmioExit(self.word, self.address, self.size, data)

    def given(self, answer: Any) -> int:
        return self.ones if answer is SWALLOW else int(answer) & self.ones

    def ask(self, at: DebuggedVcpu) -> int:
        return self.bus.read_mmio(self.address, self.size)

    def tell(self, at: DebuggedVcpu, value: int) -> GuestEnd | None:
        return self.bus.write_mmio(self.address, self.size, value)


class Msr:
    """RDMSR or WRMSR that KVM has given us: because somebody wants it, or else because it does not know the MSR."""

    __slots__ = ("index", "kind", "reason", "writes")

    def __init__(self, index: int, reason: int, writes: bool) -> None:
        self.index = index
        self.reason = reason
        self.writes = writes
        self.kind = "msr_write" if writes else "msr_read"

    of_device, is_exit = False, True

    @property
    def name(self) -> str:
        return f"{'wrmsr' if self.writes else 'rdmsr'} {self.index:#x}"

    @property
    def _wanted(self) -> bool:
        return bool(self.reason & abi.KVM_MSR_EXIT_REASON_FILTER)

    def exit(self, value: int | None) -> exits.MsrReadExit | exits.MsrWriteExit:
        if self.writes:
            return exits.MsrWriteExit(self.index, self.reason, value or 0)
        return exits.MsrReadExit(self.index, self.reason, value)

    def given(self, answer: Any) -> Any:
        return 0 if answer is SWALLOW else answer

    def ask(self, at: DebuggedVcpu) -> int | None:
        """None where the CPU refuses it."""
        return at.vcpu.get_msr(self.index) if self._wanted else None

    def tell(self, at: DebuggedVcpu, value: int) -> Refused | None:
        return None if self._wanted and at.vcpu.set_msr(self.index, value) else Refused()


class NotDone(Exception):
    """The vCPU was stopped before the access."""


class Asking:
    """An instruction that asks the CPU itself: cpuid, rdtsc, vmcall. The value is what it leaves in registers.

    ``run`` steps over it, and gives the stop that this brought, and whether the instruction is done.
    """

    __slots__ = ("event", "kind", "ran", "run", "stop", "writes")

    def __init__(self, event: exits.Exit, run: Callable[[], tuple[Stop | None, bool]]) -> None:
        self.event = event
        self.kind: str = event.kind
        self.run = run
        self.ran = False
        self.stop: Stop | None = None
        self.writes = False

    of_device = is_exit = False

    @property
    def name(self) -> str:
        return self.event.describe()

    def exit(self, value: Any) -> exits.Exit:
        return self.event

    def given(self, answer: Any) -> Any:
        return answer

    def ask(self, at: DebuggedVcpu) -> Any:
        """RAX, the four registers of CPUID, or EDX:EAX of RDTSC. NotDone."""
        self.ran = True
        self.stop, done = self.run()
        if not done:
            raise NotDone
        regs = at.vcpu.regs
        if self.event.kind == "cpuid":
            return regs.rax, regs.rbx, regs.rcx, regs.rdx
        return regs.rdx << 32 | regs.rax if self.event.kind == "rdtsc" else regs.rax

    def tell(self, at: DebuggedVcpu, value: Any) -> None:
        raise AssertionError("it asks only")


class Outside(Protocol):
    """Where the answers come from. ``answer`` is a hook's, None where none has any."""

    def read(self, at: DebuggedVcpu, what: Access, answer: Any) -> Any: ...

    def write(self, at: DebuggedVcpu, what: Access, value: Any, answer: Any) -> tuple[Any, Outcome]:
        """The value that was written in the end, and what that led to."""
        ...

    def reached(self, at: DebuggedVcpu, what: Access) -> None:
        """The guest makes an access, of which nobody has been told yet."""
        ...

    def passed(self, at: DebuggedVcpu, what: Access) -> Stop | None:
        """It is done, and hooks have seen it: the stop that is wanted here."""
        ...

    def arrival(self, at: DebuggedVcpu, pic: InterruptController) -> int | None:
        """The vCPU takes the interrupt that ``pic`` asks for, before its next instruction: the vector.

        None where none is to come in here.
        """
        ...


class Live:
    """A hook's answer, else that of the device or the CPU itself."""

    def read(self, at: DebuggedVcpu, what: Access, answer: Any) -> Any:
        return what.ask(at) if answer is None else what.given(answer)

    def write(self, at: DebuggedVcpu, what: Access, value: Any, answer: Any) -> tuple[Any, Outcome]:
        if answer is SWALLOW:
            return value, None
        value = value if answer is None else what.given(answer)
        return value, what.tell(at, value)

    def reached(self, at: DebuggedVcpu, what: Access) -> None:
        pass

    def passed(self, at: DebuggedVcpu, what: Access) -> Stop | None:
        return None

    def arrival(self, at: DebuggedVcpu, pic: InterruptController) -> int | None:
        return pic.acknowledge()


class Door:
    """All accesses of a machine's vCPUs to what is outside; each on the thread of its vCPU."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self.outside: Outside = Live()

    @property
    def observed(self) -> bool:
        """Whether every access is to come here in this run, and not only those that somebody looks at."""
        return self._judge.observed

    def observes_port(self, port: int, size: int) -> bool:
        return self._judge.observes_port(port, size)

    def serve(self, at: DebuggedVcpu, what: Access, value: Any = None) -> tuple[Any, Outcome, Stop | None]:
        """One access, ``value`` being what is written: offered to hooks and catchpoints, answered, offered again.

        What was read or written, what a write led to, and the stop that is asked for. DeviceFailure.
        """
        before = b"" if what.writes or not what.is_exit else at.vcpu.copy_of_regs()
        self.outside.reached(at, what)
        answer, asked = None, None
        if self._judge.looking(what.kind, "before"):
            answer, asked = self._judge.offer(at, what.exit(value), "before")
        outcome: Outcome = None
        if what.writes:
            value, outcome = self.outside.write(at, what, value, answer)
        else:
            value = self.outside.read(at, what, answer)
        after = self._judge.offer(at, what.exit(value))[1]
        wanted = self.outside.passed(at, what)
        if before and at.vcpu.regs_written:
            at.postpone_changes(before)
        return value, outcome, wanted or asked or after
