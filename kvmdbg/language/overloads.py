"""Which of several functions of one name is meant by the types of the arguments.

Source: ISO C++, 12.2 (overload resolution), as far as gdb goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeVar

from kvmdbg.language.ctype import CType


class Overload(NamedTuple):
    """One of them, by what its symbol is called."""

    name: str
    type: CType


class Typed(Protocol):
    @property
    def type(self) -> CType: ...


T = TypeVar("T", bound=Typed)


def parameters_of(function: CType) -> tuple[CType | None, list[CType]]:
    """The class of the object that a function is called on, None for none, and the types of its parameters."""
    takes = list(function.parameters or ())
    if takes and takes[0].kind == "pointer" and takes[0].qualifiers == "const":
        return takes[0].target, takes[1:]
    return None, takes


def fitting(methods: Sequence[T], object: CType) -> Sequence[T]:
    """Member functions that an object may have called, those first that are meant for one as const as it is."""
    const = "const" in object.qualifiers
    of = {id(one): parameters_of(one.type)[0] for one in methods}

    def is_const(one: T) -> bool:
        this = of[id(one)]
        return this is not None and "const" in this.qualifiers

    if const and any(is_const(one) for one in methods):
        return [one for one in methods if is_const(one) or of[id(one)] is None]
    return sorted(methods, key=lambda one: is_const(one) != const)


def best(among: Sequence[T], given: Sequence[CType]) -> T | None:
    """The one whose parameters fit best; None where none takes so many, or these."""
    ranked = []
    for one in among:
        takes = parameters_of(one.type)[1]
        if len(takes) != len(given):
            continue
        ranks = [_rank(wanted, type) for wanted, type in zip(takes, given, strict=True)]
        if None not in ranks:
            ranked.append((sum(rank or 0 for rank in ranks), one))
    return min(ranked, key=lambda pair: pair[0])[1] if ranked else None


def _rank(wanted: CType, given: CType) -> int | None:
    """How far a type is from that of a parameter: 0 is the same, None that it cannot be one."""
    if wanted.reference and wanted.target is not None:
        wanted = wanted.target
    one, two = wanted.resolved, given.resolved
    if one.same(two) or (one.kind == "pointer" and two.kind == "array" and _alike(one, two)):
        return 0
    if one.kind == "pointer" and two.kind == "pointer":
        return 0 if _alike(one, two) else 1 if one.target is not None and one.target.kind == "void" else 3
    if one.is_structure or two.is_structure or one.kind == "pointer" or two.kind in ("pointer", "array"):
        return None
    if one.is_float == two.is_float:
        return 1 if one.size >= two.size else 2
    return 3


def _alike(one: CType, two: CType) -> bool:
    return one.target is not None and two.target is not None and one.target.resolved.same(two.target.resolved)
