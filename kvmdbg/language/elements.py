"""Operators on numbers that are several: complex numbers, and the vectors of compilers (``vector_size``).

Source: ISO C, annex G (complex arithmetic); GCC manual, "Vector Extensions"; what the result is called: gdb 13.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kvmdbg.language.abi import Abi
from kvmdbg.language.arithmetic import RUNTIME
from kvmdbg.language.code import Code, Generator, Node, Number, Part
from kvmdbg.language.context import Fail
from kvmdbg.language.ctype import CType, array_of, complex_of
from kvmdbg.language.floats import Extended, Quad, bytes_of, number_of, truncated
from kvmdbg.masks import LOW64


class Digits(Node):
    """A word that is a number in the base of numbers that say none; or a symbol, where there is one of that name."""

    name: str
    base: int

    def emit(self, make: Generator) -> Code:
        return make.cut(Code(make.parameter("digits", f"{self.name} {self.base}", self.column), 0, LOW64), self.type)


class Mismatch(Exception):
    """What such an operator does not take."""


def is_several(type: CType) -> bool:
    """Whether an operator works on its parts, one by one."""
    return type.kind == "complex" or (type.kind == "array" and type.is_vector)


class Elementwise(Node):
    """``left op right``, both of ``type``."""

    op: str
    left: Node
    right: Node

    def parts(self) -> tuple[Node, ...]:
        return self.left, self.right

    def emit(self, make: Generator) -> Code:
        left, right, type = self.left.emit(make).text, self.right.emit(make).text, make.held(self.type).text
        return Code(f"elementwise('{self.op}', {left}, {right}, {type}, fail, {self.column})")


class Spread(Node):
    """One number as each element of a vector, or as the real part of a complex number, or its ``imaginary`` one."""

    operand: Node
    imaginary: bool = False

    def parts(self) -> tuple[Node, ...]:
        return (self.operand,)

    def emit(self, make: Generator) -> Code:
        value, type = self.operand.emit(make).text, make.held(self.type).text
        return Code(f"spread({value}, {type}, {self.imaginary}, fail, {self.column})")


class WithElements(Node):
    """A complex number with parts of another type."""

    operand: Node

    def parts(self) -> tuple[Node, ...]:
        return (self.operand,)

    def emit(self, make: Generator) -> Code:
        given, wanted = make.held(self.operand.type).text, make.held(self.type).text
        return Code(f"with_elements({self.operand.emit(make).text}, {given}, {wanted})")


class Same(Node):
    """``left == right``, both of one type; ``negate``: whether they differ."""

    left: Node
    right: Node
    negate: bool = False

    def parts(self) -> tuple[Node, ...]:
        return self.left, self.right

    def truth(self, make: Generator) -> str:
        type = make.held(self.left.type).text
        found = f"(elements({self.left.emit(make).text}, {type}) == elements({self.right.emit(make).text}, {type}))"
        return f"(not {found})" if self.negate else found

    def emit(self, make: Generator) -> Code:
        return Code(f"(1 if {self.truth(make)} else 0)", 0, 1)


def converted(node: Node, type: CType) -> Node:
    """A number, or several, as a complex number or a vector. Raises Mismatch."""
    if not is_several(node.type):
        if not node.type.is_number or node.type.kind == "pointer":
            raise Mismatch(f"a {node.type} does not go together with a {type}")
        return Spread(column=node.column, type=type, operand=node)
    one, other = _element(node.type), _element(type)
    if node.type.kind != type.kind or (type.kind == "array" and not (one.same(other) and node.type.size == type.size)):
        raise Mismatch(f"{node.type} and {type} do not go together")
    if (one.kind, one.size, one.signed, one.is_quad) == (other.kind, other.size, other.signed, other.is_quad):
        return node
    return WithElements(column=node.column, type=type, operand=node)


def imaginary(node: Node) -> Node:
    """``2i``: a number as the imaginary part of a complex one."""
    return Spread(column=node.column, type=complex_of(node.type), operand=node, imaginary=True)


def part_of(node: Node, at: int) -> Node:
    """The real (0) or the imaginary (1) part of a complex number."""
    element = _element(node.type)
    return Part(
        column=node.column, type=element, whole=node, offset=Number(column=node.column, value=at * element.size)
    )


def arithmetic(op: str, left: Node, right: Node, column: int, abi: Abi) -> Node:
    """``left op right`` where one of them is several. Raises Mismatch."""
    common = _common(left.type, right.type, abi)
    element = _element(common)
    if common.kind == "complex" and op not in ("+", "-", "*", "/"):
        raise Mismatch(f"'{op}' does not work with {common}")
    if element.is_float and op not in ("+", "-", "*", "/"):
        raise Mismatch(f"'{op}' works with integers only, not with {common}")
    return Elementwise(
        column=column, type=common, op=op, left=converted(left, common), right=converted(right, common)
    )  # fmt: skip


def compared(op: str, left: Node, right: Node, column: int, abi: Abi) -> Node:
    """``left op right`` of a comparison: as gdb, true of vectors when all elements are alike. Raises Mismatch."""
    common = _common(left.type, right.type, abi)
    if op not in ("==", "!="):
        raise Mismatch(f"'{op}' does not work with {common}")
    left, right = alike(left, right, abi)
    return Same(column=column, type=abi.int, left=left, right=right, negate=op == "!=")


def truth_of(node: Node, abi: Abi) -> Node:
    """Whether any part of it is not 0."""
    zero = Spread(column=node.column, type=node.type, operand=Number(column=node.column, type=abi.int, value=0))
    return Same(column=node.column, type=abi.int, left=node, right=zero, negate=True)


def alike(one: Node, other: Node, abi: Abi) -> tuple[Node, Node]:
    """Both as the type that they have in common, where one of them is several. Raises Mismatch."""
    common = _common(one.type, other.type, abi)
    return converted(one, common), converted(other, common)


def negated(op: str, operand: Node, column: int, abi: Abi) -> Node:
    """``-operand`` or ``~operand``, of a complex number its conjugate. Raises Mismatch."""
    type = _common(operand.type, operand.type, abi)
    zero = Spread(column=column, type=type, operand=Number(column=column, type=abi.int, value=0))
    if op == "-":
        return Elementwise(column=column, type=type, op="-", left=zero, right=operand)
    if type.kind == "array" and _element(type).is_float:
        raise Mismatch(f"'~' works with integers only, not with {type}")
    return Elementwise(column=column, type=type, op="~", left=operand, right=operand)


def _element(type: CType) -> CType:
    assert type.target is not None
    return type.target.bare


def _common(left: CType, right: CType, abi: Abi) -> CType:
    several = [one for one in (left, right) if is_several(one)]
    for each in (left, right):
        if each.kind == "array" and each.is_vector:
            vector = array_of(_element(each), each.count)
            vector.is_vector = True
            return vector
    one, other = (_element(each) if is_several(each) else each for each in (left, right))
    element = abi.common(one, other)
    for each in several:
        if _element(each).same(element):
            return each.bare
    return complex_of(element)


# --- what the generated source calls ------------------------------------------------------------------


def _elements(data: bytes, type: CType) -> list[Any]:
    element = _element(type)
    found = [data[at : at + element.size] for at in range(0, len(data), element.size)]
    if element.is_float:
        return [number_of(one, element.is_quad) for one in found]
    return [int.from_bytes(one, "little", signed=element.signed) for one in found]


def _one(value: Any, element: CType) -> bytes:
    if element.is_float:
        if isinstance(value, int):
            value = (Quad if element.is_quad else Extended)(value)
        return bytes_of(value, element.size, element.is_quad)
    whole = value if isinstance(value, int) else truncated(value)
    return (whole & (1 << 8 * element.size) - 1).to_bytes(element.size, "little")


def _spread(value: Any, type: CType, imaginary: bool, fail: Fail, column: int) -> bytes:
    element = _element(type)
    one = _one(value, element)
    if type.kind == "complex":
        return bytes(element.size) + one if imaginary else one + bytes(element.size)
    if _elements(one, type) != [value]:
        raise fail(f"an element of {element.name} cannot be {value}", column)
    return one * (type.size // element.size)


def _with_elements(data: bytes, given: CType, wanted: CType) -> bytes:
    return b"".join(_one(one, _element(wanted)) for one in _elements(data, given))


def _elementwise(op: str, left: bytes, right: bytes, type: CType, fail: Fail, column: int) -> bytes:
    element = _element(type)

    def work(op: str, one: Any, other: Any) -> Any:
        """As numbers of the element's type are worked with."""
        if op == "/" and element.is_float:
            found = RUNTIME["ratio"](one, other)
        else:
            found = _WORK[op](one, other, fail, column)
        return found if type.kind == "array" else _elements(_one(found, element), type)[0]

    ones, others = _elements(left, type), _elements(right, type)
    if type.kind == "array":
        found = [~one if op == "~" else work(op, one, other) for one, other in zip(ones, others, strict=True)]
    else:
        found = _complex(op, ones[0], ones[1], others[0], others[1], work)
    return b"".join(_one(one, element) for one in found)


def _complex(op: str, a: Any, b: Any, c: Any, d: Any, work: Callable[[str, Any, Any], Any]) -> list[Any]:
    """``a + bi op c + di``."""
    if op in ("+", "-"):
        return [work(op, a, c), work(op, b, d)]
    if op == "~":
        return [a, work("-", type(b)(0), b)]
    if op == "*":
        return [work("-", work("*", a, c), work("*", b, d)), work("+", work("*", a, d), work("*", b, c))]
    size = work("+", work("*", c, c), work("*", d, d))
    real = work("+", work("*", a, c), work("*", b, d))
    return [work("/", real, size), work("/", work("-", work("*", b, c), work("*", a, d)), size)]


_WORK: dict[str, Callable[[Any, Any, Fail, int], Any]] = {
    "+": lambda one, other, fail, column: one + other,
    "-": lambda one, other, fail, column: one - other,
    "*": lambda one, other, fail, column: one * other,
    "&": lambda one, other, fail, column: one & other,
    "|": lambda one, other, fail, column: one | other,
    "^": lambda one, other, fail, column: one ^ other,
    "/": RUNTIME["divided"], "%": RUNTIME["modulo"],
    "<<": RUNTIME["shifted_left"], ">>": RUNTIME["shifted_right"],
}  # fmt: skip

RUNTIME.update(elementwise=_elementwise, spread=_spread, with_elements=_with_elements, elements=_elements)
