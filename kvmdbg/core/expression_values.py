"""Types, lvalues and values of expressions, and what an expression asks of its surroundings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class Context(Protocol):
    """Registers, memory, symbols and variables, as one vCPU sees them."""

    @property
    def pointer_size(self) -> int:
        """Bytes of a pointer in the CPU's mode: 2, 4 or 8."""

    def register(self, name: str) -> int | None:
        """A register's value by name, None where there is no such register."""

    def set_register(self, name: str, value: int) -> None: ...

    def getter(self, name: str) -> Callable[[], int] | None:
        """A quick way to a register's value, None where there is none."""

    def read(self, address: int, size: int, space: str) -> bytes:
        """Memory in ``space`` "linear" or "phys" (MemoryFault)."""

    def write(self, address: int, data: bytes, space: str) -> None: ...

    def symbol(self, name: str) -> int | None: ...

    def variable(self, name: str) -> int | None: ...

    def set_variable(self, name: str, value: int) -> None: ...

    def segment(self, selector: int) -> int:
        """The base that a selector stands for in ``seg:off``."""


@dataclass(frozen=True, slots=True)
class Type:
    """An integer of ``size`` bytes, or a pointer to ``pointer_to``."""

    size: int
    signed: bool
    pointer_to: Type | None = None

    def wrap(self, value: int) -> int:
        """The value as this type holds it."""
        value &= (1 << 8 * self.size) - 1
        if self.signed and value >> 8 * self.size - 1:
            value -= 1 << 8 * self.size
        return value


S64 = Type(8, True)
U64 = Type(8, False)
NAMED: dict[str, Type] = {f"{'s' if s else 'u'}{8 * n}": Type(n, s) for n in (1, 2, 4, 8) for s in (True, False)}
NAMED |= {f"{'' if s else 'u'}int{8 * n}_t": Type(n, s) for n in (1, 2, 4, 8) for s in (True, False)}
NAMED |= {"char": Type(1, True), "short": Type(2, True), "int": Type(4, True), "long": Type(8, True)}
UNSIGNED = {name: Type(NAMED[name].size, False) for name in ("char", "short", "int", "long")}


@dataclass(frozen=True, slots=True)
class RegisterRef:
    """A register that can be assigned to."""

    name: str


@dataclass(frozen=True, slots=True)
class VariableRef:
    """A convenience variable."""

    name: str


@dataclass(frozen=True, slots=True)
class MemoryRef:
    """Memory at ``address`` of ``space`` ("linear" or "phys")."""

    address: int
    space: str = "linear"


@dataclass(frozen=True, slots=True)
class Value:
    """What an expression gives: the number, its type, and where it lies if it lies anywhere.

    ``space`` is "phys" for an address that counts as guest-physical.
    """

    value: int
    type: Type = S64
    lvalue: RegisterRef | MemoryRef | VariableRef | None = None
    space: str = "linear"
    typed: bool = False
    """Whether a cast or an access gave the type; plain numbers have none of their own."""
