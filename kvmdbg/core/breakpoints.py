"""Breakpoints, watchpoints and catchpoints: what the user wishes for.

How each is held while the guest runs is decided in core/arming.py at every resume.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from kvmdbg.errors import UsageError
from kvmdbg.kvm.exits import KINDS, Exit

if TYPE_CHECKING:
    from kvmdbg.core.expressions import Expression

ACCESS_KINDS = ("write", "read", "access")


class Point:
    """What the three kinds share. ``number`` is the user's handle, 0 for the debugger's own."""

    def __init__(
        self,
        *,
        location: str = "",
        temporary: bool = False,
        ignore: int = 0,
        commands: Sequence[str] = (),
        only_if: Callable[[int], bool] | None = None,
    ) -> None:
        self.number = 0
        self.location = location
        self.enabled = True
        self.temporary = temporary
        self.ignore = ignore
        self.hits = 0
        self.commands: list[str] = list(commands)
        self.held_by = ""
        self.only_if = only_if
        """Asked with the vCPU's number before anything else; for the debugger's own points."""
        self.bound: dict[int, Callable[[], int]] = {}
        """The condition, bound to each vCPU that has reached the point."""
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
        text = text.strip() if text else None
        if text:
            from kvmdbg.core.expressions import parse

            self._expression = parse(text)
        else:
            self._expression = None
        self._condition = text or None
        self.bound.clear()

    @property
    def expression(self) -> Expression | None:
        return self._expression

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
        }


class Breakpoint(Point):
    """Stops before the instruction at ``address`` in ``space`` ("linear": this address; "phys": every view of it)."""

    def __init__(self, address: int, *, space: str = "linear", hardware: bool = False, **common: Any) -> None:
        super().__init__(**common)
        self.address = address
        self.space = space
        self.hardware = hardware

    def describe(self) -> str:
        return self.location or f"{'phys:' if self.space == 'phys' else ''}{self.address:#x}"


class Watchpoint(Point):
    """Stops after an access of ``kind`` to ``length`` bytes at ``address``."""

    def __init__(self, address: int, length: int, *, kind: str = "write", space: str = "linear", **common: Any) -> None:
        super().__init__(**common)
        self.address = address
        self.length = length
        self.kind = kind
        self.space = space

    @property
    def wants_read(self) -> bool:
        return self.kind != "write"

    @property
    def wants_write(self) -> bool:
        return self.kind != "read"

    def describe(self) -> str:
        return self.location or f"{'phys:' if self.space == 'phys' else ''}{self.address:#x},{self.length}"


class Catchpoint(Point):
    """Stops at each exit of ``kind`` whose fields equal ``filters`` (``port``, ``address``, ``direction``, …)."""

    def __init__(self, kind: str, filters: dict[str, Any] | None = None, **common: Any) -> None:
        super().__init__(**common)
        self.kind = kind
        self.filters = dict(filters or {})

    def matches(self, exit: Exit) -> bool:
        if self.kind not in ("any", exit.kind):
            return False
        return all(getattr(exit, name, None) == value for name, value in self.filters.items())

    def describe(self) -> str:
        parts = [f"{k} {v:#x}" if isinstance(v, int) else f"{k} {v}" for k, v in self.filters.items()]
        return " ".join([f"catch {self.kind}", *parts])


class Breakpoints:
    """All the user's points, by number, of the three kinds together (as ``info breakpoints`` lists them)."""

    def __init__(self) -> None:
        self._points: dict[int, Point] = {}
        self._next = 1

    def __iter__(self) -> Iterator[Point]:
        return iter(list(self._points.values()))

    def __len__(self) -> int:
        return len(self._points)

    def add(self, point: Point) -> None:
        """Take a new point in, or one that was here before, under its old number."""
        if not point.number:
            point.number = self._next
            self._next += 1
        self._points[point.number] = point

    def get(self, number: int) -> Point:
        """The point of that number; UsageError where there is none."""
        if number not in self._points:
            raise UsageError(f"no breakpoint number {number}")
        return self._points[number]

    def delete(self, number: int) -> None:
        self.get(number)
        del self._points[number]

    def discard(self, point: Point) -> None:
        self._points.pop(point.number, None)

    def clear(self) -> None:
        self._points.clear()

    def breakpoints(self) -> list[Breakpoint]:
        return [p for p in self._points.values() if isinstance(p, Breakpoint)]

    def watchpoints(self) -> list[Watchpoint]:
        return [p for p in self._points.values() if isinstance(p, Watchpoint)]

    def catchpoints(self) -> list[Catchpoint]:
        return [p for p in self._points.values() if isinstance(p, Catchpoint)]


def check_catch_kind(kind: str) -> str:
    """The kind, if an exit has that name; UsageError lists the names otherwise."""
    if kind != "any" and kind not in KINDS:
        raise UsageError(f"no exit kind {kind!r}; there are: any, {', '.join(sorted(KINDS))}")
    return kind
