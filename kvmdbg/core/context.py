"""The guest as expressions see it, on one vCPU."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from kvmdbg.engine.event_scope import ABSENT, event_of, field
from kvmdbg.engine.registers import GENERAL, RegisterFile
from kvmdbg.errors import MemoryFault, UsageError
from kvmdbg.language.ctype import EXACT, INT, VOID
from kvmdbg.x86 import registers as names

if TYPE_CHECKING:
    from kvmdbg.core.changes import Changes
    from kvmdbg.core.frames import Frames
    from kvmdbg.debuginfo.backtrace import Frame
    from kvmdbg.debuginfo.files import DebugFiles
    from kvmdbg.debuginfo.variables import Variables
    from kvmdbg.engine.control import Control
    from kvmdbg.engine.debugged_vcpu import DebuggedVcpu
    from kvmdbg.engine.inspection import Inspection
    from kvmdbg.engine.stops import Stop
    from kvmdbg.engine.vcpu_thread import VcpuThread
    from kvmdbg.language.convenience import ConvenienceVariables
    from kvmdbg.language.ctype import CType
    from kvmdbg.language.types import MemoryRef, Raw, Value
    from kvmdbg.x86.xsave import XsaveArea

FPU_WORDS = {"mxcsr": "mxcsr", "fctrl": "fcw", "fstat": "fsw", "fop": "last_opcode"}
"""Variables that are registers of the FPU, as gdb calls them, and what they are in the XSAVE area."""
GIVEN = ("bpnum", "tpnum")
"""Variables that the debugger itself gives a value: until then they are void, as all that begin with ``_`` are."""


class SourceScope:
    """Scope of language/context.py: the source as some code sees it, where it is known, and the types of the user's
    variables. ``bits`` is those of the CPU's mode, ``told`` gives the variables that the session itself has."""

    def __init__(
        self,
        source: Variables | None,
        convenience: ConvenienceVariables,
        bits: int,
        told: Callable[[str], int | None] = lambda name: None,
    ) -> None:
        self._told = told
        self.source = source
        self._convenience = convenience
        self.pointer_size = source.word_size if source is not None else 0
        self.long_size = self.pointer_size or (8 if bits == 64 else 4)

    @property
    def language(self) -> str:
        return self.source.language if self.source is not None else ""

    def variable(self, name: str) -> CType | None:
        return self.source.variable(name) if self.source is not None else None

    def is_local(self, name: str) -> bool:
        return self.source is not None and self.source.is_local(name)

    def variable_type(self, name: str) -> CType | None:
        found = self._convenience.type_of(name)
        if found is None and (name.startswith("_") or name in GIVEN) and name not in self._convenience.values:
            if self._told(name) is not None:
                return INT  # $_thread and the like
            return VOID  # $_, $_exitcode: not yet known, but no mistake
        return found

    def setting(self, name: str) -> tuple[Any, str] | None:
        return self._convenience.setting(name)

    def type(self, name: str) -> CType | None:
        return self.source.type(name) if self.source is not None else None

    def overloads(self, name: str) -> list[tuple[str, CType]]:
        return self.source.overloads(name) if self.source is not None else []

    def constant(self, name: str) -> tuple[int, CType] | None:
        return self.source.constant(name) if self.source is not None else None


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
        source: Variables,
        convenience: ConvenienceVariables,
        changes: Changes,
        stop: Callable[[], Stop | None],
        of_frame: Callable[[str], int | None] = lambda name: None,
        call: Callable[[int, CType, tuple[tuple[CType, bytes], ...]], bytes] | None = None,
        callers: Callable[[int], list[str]] = lambda count: [],
    ) -> None:
        self.callers = callers
        self._call = call
        self._runner = runner
        self._of_frame = of_frame
        self._space = space
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
            known = self._of_frame(name)
            return self._file.get(name) if known is None else known
        except UsageError:
            return None

    def set_register(self, name: str, value: int) -> None:
        if self._of_frame(name) not in (None, self.register_now(name)):
            raise UsageError(f"${name} of the selected frame is not in the register now: select frame 0 to write it")
        before = self._file.behind(name)
        self._file.set(name, value)
        self._changes.note(lambda: self._file.put_back(before))

    def register_now(self, name: str) -> int:
        """The register's own value, whatever frame is selected."""
        return self._file.get(name)

    def register_reader(self, name: str) -> Callable[[], int] | None:
        known = self._of_frame(name)
        if known is not None:
            kept = known
            return lambda: kept
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
        found = self.source.symbol(name)
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
            from kvmdbg.debuginfo.locations import NotThere

            raise NotThere(f"{name} has no place here that can be written")

    def vector(self, name: str) -> bytes | None:
        """The bytes of an x87, XMM or YMM register; None for YMM where the vCPU has no AVX."""
        runner = self._runner
        if name.startswith("ymm"):
            table = runner.call(runner.vcpu.get_cpuid)
            if not any(one.function == 1 and one.ecx >> 28 & 1 for one in table.entries[: table.nent]):
                return None
        return self._fpu().register(name)

    def _fpu(self) -> XsaveArea:
        from kvmdbg.x86.xsave import XsaveArea

        return XsaveArea.from_buffer_copy(self._runner.call(self._runner.vcpu.get_xsave))

    def set_vector(self, name: str, data: bytes) -> None:
        """Write a whole x87, XMM or YMM register."""
        area = self._fpu()
        area.set_register(name, data)
        self._put_fpu(area)

    def _put_fpu(self, after: XsaveArea) -> None:
        from kvmdbg.kvm import abi

        vcpu, call = self._runner.vcpu, self._runner.call
        before = self._fpu()

        def put(area: XsaveArea) -> None:
            call(lambda: vcpu.set_xsave(abi.kvm_xsave.from_buffer_copy(area)))

        put(after)
        self._changes.note(lambda: put(before))

    def variable(self, name: str) -> Raw | None:
        found: Raw | None = self._convenience.value_of(name)
        return self.told(name) if found is None else found

    def told(self, name: str) -> int | None:
        """Which vCPU this is, as gdb counts threads; the breakpoint and the fields of the event that it has stopped
        for, until the guest goes on."""
        if name in FPU_WORDS:
            return int(getattr(self._fpu(), FPU_WORDS[name]))
        if name in ("_thread", "_gthread", "_inferior"):
            return 1 if name == "_inferior" else self._runner.index + 1
        stop = self._stop()
        if name == "_hit_bpnum":
            return stop.breakpoints[0].number if stop is not None and stop.breakpoints else None
        if stop is None or stop.vcpu != self._runner.index:
            return None
        event = event_of(stop)
        found = field(event, name) if event is not None else ABSENT
        return None if found is ABSENT else found

    def set_variable(self, name: str, value: Raw) -> None:
        if name in FPU_WORDS:
            area = self._fpu()
            area.set_word(FPU_WORDS[name], value if isinstance(value, int) else -1)
            return self._put_fpu(area)
        self._changes.note(self._convenience.assign(name, value))

    def call(self, address: int, result: CType, arguments: tuple[tuple[CType, bytes], ...]) -> bytes:
        """What a function of the guest gives; UsageError while the guest runs, as in conditions."""
        if self._call is None or (self._stop() is None and self._runner.runs_guest):
            raise UsageError("a function of the guest can be called only while it is stopped, not in conditions")
        return self._call(address, result, arguments)

    def dynamic_cast(self, address: int, type: CType, wanted: CType, may_fail: bool) -> int:
        """By the table of virtual functions that the object has."""
        found = self.source.printer().objects.cast(type, address, wanted)
        if not found and not may_fail:
            raise UsageError(f"the object at {address:#x} is no {wanted}")
        return found

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


def _no_calls(address: int, result: CType, arguments: tuple[tuple[CType, bytes], ...]) -> bytes:
    raise UsageError("functions of the guest cannot be called here")


class Contexts:
    """The contexts of all vCPUs, and what expressions mean on the selected one."""

    def __init__(
        self, control: Control, files: DebugFiles, frames: Frames, convenience: ConvenienceVariables, changes: Changes
    ) -> None:
        self._control = control
        self._files = files
        self._frames = frames
        self._convenience = convenience
        self._changes = changes
        self._made: dict[int, VcpuContext] = {}
        self.calls: Callable[[int, CType, tuple[tuple[CType, bytes], ...]], bytes] = _no_calls
        """How a function of the guest is called."""

    def forget(self) -> None:
        """The machine has been made anew."""
        self._made.clear()

    def of(self, runner: DebuggedVcpu) -> VcpuContext:
        """Expressions as this vCPU sees them."""
        context = self._made.get(runner.index)
        if context is None:
            from kvmdbg.debuginfo.variables import Variables  # not before anybody asks for a value: it takes time

            control = self._control
            source = Variables(self._files, control.vcpus[runner.index], partial(self._frames.of, runner))
            context = self._made[runner.index] = VcpuContext(
                runner, control.space, source, self._convenience, self._changes,
                self._standing_at, partial(self._frames.register, runner),
                lambda *call: self.calls(*call), partial(self._callers, runner),
            )  # fmt: skip
        return context

    def _callers(self, runner: DebuggedVcpu, count: int) -> list[str]:
        """The functions of so many frames of a vCPU from its selected one outwards, named without their types."""
        from kvmdbg.debuginfo.backtrace import backtrace
        from kvmdbg.debuginfo.demangled import demangled, in_two

        first = self._frames.of(runner).number
        frames = backtrace(self._control.vcpus[runner.index], self._files, first + count).frames[first:]
        found = []
        for one in frames:
            near = self._files.symbols.nearest(one.place)
            found.append(in_two(one.name or (demangled(near[0].name) if near is not None else ""))[0])
        return found

    def _standing_at(self) -> Stop | None:
        """The stop that the guest stands at, None while it runs, and when it is dead."""
        return self._control.last_stop if self._control.state == "stopped" else None

    @property
    def selected(self) -> VcpuContext:
        """That of the selected vCPU."""
        return self.of(self._control.runner)

    def source_of(self, frame: Frame) -> Variables:
        """The guest's source as a frame of the selected vCPU sees it."""
        from kvmdbg.debuginfo.variables import Variables

        return Variables(self._files, self._control.vcpu, lambda: frame)

    def scope(self, place: int | None = None) -> SourceScope:
        """What names of the source mean in the selected frame, or to the code at a linear address.

        None of the source are known where there is no debug information, and while the guest runs.
        """
        context = self.selected
        if self._control.state in ("running", "dead"):
            return SourceScope(None, self._convenience, 64, context.told)
        source = context.source if context.source.known else None
        if source is not None and place is not None:
            source = source.seen_from(place)
        return SourceScope(source, self._convenience, 8 * context.pointer_size, context.told)

    def evaluate(self, text: str) -> Value:
        """The value of a C-like expression on the selected vCPU (ExpressionError, MemoryFault)."""
        from kvmdbg.language.expressions import parse

        expression = parse(text, scope=self.scope())
        value = expression.evaluate(self.selected)
        for name, type_ in expression.assigned.items():
            if name in self._convenience.values and name not in self._convenience.types:  # not `0 && ($a = 1)`
                self._convenience.types[name] = type_
        return value

    def bits(self, text: str) -> tuple[MemoryRef, int] | None:
        """The bytes that hold the bit field that an expression is, and its bits in them as a mask; None for others."""
        from kvmdbg.language.expressions import parse

        return parse(text, scope=self.scope()).bits(self.selected)

    def user_variable(self, name: str) -> int | None:
        """The value of the user's own ``$name`` where it is an integer; None for a register and for anything else."""
        if name[1:] not in self._convenience.values:
            return None
        value = self.evaluate(name)
        return int(value.value) if value.type.is_integer or value.type is EXACT else None

    def type_of(self, text: str) -> CType:
        """The type of an expression, which is evaluated where its value decides alone (ExpressionError)."""
        from kvmdbg.language.expressions import parse

        expression = parse(text, scope=self.scope())
        if expression.type is None:
            return self.evaluate(text).type
        expression.bind(self.selected)
        return expression.reference or expression.type

    def locals(self) -> dict[str, str]:
        """The local variables of the function that pc is in, with their values in words."""
        return self.selected.source.values(parameters=False)

    def arguments(self) -> dict[str, str]:
        """The same of its arguments."""
        return self.selected.source.values(parameters=True)
