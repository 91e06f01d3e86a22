"""What expressions are about: values and places."""

from __future__ import annotations

from kvmdbg.language.ctype import CType
from kvmdbg.language.floats import Extended, bytes_of, number_of, truncated
from kvmdbg.record import record

LEAST = -(1 << 63)

LINEAR = "linear"
PHYSICAL = "phys"

Raw = int | float | Extended | bytes
"""What a value is while it is worked with: an integer or an address, a floating point number, or the bytes of a
structure or an array."""


@record
class RegisterRef:
    """A register or a flag, by its name in lower case."""

    name: str


@record
class MemoryRef:
    """``size`` bytes at ``address`` of ``space`` ("linear" or "phys")."""

    address: int
    size: int
    space: str = LINEAR


@record
class VariableRef:
    """A convenience variable or a value of the history, by its name without ``$``."""

    name: str


@record
class Value:
    """What an expression gave.

    ``value`` is exact: negative for a negative number of a signed type. ``space`` says whether
    it is meant as a "linear" or a "phys" address; ``lvalue`` is the place it was read from. Of a structure or an array
    ``data`` are its bytes and ``value`` is its address (0 where it has none); of a floating point number ``data`` are
    its bytes and ``value`` is its integer part. ``reference`` is the type of a reference of C++ that was written: the
    value is that of what it refers to.
    """

    value: int
    type: CType
    lvalue: RegisterRef | MemoryRef | VariableRef | None = None
    space: str = LINEAR
    data: bytes = b""
    reference: CType | None = None

    @property
    def raw(self) -> Raw:
        """The number that it is, a float or an Extended of a floating point type; the bytes of a structure or array."""
        if self.type.is_float:
            return number_of(self.data, self.type.is_quad)
        return self.value if self.type.is_number or not self.data else self.data

    @property
    def bytes(self) -> bytes:
        """As it is in memory."""
        return self.data or bytes_in_memory(self.value, self.type)


def bytes_in_memory(value: Raw, type: CType) -> bytes:
    """A value's bytes as it is in memory."""
    if isinstance(value, bytes):
        return value
    if type.is_float or not isinstance(value, int):
        return bytes_of(value, type.size, type.is_quad)
    return (value & (1 << 8 * type.size) - 1).to_bytes(type.size, "little")


def value_of(raw: Raw, type: CType) -> Value:
    """A value that is in no memory."""
    if type.is_number and not type.is_float and isinstance(raw, int):
        return Value(raw, type)
    if not type.is_number and not isinstance(raw, bytes):
        return Value(int(float(raw)), type)
    data = bytes_in_memory(raw, type)
    return Value(truncated(number_of(data, type.is_quad)) if type.is_float else 0, type, data=data)


def raw_of(data: bytes, type: CType) -> Raw:
    """The value that bytes in memory are."""
    if type.is_float:
        return number_of(data, type.is_quad)
    if not type.is_number:
        return data
    return int.from_bytes(data, "little", signed=type.signed and type.kind != "bool")
