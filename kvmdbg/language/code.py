"""The nodes of an expression and the Python source that each becomes.

Every piece of source carries the range its value can have, so that only what can leave
64 bits is wrapped, and what is constant is worked out beforehand. Nothing that a user
typed gets into the source but numbers.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple, dataclass_transform

from kvmdbg.language.arithmetic import OPERATORS, bounds, wrap
from kvmdbg.language.places import SEGMENT_REGISTERS, static_type
from kvmdbg.language.types import LEAST, LINEAR, MASK, PHYSICAL, S32, Type, pointer, target_of


class Code(NamedTuple):
    """Python source of a value from ``low`` to ``high``; ``constant``: it is that number and nothing else."""

    text: str
    low: int
    high: int
    constant: bool = False


def number(value: int) -> Code:
    return Code(str(value) if value >= 0 else f"({value})", value, value, True)


class Generator:
    """Collects what the generated function needs: temporaries, and things that are bound to a machine."""

    def __init__(self) -> None:
        self.bound: dict[tuple[str, str], tuple[str, int]] = {}  # (kind, name): parameter, column
        self.reads = False  # whether it reads memory
        self._temporaries = 0

    def temporary(self) -> str:
        self._temporaries += 1
        return f"t{self._temporaries}"

    def parameter(self, kind: str, name: str, column: int) -> str:
        """The generated function's name for what BINDERS[kind] makes of ``name``."""
        return self.bound.setdefault((kind, name), (f"{kind}{len(self.bound)}", column))[0]

    def wrapped(self, text: str, low: int, high: int) -> Code:
        """Source wrapped to 64 bits where its range asks for it."""
        if low >= LEAST and high <= MASK:
            return Code(f"({text})", low, high)
        name = self.temporary()
        return Code(f"({name} if {LEAST} <= ({name} := {text}) <= {MASK} else {name} & {MASK})", LEAST, MASK)

    def converted(self, code: Code, type: Type) -> Code:
        """Source cut down to what ``type`` holds."""
        if type.low <= code.low and code.high <= type.high:
            return code
        mask = (1 << 8 * type.size) - 1
        if code.constant:
            value = code.low & mask
            return number(value - mask - 1 if type.signed and value > type.high else value)
        if type.signed:
            return Code(f"((({code.text} & {mask}) ^ {type.high + 1}) - {type.high + 1})", type.low, type.high)
        return Code(f"({code.text} & {mask})", 0, mask)


@dataclass_transform(kw_only_default=True, eq_default=False)
class _Record:
    """What dataclass would give its subclasses, without the time that making so many dataclasses takes."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


class Node(_Record):
    """``type`` None: a plain number. ``space``: where it points to, when it is taken as an address."""

    column: int
    type: Type | None = None
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


class Number(Node):
    value: int

    def emit(self, make: Generator) -> Code:
        return number(self.value)


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
        return Code(f"({made}({given}) & {MASK})", 0, MASK)


class SizeOf(Node):
    """Size in bytes of a pointer in memory, in the mode the CPU is in."""

    def emit(self, make: Generator) -> Code:
        return Code("ctx.pointer_size", 2, 8)


class Symbol(Node):
    name: str

    def emit(self, make: Generator) -> Code:
        return Code(make.parameter("symbol", self.name, self.column), 0, MASK)


class Name(Node):
    """``$name``: a register, a flag or a variable."""

    name: str

    def emit(self, make: Generator) -> Code:
        low, high = static_type(self.name)[1:]
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
        return Code(f"({base} + {offset} & {MASK})", 0, MASK)


class Memory(Node):
    """What is at ``address``; ``type`` is its type there, ``where`` the space it lies in."""

    address: Node
    where: str

    def parts(self) -> tuple[Node, ...]:
        return (self.address,)

    def size(self) -> str:
        """Source of the size in bytes."""
        assert self.type is not None
        by_mode = self.type.pointer_to is not None and self.type.c is None
        return "ctx.pointer_size" if by_mode else str(self.type.size)

    def at(self, make: Generator) -> Code:
        """Source of the address."""
        code = self.address.emit(make)
        if code.constant:
            return number(code.low & MASK)
        return code if code.low >= 0 and code.high <= MASK else Code(f"({code.text} & {MASK})", 0, MASK)

    def emit(self, make: Generator) -> Code:
        assert self.type is not None
        make.reads = True
        signed = ", signed=True" if self.type.signed else ""
        text = f"from_bytes(read({self.at(make).text}, {self.size()}, '{self.where}'), 'little'{signed})"
        return Code(text, self.type.low, self.type.high)


class SourceAddress(Node):
    """Where a variable of the guest's source is."""

    name: str

    def emit(self, make: Generator) -> Code:
        return Code(f"{make.parameter('address', self.name, self.column)}()", 0, MASK)


class SourceVariable(Memory):
    """A variable of the guest's source: in memory, or in a register for a while."""

    name: str

    def emit(self, make: Generator) -> Code:
        assert self.type is not None
        reader = make.parameter("value", self.name, self.column)
        return Code(f"{reader}({self.type.size}, {self.type.signed})", self.type.low, self.type.high)


class BitField(Node):
    """``bits`` bits from ``bit`` on of the bytes at ``unit``."""

    unit: Memory
    bit: int
    bits: int

    def parts(self) -> tuple[Node, ...]:
        return (self.unit,)

    def emit(self, make: Generator) -> Code:
        assert self.type is not None
        high = (1 << self.bits) - 1
        text = f"({self.unit.emit(make).text} >> {self.bit} & {high})"
        if not self.type.signed:
            return Code(text, 0, high)
        sign = 1 << self.bits - 1
        return Code(f"(({text} ^ {sign}) - {sign})", -sign, sign - 1)


class Cast(Node):
    operand: Node

    def parts(self) -> tuple[Node, ...]:
        return (self.operand,)

    def emit(self, make: Generator) -> Code:
        assert self.type is not None
        return make.converted(self.operand.emit(make), self.type)


class Unary(Node):
    """``-`` or ``~``."""

    op: str
    operand: Node

    def parts(self) -> tuple[Node, ...]:
        return (self.operand,)

    def emit(self, make: Generator) -> Code:
        code = self.operand.emit(make)
        extra = 1 if self.op == "~" else 0
        if code.constant:
            return number(wrap(-code.low - extra))
        return make.wrapped(f"{self.op}{code.text}", -code.high - extra, -code.low - extra)


class Truth(Node):
    """What is 0 or 1."""

    def emit(self, make: Generator) -> Code:
        return Code(f"(1 if {self.truth(make)} else 0)", 0, 1)


class Not(Truth):
    operand: Node

    def parts(self) -> tuple[Node, ...]:
        return (self.operand,)

    def truth(self, make: Generator) -> str:
        return f"(not {self.operand.truth(make)})"


class Logical(Truth):
    """A chain of ``&&`` or of ``||``; ``word`` is "and" or "or"."""

    word: str
    operands: tuple[Node, ...]

    def parts(self) -> tuple[Node, ...]:
        return self.operands

    def truth(self, make: Generator) -> str:
        return "(" + f" {self.word} ".join(one.truth(make) for one in self.operands) + ")"


class Comparison(Truth):
    """Compares exact numbers. Only with ``==`` and ``!=`` a negative constant stands for its two's complement in the
    width of the register, memory or cast beside it, so that ``$eax == -1`` is what it says."""

    op: str
    left: Node
    right: Node

    def parts(self) -> tuple[Node, ...]:
        return self.left, self.right

    def truth(self, make: Generator) -> str:
        left, right = self.left.emit(make), self.right.emit(make)
        if self.op in ("==", "!="):
            left, right = self._alike(left, self.right), self._alike(right, self.left)
        return f"({left.text} {self.op} {right.text})"

    @staticmethod
    def _alike(code: Code, other: Node) -> Code:
        if code.constant and code.low < 0 and other.type is not None and not other.type.signed:
            return number(code.low & other.type.high)
        return code


_FUNCTIONS = {"/": "divided", "%": "modulo", "<<": "shifted_left", ">>": "shifted_right"}


class Arithmetic(Node):
    op: str
    left: Node
    right: Node

    def parts(self) -> tuple[Node, ...]:
        return self.left, self.right

    def emit(self, make: Generator) -> Code:
        left, right = self.left.emit(make), self.right.emit(make)
        op = self.op
        mistaken = right.low <= 0 <= right.high if op in ("/", "%") else op in ("<<", ">>") and right.low < 0
        if left.constant and right.constant and not mistaken:
            return number(wrap(OPERATORS[op](left.low, right.low)))
        low, high = bounds(op, (left.low, left.high), (right.low, right.high))
        signed = op in ("/", "%") and (left.low < 0 or right.low < 0)  # where Python rounds down
        if mistaken or signed or (op == "<<" and right.high > 63):
            return make.wrapped(f"{_FUNCTIONS[op]}({left.text}, {right.text}, fail, {self.column})", low, high)
        return make.wrapped(f"{left.text} {'//' if op == '/' else op} {right.text}", low, high)


class Ternary(Node):
    condition: Node
    yes: Node
    no: Node

    def parts(self) -> tuple[Node, ...]:
        return self.condition, self.yes, self.no

    def emit(self, make: Generator) -> Code:
        condition, yes, no = self.condition.truth(make), self.yes.emit(make), self.no.emit(make)
        return Code(f"({yes.text} if {condition} else {no.text})", min(yes.low, no.low), max(yes.high, no.high))


class Assign(Node):
    """``target = value`` or, with ``op``, ``target op= value``; ``post``: its value is the one before."""

    target: Name | Memory
    value: Node
    op: str = ""
    post: bool = False

    def parts(self) -> tuple[Node, ...]:
        return self.target, self.value

    def emit(self, make: Generator) -> Code:
        """A tuple of what is to be done in turn, and the item that counts."""
        target, steps = self.target, []
        at = make.temporary()
        if isinstance(target, Memory) and not isinstance(target, SourceVariable):
            steps.append(f"({at} := {target.at(make).text})")
            address = Ready(column=target.column, code=Code(at, 0, MASK))
            target = Memory(column=target.column, type=target.type, address=address, where=target.where)
        if self.op:
            name = make.temporary()
            old = target.emit(make)
            steps.append(f"({name} := {old.text})")
            old = Code(name, old.low, old.high)
            before = Ready(column=target.column, type=target.type, code=old)
            code = arithmetic(self.op, before, self.value, self.column).emit(make)
        else:
            code = self.value.emit(make)
        if isinstance(target, SourceVariable):
            assert target.type is not None
            low, high = target.type.low, target.type.high
            writer = make.parameter("store", target.name, target.column)
            steps.append(f"{writer}({code.text}, {target.type.size}, {target.type.signed})")
        elif isinstance(target, Memory):
            assert target.type is not None
            low, high = target.type.low, target.type.high
            steps.append(f"store(ctx, {at}, {code.text}, {target.size()}, {target.type.signed}, '{target.where}')")
        else:
            low, high = static_type(target.name)[1:]
            steps.append(f"{make.parameter('writer', target.name, target.column)}({code.text})")
        chosen = -2 if self.post else -1
        return Code(f"({', '.join(steps)},)[{chosen}]", low, high)


class TypeMismatch(Exception):
    """Two pointers that do not go together; the parser makes an ExpressionError of it."""


def _scaled(index: Node, type: Type, column: int) -> Node:
    """``index`` in bytes, for a pointer of this type."""
    to = type.pointer_to
    assert to is not None
    if to.pointer_to is not None and to.c is None:
        return Arithmetic(column=column, op="*", left=index, right=SizeOf(column=column))
    if to.size <= 1:
        return index
    return Arithmetic(column=column, op="*", left=index, right=Number(column=column, value=to.size))


def arithmetic(op: str, left: Node, right: Node, column: int) -> Node:
    """``left op right``, in units of what a pointer points to where one of them is a pointer. Raises TypeMismatch."""
    space = PHYSICAL if PHYSICAL in (left.space, right.space) else LINEAR
    pointers = [one.type is not None and one.type.pointer_to is not None for one in (left, right)]
    if op == "-" and all(pointers):
        assert left.type is not None and right.type is not None and left.type.pointer_to is not None
        to, other = left.type.pointer_to, right.type.pointer_to
        assert to is not None and other is not None
        alike = to.size == other.size if to.c is not None or other.c is not None else to == other
        if not alike:
            raise TypeMismatch(f"{left.type} and {right.type} cannot be subtracted from each other")
        difference = Arithmetic(column=column, op="-", left=left, right=right)
        if left.type.pointer_to.pointer_to is not None and left.type.pointer_to.c is None:
            return Arithmetic(column=column, op="/", left=difference, right=SizeOf(column=column))
        if left.type.pointer_to.size <= 1:
            return difference
        size = Number(column=column, value=left.type.pointer_to.size)
        return Arithmetic(column=column, op="/", left=difference, right=size)
    type = None
    if op == "+" and all(pointers):
        raise TypeMismatch(f"{left.type} and {right.type} cannot be added")
    if op in ("+", "-") and pointers[0]:
        assert left.type is not None
        type, right = left.type, _scaled(right, left.type, column)
    elif op == "+" and pointers[1]:
        assert right.type is not None
        type, left = right.type, _scaled(left, right.type, column)
    return Arithmetic(column=column, type=type, space=space, op=op, left=left, right=right)


def dereference(operand: Node, column: int) -> Memory:
    """``*operand``. A plain number and a ``void *`` point to an int, as in gdb."""
    to = target_of(operand.type) if operand.type is not None and operand.type.pointer_to is not None else None
    type = to if to is not None and (to.size or (to.c is not None and to.c.kind == "array")) else S32
    return Memory(column=column, type=type, address=operand, where=operand.space)


def address_of(operand: Memory | Symbol, column: int) -> Node:
    """``&operand``."""
    if isinstance(operand, Symbol):
        return operand
    assert operand.type is not None
    return Cast(column=column, type=pointer(operand.type), space=operand.where, operand=operand.address)


def named(name: str, column: int) -> Name:
    """``$name``."""
    return Name(column=column, type=static_type(name)[0], name=name)
