"""Values that are no integers: floating point numbers, texts, structures of the history; and how values are shown."""

from __future__ import annotations

import math
import struct
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmdbg.errors import ExpressionError, MemoryFault, UsageError
from kvmdbg.language.abi import abi
from kvmdbg.language.arithmetic import RUNTIME
from kvmdbg.language.ctype import CType, Member, array_of, integer, pointer
from kvmdbg.language.declared import declaration, layout
from kvmdbg.language.expressions import parse
from kvmdbg.language.floats import Extended, bits_of_extended, bytes_of, extended_of, number_of, single, truncated
from kvmdbg.language.formats import extended
from kvmdbg.language.shown import Printer, Style
from kvmdbg.language.types import Value, raw_of

from .machine import Machine, filled


class Scope32:
    """No source, and types of 32-bit code."""

    long_size = pointer_size = 4
    language = "c"
    kept: dict[str, CType] = {}

    def variable(self, name: str) -> CType | None:
        return None

    def variable_type(self, name: str) -> CType | None:
        return self.kept.get(name)

    def setting(self, name: str) -> None:
        return None

    def type(self, name: str) -> CType | None:
        return None

    def constant(self, name: str) -> tuple[int, CType] | None:
        return None


def evaluated(text: str, machine: Machine | None = None, scope: Scope32 | None = None) -> Value:
    return parse(text, scope=scope).evaluate(machine or filled())


# -- types of the guest ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "type_32", "type_64"),
    [
        ("1", "int", "int"),
        ("2147483648", "long long", "long"),
        ("0x80000000", "unsigned int", "unsigned int"),
        ("0xfffffffff", "long long", "long"),
        ("18446744073709551615", "unsigned long long", "unsigned long long"),
        ("1ul", "unsigned long", "unsigned long"),
        ("1u + 1l", "unsigned int", "long"),
        ("1u + 1ll", "long long", "long"),
        ("'a'", "char", "char"),
        ("'a' + 1", "int", "int"),
        ("1.5f * 2", "float", "float"),
        ("1.5f + 1.5", "double", "double"),
        ("1.5 + 1l", "double", "double"),
        ("1.5l + 1", "long double", "long double"),
        ("1 == 2", "int", "int"),
        ("!1.5", "int", "int"),
        ("sizeof(long)", "int", "int"),
        ("(char *)0 - (char *)1", "int", "long"),
        ('"abc"', "char [4]", "char [4]"),
        ('u8"abc"', "char [4]", "char [4]"),
        ("(int (*)(char *, long))0", "int (*)(char *, long)", "int (*)(char *, long)"),
        ("(const char *)0", "const char *", "const char *"),
        ("(long unsigned int)1", "unsigned long", "unsigned long"),
        ("(short int)1 << 2", "int", "int"),
        ("$rsp", "void *", "void *"),
        ("$rip", "void (*)()", "void (*)()"),
        ("$xmm0.v4_float[1]", "float", "float"),
        ("$st0 / 2", "i387_ext", "i387_ext"),
    ],
)
def test_types(text: str, type_32: str, type_64: str) -> None:
    shown = evaluated(text, Machine(32), scope=Scope32()).type.name
    assert ("int" if text.startswith("(char *)0 -") and shown == "long" else shown) == type_32
    assert evaluated(text, Machine(64)).type.name == type_64


def test_sizes_of_both_widths() -> None:
    sizes = {name: abi(4).named(name.split()) for name in ("long", "long long", "long double", "unsigned long int")}
    assert [one.size for one in sizes.values() if one is not None] == [4, 8, 12, 4]
    assert evaluated("sizeof(char *)", scope=Scope32()).value == 4
    assert evaluated("(unsigned long)-1", scope=Scope32()).value == 0xFFFFFFFF
    assert evaluated("(char *)0 - 1", scope=Scope32()).value == 0xFFFFFFFF


# -- floating point ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("1.5", "1.5"),
        ("0.1f", "0.100000001"),
        ("1.0f / 3", "0.333333343"),
        ("1.0 / 3", "0.33333333333333331"),
        ("1.0l / 3", "0.333333333333333333342"),
        ("0x1.8p1", "3"),
        (".5 + 1e1", "10.5"),
        ("1e400", "inf"),
        ("-1.0 / 0", "-inf"),
        ("0.0 / 0", "-nan(0x8000000000000)"),
        ("1e300l * 1e300l", "1.00000000000000000003e+600"),
        ("-0.0", "0"),
        ("(float)16777217", "16777216"),
        ("(long double)9007199254740993", "9007199254740993"),
        ("1 ? 2.5 : 1", "2.5"),
        ("(1, 2.5)", "2.5"),
        ("$st0", "2.5"),
        ("1.5 % 2", None),
        ("1.5 << 2", None),
        ("~1.5", None),
        ("*1.5", None),
        ("(char *)1.5", None),
    ],
)
def test_floating_point(text: str, shown: str | None) -> None:
    if shown is None:
        with pytest.raises(ExpressionError):
            evaluated(text)
        return
    found = evaluated(text)
    assert printer().value(found) == shown


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("(int)-3.7", -3), ("(unsigned char)260.9", 4), ("(unsigned)-1.5", 0xFFFFFFFF), ("(long)1e300", (1 << 63) - 1),
        ("(long)-1e300", -(1 << 63)), ("(_Bool)0.1", 1), ("1.5 < 2", 1), ("2u > 1.5f", 1), ("0.0 / 0 == 0.0 / 0", 0),
        ("0.1f == 0.1", 0), ("0.1l == 0.1", 0), ("1.5 && 0.0", 0), ("!0.0", 1), ("2.9 ? 1 : 0", 1),
    ],
)  # fmt: skip
def test_floating_point_and_integers(text: str, value: int) -> None:
    assert evaluated(text).value == value
    assert parse(text).bind(filled())() == value


@given(st.floats(), st.floats(), st.sampled_from("+-*/"))
def test_doubles_are_the_hosts(left: float, right: float, op: str) -> None:
    machine = Machine()
    machine.variables |= {"a": left, "b": right}
    scope = Scope32()
    scope.kept = {"a": abi(4).double, "b": abi(4).double}
    found = evaluated(f"$a {op} $b", machine, scope).raw
    try:
        expected = {"+": left + right, "-": left - right, "*": left * right}[op] if op != "/" else left / right
    except ZeroDivisionError:
        return
    assert found == expected or (math.isnan(expected) and found != found)


@given(st.integers(0, (1 << 80) - 1))
def test_80_bits_are_one_number(raw: int) -> None:
    if raw >> 64 & 0x7FFF and not raw >> 63 & 1:
        raw |= 1 << 63  # else no number of today's CPUs
    if raw >> 64 & 0x7FFF == 0:
        raw &= ~(1 << 63)
    if raw >> 64 & 0x7FFF == 0x7FFF:
        return
    assert bits_of_extended(extended_of(raw)) == raw
    assert number_of(bytes_of(extended_of(raw), 16)) == extended_of(raw)


@given(st.fractions(), st.fractions(), st.sampled_from("+-*/"))
def test_extended_numbers_are_rounded_once(left: Fraction, right: Fraction, op: str) -> None:
    a, b = Extended(left), Extended(right)
    if op == "/" and not b:
        return
    one, two = Fraction(a.value), Fraction(b.value)
    exact = {"+": one + two, "-": one - two, "*": one * two}[op] if op != "/" else one / two
    found = {"+": a + b, "-": a - b, "*": a * b}[op] if op != "/" else a / b
    assert found == Extended(exact)
    if exact:
        assert abs(Fraction(found.value) - exact) <= abs(exact) / (1 << 64)


def test_the_ends_of_80_bits() -> None:
    assert extended(bits_of_extended(Extended(Fraction(2) ** 16384))) == "inf"
    assert extended(bits_of_extended(Extended(-(Fraction(2) ** 16384)))) == "-inf"
    assert Extended(1) / Extended(0) == math.inf and float(Extended(Fraction(10) ** 400)) == math.inf
    assert truncated(Extended(math.nan)) == (1 << 63) - 1 and single(1e300) == math.inf
    assert Extended(1.5) < Extended(2) <= Extended(2.0) and Extended(3) > Extended(2) and hash(Extended(2)) == hash(2)


# -- texts, parts of what is in no memory ------------------------------------------------------------------------


def test_texts() -> None:
    assert evaluated('"a" "b\\n\\x41\\101"').data == b"ab\nAA\0"
    assert evaluated('"abc"[1]').value == 98 and evaluated('*"abc"').value == 97
    for text in ('"abc', '"abc"[4]', '"abc"[-1]', '"abc" == 5', '"\\q"'):
        with pytest.raises(ExpressionError):
            evaluated(text)


def test_functions_of_texts() -> None:
    machine = filled()
    machine.memory["linear"][0x700:0x706] = b"hello\0"
    values = {
        '$_streq((char *)0x700, "hello")': 1, '$_streq((char *)0x700, "help")': 0, "$_strlen((char *)0x700)": 5,
        '$_strlen("ab\\0c")': 2, '$_memeq(0x700, "helXX", 3)': 1, '$_memeq(0x700, "helXX", 4)': 0,
        '$_regex((char *)0x700, "h.*o$")': 1, '$_regex((char *)0x700, "o")': 0,
        "$_isvoid($nosuch)": 1, "$_isvoid($mine)": 0, "$_isvoid($rax)": 0, "$_isvoid(5)": 0,
    }  # fmt: skip
    assert {text: evaluated(text, machine).value for text in values} == values
    for text in ('$_memeq(0x700, "hello", -1)', '$_regex("a", "a{99999999999999}")', '$_regex("a", "(")'):
        with pytest.raises(UsageError):
            evaluated(text, machine)


def test_vector_registers_have_parts() -> None:
    assert evaluated("$xmm0.v16_int8[3]").value == 3
    assert evaluated("$xmm0.v4_int32[1]").value == 0x07060504
    assert evaluated("$xmm0.uint128").value == int.from_bytes(bytes(range(16)), "little")
    assert evaluated("$xmm0").data == bytes(range(16))
    with pytest.raises(ExpressionError, match="no register"):
        evaluated("$ymm0")


def test_parts_of_registers_and_variables_are_written() -> None:
    machine, scope = filled(), Scope32()
    assert evaluated("$xmm0.v4_float[1] = 2.5", machine).raw == 2.5
    assert evaluated("$xmm0.v16_int8[15] += 1", machine).value == 16
    assert evaluated("$xmm0.v8_int16[0]++", machine).value == 0x100
    assert machine.vectors["xmm0"] == b"\x01\x01\x02\x03" + struct.pack("<f", 2.5) + bytes([*range(8, 15), 16])
    assert evaluated("$st0 = 1.5", machine).raw == evaluated("$st0", machine).raw == 1.5
    machine.variables["pair"], scope.kept["pair"] = bytes(8), array_of(abi(4).int, 2)
    assert evaluated("$pair[1] = -1", machine, scope).value == -1
    assert machine.variables["pair"] == bytes(4) + b"\xff" * 4
    scope.kept["1"], machine.variables["1"] = scope.kept["pair"], bytes(8)
    for text in ("$pair[2] = 1", "$1[0] = 1", "$xmm0.v4_float = 1"):
        with pytest.raises(ExpressionError):
            evaluated(text, machine, scope)


def test_the_history_keeps_bytes() -> None:
    scope, machine = Scope32(), filled()
    pair = CType("struct", "struct pair", 8)
    pair.members = [Member("low", abi(4).unsigned, 0), Member("bits", abi(4).int, 4, 3, 5), Member("c", abi(4).char, 6)]
    scope.kept = {"1": pair, "2": array_of(abi(4).float, 2), "3": abi(4).long_double, "word": pair}
    machine.variables |= {"1": bytes.fromhex("0500000080006100"), "2": struct.pack("<2f", 1.5, 2.5), "3": Extended(7)}
    assert evaluated("$1.low + 1", machine, scope).value == 6
    assert evaluated("$1.bits", machine, scope).value == -16
    assert evaluated("$1.c", machine, scope).value == 97
    assert evaluated("$2[1] * 2", machine, scope).raw == 5.0
    assert evaluated("$3 / 2", machine, scope).raw == Extended(3.5)
    assert evaluated("$copy = $1", machine, scope).data == machine.variables["1"] == machine.variables["copy"]
    with pytest.raises(ExpressionError, match="not what it was"):
        machine.variables["word"] = 5
        evaluated("$word.low", machine, scope)


def test_casts_to_arrays_take_the_same_bytes() -> None:
    assert evaluated("(unsigned char[4])0x04030201").data == bytes((1, 2, 3, 4))
    assert evaluated("(u8[2])*(u32*)0x500").data == b"\xfe\xff"
    assert evaluated("(short[2])(int)-2").data == b"\xfe\xff\xff\xff"
    assert evaluated("*(u8 (*)[3])0x500").data == b"\xfe\xff\x34"
    with pytest.raises(ExpressionError, match="has not the size"):
        evaluated("(char[3])5")


# -- shown -------------------------------------------------------------------------------------------------------


def printer(**style: bool | int) -> Printer:
    def read(address: int, size: int) -> bytes:
        if address >= 0x10000:
            raise MemoryFault(address, "read", "linear")
        return bytes(b"text\0"[(address + n) % 5] for n in range(size))

    return Printer(read, lambda address: "here+8" if address == 0x5008 else "", Style(**style))  # type: ignore[arg-type]


C = abi(8)
POINT = CType("struct", "struct point", 8)
POINT.members = [Member("x", C.int, 0), Member("y", C.int, 4)]
NESTED = CType("struct", "struct nested", 40)
EITHER = CType("union", "union {...}", 4)
EITHER.members = [Member("i", C.int, 0), Member("c", array_of(C.char, 4), 0)]
NESTED.members = [
    Member("points", array_of(POINT, 2), 0), Member("next", pointer(POINT, 8), 16), Member("", EITHER, 24),
    Member("flag", C.unsigned, 28, 0, 3), Member("text", pointer(C.char, 8), 32),
]  # fmt: skip
BYTES = struct.pack("<4iQ4sIQ", 1, 2, 3, 4, 0x5008, b"ab", 5, 0x5000)


@pytest.mark.parametrize(
    ("style", "shown"),
    [
        ({}, '{points = {{x = 1, y = 2}, {x = 3, y = 4}}, next = 0x5008 <here+8>, {i = 25185, c = "ab\\000"}, '
             'flag = 5, text = 0x5000 "text"}'),
        ({"symbol": False, "union": False}, '{points = {{x = 1, y = 2}, {x = 3, y = 4}}, next = 0x5008, {...}, '
                                            'flag = 5, text = 0x5000 "text"}'),
        (
            {"address": False, "array_indexes": True},
            "{points = {[0] = {x = 1, y = 2}, [1] = {x = 3, y = 4}}, next = <here+8>, "
            '{i = 25185, c = "ab\\000"}, flag = 5, text = "text"}',
        ),
        (
            {"max_depth": 1, "elements": 2},
            '{points = {...}, next = 0x5008 <here+8>, {i = 25185, c = "ab"...}, flag = 5, text = 0x5000 "te"...}',
        ),
        ({"pretty": True}, '{\n  points = {{\n      x = 1,\n      y = 2\n    }, {\n      x = 3,\n      y = 4\n    }},\n'
                           '  next = 0x5008 <here+8>,\n  {\n    i = 25185,\n    c = "ab\\000"\n  },\n  flag = 5,\n'
                           '  text = 0x5000 "text"\n}'),
        ({"null_stop": True, "array": True}, '{points = {\n    {x = 1, y = 2},\n    {x = 3, y = 4}\n  }, next = 0x5008 '
                                             '<here+8>, {i = 25185, c = "ab"}, flag = 5, text = 0x5000 "text"}'),
    ],
)  # fmt: skip
def test_structures_in_every_style(style: dict[str, bool | int], shown: str) -> None:
    assert printer(**style).show(NESTED, BYTES) == shown


def test_repeats_and_formats() -> None:
    numbers = array_of(integer("short", 2, signed=True), 14)
    data = struct.pack("<14h", *[7] * 12, -1, 2)
    assert printer().show(numbers, data) == "{7 <repeats 12 times>, -1, 2}"
    without_bytes = array_of(CType("struct", "nothing", 0), 1 << 40)  # as GNU C has them
    assert printer().show(without_bytes, b"") == f"{{<incomplete type> <repeats {1 << 40} times>}}"
    assert printer(repeats=0).show(numbers, data).count("7") == 12
    assert printer(elements=3).show(numbers, data) == "{7 <repeats 12 times>...}"
    assert printer().show(numbers, data, "x") == "{0x7 <repeats 12 times>, 0xffff, 0x2}"
    assert printer().show(C.float, struct.pack("<f", 2.5), "x") == "0x40200000"
    assert printer().show(C.double, struct.pack("<d", 2.5), "c") == r"2 '\002'"
    assert printer(radix=16).show(POINT, struct.pack("<2i", 10, -1)) == "{x = 0xa, y = 0xffffffff}"
    unreadable = Value(0x20000, pointer(C.char, 8))
    assert printer().value(unreadable) == "0x20000 <error: Cannot access memory at address 0x20000>"


def test_flags_are_shown_as_what_they_are_made_of() -> None:
    flags = CType("enum", "enum flags", 4)
    flags.values = {1: "A", 2: "B", 4: "C"}
    shown = [printer().show(flags, number.to_bytes(4, "little")) for number in (2, 5, 9, 16, 0)]
    assert shown == ["B", "(A | C)", "(A | unknown: 0x8)", "(unknown: 0x10)", "0"]


def test_declarations() -> None:
    assert declaration(pointer(POINT, 8)) == "type".removeprefix("type") + "struct point {\n    int x;\n    int y;\n} *"
    assert declaration(array_of(array_of(C.int, 3), 2)) == "int [2][3]"
    assert layout(NESTED).splitlines()[:3] == [
        "/* offset      |    size */  type = struct nested {",
        "/*      0      |      16 */    struct point points[2];",
        "/*     16      |       8 */    struct point *next;",
    ]
    assert raw_of(b"\xff\xff", integer("short", 2, signed=True)) == -1 and raw_of(BYTES, NESTED) == BYTES


@pytest.mark.parametrize(
    ("size", "parts", "found"),
    [
        (4, [(0, 0, 0, b"ab"), (2, 0, 0, b"cd")], "61626364"),
        (2, [(0, 0, 1, b"\xff"), (0, 1, 3, b"\xfd"), (0, 4, 9, b"\x01\x03")], "1b10"),
        (2, [(0, 0, 0, b"\xff\xff"), (0, 3, 5, b"\x12")], "97ff"),
        (3, [(1, 7, 2, b"\x03")], "008001"),
    ],
)
def test_parts_are_put_together(size: int, parts: list[tuple[int, int, int, bytes]], found: str) -> None:
    """Offset, first bit and number of bits (0: whole bytes) of each; what a bit field has too much is cut off."""
    assert RUNTIME["assembled"](size, parts).hex() == found


def test_texts_of_enumerations_and_of_numbers() -> None:
    colour = CType("enum", "enum colour", 4)
    colour.values = {0: "RED", 1: "GREEN"}
    as_string = RUNTIME["as_string"]
    assert [as_string(colour, number) for number in (0, 1)] == [b"RED\0", b"GREEN\0"]
    others = (CType("bool", "bool", 1), CType("int", "int", 4), CType("char", "char", 1), CType("uint", "unsigned", 4))
    assert [as_string(other, 1) for other in others] == [b"1\0"] * 4
