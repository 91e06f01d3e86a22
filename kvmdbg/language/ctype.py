"""Types of C: those of the guest's source, those that are built in, and what is made of both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kvmdbg.record import record, replace

INTEGERS = frozenset(["int", "uint", "bool", "char", "enum"])
STRUCTURES = frozenset(["struct", "union", "class"])


@record
class Member:
    """A field of a structure or union: ``offset`` bytes, and for a bitfield its first bit and bits.

    A base class is one, too, named as in "<Base>"; of a virtual one ``virtual`` gives the address, by a function that
    reads memory and the address of the whole. ``made``: by the compiler, as pointers to tables of functions are.
    """

    name: str
    type: CType
    offset: int
    bit: int = 0
    bits: int = 0
    access: str = "public"
    made: bool = False
    virtual: Callable[[Callable[[int, int], bytes], int], int] | None = None


@record
class Static:
    """A member of a class that is there once: ``before`` so many of its other members. ``data`` are the bytes of a
    constant which is in no memory."""

    name: str
    type: CType
    access: str
    before: int
    data: bytes = b""


@record
class Method:
    """A member function: ``ending`` stands behind it ("= delete"), ``symbol`` is what linkers call it. Of a virtual one
    ``slot`` is its place in the table of functions. ``made``: by the compiler."""

    name: str
    type: CType
    access: str
    symbol: str = ""
    virtual: bool = False
    slot: int | None = None
    static: bool = False
    ending: str = ""
    made: bool = False


@record
class Typedef:
    """A name that a class gives to a type."""

    name: str
    type: CType
    access: str


@record
class Variants:
    """What an enumeration of Rust is: ``tag`` says by its value which of ``cases`` is there; None: others."""

    tag: Member | None
    cases: dict[int | None, Member]


class CType:
    """A C type. ``kind``: "int", "uint", "bool", "char", "float", "complex", "pointer", "struct", "union", "class",
    "array", "enum", "function", "member" (a pointer to one) or "void"; ``size`` in bytes.

    As a value a pointer is a whole linear (or physical) address. One that is ``by_mode`` has, in memory, the size that
    pointers have in the CPU's mode; others have the size that the source gives them.
    """

    signed = False
    by_mode = False
    is_text = True
    """Of a "char": whether its values are shown as characters, too."""
    is_vector = False
    """Of an array: whether it is a whole of its own, as a part of a vector register is."""
    is_quad = False
    """Of a "float": whether it is a _Float128, which has the size of a long double."""
    qualifiers = ""
    """"const volatile" and the like; a type with a name has them in its name, too."""
    unqualified = ""
    """Its name without them."""
    original: CType | None = None
    """What a typedef stands for, or a qualified type without its qualifiers."""
    parameters: Sequence[CType] | None = None
    """Of a function; None where they are not known."""
    reference = False
    """Whether a pointer is a reference of C++: what is meant is what it points to; ``rvalue``: one as ``int &&``."""
    rvalue = False
    owner: CType | None = None
    """Of a pointer to a member of C++ (kind "member") the class."""
    takes_more = False
    """Whether more arguments may follow the parameters."""
    language = ""
    """The language of the source that it is from: "c", "c++", "rust"; "" where it is not known."""
    prefix = ""
    """Of a "char" what stands before its quotes: "L" (wchar_t), "u" (char16_t), "U" (char32_t)."""
    variants: Variants | None = None
    """Of a structure which of its members are there, one at a time."""
    underlying: CType | None = None
    """Of an enumeration of C++ the integer that it is; ``scoped``: an "enum class"."""
    scoped = False
    is_empty = False
    """Of a structure: it is known, and has no members and no bytes."""
    alignment = 0
    """In bytes, where the source says it; else as its size and its parts ask for: see Abi.alignment."""
    counted_by: Any = None
    """Of an array whose ``count`` is known only while its function runs: by what debuginfo/variables.py finds it."""

    def __init__(self, kind: str, name: str, size: int) -> None:
        self.kind = kind
        self.given = name
        """Its name, "" for one that is called by what it is made of."""
        self.size = size
        self.target: CType | None = None
        """What a pointer points to, an array or a complex number consists of, a function returns."""
        self.members: list[Member] = []
        self.statics: list[Static] = []
        self.methods: list[Method] = []
        self.typedefs: list[Typedef] = []
        self.count: int | None = None
        self.values: dict[int, str] = {}

    @property
    def head(self) -> str:
        """What its declaration begins with: "struct point", of C++ "struct kern::Heap", "enum class kern::Mode"."""
        if self.given.endswith("{...}"):
            return self.given.removesuffix("{...}").rstrip()
        if self.language not in ("c++", "rust") or self.given.startswith(f"{self.kind} "):
            return self.given
        return f"{self.kind}{' class' if self.scoped else ''} {self.given}"

    @property
    def name(self) -> str:
        """As C writes it, without what is declared: "struct point *", "int (*)(int)"."""
        return self.declaring("")

    def declaring(self, what: str) -> str:
        """As C declares ``what`` to be of it: "int (*what)(int)"."""
        if self.given or self.target is None:
            return self.given + (f" {what}" if what else "")
        if self.kind in ("pointer", "member"):
            qualifiers = self.qualifiers if self.kind == "pointer" else ""  # as gdb
            space = " " if qualifiers else ""
            sign = "&&" if self.rvalue else "&" if self.reference else "*"
            scope = f"{self.owner.given}::" if self.owner is not None else ""
            inner = f"{scope}{sign}{space}{qualifiers}{' ' if space and what and what[0] != '[' else ''}{what}"
            bound = not self.target.given and self.target.kind in ("array", "function")
            return self.target.declaring(f"({inner})" if bound else inner)
        if self.kind == "array" and self.is_vector:
            return self.target.declaring(f"{what} __attribute__ ((vector_size({self.count})))".lstrip())
        if self.kind == "array":
            return self.target.declaring(f"{what}[{'' if self.count is None else self.count}]")
        if self.kind == "function":
            takes = [one.name for one in self.parameters or ()] + (["..."] if self.takes_more else [])
            known = "void" if self.parameters is not None else ""
            return self.target.declaring(f"{what}({', '.join(takes) or known})")
        return self.given + (f" {what}" if what else "")

    @property
    def low(self) -> int:
        """The least value it holds."""
        return -(1 << (8 * self.size - 1)) if self.signed and self.size else 0

    @property
    def high(self) -> int:
        """The greatest value it holds."""
        if self.kind == "bool":
            return 1
        return (1 << (8 * self.size - (1 if self.signed else 0))) - 1 if self.size else 0

    @property
    def pointer_to(self) -> CType | None:
        """What a pointer points to, None for other types."""
        return self.target if self.kind == "pointer" else None

    @property
    def is_integer(self) -> bool:
        return self.kind in INTEGERS

    @property
    def is_float(self) -> bool:
        return self.kind == "float"

    @property
    def is_number(self) -> bool:
        """Whether a value of it is one number: an integer, a floating point number or an address."""
        return self.kind in INTEGERS or self.kind in ("float", "pointer")

    @property
    def is_structure(self) -> bool:
        return self.kind in STRUCTURES

    @property
    def resolved(self) -> CType:
        """Without the names that typedefs give and without qualifiers."""
        found = self
        while found.original is not None:
            found = found.original
        return found

    def qualify(self, target: CType, qualifier: str) -> None:
        """Be ``target`` with one qualifier more, or, with "", by another name."""
        self.kind, self.size, self.target = target.kind, target.size, target.target
        self.members, self.count, self.values = target.members, target.count, target.values
        self.signed, self.parameters, self.takes_more = target.signed, target.parameters, target.takes_more
        self.reference, self.rvalue, self.owner = target.reference, target.rvalue, target.owner
        self.statics, self.methods, self.typedefs = target.statics, target.methods, target.typedefs
        self.is_vector, self.is_quad = target.is_vector, target.is_quad
        self.language, self.variants, self.prefix = target.language, target.variants, target.prefix
        self.underlying, self.scoped, self.is_empty = target.underlying, target.scoped, target.is_empty
        self.original, self.by_mode, self.counted_by = target, target.by_mode, target.counted_by
        if qualifier:
            words = {*target.qualifiers.split(), qualifier}
            self.qualifiers = " ".join(word for word in ("const", "volatile", "restrict", "_Atomic") if word in words)
            self.unqualified = target.unqualified or target.given
            self.given = f"{self.qualifiers} {self.unqualified}" if self.unqualified else ""

    @property
    def is_counted_later(self) -> bool:
        """Whether it is made of an array whose length is known only while its function runs."""
        if self.kind not in ("array", "pointer") or self.target is None:
            return False
        return self.counted_by is not None or self.target.is_counted_later

    @property
    def bare(self) -> CType:
        """Without the names that typedefs give, with its qualifiers."""
        found = self
        while found.original is not None and not found.qualifiers:
            found = found.original
        return found

    def member(self, name: str) -> Member | None:
        """The member of that name, also of members without one and of bases; its offset is that into this type."""
        for one in self._own_first:
            if one.name == name:
                return one
            if (not one.name or one.name[0] == "<") and (inner := one.type.member(name)) is not None:
                return replace(inner, offset=one.offset + inner.offset)
        return None

    @property
    def _own_first(self) -> list[Member]:
        """The members, then the base classes, whose members they hide."""
        return sorted(self.members, key=lambda one: one.name[:1] == "<")

    @property
    def bases(self) -> list[Member]:
        """The base classes, in the order of the source."""
        return [one for one in self.members if one.name[:1] == "<"]

    def static(self, name: str) -> tuple[Static, CType] | None:
        """The static member of that name, also of a base, and the class that has it."""
        for one in self.statics:
            if one.name == name:
                return one, self.resolved
        return next((found for base in self.bases if (found := base.type.static(name)) is not None), None)

    def methods_named(self, name: str) -> tuple[list[Method], list[Member]]:
        """The member functions of that name, and by which bases one gets to the class that has them."""
        found = [one for one in self.methods if one.name == name]
        if found:
            return found, []
        for base in self.bases:
            found, way = base.type.methods_named(name)
            if found:
                return found, [base, *way]
        return [], []

    def way_to(self, name: str) -> list[Member]:
        """By which bases and members without a name one gets to the member of that name; it is the last one."""
        return next(iter(self.ways_to(name)), [])

    def ways_to(self, name: str) -> list[list[Member]]:
        """The same of all members of that name that hide none of each other: C++ calls several ambiguous."""
        for one in self.members:
            if one.name == name:
                return [[one]]
        for one in self.members:
            if not one.name and (rest := one.type.ways_to(name)):
                return [[one, *way] for way in rest]
        return self._visible([[base, *way] for base in self.bases for way in base.type.ways_to(name)])

    def ways_to_base(self, wanted: CType) -> list[list[Member]]:
        """The same of a base class."""
        ways = [[base] for base in self.bases if base.type.same(wanted)]
        return self._visible(ways + [[base, *way] for base in self.bases for way in base.type.ways_to_base(wanted)])

    def _visible(self, ways: list[list[Member]]) -> list[list[Member]]:
        """Without those that lead to the same place, and what is in a virtual base of a class that has one, too."""
        found = {_place(way): way for way in reversed(ways)}
        owners = [way[-2].type.resolved for way in found.values() if len(way) > 1]
        return [
            way for way in reversed(found.values())
            if not any(base.virtual and owner.ways_to_base(base.type) for base in way[:-1] for owner in owners)
        ]  # fmt: skip

    def goes_by(self, name: str) -> bool:
        """Whether it is the class of that name; the namespaces around it may be left out."""
        given = self.resolved.given
        return given in (name, f"struct {name}") or given.endswith(f"::{name}")

    def way_to_base(self, name: str) -> list[Member]:
        """The same of a base class."""
        for one in self.bases:
            if one.type.goes_by(name):
                return [one]
            if rest := one.type.way_to_base(name):
                return [one, *rest]
        return []

    def same(self, other: CType) -> bool:
        """Whether both are the same kind of thing of the same size, by the same name."""
        one, two = self.resolved, other.resolved
        return one is two or (one.kind, one.size, one.name) == (two.kind, two.size, two.name)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<CType {self.name}>"


def _place(way: Sequence[Member]) -> tuple[str, int]:
    """Where in an object a way leads: a virtual base is there once."""
    last = max((at for at, base in enumerate(way) if base.virtual), default=-1)
    return way[last].name if last >= 0 else "", sum(one.offset for one in way[last + 1 :])


def integer(name: str, size: int, *, signed: bool = False, kind: str = "") -> CType:
    """A built-in integer."""
    made = CType(kind or ("int" if signed else "uint"), name, size)
    made.signed = signed
    return made


VOID = CType("void", "void", 0)
INT = integer("int", 4, signed=True)
U8, U16, U32, U64 = (integer(f"u{8 * size}", size) for size in (1, 2, 4, 8))
S8, S16, S32, S64 = (integer(f"s{8 * size}", size, signed=True) for size in (1, 2, 4, 8))
UNSIGNED = {one.size: one for one in (U8, U16, U32, U64)}
EXACT = integer("long", 8, signed=True)
"""A number that has no type: 64 bits, signed or unsigned as its value asks for."""


def pointer(to: CType, size: int = 0) -> CType:
    """The type of a pointer to ``to``; without a ``size`` it has that of the CPU's mode in memory."""
    made = CType("pointer", "", size or 8)
    made.target = to
    made.by_mode = not size
    return made


def array_of(element: CType, count: int | None) -> CType:
    """``count`` of them in a row."""
    made = CType("array", "", element.size * (count or 0))
    made.target, made.count = element, count
    return made


def complex_of(element: CType) -> CType:
    """A complex number: a real and an imaginary part of this type."""
    made = CType("complex", f"complex {element.name}", 2 * element.size)
    made.target = element.bare
    return made


def function_returning(result: CType, parameters: Sequence[CType] | None = None) -> CType:
    """The type of a function."""
    made = CType("function", "", 1)
    made.target, made.parameters = result, parameters
    return made


ADDRESS = pointer(VOID)
"""What is an address and nothing else: a symbol without a type, ``seg:off``."""
DATA = pointer(VOID)
"""The type of $sp."""
CODE = pointer(function_returning(VOID))
"""The type of $pc."""
