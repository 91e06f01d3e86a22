"""Addresses that a user typed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvmdbg.record import record

if TYPE_CHECKING:
    from kvmdbg.language.types import Value


@record
class Place:
    """An address a user typed: its ``text``, the number it means, and "linear" or "phys"."""

    text: str
    address: int
    space: str = "linear"
    size: int = 0  # of what an lvalue expression names, 0 when it is a bare address


def value_place(text: str, value: Value) -> Place:
    """What an evaluated expression means as an address."""
    space = "phys" if getattr(value, "space", "") == "phys" else "linear"
    return Place(text, value.value, space)
