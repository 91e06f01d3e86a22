"""Mistakes in expressions and the columns they are shown at, nesting, and where an expression ends."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvmdbg.errors import ExpressionError, MemoryFault
from kvmdbg.language.expressions import parse, parse_prefix

from .machine import Machine, filled, value


@pytest.fixture
def machine() -> Machine:
    return filled()


# -- mistakes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("", 0, "an expression is expected"),
        ("   ", 0, "an expression is expected"),
        ("1 +", 3, "an operand is expected at the end"),
        ("1 +  ", 3, "an operand is expected at the end"),
        ("1 2", 2, "'2' is not expected"),
        ("$ax + * * )", 10, "an operand is expected, not '\\)'"),
        ("$ax + )", 6, "an operand is expected, not '\\)'"),
        ("(1 + 2", 6, "'\\)' is missing for the '\\(' at column 1"),
        ("1 + (2 * (3 + 4)", 16, "at column 5"),
        ("1)", 1, "'\\)' is not expected"),
        ("{u8 0x500", 4, "'}' is missing"),
        ("{nosuch}5", 1, "the type of a"),
        ("{}5", 1, "the type of a"),
        ("(u8 + 1)", 4, "'\\)' is missing after the type"),
        ("(signed unsigned)1", 1, "is no type"),
        ("(short long)1", 1, "is no type"),
        ("u8 + 1", 0, "'u8' is a type"),
        ("((u16*)5)[1", 11, "']' is missing"),
        ("5[1]", 1, "must be a pointer"),
        ("1 ? 2", 5, "':' is missing"),
        ("1 ? : 2", 4, "an operand is expected, not ':'"),
        ("0x", 0, "'0x' is no number"),
        ("1 + 7c00", 4, "hexadecimal is 0x7c00"),
        ("7c00h", 0, "hexadecimal is 0x7c00"),
        ("09", 0, "a leading 0 makes it octal"),
        ("1.5.5", 0, "'1.5.5' is no number"),
        ("1__0", 0, "is no number"),
        ("1_", 0, "is no number"),
        ("0b12", 0, "is no number"),
        ("0x_1", 0, "is no number"),
        ("0b", 0, "is no number"),
        ("10lul", 0, "is no number"),
        ("5\u0663", 0, "is no number"),
        ("\u0663", 0, "is not expected here"),
        ("0x10000000000000000", 0, "does not fit 64 bits"),
        ("5 + 'ab'", 4, "is not one byte"),
        ("'a", 0, "closing quote"),
        ("''", 0, "is not one byte"),
        (r"'\q'", 0, "is not one byte"),
        ("'é€'", 0, "is not one byte"),
        ("1 # 2", 2, "'#' is not expected"),
        ('"text', 0, "closing quote is missing"),
        ('"text" + 1', 0, "in no memory of the guest"),
        ("5 = 3", 2, "'=' needs a register, a variable or memory"),
        ("$ax + 1 = 3", 8, "'=' needs a register"),
        ("counter = 3", 0, "knows no variable 'counter' here; .* its memory is \\*\\(u32\\*\\)counter"),
        ("counter++", 0, "knows no variable 'counter' here"),
        ("counter += 1", 0, "knows no variable 'counter' here"),
        ("++5", 0, "'\\+\\+' needs a register"),
        ("1--2", 1, "'--' is not expected"),
        ("&5", 0, "needs something in memory"),
        ("&$ax", 0, "needs something in memory"),
        ("(u8*)1 + (u8*)2", 7, "cannot be added"),
        ("(u8*)1 - (u16*)2", 7, "cannot be subtracted"),
        ("$pc += main", 4, "cannot be added"),
        ("1, ", 2, "an operand is expected at the end"),
        ("0x7c0:0x10:1", 10, "':' is not expected"),
        ("a b", 2, "'b' is not expected"),
    ],
)
def test_mistakes_of_grammar(text: str, column: int, message: str) -> None:
    with pytest.raises(ExpressionError, match=message) as caught:
        parse(text)
    assert (caught.value.text, caught.value.column) == (text, column)


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("1 + nosuch", 4, "no symbol 'nosuch'"),
        ("1 + ax", 4, "no symbol 'ax'; a register is written \\$ax"),
        ("1 + $nosuch", 4, "no register, flag or variable \\$nosuch"),
        ("$nosuch += 1", 0, "no register, flag or variable \\$nosuch"),
        ("1 + $cr9", 4, "no register, flag or variable \\$cr9"),
        ("1 + $cr3", 4, "this CPU has no register \\$cr3"),
        ("$99", 0, "the value history has no \\$99"),
        ("$$", 0, "the value history has no \\$\\$"),
        ("$1 = 5", 0, "value of the history"),
        ("1 + 2 / 0", 6, "division by zero"),
        ("5 % ($cx - 5)", 2, "division by zero"),
        ("$cx /= 0", 4, "division by zero"),
        ("1 << -1", 2, "a shift by a negative number"),
        ("1 >> $less", 2, "a shift by a negative number"),
    ],
)
def test_mistakes_of_meaning(text: str, column: int, message: str, machine: Machine) -> None:
    expression = parse(text)
    for way in (expression.evaluate, lambda ctx: expression.bind(ctx)()):
        with pytest.raises(ExpressionError, match=message) as caught:
            way(machine)
        assert (caught.value.text, caught.value.column) == (text, column)


def test_the_caret_stands_under_the_mistake() -> None:
    with pytest.raises(ExpressionError) as caught:
        parse("$ax + ) * 3")
    assert str(caught.value).splitlines()[1:] == ["  $ax + ) * 3", "        ^"]


def test_a_memory_fault_passes_through(machine: Machine) -> None:
    for text in ("*(u8*)0x10000 == 1", "*(u8*)0x10000", "*(u8*)0x10000 = 1"):
        with pytest.raises(MemoryFault) as caught:
            parse(text).evaluate(machine)
        assert caught.value.address == 0x10000


@pytest.mark.parametrize("text", ["(" * 5000 + "1", "-" * 5001 + "1", "- " * 5000 + "1", "1?" * 5000, "1?1:" * 5000])
@pytest.mark.parametrize("filler", ["", "+$rax" * 5000, "=$rax" * 5000])
def test_no_depth_breaks_it(text: str, filler: str) -> None:
    with pytest.raises(ExpressionError):
        parse(text + filler)


@pytest.mark.parametrize(
    ("start", "more", "end"),
    [
        ("", "*(s8*)", "$rax"),
        ("$rdx", "+$rdx", ""),
        ("$rdx", "/$rdx", ""),
        ("", "(s8)-", "$rax"),
        ("", "$zf ? $al : ", "5"),
        ("", "(", "5"),
        ("", "$n = ", "5"),
        ("$zf", "&&$zf", ""),
        ("", "(1||2<3|4^5&6==7<8<<9+10*", "$cx"),
    ],
)
def test_whatever_parses_can_be_compiled(start: str, more: str, end: str, machine: Machine) -> None:
    """The limits of nesting keep the generated source within those of Python's parser."""
    deepest = 0
    for count in range(1, 80):
        text = start + more * count + end + ")" * (more.count("(") - more.count(")")) * count
        try:
            expression = parse(text)
        except ExpressionError as error:
            assert "nested too deeply" in str(error)
            break
        deepest = count
        with contextlib.suppress(ExpressionError, MemoryFault):
            expression.bind(machine)()
    assert deepest >= 6


def test_a_long_chain_of_conditions_is_not_deep(machine: Machine) -> None:
    assert value(" || ".join(f"$cx == {number}" for number in range(1000, 0, -1)), machine) == 1


@given(st.text(alphabet="01x9afu8$_. \t()[]{}*&|^~!<>=?:+-/%,'\\#\"ifcxphys", max_size=24))
@settings(max_examples=500, deadline=None)
def test_any_text_is_parsed_or_refused_with_a_column(text: str) -> None:
    machine = Machine()
    for pos in (0, len(text) // 2):
        try:
            expression, end = parse_prefix(text, pos)
            assert pos < end <= len(text) and expression.text == text[pos:end].strip()
            assert parse(expression.text).text == expression.text
            expression.bind(machine)()
        except ExpressionError as error:
            assert 0 <= error.column <= len(error.text)
        except MemoryFault:
            pass


# -- where an expression ends ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "pos", "expected"),
    [
        ("0x1000", 0, "0x1000"),
        ("0x1000 32", 0, "0x1000"),
        ("b main if $cx == 5", 2, "main"),
        ("main+4 if $if", 0, "main+4"),
        ("$if if 1", 0, "$if"),
        ("0x54c0,100", 0, "0x54c0"),
        ("0x54c0,100", 7, "100"),
        ("*(u16*)(0x7c00 + 2), 3", 0, "*(u16*)(0x7c00 + 2)"),
        ("5 &", 0, "5"),
        ("5 & ", 0, "5"),
        ("5 & 3", 0, "5 & 3"),
        ("0x7c0:0x10 foo", 0, "0x7c0:0x10"),
        ("main thread 1", 0, "main"),
        ('5 "text"', 0, "5"),
        ("phys:0x1000 + 4 8", 0, "phys:0x1000 + 4"),
        ("$ax = 5, 1", 0, "$ax = 5"),
        ("   7   ", 0, "7"),
        ("-1 -1", 0, "-1 -1"),
    ],
)
def test_prefix(text: str, pos: int, expected: str, machine: Machine) -> None:
    expression, end = parse_prefix(text, pos)
    assert expression.text == expected
    assert text[pos:end].strip() == expected and not text[end - 1].isspace()
    expression.evaluate(machine)


@pytest.mark.parametrize(
    ("text", "column"), [("if 1", 0), (", 1", 0), ("1 + , 2", 4), ("1 + if 2", 4), ("(1, )", 4), ("$ax +", 5)]
)
def test_prefix_mistakes(text: str, column: int) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_prefix(text)
    assert caught.value.column == column


def test_a_mistake_in_a_prefix_points_into_the_whole_line() -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_prefix("break 1 + )", 6)
    assert (caught.value.text, caught.value.column) == ("break 1 + )", 10)


def test_stop(machine: Machine) -> None:
    expression = parse("(1 + 2) * 3 to 5", stop=("to", ","))
    assert (expression.text, expression.end) == ("(1 + 2) * 3", 11)
    assert expression.evaluate(machine).value == 9
    with pytest.raises(ExpressionError):
        parse("(1 to 2)", stop=("to",))


@pytest.mark.parametrize(
    ("before", "behind", "most"),
    [("(", ")", 19), ("- ", "", 38), ("1?1:", "", 38), ("$a=", "", 38)],
)
def test_how_deep_it_may_be(before: str, behind: str, most: int) -> None:
    parse(before * most + "1" + behind * most)
    with pytest.raises(ExpressionError, match="nested too deeply"):
        parse(before * (most + 1) + "1" + behind * (most + 1))


@pytest.mark.parametrize(("term", "value"), [("1", 1), ("$cx", 5), ("($cx-2*2)", 1), ("($v=2)", 2)])
def test_a_long_sum(term: str, value: int, machine: Machine) -> None:
    for count in (61, 801, 5000):
        text = "+".join([term] * count)
        assert parse(text).bind(machine)() == value * count
        assert parse(f"0 && {text}").bind(machine)() == 0
    assert parse("-".join([term] * 801)).bind(machine)() == -799 * value
    with pytest.raises(ExpressionError, match="the expression is too long"):
        parse("+".join([term] * 9000))


@pytest.mark.parametrize("text", ["(char " + "*" * 5000 + ")1", "sizeof(char " + "(" * 5000 + "*" + ")" * 5001])
def test_how_deep_a_type_may_be(text: str) -> None:
    with pytest.raises(ExpressionError, match="the type is nested too deeply"):
        parse(text)
