"""The nodes of operators: casts, arithmetic, comparisons, assignment.

Source: ISO C, sections 6.3 (conversions) and 6.5 (expressions).
"""

from __future__ import annotations

from kvmdbg.language import ctype, elements
from kvmdbg.language.abi import Abi
from kvmdbg.language.arithmetic import OPERATORS, bounds, wrap
from kvmdbg.language.code import (
    BitField,
    Code,
    Generator,
    Memory,
    Name,
    Node,
    Number,
    Part,
    Ready,
    SizeOf,
    SourceVariable,
    Symbol,
    limits,
    number,
    pointer_mask,
)
from kvmdbg.language.ctype import EXACT, U64, CType
from kvmdbg.language.types import LINEAR, PHYSICAL
from kvmdbg.masks import LOW64


class Cast(Node):
    operand: Node

    def parts(self) -> tuple[Node, ...]:
        return (self.operand,)

    def emit(self, make: Generator) -> Code:
        return make.converted(self.operand.emit(make), self.operand.type, self.type)


class Discarded(Node):
    """``(void) x``."""

    operand: Node

    def parts(self) -> tuple[Node, ...]:
        return (self.operand,)

    def emit(self, make: Generator) -> Code:
        return self.operand.emit(make)


class Unary(Node):
    """``-`` or ``~``."""

    op: str
    operand: Node

    def parts(self) -> tuple[Node, ...]:
        return (self.operand,)

    def emit(self, make: Generator) -> Code:
        code = make.converted(self.operand.emit(make), self.operand.type, self.type)
        if self.type.is_float:
            zero = "quad(0)" if self.type.is_quad else "0.0" if self.type.size <= 8 else "extended(0)"
            return Code(f"({zero} - {code.text})")  # gdb has no -0.0 here
        extra = 1 if self.op == "~" else 0
        if code.constant:
            value = -code.low - extra
            return make.cut(number(wrap(value) if self.type is EXACT else value), self.type)
        return make.cut(Code(f"({self.op}{code.text})", -code.high - extra, -code.low - extra), self.type)


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
    """``common``: the type that both sides are compared in. Only with ``==`` and ``!=`` a negative constant stands for
    its two's complement in the width of the register beside it, so that ``$al == -1`` is what it says."""

    op: str
    left: Node
    right: Node
    common: CType

    def parts(self) -> tuple[Node, ...]:
        return self.left, self.right

    def truth(self, make: Generator) -> str:
        left, right = self.left.emit(make), self.right.emit(make)
        if self.op in ("==", "!="):
            left, right = self._alike(left, self.right), self._alike(right, self.left)
        left = make.converted(left, self.left.type, self.common)
        right = make.converted(right, self.right.type, self.common)
        return f"({left.text} {self.op} {right.text})"

    @staticmethod
    def _alike(code: Code, other: Node) -> Code:
        if code.constant and code.low < 0 and isinstance(other, Name) and other.type in ctype.UNSIGNED.values():
            return number(code.low & other.type.high)
        return code


_FUNCTIONS = {"/": "divided", "%": "modulo", "<<": "shifted_left", ">>": "shifted_right"}


class Arithmetic(Node):
    """``type`` is that of the result, ``common`` the one that both sides have before (of a shift, the left one)."""

    op: str
    left: Node
    right: Node
    common: CType

    def parts(self) -> tuple[Node, ...]:
        return self.left, self.right

    def emit(self, make: Generator) -> Code:
        op = self.op
        left = make.converted(self.left.emit(make), self.left.type, self.common)
        right = self.right.emit(make)
        if op not in ("<<", ">>"):
            right = make.converted(right, self.right.type, self.common)
        if self.common.is_float:
            if op == "/":
                found = Code(f"ratio({left.text}, {right.text})")
            else:
                found = Code(f"({left.text} {op} {right.text})")
            rounded = {2: "half", 4: "single"}.get(self.common.size, "")
            return Code(f"{rounded}({found.text})") if rounded else found
        mistaken = right.low <= 0 <= right.high if op in ("/", "%") else op in ("<<", ">>") and right.low < 0
        if left.constant and right.constant and not mistaken:
            value = OPERATORS[op](left.low, right.low)
            return number(wrap(value)) if self.type is EXACT else make.cut(number(value), self.type)
        low, high = bounds(op, (left.low, left.high), (right.low, right.high))
        signed = op in ("/", "%") and (left.low < 0 or right.low < 0)  # where Python rounds down
        if mistaken or signed or (op == "<<" and right.high > 63):
            text = f"{_FUNCTIONS[op]}({left.text}, {right.text}, fail, {self.column})"
        else:
            text = f"{left.text} {'//' if op == '/' else op} {right.text}"
        if self.type is EXACT:
            return make.wrapped(text, low, high)
        return make.cut(Code(f"({text})", low, high), self.type)


class Ternary(Node):
    """``sides``: what was written, of which a whole expression is the one that counts."""

    condition: Node
    yes: Node
    no: Node
    sides: tuple[Node, Node]

    def parts(self) -> tuple[Node, ...]:
        return self.condition, self.yes, self.no

    def emit(self, make: Generator) -> Code:
        condition, yes, no = self.condition.truth(make), self.yes.emit(make), self.no.emit(make)
        if self.type.is_number:
            yes = make.converted(yes, self.yes.type, self.type)
            no = make.converted(no, self.no.type, self.type)
        return Code(f"({yes.text} if {condition} else {no.text})", min(yes.low, no.low), max(yes.high, no.high))


class Assign(Node):
    """``target = value`` or, with ``op``, ``target op= value``; ``post``: its value is the one before."""

    target: Name | Memory | BitField | Part
    value: Node
    abi: Abi
    op: str = ""
    post: bool = False

    def parts(self) -> tuple[Node, ...]:
        return self.target, self.value

    def emit(self, make: Generator) -> Code:
        """A tuple of what is to be done in turn, and the item that counts."""
        target, steps = self.target, []
        at = make.temporary()
        place = target.unit if isinstance(target, BitField) else target
        if isinstance(place, Memory) and not isinstance(place, SourceVariable):
            steps.append(f"({at} := {place.at(make).text})")
            address = Ready(column=place.column, type=U64, code=Code(at, 0, LOW64))
            place = Memory(column=place.column, type=place.type, address=address, where=place.where)
            if isinstance(target, BitField):
                target = BitField(column=target.column, type=target.type, unit=place, bit=target.bit, bits=target.bits)
            else:
                target = place
        value = self.value
        if self.op:
            name = make.temporary()
            old = target.emit(make)
            steps.append(f"({name} := {old.text})")
            before = Ready(column=target.column, type=target.type, code=Code(name, old.low, old.high))
            value = arithmetic(self.op, before, self.value, self.column, self.abi)
            if elements.is_several(self.type):
                value = elements.converted(value, self.type)
        code = value.emit(make)
        if self.type.is_number:
            wanted = U64 if isinstance(target, Name) and target.type in ctype.UNSIGNED.values() else self.type
            code = make.converted(code, value.type, wanted) if wanted is not EXACT else code
        steps.append(self._store(make, target, at, code))
        text = f"({', '.join(steps)},)[{-2 if self.post else -1}]"
        if isinstance(target, BitField):
            return target.signed(text) if not self.post else Code(text, *limits(target.type))
        low, high = limits(self.type) if self.type.is_number and not self.type.is_float else (0, 0)
        return Code(text, low, high)

    def _store(self, make: Generator, target: Name | Memory | BitField | Part, at: str, code: Code) -> str:
        """Source of the writing; it gives what is there then."""
        type = target.type
        if isinstance(target, Part):
            root: Node = target
            offsets = []
            while isinstance(root, Part):
                offsets.append(root.offset.emit(make).text)
                root = root.whole
            assert isinstance(root, Name)
            whole, placer = root.emit(make).text, make.parameter("placer", root.name, root.column)
            data = make.in_memory(code, type).text
            written = f"replaced({placer}, {whole}, {' + '.join(offsets)}, {data}, fail, {self.column})"
            return make.of_memory(written, type).text
        if isinstance(target, BitField):
            unit = target.unit
            assert isinstance(unit, Memory)
            return f"store_bits(ctx, {at}, {code.text}, {unit.type.size}, {target.bit}, {target.bits}, '{unit.where}')"
        if isinstance(target, Name):
            kind = "writer" if type.is_number and not type.is_float else "placer"
            return f"{make.parameter(kind, target.name, target.column)}({code.text})"
        if isinstance(target, SourceVariable):
            if type.is_number and not type.is_float:
                writer = make.parameter("store", target.name, target.column)
                return f"{writer}({code.text}, {type.size}, {type.signed})"
            writer = make.parameter("place", target.name, target.column)
            return make.of_memory(f"{writer}({make.in_memory(code, type).text})", type).text
        if type.is_number and not type.is_float:
            signed = type.signed and type.kind != "pointer"
            return f"store(ctx, {at}, {code.text}, {target.size()}, {signed}, '{target.where}')"
        written = f"store_bytes(ctx, {at}, {make.in_memory(code, type).text}, '{target.where}')"
        return make.of_memory(written, type).text


def _scaled(index: Node, type: CType, column: int) -> Node:
    """``index`` in bytes, for a pointer of this type."""
    to = type.target
    assert to is not None
    size: Node = Number(column=column, value=to.size)
    if to.by_mode:
        size = SizeOf(column=column)
    elif to.size <= 1:
        return index
    return Arithmetic(column=column, op="*", left=index, right=size, common=EXACT)


def _as_number(node: Node, abi: Abi) -> CType:
    """The type that a node has in arithmetic: an address is an unsigned number."""
    if node.type.kind != "pointer":
        return node.type
    return U64 if pointer_mask(node.type) == LOW64 else abi.unsigned


def arithmetic(op: str, left: Node, right: Node, column: int, abi: Abi) -> Node:
    """``left op right``, in units of what a pointer points to where one of them is a pointer. Raises Mismatch."""
    if elements.is_several(left.type) or elements.is_several(right.type):
        return elements.arithmetic(op, left, right, column, abi)
    space = PHYSICAL if PHYSICAL in (left.space, right.space) else LINEAR
    pointers = [one.type.kind == "pointer" for one in (left, right)]
    if op == "-" and all(pointers):
        return _difference(left, right, column, abi)
    if op == "+" and all(pointers):
        raise elements.Mismatch(f"{left.type} and {right.type} cannot be added")
    if any(pointers) and (left.type.is_float or right.type.is_float):
        raise elements.Mismatch(f"{left.type} and {right.type} do not go together")
    for at, (one, index) in enumerate(((left, right), (right, left))):
        if pointers[at] and (op == "+" or (op == "-" and not at)):
            steps = _scaled(index, one.type, column)
            both = (one, steps) if not at else (steps, one)
            return Arithmetic(
                column=column, type=one.type.bare, space=space, op=op, left=both[0], right=both[1], common=EXACT
            )
    types = [_as_number(one, abi) for one in (left, right)]
    common = abi.common(types[0], types[1], op)
    if common.is_float and op not in ("+", "-", "*", "/"):
        raise elements.Mismatch(f"'{op}' works with integers only, not with {common}")
    if op in ("<<", ">>"):
        common = abi.promoted(types[0])
    return Arithmetic(column=column, type=common, space=space, op=op, left=left, right=right, common=common)


def _difference(left: Node, right: Node, column: int, abi: Abi) -> Node:
    to, other = left.type.target, right.type.target
    assert to is not None and other is not None
    if to.size != other.size or to.by_mode != other.by_mode:
        raise elements.Mismatch(f"{left.type} and {right.type} cannot be subtracted from each other")
    difference = Arithmetic(column=column, op="-", left=left, right=right, common=EXACT)
    long = EXACT if left.type.by_mode or right.type.by_mode else abi.long
    size: Node = Number(column=column, value=max(to.size, 1))
    if to.by_mode:
        size = SizeOf(column=column)
    elif to.size <= 1:
        return Cast(column=column, type=long, operand=difference)
    return Arithmetic(column=column, type=long, op="/", left=difference, right=size, common=EXACT)


def compared(op: str, left: Node, right: Node, column: int, abi: Abi) -> Node:
    """``left op right`` of a comparison. Raises Mismatch."""
    if elements.is_several(left.type) or elements.is_several(right.type):
        return elements.compared(op, left, right, column, abi)
    if any(one.type.kind == "pointer" for one in (left, right)):
        common = EXACT if EXACT in (left.type, right.type) else U64
        if left.type.is_float or right.type.is_float:
            common = abi.common(_as_number(left, abi), _as_number(right, abi))
    else:
        common = abi.common(left.type, right.type)
    return Comparison(column=column, type=abi.int, op=op, left=left, right=right, common=common)


def negated(op: str, operand: Node, column: int, abi: Abi) -> Node:
    """``-operand`` or ``~operand``. Raises Mismatch."""
    if elements.is_several(operand.type):
        return elements.negated(op, operand, column, abi)
    if operand.type.is_float and op == "~":
        raise elements.Mismatch(f"'~' works with integers only, not with {operand.type}")
    type = abi.promoted(_as_number(operand, abi))
    return Unary(column=column, type=type, space=operand.space, op=op, operand=operand)


def address_of(operand: Memory | Symbol, column: int, size: int) -> Node:
    """``&operand``; ``size``: bytes of the pointer, 0: by the CPU's mode."""
    if isinstance(operand, Symbol):
        if operand.type.kind != "function":
            return operand
        symbol = Symbol(column=column, name=operand.name, type=U64)
        return Cast(column=column, type=ctype.pointer(operand.type, size), operand=symbol)
    return Cast(column=column, type=ctype.pointer(operand.type, size), space=operand.where, operand=operand.address)
