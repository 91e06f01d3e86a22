"""The functions of expressions: by the gdb manual ("Convenience Functions") and docs/expressions.md."""

from __future__ import annotations

import pytest

from kvmdbg.errors import ExpressionError, MemoryFault, UsageError
from kvmdbg.language import functions
from kvmdbg.language.expressions import parse

from .machine import Machine, filled


class Called(Machine):
    """In inner, which middle has called, and that main."""

    def callers(self, count: int) -> list[str]:
        return ["inner", "middle", "main"][:count]

    def port(self, number: int, size: int) -> int:
        return number << 8 | size

    def physical(self, address: int) -> int:
        return address + 0x100


def value(text: str) -> int:
    machine = Called()
    machine.memory["linear"][0x500:0x508] = bytes.fromhex("fe ff 34 12 78 56 00 80")
    machine.memory["linear"][0x73E:0x745] = b"middle\0"  # over the end of what is read at once
    found = parse(text).evaluate(machine).value
    assert type(found) is int
    return found


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("$read_u8(0x500)", 0xFE), ("$read_u16(0x500)", 0xFFFE), ("$read_u32(0x500)", 0x1234FFFE),
        ("$read_u64(0x500)", 0x800056781234FFFE), ("$phys(0x500)", 0x600), ("$port(0x60)", 0x6001),
        ("$port(0x60, 4)", 0x6004), ("$_strlen(0x73e)", 6), ('$_streq(0x73e, "middle")', 1),
        ('$_streq("middle", 0x73e)', 1), ('$_streq("middle", "middl")', 0), ('$_streq("a\\0b", "a\\0c")', 1),
        ('$_memeq("abc", "abd", 2)', 1), ('$_memeq("abc", "abd", 3)', 0), ('$_memeq("abc", "xyz", 0)', 1),
        ("$_memeq(0x500, 0x500, 8)", 1), ("$_memeq(0x500, 0x501, 1)", 0), ('$_regex(0x73e, "mid+le$")', 1),
        ('$_regex("middle", "dle")', 0), ('$_regex("middle", "mid")', 1),
    ],
)  # fmt: skip
def test_memory_and_texts(text: str, wanted: int) -> None:
    assert value(text) == wanted


def test_callers() -> None:
    """The frames are counted from 0, which is the function that runs; without a number it is the one that called it."""
    names = ("inner", "middle", "main", "mid")
    found = {
        text: [name for name in names if value(text.format(name))]
        for text in (
            '$_caller_is("{}")', '$_caller_is("{}", 0)', '$_caller_is("{}", 2)', '$_caller_is("{}", 3)',
            '$_any_caller_is("{}")', '$_any_caller_is("{}", 0)', '$_any_caller_is("{}", 2)',
            '$_caller_matches("{}")', '$_caller_matches("{}", 0)', '$_caller_matches("{}", 2)',
            '$_any_caller_matches("{}")', '$_any_caller_matches("{}", 0)', '$_any_caller_matches("{}", 1000)',
        )
    }  # fmt: skip
    assert list(found.values()) == [
        ["middle"], ["inner"], ["main"], [], ["inner", "middle"], ["inner"], ["inner", "middle", "main"],
        ["middle", "mid"], ["inner"], ["main"], ["inner", "middle", "mid"], ["inner"], list(names),
    ]  # fmt: skip
    assert value("$_caller_is(0x73e)") == 1
    for text in ('$_caller_is("a", -1)', '$_any_caller_is("a", 1001)', '$_caller_matches("a", -1)'):
        with pytest.raises(UsageError, match="from 0 to 1000"):
            value(text)


def test_what_is_wrong() -> None:
    for text in ('$_memeq("a", "b", -1)', '$_regex("a", "(")', '$_caller_matches("(")'):
        with pytest.raises(UsageError):
            value(text)
    with pytest.raises(MemoryFault):
        value("$_strlen(0x20000)")
    for text in ("$read_u8()", "$read_u8(1, 2)", '$_streq("a")', "$port()", "$port(1, 2, 3)", "$_memeq(1, 2)"):
        with pytest.raises(ExpressionError):
            value(text)


def test_how_many_arguments() -> None:
    known = functions.known()
    counted = {name: functions.arguments(known[name]) for name in ("read_u8", "_memeq", "_caller_is", "port", "phys")}
    assert counted == {"read_u8": (1, 1), "_memeq": (3, 3), "_caller_is": (1, 2), "port": (1, 2), "phys": (1, 1)}
    assert functions.arguments(lambda ctx, *numbers: 0) == (0, 255) and functions.lookup("no_such") is None
    assert list(known) == sorted(known)


def test_a_text_without_an_end() -> None:
    machine = filled()
    machine.memory["linear"][:] = b"x" * len(machine.memory["linear"])
    assert parse("$_strlen(0)").evaluate(machine).value == 1 << 16


@pytest.mark.parametrize(
    ("text", "data"),
    [
        (r'u"\U0001f600"', b"\x3d\xd8\x00\xde\0\0"), (r'U"\U0001f600"', b"\x00\xf6\x01\x00\0\0\0\0"),
        (r'L"\u20ac"', b"\xac\x20\0\0\0\0\0\0"), (r'"\u20ac"', b"\xe2\x82\xac\0"),
        (r'"\U0001f600"', b"\xf0\x9f\x98\x80\0"),
        (r'u"a" "b"', b"a\0b\0\0\0"), (r'"a" u"b"', b"a\0b\0\0\0"), (r'"\x1ff\1012"', b"\xffA2\0"),
        (r'u"\x20ac"', b"\xac\x20\0\0"), (r'"\a\b\f\n\r\t\v\e\\\"\'\0"', b"\a\b\f\n\r\t\v\x1b\\\"'\0\0"),
        ('"\u20ac"', b"\xe2\x82\xac\0"), ('u"\u20ac"', b"\xac\x20\0\0"), (r'"\777"', b"\xff\0"),
    ],
)  # fmt: skip
def test_escapes_in_texts(text: str, data: bytes) -> None:
    assert parse(text).evaluate(filled()).data == data


@pytest.mark.parametrize(
    "text",
    [r'u"\U00110000"', r'"\U00110000"', r'U"\x110000"', r'"\u12"', 'u"a" U"b"', "u'\U0001f600'", "'\u20ac'", "''",
     "'ab'"],
)  # fmt: skip
def test_what_is_no_character(text: str) -> None:
    with pytest.raises(ExpressionError):
        parse(text)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [(r"U'\U0010ffff'", 0x10FFFF), ("u'\u20ac'", 0x20AC), (r"u'\uffff'", 0xFFFF), (r"L'\x41'", 65), (r"'\xff'", -1)],
)  # fmt: skip
def test_characters(text: str, wanted: int) -> None:
    assert parse(text).evaluate(filled()).value == wanted
