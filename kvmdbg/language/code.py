"""The nodes of an expression and the Python source that each becomes; operators are in operators.py.

Every piece of source carries the range its value can have, so that only what can leave
its type is wrapped, and what is constant is worked out beforehand. Nothing that a user
typed gets into the source but numbers.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple, dataclass_transform

from kvmdbg.language.ctype import EXACT, CType
from kvmdbg.language.places import SEGMENT_REGISTERS, static_type
from kvmdbg.language.types import LEAST, LINEAR, Raw
from kvmdbg.masks import LOW64


class Code(NamedTuple):
    """Python source of a value from ``low`` to ``high``; ``constant``: it is that number and nothing else.

    What is no integer has no range: its source gives a float, an Extended, or bytes.
    """

    text: str
    low: int = 0
    high: int = 0
    constant: bool = False


def number(value: int) -> Code:
    return Code(str(value) if value >= 0 else f"({value})", value, value, True)


def limits(type: CType) -> tuple[int, int]:
    """The least and the greatest value of an integer or a pointer; those of a bool as it may be in memory."""
    if type is EXACT:
        return LEAST, LOW64
    if type.kind == "pointer":
        return 0, pointer_mask(type)
    return (0, (1 << 8 * type.size) - 1) if type.kind == "bool" else (type.low, type.high)


def pointer_mask(type: CType) -> int:
    """The bits that an address of this type has as a value."""
    return LOW64 if type.by_mode or type.size != 4 else 0xFFFFFFFF


class Generator:
    """Collects what the generated function needs: temporaries, and things that are bound to a machine."""

    def __init__(self) -> None:
        self.bound: dict[tuple[str, str], tuple[str, int]] = {}  # (kind, name): parameter, column
        self.objects: dict[str, Any] = {}
        """Constants that are no integers, by the names that stand for them."""
        self.reads = False  # whether it reads memory
        self.known: dict[Node, Code] = {}
        """The temporaries that hold what has been worked out already, and calls of what is separate."""
        self.functions: list[str] = []
        """The bodies of what is separate."""
        self._temporaries = 0

    def temporary(self) -> str:
        self._temporaries += 1
        return f"t{self._temporaries}"

    def separate(self, text: str) -> str:
        """Source that calls a function of its own for this."""
        self.functions.append(text)
        return f"part{len(self.functions) - 1}()"

    def parameter(self, kind: str, name: str, column: int) -> str:
        """The generated function's name for what BINDERS[kind] makes of ``name``."""
        return self.bound.setdefault((kind, name), (f"{kind}{len(self.bound)}", column))[0]

    def held(self, value: Any) -> Code:
        """Source of a constant."""
        name = f"held{len(self.objects)}"
        self.objects[name] = value
        return Code(name)

    def wrapped(self, text: str, low: int, high: int) -> Code:
        """Source wrapped to 64 bits where its range asks for it."""
        if low >= LEAST and high <= LOW64:
            return Code(f"({text})", low, high)
        name = self.temporary()
        return Code(f"({name} if {LEAST} <= ({name} := {text}) <= {LOW64} else {name} & {LOW64})", LEAST, LOW64)

    def cut(self, code: Code, type: CType) -> Code:
        """The source of an integer cut down to what ``type`` holds."""
        if type is EXACT:
            return self.wrapped(code.text, code.low, code.high) if not code.constant else code
        low, high = limits(type)
        if low <= code.low and code.high <= high:
            return code
        mask = high - low
        if code.constant:
            value = code.low & mask
            return number(value - mask - 1 if value > high else value)
        if low < 0:
            return Code(f"((({code.text} & {mask}) ^ {high + 1}) - {high + 1})", low, high)
        return Code(f"({code.text} & {mask})", 0, mask)

    def converted(self, code: Code, given: CType, wanted: CType) -> Code:
        """The source of a number as another type has it."""
        if wanted.is_float:
            name = "quad" if wanted.is_quad else {2: "half", 4: "single", 8: "float"}.get(wanted.size, "extended")
            same = given.size == wanted.size or min(given.size, wanted.size) > 8
            alike = given.is_float and same and given.is_quad == wanted.is_quad
            return code if alike or (given.is_float and given.size < wanted.size <= 8) else Code(f"{name}({code.text})")
        if wanted.kind == "bool":
            if not given.is_float and code.low >= 0 and code.high <= 1:
                return code
            return Code(f"(1 if {code.text} else 0)", 0, 1)
        if given.is_float:
            code = Code(f"truncated({code.text})", -(1 << 20000), 1 << 20000)
        return self.cut(code, wanted)

    def in_memory(self, code: Code, type: CType) -> Code:
        """Source of the bytes that a value is in memory."""
        if type.is_float:
            return Code(f"bytes_of({code.text}, {type.size}, {type.is_quad})")
        if not type.is_number:
            return code
        return Code(f"({code.text} & {(1 << 8 * type.size) - 1}).to_bytes({type.size}, 'little')")

    def of_memory(self, text: str, type: CType) -> Code:
        """Source of the value that bytes are."""
        if type.is_float:
            return Code(f"number_of({text}, {type.is_quad})")
        if not type.is_number:
            return Code(text)
        low, high = limits(type)
        return Code(f"from_bytes({text}, 'little'{', signed=True' if low < 0 else ''})", low, high)


@dataclass_transform(kw_only_default=True, eq_default=False)
class _Record:
    """What dataclass would give its subclasses, without the time that making so many dataclasses takes."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


class Node(_Record):
    """``space``: where it points to, when it is taken as an address."""

    column: int
    type: CType = EXACT
    space: str = LINEAR

    @cached_property
    def depth(self) -> int:
        """How many operators deep it is."""
        return 1 + max((part.depth for part in self.parts()), default=0)

    def parts(self) -> tuple[Node, ...]:
        return ()

    def emit(self, make: Generator) -> Code:
        raise NotImplementedError

    def truth(self, make: Generator) -> str:
        """Source that is true when the value is not 0."""
        return self.emit(make).text


class Separate(Node):
    """A part that is many operators deep, as a long sum is: a function of its own in the source."""

    operand: Node

    @property
    def depth(self) -> int:
        return 1

    def parts(self) -> tuple[Node, ...]:
        return (self.operand,)

    def emit(self, make: Generator) -> Code:
        if self not in make.known:
            found = self.operand.emit(make)
            make.known[self] = found if found.constant else found._replace(text=make.separate(found.text))
        return make.known[self]


def inner(node: Node) -> list[Node]:
    """A node and all that it is made of, parts before what they are in."""
    found, left, seen = [], [node], {node}
    while left:
        found.append(one := left.pop())
        new = [part for part in one.parts() if part not in seen]
        seen.update(new)
        left += new
    return found[::-1]


class Number(Node):
    value: int

    def emit(self, make: Generator) -> Code:
        return number(self.value)


class Constant(Node):
    """A floating point number, the characters of a text, the bytes of a structure."""

    value: Raw

    def emit(self, make: Generator) -> Code:
        return make.held(self.value)


class Ready(Node):
    """Source that is there already."""

    code: Code

    def emit(self, make: Generator) -> Code:
        return self.code


class Call(Node):
    """``$name(arguments)``: a function of language/functions.py."""

    name: str
    arguments: tuple[Node, ...]

    def parts(self) -> tuple[Node, ...]:
        return self.arguments

    def emit(self, make: Generator) -> Code:
        made = make.parameter("call", self.name, self.column)
        given = ", ".join(f"{argument.emit(make).text}" for argument in self.arguments)
        return Code(f"({made}({given}) & {LOW64})", 0, LOW64)


class AsString(Node):
    """The name of an enumeration's value, or the number, as a text."""

    operand: Node

    def parts(self) -> tuple[Node, ...]:
        return (self.operand,)

    def emit(self, make: Generator) -> Code:
        type = make.held(self.operand.type)
        return Code(f"as_string({type.text}, {self.operand.emit(make).text})")


class IsVoid(Node):
    """Whether a variable of the user has no value."""

    name: str

    def emit(self, make: Generator) -> Code:
        return Code(make.parameter("unset", self.name, self.column) + "()", 0, 1)


class SizeOf(Node):
    """Size in bytes of a pointer in memory, in the mode the CPU is in; of ``operand``, which must be there."""

    operand: Node | None = None

    def emit(self, make: Generator) -> Code:
        if self.operand is not None:
            self.operand.emit(make)
        return Code("ctx.pointer_size", 2, 8)


class SizeOfValue(Number):
    """The size of what ``operand`` is. It is not evaluated, but what it names must be there."""

    operand: Node

    def parts(self) -> tuple[Node, ...]:
        return (self.operand,)

    def emit(self, make: Generator) -> Code:
        self.operand.emit(make)
        return Code(str(self.value), self.value, self.value)


class Symbol(Node):
    """A symbol's address. Of a function that the source declares ``type`` is its type; of a member function ``this`` is
    the address of the object that it is called on."""

    name: str
    this: Node | None = None

    def emit(self, make: Generator) -> Code:
        return Code(make.parameter("symbol", self.name, self.column), 0, LOW64)


class Name(Node):
    """``$name``: a register, a flag or a variable."""

    name: str

    def emit(self, make: Generator) -> Code:
        low, high = static_type(self.name)[1:]
        if self.type.kind == "function":
            return Code(make.parameter("reader", self.name, self.column) + "()", 0, LOW64)
        if not self.type.is_number:
            return Code(make.parameter("whole", self.name, self.column) + f"({self.type.size})")
        if self.type.is_float:
            return Code(make.parameter("floating", self.name, self.column) + f"({self.type.size})")
        if (low, high) == (LEAST, LOW64):
            low, high = limits(self.type)
        if high > LOW64:
            return make.cut(Code(make.parameter("wide", self.name, self.column) + "()", 2 * -high, 2 * high), self.type)
        return Code(make.parameter("reader", self.name, self.column) + "()", low, high)


class SegmentOffset(Node):
    segment: Node
    offset: Node

    def parts(self) -> tuple[Node, ...]:
        return self.segment, self.offset

    def emit(self, make: Generator) -> Code:
        segment, offset = self.segment, self.offset.emit(make).text
        if isinstance(segment, Name) and segment.name.lower() in SEGMENT_REGISTERS:
            base = make.parameter("base", segment.name.lower(), segment.column) + "()"
        else:
            base = f"ctx.segment({segment.emit(make).text})"
        return Code(f"({base} + {offset} & {LOW64})", 0, LOW64)


class Memory(Node):
    """What is at ``address``; ``type`` is its type there, ``where`` the space it lies in.

    ``cast``: an expression has given it this type. ``reference``: the type of the reference that was written for it.
    """

    address: Node
    where: str
    cast: bool = False
    reference: CType | None = None

    def parts(self) -> tuple[Node, ...]:
        return (self.address,)

    def size(self) -> str:
        """Source of the size in bytes."""
        return "ctx.pointer_size" if self.type.by_mode else str(self.type.size)

    def at(self, make: Generator) -> Code:
        """Source of the address."""
        code = self.address.emit(make)
        if code.constant:
            return number(code.low & LOW64)
        return code if code.low >= 0 and code.high <= LOW64 else Code(f"({code.text} & {LOW64})", 0, LOW64)

    def emit(self, make: Generator) -> Code:
        if self.type.kind == "function":
            return self.at(make)
        make.reads = True
        return make.of_memory(f"read({self.at(make).text}, {self.size()}, '{self.where}')", self.type)


class VirtualBase(Node):
    """The address of a virtual base of the object at ``address``; ``find`` is its member's ``virtual``."""

    address: Node
    find: Any

    def parts(self) -> tuple[Node, ...]:
        return (self.address,)

    def emit(self, make: Generator) -> Code:
        reader = f"lambda at, size: ctx.read(at, size, '{LINEAR}')"
        return Code(f"{make.held(self.find).text}({reader}, {self.address.emit(make).text})", 0, LOW64)


class Several(Memory):
    """An array of so many as ``count`` says then: only as a whole expression."""

    count: Node


class SourceAddress(Node):
    """Where a variable of the guest's source is."""

    name: str

    def emit(self, make: Generator) -> Code:
        return Code(f"{make.parameter('address', self.name, self.column)}()", 0, LOW64)


class SourceVariable(Memory):
    """A variable of the guest's source: in memory, or in a register for a while."""

    name: str

    def emit(self, make: Generator) -> Code:
        if not self.type.is_number or self.type.is_float:
            return make.of_memory(f"{make.parameter('contents', self.name, self.column)}({self.type.size})", self.type)
        reader = make.parameter("value", self.name, self.column)
        return Code(f"{reader}({self.type.size}, {self.type.signed})", *limits(self.type))


class PartOfVariable(Memory):
    """What is ``offset`` bytes into the variable ``name`` of the guest's source, wherever that is."""

    name: str
    offset: Node

    def emit(self, make: Generator) -> Code:
        reader = make.parameter("piece", self.name, self.column)
        return make.of_memory(f"{reader}({self.offset.emit(make).text}, {self.size()})", self.type)


class Part(Node):
    """What is ``offset`` bytes into a structure or an array that is in no memory."""

    whole: Node
    offset: Node

    def parts(self) -> tuple[Node, ...]:
        return self.whole, self.offset

    def emit(self, make: Generator) -> Code:
        whole, offset = self.whole.emit(make).text, self.offset.emit(make).text
        return make.of_memory(f"part({whole}, {offset}, {self.type.size}, fail, {self.column})", self.type)


class BitField(Node):
    """``bits`` bits from ``bit`` on of the bytes that ``unit`` is."""

    unit: Node
    bit: int
    bits: int

    def parts(self) -> tuple[Node, ...]:
        return (self.unit,)

    def signed(self, text: str) -> Code:
        """Source of the field's value, of its bits without a sign."""
        high = (1 << self.bits) - 1
        if not self.type.signed:
            return Code(text, 0, high)
        sign = 1 << self.bits - 1
        return Code(f"(({text} ^ {sign}) - {sign})", -sign, sign - 1)

    def emit(self, make: Generator) -> Code:
        return self.signed(f"({self.unit.emit(make).text} >> {self.bit} & {(1 << self.bits) - 1})")


class Comma(Node):
    left: Node
    right: Node

    def parts(self) -> tuple[Node, ...]:
        return self.left, self.right

    def emit(self, make: Generator) -> Code:
        left, right = self.left.emit(make), self.right.emit(make)
        return right if left.constant else Code(f"({left.text}, {right.text})[1]", right.low, right.high)


class Items(Node):
    """``{1, 2}``: an array of these, in no memory."""

    items: tuple[Node, ...]

    def parts(self) -> tuple[Node, ...]:
        return self.items

    def emit(self, make: Generator) -> Code:
        target = self.type.target
        assert target is not None
        found = []
        for one in self.items:
            text = one.emit(make)
            found.append(make.in_memory(make.converted(text, one.type, target) if target.is_number else text, target))
        return Code("(" + " + ".join(one.text for one in found) + ")")


class Chars(Node):
    """The bytes that the value of ``operand`` is in memory, as an array or a structure of the same size."""

    operand: Node

    def parts(self) -> tuple[Node, ...]:
        return (self.operand,)

    def emit(self, make: Generator) -> Code:
        return make.in_memory(self.operand.emit(make), self.operand.type)


def named(name: str, column: int) -> Name:
    """``$name``."""
    return Name(column=column, type=static_type(name)[0], name=name)
