"""What expressions are about: types, values and places."""

from __future__ import annotations

from kvmdbg.language.ctype import CType
from kvmdbg.record import record

MASK = (1 << 64) - 1
LEAST = -(1 << 63)

LINEAR = "linear"
PHYSICAL = "phys"


@record
class Type:
    """An integer of ``size`` bytes (0: void), or a pointer to ``pointer_to``.

    A pointer as a value is a whole linear (or physical) address: 8 bytes. One that was read
    from memory has the size that pointers have in the CPU's mode. ``c`` is the type in the guest's source where it
    comes from there: then it may also be a structure, an array or a floating point number, and a pointer has the
    size that the source gives it.
    """

    size: int
    signed: bool = False
    pointer_to: Type | None = None
    c: CType | None = None

    def __str__(self) -> str:
        if self.c is not None:
            return self.c.name
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


def source_type(c: CType) -> Type:
    """A type of the guest's source. What a pointer points to is complete once it is asked for: ``target_of``."""
    to = _shallow(c.target) if c.kind == "pointer" and c.target is not None else None
    return Type(c.size, c.signed, to, c)


def _shallow(c: CType) -> Type:
    return Type(c.size, c.signed, VOID if c.kind == "pointer" else None, c)


def target_of(pointer_type: Type) -> Type:
    """What a pointer points to."""
    to = pointer_type.pointer_to
    assert to is not None
    return source_type(to.c) if to.c is not None else to


def array_type(element: Type, count: int) -> Type:
    """``count`` of them in a row."""
    inner = element.c
    if inner is None:
        kind = "pointer" if element.pointer_to is not None else "int" if element.signed else "uint"
        inner = CType(kind, str(element), element.size)
        inner.signed = element.signed
    made = CType("array", f"{inner.name}[{count}]", inner.size * count)
    made.target, made.count = inner, count
    return source_type(made)


def is_number(type: Type | None) -> bool:
    """Whether a value of this type can be worked with: not a structure, array, function or floating point number."""
    return type is None or type.c is None or type.c.kind in ("int", "uint", "bool", "char", "pointer", "enum")


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
    it is meant as a "linear" or a "phys" address; ``lvalue`` is the place it was read from. Of a structure, an array
    or a floating point number of the source, ``data`` are its bytes and ``value`` is its address (0 in a register).
    """

    value: int
    type: Type
    lvalue: RegisterRef | MemoryRef | VariableRef | None = None
    space: str = LINEAR
    data: bytes = b""
