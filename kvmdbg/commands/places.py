"""Addresses that a user typed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvmdbg.record import record

if TYPE_CHECKING:
    from kvmdbg.core.locations import Found
    from kvmdbg.language.types import Value


@record
class Place:
    """An address a user typed: its ``text``, the number it means, and "linear" or "phys"."""

    text: str
    address: int
    space: str = "linear"
    size: int = 0  # of what an lvalue expression names, 0 when it is a bare address
    found: Found | None = None  # all that a location means, where it is one


def value_place(text: str, value: Value) -> Place:
    """What an evaluated expression means as an address."""
    from kvmdbg.core.locations import address_in

    return Place(text, *address_in(value))


def location_place(found: Found) -> Place:
    """A location as an address: the first of those that it means."""
    return Place(found.text, found.first.address, found.first.space, found=found)
