"""Frozen value classes that cost nothing to define.

``dataclasses.dataclass(frozen=True)`` compiles half a dozen methods for each class, about 0.6 ms a class, and imports
``inspect``; with the number of small values here that would be most of the start-up time. ``@record`` gives the same
to its users (and to type checkers): an ``__init__`` of the annotated fields in order, equality, hash, repr, no
assignment. Making an instance costs about a microsecond more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")


class Factory:
    """A default that is made anew for each instance."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make


def field(*, default_factory: Callable[[], T]) -> T:
    """The default of a field: what ``default_factory`` returns, called for each instance."""
    return Factory(default_factory)  # type: ignore[return-value]


def _init(self: Any, *values: Any, **named: Any) -> None:
    cls = type(self)
    fields: dict[str, Any] = cls.__record_fields__
    if len(values) > len(fields):
        raise TypeError(f"{cls.__name__} takes {len(fields)} values, {len(values)} were given")
    found = self.__dict__
    found.update(zip(fields, values, strict=False))
    for name, value in named.items():
        if name not in fields or name in found:
            raise TypeError(f"{cls.__name__}: {'twice' if name in found else 'no field'} {name}")
        found[name] = value
    if len(found) < len(fields):
        for name, default in fields.items():
            if name not in found:
                if default is _MISSING:
                    raise TypeError(f"{cls.__name__} needs {name}")
                found[name] = default.make() if type(default) is Factory else default
    post = getattr(cls, "__post_init__", None)
    if post is not None:
        post(self)


def _frozen(self: Any, name: str, value: object = None) -> None:
    raise AttributeError(f"{type(self).__name__}.{name} cannot be changed: it is a value; use replace()")


def _eq(self: Any, other: object) -> bool:
    return type(self) is type(other) and self.__dict__ == other.__dict__


def _hash(self: Any) -> int:
    return hash((type(self), *(self.__dict__[name] for name in type(self).__record_fields__)))


def _repr(self: Any) -> str:
    fields = ", ".join(f"{name}={self.__dict__[name]!r}" for name in type(self).__record_fields__)
    return f"{type(self).__name__}({fields})"


_MISSING = object()
_METHODS: dict[str, Any] = {
    "__init__": _init,
    "__setattr__": _frozen,
    "__delattr__": _frozen,
    "__eq__": _eq,
    "__hash__": _hash,
    "__repr__": _repr,
}


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: type[T]) -> type[T]:
    """Make a class with annotated fields a frozen value. ClassVar annotations are no fields."""
    fields: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        fields |= base.__dict__.get("__record_fields__", {})
    own = cls.__dict__
    for name, annotation in cls.__annotations__.items():
        if not str(annotation).startswith(("ClassVar", "typing.ClassVar")):
            fields[name] = own.get(name, _MISSING)
            if type(fields[name]) is Factory:
                delattr(cls, name)
    cls.__record_fields__ = fields  # type: ignore[attr-defined]
    for name, method in _METHODS.items():
        if name not in own or (name in ("__hash__", "__eq__") and own[name] is None):
            setattr(cls, name, method)
    return cls


def fields(value: object) -> dict[str, Any]:
    """The fields of a record by name, in order."""
    return {name: value.__dict__[name] for name in type(value).__record_fields__}  # type: ignore[attr-defined]


def replace(value: T, /, **changes: Any) -> T:
    """A copy of a record with some fields changed."""
    return type(value)(**{**value.__dict__, **changes})
