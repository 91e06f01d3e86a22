"""The guest as expressions see it, on one vCPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kvmdbg.core.event_scope import ABSENT, event_of, field
from kvmdbg.core.registers import GENERAL, RegisterFile
from kvmdbg.debuginfo.locations import NotThere
from kvmdbg.debuginfo.variables import Variables
from kvmdbg.errors import MemoryFault, UsageError
from kvmdbg.language.convenience import ConvenienceVariables
from kvmdbg.language.ctype import CType
from kvmdbg.language.types import Type
from kvmdbg.x86 import registers as names

if TYPE_CHECKING:
    from kvmdbg.core.changes import Changes
    from kvmdbg.core.inspection import Inspection
    from kvmdbg.core.stops import Stop
    from kvmdbg.core.vcpu_thread import VcpuThread
    from kvmdbg.debuginfo.symbols import SymbolTable


class SourceScope:
    """Scope of language/context.py: the source as some code sees it, and the types of the user's variables."""

    def __init__(self, source: Variables, convenience: ConvenienceVariables) -> None:
        self.source = source
        self._convenience = convenience

    def variable(self, name: str) -> CType | None:
        return self.source.variable(name)

    def variable_type(self, name: str) -> Type | None:
        return self._convenience.type_of(name)

    def type(self, name: str) -> CType | None:
        return self.source.type(name)

    def constant(self, name: str) -> tuple[int, CType] | None:
        return self.source.constant(name)


class VcpuContext:
    """Context of language/context.py for the vCPU of ``runner``.

    ``source`` is the guest's source as its selected frame sees it, ``stop`` gives the stop at which the guest stands,
    None while it runs.
    """

    fields: frozenset[str] = frozenset()

    def __init__(
        self,
        runner: VcpuThread,
        space: Inspection,
        symbols: SymbolTable,
        source: Variables,
        convenience: ConvenienceVariables,
        changes: Changes,
        stop: Callable[[], Stop | None],
    ) -> None:
        self._runner = runner
        self._space = space
        self._symbols = symbols
        self.source = source
        self._convenience = convenience
        self._changes = changes
        self._stop = stop
        self._file = RegisterFile(runner)

    @property
    def pointer_size(self) -> int:
        return self._runner.mode.bits // 8

    def register(self, name: str) -> int | None:
        try:
            return self._file.get(name)
        except UsageError:
            return None

    def set_register(self, name: str, value: int) -> None:
        before = self._file.behind(name)
        self._file.set(name, value)
        self._changes.note(lambda: self._file.put_back(before))

    def register_reader(self, name: str) -> Callable[[], int] | None:
        register = names.lookup(name)
        if name in ("pc", "sp", "fp") or (register is not None and register.parent not in GENERAL):
            return lambda: self._file.get(name)
        if register is None:
            return None
        regs, parent, shift, mask = self._runner.vcpu.regs, register.parent, register.shift, (1 << register.bits) - 1
        return lambda: getattr(regs, parent) >> shift & mask

    def read(self, address: int, size: int, space: str) -> bytes:
        if space == "phys":
            return self._space.physical.read(address, size)
        return self._space.read_linear(self._runner, address, size)

    def write(self, address: int, data: bytes, space: str) -> None:
        before = self.read(address, len(data), space)
        self._write(address, data, space)
        self._changes.note(lambda: self._write(address, before, space))

    def _write(self, address: int, data: bytes, space: str) -> None:
        if space == "phys":
            self._space.physical.write(address, data)
        else:
            self._space.write_linear(self._runner, address, data)

    def physical(self, address: int) -> int:
        """The guest-physical address of a linear one; MemoryFault."""
        walk = self._space.walk(self._runner, address)
        if walk.physical is None:
            raise MemoryFault(address, "translate", "linear", walk.fault or "not mapped")
        return walk.physical

    def port(self, number: int, size: int) -> int:
        """What a read of ``size`` bytes from a port gives; UsageError for a port or a size that there is not."""
        if not 0 <= number <= 0xFFFF or size not in (1, 2, 4):
            raise UsageError(f"there is no port {number:#x} with {size} bytes")
        return self._space.machine.bus.read_port(number, size)

    def symbol(self, name: str) -> int | None:
        found = self._symbols.lookup(name)
        return None if found is None else found.address

    def source_variable(self, name: str) -> tuple[int | None, bytes]:
        """Where a variable of the source is now: its address, or its bytes where it is in a register. NotThere."""
        place = self.source.where(name)
        return place.address, place.data

    def set_source_variable(self, name: str, data: bytes) -> None:
        """Write a variable of the source. NotThere where it has no place that can be written."""
        place = self.source.where(name)
        if place.address is not None:
            self.write(place.address, data, "linear")
        elif place.register and not self.source.frame.number:
            self.set_register(place.register, int.from_bytes(data, "little"))
        else:
            raise NotThere(f"{name} has no place here that can be written")

    def variable(self, name: str) -> int | None:
        found = self._convenience.value_of(name)
        return self._told(name) if found is None else found

    def _told(self, name: str) -> int | None:
        """A field of the event that this vCPU has stopped for, until the guest goes on."""
        stop = self._stop()
        if stop is None or stop.vcpu != self._runner.index:
            return None
        event = event_of(stop)
        found = field(event, name) if event is not None else ABSENT
        return None if found is ABSENT else found

    def set_variable(self, name: str, value: int) -> None:
        self._changes.note(self._convenience.assign(name, value))

    def segment(self, selector: int) -> int:
        """seg << 4 in real mode; else the base in a segment register that holds the selector, or its descriptor's.

        UsageError for a selector without descriptor.
        """
        runner = self._runner
        if runner.mode.segmented:
            return (selector & 0xFFFF) << 4
        for name in ("cs", "ds", "es", "ss", "fs", "gs"):
            segment = getattr(runner.sregs, name)
            if segment.selector == selector:
                return 0 if runner.mode.bits == 64 and name not in ("fs", "gs") else int(segment.base)
        if runner.mode.bits == 64:
            return 0
        from kvmdbg.x86 import faults

        read, limits = self._space.physical.read, self._space.machine.paging_limits
        state = faults.State(runner.vcpu.regs, runner.sregs, read, limits)
        found = faults.descriptor(state, selector) if selector & ~3 else "it is the null selector"
        if isinstance(found, str):
            raise UsageError(f"there is no segment with the selector {selector:#x}: {found}")
        if not found.s:
            raise UsageError(f"the selector {selector:#x} is of no code or data segment: {found.describe()}")
        return int(found.base)
