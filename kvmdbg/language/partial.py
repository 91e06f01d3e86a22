"""Values of which a part is kept nowhere: compilers leave out members that nobody reads."""

from __future__ import annotations

from typing import Any, SupportsIndex

from kvmdbg.errors import KvmdbgError

OPTIMIZED_OUT = "<optimized out>"


class Lost(KvmdbgError):
    """A number is wanted of bytes that are not known."""


class Partial(bytes):
    """Bytes that are not all known: ``known`` has a 1 for each that is. A slice of them knows its own."""

    known: bytes

    @classmethod
    def of(cls, data: bytes, known: bytes) -> bytes:
        """These bytes; plain ones where all are known."""
        if all(known):
            return data
        made = cls(data)
        made.known = known
        return made

    def __getitem__(self, which: SupportsIndex | slice[Any, Any, Any]) -> Any:
        if not isinstance(which, slice):
            raise TypeError("bytes that may not be known are read by slices")
        return Partial.of(super().__getitem__(which), self.known[which])

    def __bytes__(self) -> bytes:
        """What int.from_bytes asks for."""
        raise Lost("a part of it was optimized out")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Partial) and self.known == other.known and super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((super().__hash__(), self.known))
