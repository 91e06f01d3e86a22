"""A type of C as the source of the guest declares it."""

from __future__ import annotations

from collections.abc import Callable

from kvmdbg.record import record, replace


@record
class Member:
    """A field of a structure or union: ``offset`` bytes, and for a bitfield its first bit and bits."""

    name: str
    type: CType
    offset: int
    bit: int = 0
    bits: int = 0


class CType:
    """A C type. ``kind``: "int", "uint", "bool", "char", "float", "pointer", "struct", "union", "array", "enum",
    "function" or "void"; ``size`` in bytes."""

    signed = False

    def __init__(self, kind: str, name: str, size: int) -> None:
        self.kind = kind
        self.given = name
        self.naming: Callable[[], str] | None = None
        """What its name is made of, where it has none of its own: asked late, types may name themselves."""
        self.size = size
        self.target: CType | None = None
        """What a pointer points to, an array consists of, a typedef or an enum stands for."""
        self.members: list[Member] = []
        self.count: int | None = None
        self.values: dict[int, str] = {}

    @property
    def name(self) -> str:
        """As C writes it, without what is declared: "struct point *", "int (*)(int)"."""
        return self.naming() if self.naming is not None and not self.given else self.given

    def member(self, name: str) -> Member | None:
        """The member of that name, those of members without a name included; its offset is that into this type."""
        for one in self.members:
            if one.name == name:
                return one
            if not one.name and (inner := one.type.member(name)) is not None:
                return replace(inner, offset=one.offset + inner.offset)
        return None

    def __repr__(self) -> str:
        return f"<CType {self.name}>"
