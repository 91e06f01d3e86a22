"""What KVM_RUN came back with: one record and its decoder for each exit reason (api.rst section 5).

To add an exit: write its record with ``@exit_reason(NUMBER)`` and a ``decode``
classmethod; hooks, ``catch``, traces and statistics follow from it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from kvmdbg.kvm import abi
from kvmdbg.record import fields as record_fields
from kvmdbg.record import record

KVM_EXIT_UNKNOWN = 0
KVM_EXIT_EXCEPTION = 1
KVM_EXIT_IO = 2
KVM_EXIT_HYPERCALL = 3
KVM_EXIT_DEBUG = 4
KVM_EXIT_HLT = 5
KVM_EXIT_MMIO = 6
KVM_EXIT_IRQ_WINDOW_OPEN = 7
KVM_EXIT_SHUTDOWN = 8
KVM_EXIT_FAIL_ENTRY = 9
KVM_EXIT_INTR = 10
KVM_EXIT_SET_TPR = 11
KVM_EXIT_TPR_ACCESS = 12
KVM_EXIT_NMI = 16
KVM_EXIT_INTERNAL_ERROR = 17
KVM_EXIT_SYSTEM_EVENT = 24
KVM_EXIT_IOAPIC_EOI = 26
KVM_EXIT_HYPERV = 27
KVM_EXIT_X86_RDMSR = 29
KVM_EXIT_X86_WRMSR = 30
KVM_EXIT_DIRTY_RING_FULL = 31
KVM_EXIT_AP_RESET_HOLD = 32
KVM_EXIT_X86_BUS_LOCK = 33
KVM_EXIT_XEN = 34
KVM_EXIT_NOTIFY = 37
KVM_EXIT_MEMORY_FAULT = 39
REASONS = {number: name.removeprefix("KVM_EXIT_") for name, number in vars().items() if name.startswith("KVM_EXIT_")}

SUBERROR_EMULATION = 1
SUBERRORS = {
    1: "emulation failure",
    2: "simultaneous exceptions",
    3: "unexpected exit while an event was being delivered",
    4: "unexpected hardware exit reason",
}
SYSTEM_EVENTS = {1: "shutdown", 2: "reset", 3: "crash", 4: "wakeup", 5: "suspend", 6: "SEV termination"}


@record
class Exit:
    """Base of all exits; ``kind`` is the word by which commands and hooks name it."""

    number: ClassVar[int] = -1
    kind: ClassVar[str] = "exit"

    @classmethod
    def decode(cls, run: abi.kvm_run, page: memoryview) -> Exit:
        """Read the exit from the vCPU's shared page."""
        return cls()

    def describe(self) -> str:
        """One line for people."""
        return self.kind

    def to_json(self) -> dict[str, Any]:
        """``kind`` and the fields; bytes as hexadecimal text."""
        fields: dict[str, Any] = {"kind": self.kind}
        for name, value in record_fields(self).items():
            fields[name] = value.hex() if isinstance(value, bytes) else value
        return fields


E = TypeVar("E", bound=type[Exit])
BY_NUMBER: dict[int, type[Exit]] = {}
KINDS: dict[str, type[Exit]] = {}


def exit_reason(number: int) -> Callable[[E], E]:
    """Register an exit's record under its KVM_EXIT_* number and its kind."""

    def register(cls: E) -> E:
        cls.number = number
        BY_NUMBER[number] = KINDS[cls.kind] = cls
        return cls

    return register


@exit_reason(KVM_EXIT_EXCEPTION)
@record
class ExceptionExit(Exit):
    """KVM_EXIT_EXCEPTION, which no x86 KVM gives any more; "exception" is what a guest's own is called."""

    kind: ClassVar[str] = "kvm_exception"
    exception: int
    error_code: int

    @classmethod
    def decode(cls, run: abi.kvm_run, page: memoryview) -> ExceptionExit:
        return cls(run.ex.exception, run.ex.error_code)

    def describe(self) -> str:
        return f"exception {self.exception}, error code {self.error_code:#x}"


@exit_reason(KVM_EXIT_IO)
@record
class IoExit(Exit):
    """Port access: ``count`` items of ``size`` bytes (string instructions have several); ``data`` is what goes out."""

    kind: ClassVar[str] = "io"
    direction: str
    port: int
    size: int
    count: int
    data: bytes

    def __init__(self, direction: str, port: int, size: int, count: int, data: bytes) -> None:  # faster than a record's
        fields = self.__dict__
        fields["direction"], fields["port"], fields["size"] = direction, port, size
        fields["count"], fields["data"] = count, data

    @classmethod
    def decode(cls, run: abi.kvm_run, page: memoryview) -> IoExit:
        io = run.io
        total = io.size * io.count
        data = bytes(page[io.data_offset : io.data_offset + total]) if io.direction else b""
        return cls("out" if io.direction else "in", io.port, io.size, io.count, data)

    @property
    def values(self) -> list[int]:
        """The items of ``data`` as little-endian integers."""
        return [int.from_bytes(self.data[i : i + self.size], "little") for i in range(0, len(self.data), self.size)]

    @property
    def value(self) -> int | None:
        """The first item: what is written or was read; None before a read is answered."""
        return int.from_bytes(self.data[: self.size], "little") if self.data else None

    def describe(self) -> str:
        text = f"{self.direction} port {self.port:#x}, {self.size} byte{'s' if self.size > 1 else ''}"
        if self.count > 1:
            text += f" x {self.count}"
        if self.data:
            shown = " ".join(f"0x{v:0{self.size * 2}x}" for v in self.values[:8])
            text += f", data {shown}{' …' if self.count > 8 else ''}"
        return text


@exit_reason(KVM_EXIT_MMIO)
@record
class MmioExit(Exit):
    """Access to guest-physical memory without a slot, or a write to a read-only slot."""

    kind: ClassVar[str] = "mmio"
    direction: str
    address: int
    size: int
    data: bytes

    @classmethod
    def decode(cls, run: abi.kvm_run, page: memoryview) -> MmioExit:
        mmio = run.mmio
        size = min(mmio.len, 8)  # the kernel's own limit: mmio.data has 8 bytes
        write = bool(mmio.is_write)
        return cls("write" if write else "read", mmio.phys_addr, size, bytes(mmio.data[:size]) if write else b"")

    @property
    def value(self) -> int | None:
        """What is written or was read, as a little-endian integer; None before a read is answered."""
        return int.from_bytes(self.data, "little") if self.data else None

    def describe(self) -> str:
        text = f"mmio {self.direction} {self.address:#x}, {self.size} byte{'s' if self.size > 1 else ''}"
        if self.data:
            text += f", data 0x{int.from_bytes(self.data, 'little'):0{self.size * 2}x}"
        return text


@exit_reason(KVM_EXIT_HYPERCALL)
@record
class HypercallExit(Exit):
    kind: ClassVar[str] = "hypercall"
    nr: int
    args: tuple[int, ...]
    longmode: bool

    @classmethod
    def decode(cls, run: abi.kvm_run, page: memoryview) -> HypercallExit:
        return cls(run.hypercall.nr, tuple(run.hypercall.args), bool(run.hypercall.longmode))

    def describe(self) -> str:
        return f"hypercall {self.nr} ({', '.join(hex(a) for a in self.args)})"


@exit_reason(KVM_EXIT_DEBUG)
@record
class DebugExit(Exit):
    """A debug event: ``exception`` 1 (#DB) or 3 (#BP), ``pc`` linear, ``dr6`` and ``dr7`` as the CPU had them."""

    kind: ClassVar[str] = "debug"
    exception: int
    pc: int
    dr6: int
    dr7: int

    @classmethod
    def decode(cls, run: abi.kvm_run, page: memoryview) -> DebugExit:
        d = run.debug
        return cls(d.exception, d.pc, d.dr6, d.dr7)

    def describe(self) -> str:
        return f"debug exception {self.exception} at {self.pc:#x}, dr6 {self.dr6:#x}"


@exit_reason(KVM_EXIT_HLT)
@record
class HltExit(Exit):
    kind: ClassVar[str] = "hlt"

    def describe(self) -> str:
        return "hlt"


@exit_reason(KVM_EXIT_IRQ_WINDOW_OPEN)
@record
class IrqWindowExit(Exit):
    kind: ClassVar[str] = "irq_window"

    def describe(self) -> str:
        return "interrupt window open"


@exit_reason(KVM_EXIT_SHUTDOWN)
@record
class ShutdownExit(Exit):
    kind: ClassVar[str] = "shutdown"

    def describe(self) -> str:
        return "shutdown (triple fault)"


@exit_reason(KVM_EXIT_FAIL_ENTRY)
@record
class FailEntryExit(Exit):
    """The hardware refused to enter the guest; ``hardware_reason`` is its own code (SDM volume 3C, appendix C)."""

    kind: ClassVar[str] = "fail_entry"
    hardware_reason: int
    cpu: int

    @classmethod
    def decode(cls, run: abi.kvm_run, page: memoryview) -> FailEntryExit:
        return cls(run.fail_entry.hardware_entry_failure_reason, run.fail_entry.cpu)

    def describe(self) -> str:
        return f"entry failed, hardware reason {self.hardware_reason:#x}"


@exit_reason(KVM_EXIT_INTR)
@record
class IntrExit(Exit):
    kind: ClassVar[str] = "intr"

    def describe(self) -> str:
        return "interrupted by a signal"


@exit_reason(KVM_EXIT_SET_TPR)
@record
class SetTprExit(Exit):
    kind: ClassVar[str] = "set_tpr"
    cr8: int

    @classmethod
    def decode(cls, run: abi.kvm_run, page: memoryview) -> SetTprExit:
        return cls(run.cr8)

    def describe(self) -> str:
        return f"cr8 set to {self.cr8:#x}"


@exit_reason(KVM_EXIT_TPR_ACCESS)
@record
class TprAccessExit(Exit):
    kind: ClassVar[str] = "tpr_access"
    rip: int
    is_write: bool

    @classmethod
    def decode(cls, run: abi.kvm_run, page: memoryview) -> TprAccessExit:
        return cls(run.tpr_access.rip, bool(run.tpr_access.is_write))

    def describe(self) -> str:
        return f"tpr {'write' if self.is_write else 'read'} at {self.rip:#x}"


@exit_reason(KVM_EXIT_NMI)
@record
class NmiExit(Exit):
    kind: ClassVar[str] = "nmi"


@exit_reason(KVM_EXIT_INTERNAL_ERROR)
@record
class InternalErrorExit(Exit):
    """KVM gave up. For suberror 1 (emulation) ``instruction`` is the bytes KVM could not run, if it told."""

    kind: ClassVar[str] = "internal_error"
    suberror: int
    data: tuple[int, ...]
    instruction: bytes

    @classmethod
    def decode(cls, run: abi.kvm_run, page: memoryview) -> InternalErrorExit:
        internal = run.internal
        data = tuple(internal.data[: min(internal.ndata, 16)])
        instruction = b""
        if internal.suberror == SUBERROR_EMULATION and len(data) >= 3 and data[0] & 1:
            raw = b"".join(word.to_bytes(8, "little") for word in data[1:3])
            instruction = raw[1 : 1 + min(raw[0], 15)]
        return cls(internal.suberror, data, instruction)

    def describe(self) -> str:
        text = f"KVM internal error {self.suberror} ({SUBERRORS.get(self.suberror, 'unknown')})"
        return f"{text}, instruction bytes {self.instruction.hex(' ')}" if self.instruction else text


@exit_reason(KVM_EXIT_SYSTEM_EVENT)
@record
class SystemEventExit(Exit):
    kind: ClassVar[str] = "system_event"
    type: int
    data: tuple[int, ...]

    @classmethod
    def decode(cls, run: abi.kvm_run, page: memoryview) -> SystemEventExit:
        event = run.system_event
        return cls(event.type, tuple(event.data[: min(event.ndata, 16)]))

    def describe(self) -> str:
        return f"system event {SYSTEM_EVENTS.get(self.type, self.type)}"


@exit_reason(KVM_EXIT_IOAPIC_EOI)
@record
class IoapicEoiExit(Exit):
    kind: ClassVar[str] = "ioapic_eoi"
    vector: int

    @classmethod
    def decode(cls, run: abi.kvm_run, page: memoryview) -> IoapicEoiExit:
        return cls(run.eoi_vector)

    def describe(self) -> str:
        return f"ioapic eoi, vector {self.vector}"


@exit_reason(KVM_EXIT_X86_RDMSR)
@record
class MsrReadExit(Exit):
    """``value`` is None before it is answered."""

    kind: ClassVar[str] = "msr_read"
    index: int
    reason: int
    value: int | None = None

    @classmethod
    def decode(cls, run: abi.kvm_run, page: memoryview) -> MsrReadExit:
        return cls(run.msr.index, run.msr.reason)

    def describe(self) -> str:
        return f"rdmsr {self.index:#x}" + (f", value {self.value:#x}" if self.value is not None else "")


@exit_reason(KVM_EXIT_X86_WRMSR)
@record
class MsrWriteExit(Exit):
    kind: ClassVar[str] = "msr_write"
    index: int
    reason: int
    value: int

    @classmethod
    def decode(cls, run: abi.kvm_run, page: memoryview) -> MsrWriteExit:
        return cls(run.msr.index, run.msr.reason, run.msr.data)

    def describe(self) -> str:
        return f"wrmsr {self.index:#x}, value {self.value:#x}"


@exit_reason(KVM_EXIT_AP_RESET_HOLD)
@record
class ApResetHoldExit(Exit):
    kind: ClassVar[str] = "ap_reset_hold"


@exit_reason(KVM_EXIT_X86_BUS_LOCK)
@record
class BusLockExit(Exit):
    kind: ClassVar[str] = "bus_lock"

    def describe(self) -> str:
        return "bus lock"


@exit_reason(KVM_EXIT_NOTIFY)
@record
class NotifyExit(Exit):
    kind: ClassVar[str] = "notify"
    flags: int

    @classmethod
    def decode(cls, run: abi.kvm_run, page: memoryview) -> NotifyExit:
        return cls(run.notify_flags)

    def describe(self) -> str:
        return f"no interrupt window for too long (notify), flags {self.flags:#x}"


@exit_reason(KVM_EXIT_MEMORY_FAULT)
@record
class MemoryFaultExit(Exit):
    """``flags``, guest-physical ``address`` and ``size`` of an access KVM could not resolve."""

    kind: ClassVar[str] = "memory_fault"
    flags: int
    address: int
    size: int

    @classmethod
    def decode(cls, run: abi.kvm_run, page: memoryview) -> MemoryFaultExit:
        words = page[abi.kvm_run.exit.offset : abi.kvm_run.exit.offset + 24].cast("Q")
        return cls(words[0], words[1], words[2])

    def describe(self) -> str:
        return f"memory fault at {self.address:#x}, {self.size:#x} bytes, flags {self.flags:#x}"


@exit_reason(KVM_EXIT_UNKNOWN)
@record
class UnknownExit(Exit):
    """KVM_EXIT_UNKNOWN, and every reason that this table does not have."""

    kind: ClassVar[str] = "unknown"
    reason: int
    hardware_reason: int

    @classmethod
    def decode(cls, run: abi.kvm_run, page: memoryview) -> UnknownExit:
        return cls(run.exit_reason, run.hardware_exit_reason)

    def describe(self) -> str:
        name = REASONS.get(self.reason, "not in this version of kvmdbg")
        return f"exit reason {self.reason} ({name}), hardware reason {self.hardware_reason:#x}"


def decode(run: abi.kvm_run, page: memoryview) -> Exit:
    """The exit that lies in this vCPU's shared page."""
    return BY_NUMBER.get(run.exit_reason, UnknownExit).decode(run, page)
