"""Literals and operators of expressions, against Python's and against a second statement of the rules."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kvmdbg.errors import ExpressionError
from kvmdbg.language.arithmetic import OPERATORS, bounds, quotient, remainder
from kvmdbg.language.ctype import S8, S16, S32, S64, U8, U16, U32, U64
from kvmdbg.language.expressions import parse

from .machine import Machine, filled, value


@pytest.fixture
def machine() -> Machine:
    return filled()


# -- numbers and operators ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("00", 0),
        ("42", 42),
        ("0x1F", 31),
        ("0X1f", 31),
        ("0b101", 5),
        ("0o17", 15),
        ("010", 8),
        ("1_000_000", 1000000),
        ("0xdead_beef", 0xDEADBEEF),
        ("10u", 10),
        ("0xffUL", 255),
        ("0xffffffffffffffff", (1 << 64) - 1),
        ("'A'", 65),
        (r"'\n'", 10),
        (r"'\0'", 0),
        (r"'\x7f'", 127),
        (r"'\177'", 127),
        (r"'\''", 39),
        (r"'\\'", 92),
        ("' '", 32),
        ("'''", None),
    ],
)
def test_literals(text: str, expected: int | None, machine: Machine) -> None:
    if expected is None:
        with pytest.raises(ExpressionError, match="is not one byte"):
            parse(text)
        return
    assert value(text, machine) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2+3*4", 14),
        ("(2+3)*4", 20),
        ("2-3-4", -5),
        ("100/10/5", 2),
        ("7/2", 3),
        ("-7/2", -3),
        ("7/-2", -3),
        ("-7%3", -1),
        ("7%-3", 1),
        ("1<<4+1", 32),
        ("1 | 2 ^ 3 & 4", 3),
        ("1 == 1 & 2 == 2", 1),
        ("6 & 3 == 3", 0),
        ("1 < 2 == 2 > 1", 1),
        ("3 > 2 > 1", 0),
        ("1 || 0 && 0", 1),
        ("!5", 0),
        ("!0 + 1", 2),
        ("!!5", 1),
        ("~0", -1),
        ("~~5", 5),
        ("- -5", 5),
        ("+5 - +3", 2),
        ("-~5", 6),
        ("5 && 3", 1),
        ("0 || 3", 1),
        ("1 ? 2 : 3", 2),
        ("0 ? 2 : 3", 3),
        ("1 ? 2 : 0 ? 4 : 5", 2),
        ("0 ? 2 : 0 ? 4 : 5", 5),
        ("1 ? 0 ? 6 : 7 : 8", 7),
        ("0 ? 1/0 : 3", 3),
        ("0 && 1/0", 0),
        ("1 || 1/0", 1),
        ("1<<64", 0),
        ("1<<63", 0),
        ("1L<<62", 1 << 62),
        ("1<<31", -(1 << 31)),
        ("1u<<31", 1 << 31),
        ("0x7fffffff + 1", -(1 << 31)),
        ("2147483648 + 1", 2147483649),
        ("-1 > 0u", 1),
        ("(unsigned)1 - 2", 0xFFFFFFFF),
        ("-1 < 0ul", 0),
        ("(short)-1 < 1u", 0),
        ("(unsigned short)1 - 2", -1),
        ("-5 / 2u", 2147483645),
        ("0x1000 * 0x100000", 0),
        ("'\\377' + 1", 0),
        ("(_Bool)5", 1),
        ("(1, 2)", 2),
        ("(int)3.7 + (int)-3.7", 0),
        ("(unsigned char)300.5", 44),
        ("1.5 > 1", 1),
        ("1 == 1.0f", 1),
        ("!0.5", 0),
        ("0.0 || 0.1", 1),
        ('sizeof("abc")', 4),
        ('"abc"[1]', 98),
        ("sizeof(long double)", 16),
        ("sizeof(int (*)[4])", 2),
        ("sizeof(char[3][4])", 12),
        ("1<<0xffffffffffffffff", 0),
        ("-1>>1", -1),
        ("-1>>0xffffffffffffffff", -1),
        ("5>>70", 0),
        ("0xffffffffffffffff + 1", 0),
        ("0x7fffffffffffffff + 1", -(1 << 63)),
        ("-0x8000000000000000 - 1", (1 << 63) - 1),
        ("0xffffffffffffffff * 0xffffffffffffffff", 1),
        ("~0xffffffffffffffff", 0),
        ("0x7_f", 127),
        ("(u8)0x1ff", 255),
        ("(s8)255", -1),
        ("(u8)-1", 255),
        ("(char)200", -56),
        ("(unsigned char)200", 200),
        ("(u8)255 + 1", 256),
        ("(u8)(255 + 1)", 0),
        ("(short)0x18000", -0x8000),
        ("(unsigned)-1", 0xFFFFFFFF),
        ("(unsigned short int)-1", 0xFFFF),
        ("(long unsigned)-1", (1 << 64) - 1),
        ("(int long)-1", -1),
        ("(uint16_t)-1", 0xFFFF),
        ("(u8*)-1", (1 << 64) - 1),
        ("-(u8)1", -1),
        ("(s8)(u8)200 / 2", -28),
        ("sizeof(u16)", 2),
        ("sizeof(u16*)", 2),
        ("sizeof $eax", 4),
        ("sizeof(*(u16*)0) + 1", 3),
        ("(u16*)0x100 + 3", 0x106),
        ("3 + (u32*)0x100", 0x10C),
        ("(u32*)0x100 - 1", 0xFC),
        ("(u32*)0x110 - (u32*)0x100", 4),
        ("(u8**)0x100 + 1", 0x102),
        ("(void*)0x100 + 1", 0x101),
    ],
)
def test_operators(text: str, expected: int, machine: Machine) -> None:
    assert value(text, machine) == expected


PYTHON: dict[str, Callable[[int, int], int]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "&": operator.and_, "|": operator.or_,
    "^": operator.xor, "<<": operator.lshift, ">>": operator.rshift,
}  # fmt: skip


@st.composite
def flat(draw: Any) -> str:
    """A chain without brackets of the operators whose precedence C and Python share; 64 bits hold all of it."""
    parts, counts = [], False  # whether the number belongs to a shift's count
    for at in range(draw(st.integers(1, 8))):
        if at:
            op = draw(st.sampled_from(["<<", ">>", "+", "&", "|", "^", *([] if counts else ["-", "*"])]))
            counts = op in ("<<", ">>") or (op == "+" and counts)
            parts.append(op)
        sign = "" if counts else draw(st.sampled_from(["", "-", "~", "- -", "~-"]))
        parts.append(sign + str(draw(st.integers(0, 3 if counts else 31))))
    return " ".join(parts)


@given(flat())
@settings(max_examples=300, deadline=None)
@example("1 + 2 << 3 + 1 & 31 ^ 5 | 64 - 1")
def test_precedence_is_pythons_where_it_is_cs(text: str) -> None:
    assert parse(text).evaluate(Machine()).value == eval(text)


LEVELS = [["||"], ["&&"], ["|"], ["^"], ["&"], ["==", "!="], ["<", "<=", ">", ">="], ["<<", ">>"], ["+", "-"],
          ["*", "/", "%"]]  # fmt: skip
LEVEL = {op: level for level, ops in enumerate(LEVELS) for op in ops}
COMPARE = {"==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt,
           ">=": operator.ge}  # fmt: skip
UNARY, TERNARY = 20, -1
Tree = tuple[Any, ...]
CASTS = {"u8": U8, "s8": S8, "u16": U16, "s16": S16, "u32": U32, "s32": S32, "u64": U64, "s64": S64}
EDGES = [0, 1, 2, 63, 64, 0x7F, 0x80, 0xFF, 0xFFFF, 1 << 31, (1 << 32) - 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]

leaves = st.one_of(st.sampled_from(EDGES), st.integers(0, (1 << 64) - 1)).map(lambda number: ("leaf", number))
trees: st.SearchStrategy[Tree] = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(sorted(LEVEL)), inner, inner),
        st.tuples(st.sampled_from(["u-", "u~", "u!", *CASTS]), inner),
        st.tuples(st.just("?"), inner, inner, inner),
    ),
    max_leaves=12,
)


Typed = tuple[int, tuple[int, bool] | None]
"""A value, and its type: bytes and whether it is signed; None for a number without a type."""


def fitted(number: int, type: tuple[int, bool] | None) -> Typed:
    """A number as its type holds it; without one 64 bits do, signed or unsigned."""
    if type is None:
        return number if -(1 << 63) <= number < 1 << 64 else number & (1 << 64) - 1, type
    bits, signed = 8 * type[0], type[1]
    number &= (1 << bits) - 1
    return number - (1 << bits) if signed and number >> bits - 1 else number, type


def promoted(type: tuple[int, bool] | None) -> tuple[int, bool] | None:
    return (4, True) if type is not None and type[0] < 4 else type


def common(left: tuple[int, bool] | None, right: tuple[int, bool] | None) -> tuple[int, bool] | None:
    """The usual arithmetic conversions (C, 6.3.1.8)."""
    left, right = promoted(left), promoted(right)
    if left is None or right is None:
        return None
    if left[0] != right[0]:
        return max(left, right)
    return left[0], left[1] and right[1]


def literal(number: int) -> Typed:
    """The type of a decimal constant (C, 6.4.4.1)."""
    return number, (4, True) if number < 1 << 31 else (8, True) if number < 1 << 63 else (8, False)


def meaning(tree: Tree, constant: bool = True) -> Typed:
    """The value of a tree, worked out here by the rules; ``constant``: its leaves are decimal constants, not variables.
    Raises ZeroDivisionError, and ValueError for a bad shift."""
    op, *operands = tree
    if op == "leaf":
        return literal(operands[0]) if constant else (operands[0], None)
    both = [meaning(one, constant) for one in operands[:1]]
    (left, kind) = both[0]
    if op == "?":
        return meaning(operands[1] if left else operands[2], constant)
    if op == "&&":
        return int(bool(left and meaning(operands[1], constant)[0])), (4, True)
    if op == "||":
        return int(bool(left or meaning(operands[1], constant)[0])), (4, True)
    if op in CASTS:
        return fitted(left, (CASTS[op].size, CASTS[op].signed))
    if op == "u!":
        return int(not left), (4, True)
    if op[0] == "u":
        return fitted({"-": -left, "~": ~left}[op[1]], promoted(kind))
    right, other = meaning(operands[1], constant)
    if op in ("<<", ">>"):
        if op == "<<" and right >= 64:
            return 0, promoted(kind)
        return fitted(PYTHON[op](left, right), promoted(kind))
    type = common(kind, other)
    if type is not None:
        left, right = fitted(left, type)[0], fitted(right, type)[0]
    if op in COMPARE:
        return int(COMPARE[op](left, right)), (4, True)
    if op in ("/", "%"):
        size = abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
        return fitted(size if op == "/" else left - right * size, type)
    return fitted(PYTHON[op](left, right), type)


def written(tree: Tree, leaf: Callable[[int], str]) -> tuple[str, int]:
    """A tree as text with no more brackets than C needs, and the level of its outermost operator."""

    def at_least(tree: Tree, least: int) -> str:
        text, level = written(tree, leaf)
        return text if level >= least else f"({text})"

    op, *operands = tree
    if op == "leaf":
        return leaf(operands[0]), UNARY
    if op == "?":
        return (
            f"{at_least(operands[0], 0)} ? {written(operands[1], leaf)[0]} : {written(operands[2], leaf)[0]}",
            TERNARY,
        )
    if op in CASTS:
        return f"({op}){at_least(operands[0], UNARY)}", UNARY
    if op[0] == "u":
        return f"{op[1]} {at_least(operands[0], UNARY)}", UNARY
    level = LEVEL[op]
    return f"{at_least(operands[0], level)} {op} {at_least(operands[1], level + 1)}", level


def branches(tree: Tree) -> bool:
    """Whether a ``?`` is in it below its top: C gives both its sides one type, as the rules here do not."""
    return any(one[0] == "?" or branches(one) for one in tree[1:] if isinstance(one, tuple))


@given(trees.filter(lambda tree: not branches(tree)), st.booleans())
@settings(max_examples=400, deadline=None)
@example(("/", ("leaf", 7), ("u-", ("leaf", 2))), True)
@example((">>", ("leaf", 7), ("u-", ("leaf", 2))), False)
@example(("^", ("leaf", 1 << 63), ("u-", ("leaf", 1))), False)
@example(("u-", ("leaf", (1 << 63) + 5)), False)
def test_any_tree(tree: Tree, constant: bool) -> None:
    """As constants (folded beforehand) and as variables (evaluated), what is written means what the rules say."""
    machine = Machine()

    def variable(number: int) -> str:
        machine.variables[f"v{number}"] = number
        return f"$v{number}"

    expression = parse(written(tree, str if constant else variable)[0])
    try:
        expected = meaning(tree, constant)[0]
    except (ZeroDivisionError, ValueError):
        with pytest.raises(ExpressionError, match=r"zero|negative"):
            expression.evaluate(machine)
        return
    found = expression.evaluate(machine)
    assert found.value == expected
    if tree[0] != "?":
        assert expression.bind(machine)() == expected
    assert (found.type.signed or found.value >= 0) and found.value <= found.type.high


@given(st.integers(0, (1 << 64) - 1), st.sampled_from(["al", "ah", "ax", "eax", "rax"]), trees)
@settings(max_examples=200, deadline=None)
def test_registers_of_any_width_in_trees(number: int, name: str, tree: Tree) -> None:
    """A range that the width of a register gives never lets a result go unwrapped."""
    if tree[0] == "?" or branches(tree):
        return
    machine = Machine()
    machine.storage["rax"] = number
    size = {"al": "u8", "ah": "u8", "ax": "u16", "eax": "u32", "rax": "u64"}[name]
    for op in ("+", "-", "*", "&", "|", "^", "/", "%"):
        left = machine.register(name)
        assert left is not None
        try:
            expected = meaning((op, (size, ("leaf", left)), tree))[0]
        except (ZeroDivisionError, ValueError):
            continue
        assert value(f"${name} {op} ({written(tree, str)[0]})", machine) == expected


@given(st.integers(), st.integers().filter(bool))
def test_division_is_cs(left: int, right: int) -> None:
    assert quotient(left, right) * right + remainder(left, right) == left
    assert abs(remainder(left, right)) < abs(right)
    assert quotient(left, right) * (1 if (left < 0) == (right < 0) else -1) == abs(left) // abs(right)


ranges = st.tuples(*[st.one_of(st.sampled_from(EDGES), st.integers(-(1 << 63), (1 << 64) - 1)) for _ in range(2)])


@pytest.mark.parametrize(
    ("op", "left", "right", "range_"),
    [
        ("+", (1, 5), (-3, 9), (-2, 14)), ("-", (1, 5), (-3, 9), (-8, 8)), ("*", (-2, 5), (-3, 9), (-18, 45)),
        ("&", (0, 5), (0, 9), (0, 5)), ("&", (-1, 5), (0, 9), (0, 9)), ("|", (0, 5), (0, 9), (0, 15)),
        ("^", (0, 16), (0, 3), (0, 31)), ("<<", (1, 3), (0, 4), (0, 48)), ("<<", (-2, 3), (1, 4), (-32, 48)),
        (">>", (0, 200), (1, 2), (0, 200)), ("/", (0, 9), (1, 2), (0, 9)), ("%", (-7, 9), (1, 2), (-9, 9)),
    ],
)  # fmt: skip
def test_bounds_are_no_wider_than_they_need_be(
    op: str, left: tuple[int, int], right: tuple[int, int], range_: tuple[int, int]
) -> None:
    """Else results are wrapped that cannot leave 64 bits."""
    assert bounds(op, left, right) == range_


@given(st.sampled_from(sorted(OPERATORS)), ranges.map(sorted), ranges.map(sorted), st.data())
@settings(max_examples=500, deadline=None)
def test_no_result_is_beyond_its_bounds(op: str, left: list[int], right: list[int], data: st.DataObject) -> None:
    """Else a result that 64 bits do not hold could go unwrapped."""
    low, high = bounds(op, (left[0], left[1]), (right[0], right[1]))
    a, b = (data.draw(st.sampled_from(one) | st.integers(one[0], one[1])) for one in (left, right))
    if (op in ("/", "%") and b == 0) or (op in ("<<", ">>") and b < 0):
        return
    assert low <= OPERATORS[op](a, b) <= high
