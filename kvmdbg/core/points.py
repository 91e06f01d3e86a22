"""What the user asks to be stopped at: breakpoints, watchpoints and catchpoints, made from places and conditions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from kvmdbg.core.locations import UnknownPlace, address_in
from kvmdbg.engine.arming import DEBUG_REGISTERS, HOLDS, REGISTER, STEPPING, why_not_in_register
from kvmdbg.engine.breakpoints import Breakpoint, Breakpoints, Catchpoint, Point, Watchpoint
from kvmdbg.engine.event_scope import fields_of_kinds
from kvmdbg.engine.events import STEPPED
from kvmdbg.errors import KvmdbgError, NotSupportedHere, SessionStateError, UsageError
from kvmdbg.kvm import abi
from kvmdbg.masks import LOW64

if TYPE_CHECKING:
    from kvmdbg.core.context import Contexts
    from kvmdbg.core.locations import Found, Locations
    from kvmdbg.debuginfo.symbols import SymbolTable
    from kvmdbg.engine.control import Control

P = TypeVar("P", bound=Point)
GREATEST = {"port": 0xFFFF, "vector": 0xFF, "index": 0xFFFF_FFFF, "leaf": 0xFFFF_FFFF, "interrupt": 0xFF,
            "function": 0xFFFF}  # fmt: skip
"""What exits are told apart by, and the greatest number that the CPU has of each."""


def _of_64_bits(address: int) -> int:
    """One below 0 is counted from the end. UsageError."""
    if not -1 << 63 <= address < 1 << 64:
        raise UsageError(f"{address:#x} does not fit 64 bits")
    return address & LOW64


class Points:
    """Makes points and takes them in to ``registry``, or refuses those that this host's KVM cannot hold."""

    def __init__(
        self, registry: Breakpoints, symbols: SymbolTable, locations: Locations, control: Control, contexts: Contexts
    ) -> None:
        self._registry = registry
        self._symbols = symbols
        self.locations = locations
        self._control = control
        self._contexts = contexts

    def _is_symbol(self, name: str) -> bool:
        return self._symbols.scoped(name) is not None

    def resolve(self, where: int | str) -> tuple[int, str]:
        """An address and its space ("linear" or "phys") from a number, or a text as ``Locations.find`` reads it.

        Of a place at several addresses the first.
        """
        if isinstance(where, int):
            return _of_64_bits(where), "linear"
        found = self.locations.find(where, data=True).first
        return found.address, found.space

    def linear(self, where: int | str) -> list[int]:
        """The linear addresses that a place is, for what the guest is to run to. UsageError for a physical one."""
        if isinstance(where, int):
            return [_of_64_bits(where)]
        found = self.locations.find(where, data=True).locations
        if any(one.space != "linear" for one in found):
            raise UsageError("the guest can run to a linear address only, not to a physical one")
        return [one.address for one in found]

    def break_at(
        self,
        where: int | str,
        *,
        when: str | None = None,
        temporary: bool = False,
        hardware: bool = False,
        ignore: int = 0,
        commands: Sequence[str] = (),
        pending: bool = False,
    ) -> Breakpoint:
        """See ``Session.break_at``."""
        point = self.made(
            where, pending=pending, temporary=temporary, hardware=hardware, ignore=ignore, commands=commands
        )
        if hardware:
            for one in point.held:
                self._require_register(one.address, one.space)
        return self.add(point, when)

    def made(self, where: int | str, *, pending: bool = False, **common: Any) -> Breakpoint:
        """A breakpoint at all addresses that a place means; at none yet, if it may be ``pending`` and is not known."""
        if isinstance(where, int):
            return Breakpoint(_of_64_bits(where), **common)
        try:
            found: Found | None = self.locations.find(where)
        except UnknownPlace:
            if not pending:
                raise
            found = None
        first = found.first if found is not None else None
        point = Breakpoint(
            first.address if first is not None else 0,
            space=first.space if first is not None else "linear",
            location=found.text if found is not None else where,
            **common,
        )
        point.by_name = found is None or found.by_name
        point.put_at([one.address for one in found.locations] if found is not None else [])
        return point

    def forget_bindings(self) -> None:
        """A condition looks its symbols up when it is bound: there may be others."""
        for point in (*self._registry, *self._registry.held()):
            point.bound.clear()

    def loaded_anew(self) -> None:
        """The machine has been made anew: watchpoints on variables of frames that it had are gone."""
        for watch in self._registry.watchpoints():
            if watch.ends_at is not None:
                self._registry.discard(watch)
        self.forget_bindings()

    def symbols_changed(self) -> None:
        """There are other symbols: places that are meant by name may have other addresses."""
        self.forget_bindings()
        for point in self._registry.breakpoints():
            if point.by_name and self._control.state != "running":
                with suppress(KvmdbgError):
                    point.put_at([one.address for one in self.locations.find(point.location).locations])

    def _require_register(self, address: int, space: str) -> None:
        """NotSupportedHere where no debug register can hold another breakpoint, at this address."""
        if not self._control.guest.host.profile.kernel_execute_dr:
            raise NotSupportedHere("debug registers do not fire on this KVM: use break, which plants a trap")
        if space != "linear":
            raise NotSupportedHere("a debug register holds a linear address: use break for a physical one")
        taken = {b.address for b in self._registry.held() if b.hardware and b.address != address}
        if len(taken) >= DEBUG_REGISTERS:
            raise NotSupportedHere("all four debug registers are taken: use break, or delete one")

    def watch(
        self, where: int | str, length: int | None = None, kind: str = "write", when: str | None = None, **common: Any
    ) -> Watchpoint:
        """See ``Session.watch``."""
        space = "linear"
        if isinstance(where, int):
            address, found = _of_64_bits(where), 0
        else:
            address, space, found = self._watched(where)
        length = (found or 1) if length is None else length
        if length < 1 or kind not in ("write", "read", "access"):
            raise UsageError(f"cannot watch {length} bytes for {kind!r}: the kinds are write, read and access")
        location = where if isinstance(where, str) else ""
        point = Watchpoint(address=address, length=length, kind=kind, space=space, location=location, **common)
        return self.add(point, when)

    def _watched(self, text: str) -> tuple[int, str, int]:
        """Address, space and length of what an expression names."""
        from kvmdbg.language.types import MemoryRef

        symbol = self._symbols.lookup(text.strip())
        if symbol is not None:
            return symbol.address, "linear", symbol.size or self._contexts.selected.pointer_size
        value = self._contexts.evaluate(text)
        if isinstance(value.lvalue, MemoryRef):
            space = "phys" if value.lvalue.space == "phys" else "linear"
            return value.lvalue.address, space, value.type.size
        return (*address_in(value), 0)

    def catch(self, kind: str, when: str | None = None, *, temporary: bool = False, **filters: Any) -> Catchpoint:
        """See ``Session.catch``."""
        filters = {name: value for name, value in filters.items() if value is not None}
        return self.add(Catchpoint(kind, filters, temporary=temporary), when)

    @property
    def magic(self) -> bool:
        """Whether ``xchg bx, bx`` stops the guest."""
        return bool(self._magic())

    @magic.setter
    def magic(self, wanted: bool) -> None:
        if wanted and not self.magic:
            self.catch("magic")
        elif not wanted:
            for point in self._magic():
                self._registry.delete(point.number)

    def _magic(self) -> list[Catchpoint]:
        return [one for one in self._registry.catchpoints() if one.kind == "magic" and one.function is None]

    def add(self, point: P, condition: str | None = None) -> P:
        """Take in a breakpoint, watchpoint or catchpoint with its condition. NotSupportedHere where it cannot work."""
        if self._control.state == "running":
            raise SessionStateError("the guest is running: interrupt it first")
        if isinstance(point, Catchpoint):
            self._require_catch(point)
        if isinstance(point, Breakpoint):
            self._require_hold(self._registry.hold, [*self._registry.held(), *point.held])
        point.scope, point.is_symbol = self._contexts.scope, self._is_symbol
        point.condition = condition
        self._registry.add(point)
        return point

    def observe(
        self, kinds: Sequence[str], function: Callable[[Any], None], condition: str | None = None
    ) -> Callable[[], None]:
        """Have ``function`` called with all exits and events of ``kinds`` that pass; what is given back ends that."""
        own = [Catchpoint(kind, function=function) for kind in kinds]
        for point in own:
            point.fields = fields_of_kinds(kind for one in own for kind in one.kinds)
            point.scope, point.is_symbol = self._contexts.scope, self._is_symbol
            point.condition = condition
        registry = self._registry
        registry.own_catchpoints += own
        registry.changes += 1

        def end() -> None:
            registry.own_catchpoints[:] = [point for point in registry.own_catchpoints if point not in own]
            registry.changes += 1

        return end

    def _require_catch(self, point: Catchpoint) -> None:
        """NotSupportedHere where this KVM cannot catch that; UsageError for a number that no exit can have."""
        for name, greatest in GREATEST.items():
            wanted = point.filters.get(name)
            last = wanted[-1] if isinstance(wanted, range) and wanted else wanted
            if isinstance(last, int) and not 0 <= last <= greatest:
                raise UsageError(f"{point.kind}: no {name} is {last:#x}: they go up to {greatest:#x}")
        if point.kind in STEPPED:
            self._control.runner.require_step()
        if {"msr_read", "msr_write"} & set(point.kinds):
            for capability in (abi.KVM_CAP_X86_USER_SPACE_MSR, abi.KVM_CAP_X86_MSR_FILTER):
                if not self._control.guest.machine.system.check_extension(capability):
                    raise NotSupportedHere("this KVM does not exit for MSRs: it needs Linux 5.10 or later")
            index = point.filters.get("index")
            if isinstance(index, int) and 0x800 <= index <= 0x8FF:
                raise NotSupportedHere(f"KVM does not exit for MSR {index:#x}: those of the x2APIC stay in the kernel")

    def hold_by(self, hold: str) -> None:
        """How breakpoints are held from the next run on; see ``Session.breakpoint_hold``."""
        if hold not in HOLDS:
            raise UsageError(f"breakpoints cannot be held by '{hold}': the ways are {', '.join(HOLDS)}")
        if hold == STEPPING:
            self._control.runner.require_step()
        self._require_hold(hold, self._registry.held())
        self._registry.hold = hold

    def _require_hold(self, hold: str, breakpoints: Sequence[Breakpoint]) -> None:
        """NotSupportedHere where these cannot be held so at all."""
        if hold != REGISTER:
            return
        profile = self._control.guest.host.profile
        if not profile.kernel_execute_dr:
            raise NotSupportedHere("debug registers do not fire on this KVM: breakpoints are planted, or stepped")
        for point in breakpoints:
            if point.enabled and (why := why_not_in_register(point, profile)):
                raise NotSupportedHere(f"the breakpoint at {point.describe()} cannot be held so: {why}")
        if len({point.address for point in breakpoints if point.enabled}) > DEBUG_REGISTERS:
            raise NotSupportedHere("there are four debug registers, and more breakpoints: disable or delete some")
