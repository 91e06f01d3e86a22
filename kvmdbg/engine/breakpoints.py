"""Breakpoints, watchpoints and catchpoints: what the user wishes for.

How each is held while the guest runs is decided in engine/arming.py at every resume.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from kvmdbg.engine.event_scope import field_names, fields_of_kinds
from kvmdbg.engine.events import EVENTS, MemoryEvent
from kvmdbg.errors import KvmdbgError, UsageError
from kvmdbg.kvm.exits import KINDS

if TYPE_CHECKING:
    from kvmdbg.engine.event_scope import Holds
    from kvmdbg.language.context import Scope
    from kvmdbg.language.expressions import Expression

PLANTED, STEPPED, NOT_AT_ALL = "planted", "stepped", "not at all"
"""How a breakpoint may be held where no debug register is free for it."""


class Point:
    """What the three kinds share. ``number`` is the user's handle, 0 for the debugger's own.

    One with a ``function`` is a hook (core/hooks.py) of that ``name``: the function decides instead of a stop.
    ``stops``, ``prints`` and ``passes`` are what ``handle`` says: whether it stops the guest, is shown as it happens,
    and reaches its device.
    """

    def __init__(
        self,
        *,
        location: str = "",
        temporary: bool = False,
        ignore: int = 0,
        commands: Sequence[str] = (),
        only_if: Callable[[int], bool] | None = None,
        name: str = "",
        function: Callable[[Any], Any] | None = None,
    ) -> None:
        self.number = 0
        self.location = location
        self.enabled = True
        self.temporary = temporary
        self.ignore = ignore
        self.hits = 0
        self.commands: list[str] = list(commands)
        self.held_by = ""
        self.name = name
        self.function = function
        self.stops = True
        self.prints = False
        self.passes = True
        self.only_if = only_if
        """Asked with the vCPU's number before anything else; for the debugger's own points."""
        self.bound: dict[int, Holds] = {}
        """The condition, bound to each vCPU that has reached the point."""
        self.fields: frozenset[str] = frozenset()
        """Names by which its condition sees the event."""
        self.scope: Callable[[int | None], Scope | None] | None = None
        """What names of the guest's source mean to the code at an address, or here, in conditions."""
        self.is_symbol: Callable[[str], bool] | None = None
        """Whether there is a symbol of that name, which a condition may name, too."""
        self._condition: str | None = None
        self._expression: Expression | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.number}: {self.describe()}>"

    @property
    def condition(self) -> str | None:
        """The text of the condition, None for none. Setting it parses it (ExpressionError)."""
        return self._condition

    @condition.setter
    def condition(self, text: str | None) -> None:
        self._take_condition(text.strip() if text else None)

    @property
    def assigns(self) -> bool:
        """Whether the condition is an assignment, which is done each time."""
        return self._expression is not None and self._expression.is_assignment

    def _take_condition(self, text: str | None) -> None:
        if text:
            from kvmdbg.language.expressions import parse

            place = self.address if isinstance(self, Breakpoint) and self.space == "linear" else None
            scope = self.scope(place) if self.scope is not None else None
            parsed = parse(text, scope=scope, fields=self.fields)
            if self.is_symbol is not None:
                parsed.check_symbols(self.is_symbol)
            self._expression = parsed
        else:
            self._expression = None
        self._condition = text or None
        self.bound.clear()

    @property
    def expression(self) -> Expression | None:
        return self._expression

    @property
    def asked_for(self) -> Point:
        """The user's point that it belongs to: itself, unless it is one of several places of a breakpoint."""
        return self

    def describe(self) -> str:
        return self.location

    def to_json(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "type": type(self).__name__.lower(),
            "location": self.location,
            "enabled": self.enabled,
            "temporary": self.temporary,
            "condition": self.condition,
            "ignore": self.ignore,
            "hits": self.hits,
            "held_by": self.held_by,
            **({"hook": self.name} if self.function is not None else {}),
        }


class Breakpoint(Point):
    """Stops before the instruction at ``address`` in ``space`` ("linear": this address; "phys": every view of it).

    One at several addresses has a place for each in ``places``, and ``address`` is that of the first. One that is
    ``pending`` has none yet: it waits for symbols that have its ``location``.
    """

    def __init__(self, address: int, *, space: str = "linear", hardware: bool = False, **common: Any) -> None:
        super().__init__(**common)
        self.address = address
        self.space = space
        self.hardware = hardware
        self.without_register = PLANTED
        """For the debugger's own, which need not lie on an instruction: never planted on what may be data."""
        self.guarded = True
        """Whether the page of a planted trap is read-only, so that it stays on top of what the guest writes there."""
        self.places: list[BreakpointPlace] = []
        self.pending = False
        self.by_name = False
        """Whether its location may mean other addresses when there are other symbols."""

    @property
    def held(self) -> list[Breakpoint]:
        """What the engine holds of it: itself, or each of its places."""
        if self.pending:
            return []
        return list(self.places) or [self]

    def put_at(self, addresses: Sequence[int]) -> None:
        """Stop at these linear addresses; those that it has had stay disabled if they were, and keep their hits."""
        before = {one.address: one for one in self.places}
        self.pending = not addresses
        self.places = []
        if addresses:
            self.address = addresses[0]
        if len(addresses) > 1:
            self.places = [before.get(one) or BreakpointPlace(self, one) for one in addresses]
            self._take_condition(self._condition)

    def _take_condition(self, text: str | None) -> None:
        """Each place sees the names of its own code; UsageError if it has no meaning at any of them."""
        if not self.places:
            return super()._take_condition(text)
        failed: KvmdbgError | None = None
        for one in self.places:
            one.scope, one.is_symbol = self.scope, self.is_symbol
            try:
                one.condition = text
            except KvmdbgError as error:
                failed, one.means_nothing = error, True
            else:
                one.means_nothing = False
        if failed is not None and all(one.means_nothing for one in self.places):
            raise failed
        self._condition = text or None

    def describe(self) -> str:
        return self.location or f"{'phys:' if self.space == 'phys' else ''}{self.address:#x}"


class BreakpointPlace(Breakpoint):
    """One of several addresses of the breakpoint ``owner``, which says what happens there."""

    def __init__(self, owner: Breakpoint, address: int) -> None:
        self.owner = owner
        self.means_nothing = False
        """Whether the condition names what the code here does not know: it does not stop then."""
        super().__init__(address, space=owner.space, hardware=owner.hardware)
        self.without_register, self.guarded = owner.without_register, owner.guarded

    @property
    def asked_for(self) -> Point:
        return self.owner

    @property
    def number(self) -> int:
        """Its breakpoint's."""
        return self.owner.number

    @number.setter
    def number(self, value: int) -> None:
        pass

    @property
    def enabled(self) -> bool:
        """Whether it and its breakpoint are switched on."""
        return self.switched_on and self.owner.enabled and not self.means_nothing

    @enabled.setter
    def enabled(self, value: bool) -> None:
        self.switched_on = value


class Watchpoint(Point):
    """Stops after an access of ``kind`` to ``length`` bytes at ``address``."""

    def __init__(self, address: int, length: int, *, kind: str = "write", space: str = "linear", **common: Any) -> None:
        super().__init__(**common)
        self.address = address
        self.length = length
        self.kind = kind
        self.space = space
        self.ends_at: Breakpoint | None = None
        """Where the function returns whose variable it is on: it ends there."""
        self.fields = field_names(MemoryEvent)

    @property
    def wants_read(self) -> bool:
        return self.kind != "write"

    @property
    def wants_write(self) -> bool:
        return self.kind != "read"

    def describe(self) -> str:
        return self.location or f"{'phys:' if self.space == 'phys' else ''}{self.address:#x},{self.length}"


class Catchpoint(Point):
    """Stops at each exit or event of ``kind`` whose fields pass ``filters`` (``port``, ``address``, ``direction``, …).

    A filter is a number, a text, a range or another collection, or a function of the field's value; accesses pass
    ``port`` and ``address`` when one of their bytes does. ``when``: "after" it is served, or "before".
    """

    def __init__(self, kind: str, filters: dict[str, Any] | None = None, *, when: str = "after", **common: Any) -> None:
        super().__init__(**common)
        if when not in ("before", "after"):
            raise UsageError(f"a hook is called 'before' or 'after', not {when!r}")
        self.kind = check_catch_kind(kind)
        self.filters = dict(filters or {})
        self.when = when
        self.fields = fields_of_kinds(self.kinds)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The exits' kinds that it looks at; ("any",) for all exits."""
        return ("msr_read", "msr_write") if self.kind == "msr" else (self.kind,)

    def looks_at(self, kind: str) -> bool:
        """Whether it may want exits of this kind. "any" means KVM's exits; events are wanted by their name only."""
        return kind == self.kind or kind in self.kinds or (self.kind == "any" and (kind not in EVENTS or kind in KINDS))

    def matches(self, event: Any) -> bool:
        """Whether ``event`` (an exit, or hooks.Event, which has its fields too) passes all filters."""
        exit = getattr(event, "exit", event)
        kind = exit.kind
        if kind != self.kind and not self.looks_at(kind):
            return False
        is_port = kind == "io"
        for name, wanted in self.filters.items():
            if is_port:  # the usual filters, which come often
                if name == "port" and type(wanted) is int:
                    port = exit.port
                    if port == wanted or port < wanted < port + exit.size:
                        continue
                    return False
                if name == "direction" and wanted == exit.direction:
                    continue
            value: Any = getattr(event, name, None)
            if name == "mode" and not isinstance(value, str | None):
                value = value.name
            if name in ("port", "address") and value is not None:
                if not any(passes(wanted, value + n) for n in range(min(getattr(event, "size", 1), 64))):
                    return False
            elif not passes(wanted, value):
                return False
        return True

    def describe(self) -> str:
        parts = [f"{name} {_shown(value)}" for name, value in self.filters.items()]
        return " ".join([f"catch {self.kind}", *parts])


def passes(wanted: Any, value: Any) -> bool:
    """Whether a field's value passes a filter."""
    if value is None:
        return False
    if callable(wanted):
        return bool(wanted(value))
    if isinstance(wanted, int | str):
        return bool(value == wanted)
    return value in wanted


def _shown(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:#x}"
    if isinstance(value, range) and value.step == 1:
        return f"{value.start:#x}-{value.stop - 1:#x}"
    return value.__name__ if callable(value) else str(value)


class Breakpoints:
    """All the user's points, by number, of the three kinds together (as ``info breakpoints`` lists them).

    Beside them lie the debugger's own, which nobody lists.
    """

    def __init__(self) -> None:
        self.stepped_pages: set[int] = set()
        """Guest-physical pages where a guard has met what the CPU does by itself: what is in them is held by stepping,
        after a restart, too."""
        self.hold = "auto"
        """How the user wants breakpoints held (engine/arming.py, HOLDS)."""
        self.own_breakpoints: list[Breakpoint] = []
        """For the time of one run."""
        self.ends: list[Breakpoint] = []
        """Where the functions return whose variables are watched."""
        self.own_catchpoints: list[Catchpoint] = []
        """Those of traces and counts."""
        self._points: dict[int, Point] = {}
        self._next = 1
        self.changes = 0
        """Grows whenever there are others, the debugger's own catchpoints included."""

    def __iter__(self) -> Iterator[Point]:
        return iter(list(self._points.values()))

    def __len__(self) -> int:
        return len(self._points)

    @property
    def any(self) -> bool:
        """Whether there are any points, the debugger's own included."""
        return bool(self._points or self.own_breakpoints or self.own_catchpoints)

    def add(self, point: Point) -> None:
        """Take a new point in, or one that was here before, under its old number."""
        if not point.number:
            point.number = self._next
            self._next += 1
        self._points[point.number] = point
        self.changes += 1

    def get(self, number: int) -> Point:
        """The point of that number; UsageError where there is none."""
        if number not in self._points:
            raise UsageError(f"no breakpoint number {number}")
        return self._points[number]

    def delete(self, number: int) -> None:
        self.get(number)
        del self._points[number]
        self.changes += 1

    def discard(self, point: Point) -> None:
        self._points.pop(point.number, None)
        self.changes += 1

    def clear(self) -> None:
        self._points.clear()
        self.changes += 1

    def held(self) -> list[Breakpoint]:
        """The breakpoints as the engine holds them: each place of one that has several, and the ends of frames."""
        watches = self.watchpoints()
        self.ends = [end for end in self.ends if any(watch.ends_at is end for watch in watches)]
        return [*(held for point in self.breakpoints() for held in point.held), *self.ends]

    def breakpoints(self) -> list[Breakpoint]:
        return [p for p in self._points.values() if isinstance(p, Breakpoint)]

    def watchpoints(self) -> list[Watchpoint]:
        return [p for p in self._points.values() if isinstance(p, Watchpoint)]

    def catchpoints(self) -> list[Catchpoint]:
        return [p for p in self._points.values() if isinstance(p, Catchpoint)]


def catch_kinds() -> list[str]:
    """Every word for what can be caught: "any", "msr", the exits of kvm/exits.py and the events of engine/events.py."""
    events = [kind for kind in EVENTS if kind not in ("insn", "memory")]
    return ["any", "msr", *sorted({*KINDS, *events})]


def check_catch_kind(kind: str) -> str:
    """The kind, if there is one of that name; UsageError lists the names otherwise."""
    if kind != "stop" and kind not in catch_kinds():
        raise UsageError(f"no exit kind {kind!r}; there are: {', '.join(catch_kinds())}")
    return kind
