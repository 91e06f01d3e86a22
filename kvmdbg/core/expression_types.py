"""What expressions are about: types, values, places, and the machine they are evaluated on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from kvmdbg.record import record

MASK = (1 << 64) - 1
LEAST = -(1 << 63)

LINEAR = "linear"
PHYSICAL = "phys"


@record
class Type:
    """An integer of ``size`` bytes (0: void), or a pointer to ``pointer_to``.

    A pointer as a value is a whole linear (or physical) address: 8 bytes. One that was read
    from memory has the size that pointers have in the CPU's mode.
    """

    size: int
    signed: bool = False
    pointer_to: Type | None = None

    def __str__(self) -> str:
        if self.pointer_to is not None:
            inner = str(self.pointer_to)
            return inner + "*" if inner.endswith("*") else inner + " *"
        return f"{'s' if self.signed else 'u'}{8 * self.size}" if self.size else "void"

    @property
    def low(self) -> int:
        """The least value it holds."""
        return -(1 << (8 * self.size - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        """The greatest value it holds."""
        return (1 << (8 * self.size - (1 if self.signed else 0))) - 1


VOID = Type(0)
U8, U16, U32, U64 = (Type(size) for size in (1, 2, 4, 8))
S8, S16, S32, S64 = (Type(size, True) for size in (1, 2, 4, 8))
UNSIGNED = {one.size: one for one in (U8, U16, U32, U64)}


def pointer(to: Type, size: int = 8) -> Type:
    """The type of a pointer to ``to``."""
    return Type(size, False, to)


ADDRESS = pointer(VOID)

_INTEGERS = {
    "char": S8, "signed char": S8, "unsigned char": U8,
    "short": S16, "unsigned short": U16,
    "int": S32, "signed": S32, "unsigned": U32, "unsigned int": U32,
    "long": S64, "unsigned long": U64, "long long": S64, "unsigned long long": U64,
    "void": VOID,
}  # fmt: skip
for _bits, _unsigned, _signed in ((8, U8, S8), (16, U16, S16), (32, U32, S32), (64, U64, S64)):
    _INTEGERS |= {f"u{_bits}": _unsigned, f"s{_bits}": _signed}
    _INTEGERS |= {f"uint{_bits}_t": _unsigned, f"int{_bits}_t": _signed}

TYPE_WORDS = frozenset(word for name in _INTEGERS for word in name.split())


def named_type(words: list[str]) -> Type | None:
    """The type of these words ("unsigned", "long"), in any order C allows; None for no such type. long is 8 bytes."""
    if {"signed", "unsigned"} <= set(words) or any(words.count(word) > 1 for word in words if word != "long"):
        return None
    if len(words) > 1 and "int" in words:  # short int, unsigned long int
        words = list(words)
        words.remove("int")
    if len(words) > 1 and "signed" in words:
        words = list(words)
        words.remove("signed")
    return _INTEGERS.get(" ".join(sorted(words, key=lambda word: word != "unsigned")))


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
    it is meant as a "linear" or a "phys" address; ``lvalue`` is the place it was read from.
    """

    value: int
    type: Type
    lvalue: RegisterRef | MemoryRef | VariableRef | None = None
    space: str = LINEAR


class Context(Protocol):
    """The machine that an expression is evaluated on.

    It may also have ``getter(name) -> Callable[[], int] | None``: a function that reads one
    register of x86/registers quickly (not ``pc``, ``sp``, ``fp``, whose register the mode chooses).
    It is asked for once, when an expression is bound.
    """

    @property
    def pointer_size(self) -> int:
        """Bytes of a pointer in the CPU's mode: 2, 4 or 8."""

    def register(self, name: str) -> int | None:
        """Value of a register by its name in lower case, ``pc``, ``sp`` and ``fp`` included; None for no register."""

    def set_register(self, name: str, value: int) -> None:
        """Write a register."""

    def read(self, address: int, size: int, space: str) -> bytes:
        """``size`` bytes at an address of ``space`` ("linear" or "phys"); MemoryFault."""

    def write(self, address: int, data: bytes, space: str) -> None:
        """Write memory; MemoryFault."""

    def symbol(self, name: str) -> int | None:
        """A symbol's linear address, or None."""

    def variable(self, name: str) -> int | None:
        """A convenience variable; ``"1"`` is ``$1`` of the value history, ``""`` is ``$``, ``"$"`` and ``"$2"`` are
        ``$$`` and ``$$2``. None while it has no value."""

    def set_variable(self, name: str, value: int) -> None:
        """Give a convenience variable a value."""

    def segment(self, value: int) -> int:
        """Linear base address of a selector, for ``seg:off``."""


Fail = Callable[[str, int], Exception]
"""Makes the ExpressionError of a message at a column."""
