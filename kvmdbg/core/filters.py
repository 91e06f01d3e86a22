"""The names that catchpoints and hooks may filter by."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import ParamSpec, TypeVar

from kvmdbg.errors import UsageError

P = ParamSpec("P")
R = TypeVar("R")

OF_ALL = ("pc", "mode")
"""What every exit and event can be filtered by, beside its own fields."""


def check_filters(kind: str, names: Iterable[str]) -> None:
    """UsageError where what is of this kind never has a field of one of the names: nothing would ever pass."""
    from kvmdbg.engine.breakpoints import Catchpoint

    there = {*Catchpoint(kind).fields, *OF_ALL}
    for name in names:
        if name not in there:
            raise UsageError(f"{kind} cannot be filtered by '{name}', only by {', '.join(sorted(there))}")


def filters_checked(catch: Callable[P, R]) -> Callable[P, R]:
    """``Points.catch``, which refuses filters that nothing passes."""

    @wraps(catch)
    def checked(*arguments: P.args, **named: P.kwargs) -> R:
        kind = named.get("kind", arguments[0] if arguments else None)
        if isinstance(kind, str):
            check_filters(kind, named.keys() - {"kind", "when", "temporary"})
        return catch(*arguments, **named)

    return checked
