"""What a condition sees of the event that it judges: its fields as ``$port``, ``$value`` and so on.

They are a scope of that one judging on that vCPU, before the user's variables of the same names and never among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from kvmdbg.engine.events import EVENTS, MemoryEvent
from kvmdbg.errors import KvmdbgError, UsageError
from kvmdbg.kvm.exits import KINDS, Exit

if TYPE_CHECKING:
    from kvmdbg.engine.breakpoints import Point
    from kvmdbg.engine.stops import Stop
    from kvmdbg.language.context import Context
    from kvmdbg.language.types import Raw

_names: dict[type[Exit], frozenset[str]] = {}


def field_names(cls: type[Exit]) -> frozenset[str]:
    """The fields of an exit's or event's record, and its properties."""
    found = _names.get(cls)
    if found is None:
        record_fields: Iterable[str] = getattr(cls, "__record_fields__", ())
        made = (name for base in cls.__mro__ for name, value in vars(base).items() if isinstance(value, property))
        found = _names[cls] = frozenset((*record_fields, *made))
    return found


def fields_of_kinds(kinds: Iterable[str]) -> frozenset[str]:
    """The fields that events of these kinds (with "any": KVM's exits) may have."""
    found: frozenset[str] = frozenset()
    for kind in kinds:
        if kind == "any":
            found = found.union(*map(field_names, KINDS.values()))
        for table in (KINDS, EVENTS):
            if kind in table:
                found |= field_names(table[kind])
    return found


class Absent(int):
    """The value of a field that this event does not have: nothing compares with it, it is not true, and whatever is
    worked out of it is absent, too."""


def _absent(*operands: object) -> Absent:
    return ABSENT


def _false(*operands: object) -> bool:
    return False


for _name in ("eq", "ne", "lt", "le", "gt", "ge", "bool"):
    setattr(Absent, f"__{_name}__", _false)
for _name in ("add", "sub", "mul", "floordiv", "mod", "and", "or", "xor", "lshift", "rshift"):
    setattr(Absent, f"__{_name}__", _absent)
    setattr(Absent, f"__r{_name}__", _absent)
for _name in ("neg", "invert"):
    setattr(Absent, f"__{_name}__", _absent)
ABSENT = Absent()


def field(event: Exit, name: str) -> int:
    """A field as a number; of bytes the first eight, little-endian; ABSENT for none. UsageError for a text."""
    value = getattr(event, name, None) if name in field_names(type(event)) else None
    if value is None:
        return ABSENT
    if isinstance(value, int):
        return int(value)
    if isinstance(value, bytes):
        return int.from_bytes(value[:8], "little")
    raise UsageError(f"${name} is no number here but {value!r}: say it before the condition, or use a hook")


def event_of(stop: Stop | None) -> Exit | None:
    """The event that a stop tells of, None for a stop without."""
    from kvmdbg.engine.stops import WatchpointStop

    if isinstance(stop, WatchpointStop):
        return MemoryEvent(stop.kind, stop.address, stop.size, stop.old, stop.new)
    found: Exit | None = getattr(stop, "exit", None)
    return found


class EventContext:
    """A vCPU's context with the fields of the event that is judged there; all else is the vCPU's."""

    def __init__(self, context: Context, fields: frozenset[str]) -> None:
        self._context = context
        self.fields = fields
        """Names that mean fields, whatever else has the same name."""
        self.event: Exit | None = None
        self.missed = False
        """Whether a field was asked for that the event does not have."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def variable(self, name: str) -> Raw | None:
        if name not in self.fields:
            return self._context.variable(name)
        found = field(self.event, name) if self.event is not None else ABSENT
        self.missed |= found is ABSENT
        return found

    def read(self, address: int, size: int, space: str) -> bytes:
        if address is ABSENT:
            raise UsageError("the address is of a field that this event does not have")
        return self._context.read(address, size, space)


Holds = Callable[["Exit | None"], bool]


def bind_condition(point: Point, context: Context) -> Holds:
    """The condition of a point on one vCPU: a function that says whether it is true of an event (or of the moment).

    It is false where a field is needed that the event does not have. The function raises what evaluating raises.
    """
    assert point.expression is not None
    if not point.fields:
        plain = point.expression.bind(context)
        return lambda event: bool(plain())
    scope = EventContext(context, point.fields)
    evaluate = point.expression.bind(scope)

    def holds(event: Exit | None) -> bool:
        scope.event, scope.missed = event, False
        try:
            return bool(evaluate())
        except KvmdbgError:
            if scope.missed:
                return False
            raise
        finally:
            scope.event = None

    return holds
