"""How values are shown: by the gdb manual ("Print Settings", "Output Formats"), the Itanium C++ ABI and UTF-16."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from kvmdbg.errors import MemoryFault
from kvmdbg.language.abi import abi
from kvmdbg.language.ctype import CType, Member, Method, Static, array_of, complex_of, function_returning, pointer
from kvmdbg.language.shown import Printer, Style
from kvmdbg.language.types import MemoryRef, Value

from .test_types import diamond, reference, structure

C = abi(8)


def printer(
    memory: bytes = b"", label: Callable[[int], str] = lambda at: "", start: int = 0x1000, **style: bool | int
) -> Printer:
    """``memory`` begins at ``start``, and there is nothing else."""

    def read(address: int, size: int) -> bytes:
        if not start <= address <= address + size <= start + len(memory):
            raise MemoryFault(max(address, start + len(memory)), "read", "linear")
        return memory[address - start : address - start + size]

    return Printer(read, label, Style(**style))  # type: ignore[arg-type]


def characters(text: str, prefix: str) -> tuple[CType, bytes]:
    element = C.character(prefix, True)
    data = text.encode("utf-16-le" if prefix == "u" else "utf-32-le", "surrogatepass")
    return array_of(element, len(data) // element.size), data


# -- characters --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "prefix", "shown"),
    [
        ("a\U0001f600b", "u", 'u"a\U0001f600b"'), ("\U00010000", "u", 'u"\U00010000"'),
        ("\u20ac\u00e4", "u", 'u"\u20ac\u00e4"'), ("\u20ac", "L", 'L"\u20ac"'), ("ab\0", "u", 'u"ab"'),
        ("\U0001f600", "L", 'L"\U0001f600"'),
    ],
)  # fmt: skip
def test_wide_texts(text: str, prefix: str, shown: str) -> None:
    type, data = characters(text, prefix)
    assert printer().show(type, data) == shown


@pytest.mark.parametrize("prefix", ["u", "U", "L"])
def test_half_a_pair_is_a_character_of_its_own(prefix: str) -> None:
    shown = []
    for code in (0xD7FF, 0xD800, 0xDBFF, 0xDC00, 0xDFFF, 0xE000):
        size = C.character(prefix, True).size
        data = code.to_bytes(size, "little") + (0x41).to_bytes(size, "little")
        shown.append(printer().show(array_of(C.character(prefix, True), 2), data))
    assert len(set(shown)) == 6 and all(one.startswith(f'{prefix}"') and one.endswith('A"') for one in shown)


def test_pointers_to_texts() -> None:
    wide = pointer(C.character("u", True), 8)
    for before in range(0xFF0, 0x1000, 2):  # wherever the page ends, between the halves of the pair, too
        far = b"x" * before + "a\U0001f600b\0".encode("utf-16-le") + bytes(0x1000)
        shown_there = printer(far).show(wide, (0x1000 + before).to_bytes(8, "little"))
        assert shown_there == f'{0x1000 + before:#x} u"a\U0001f600b"'
    text = pointer(C.char, 8)
    memory = b"hello world\0".ljust(0x1000, b"\0")

    def shown(at: int = 0x1000, **style: bool | int) -> str:
        return printer(memory, **style).show(text, at.to_bytes(8, "little"))

    assert shown() == '0x1000 "hello world"' and shown(elements=5) == '0x1000 "hello"...'
    assert shown(elements=11) == '0x1000 "hello world"' and shown(address=False) == '"hello world"'
    assert shown(0) == "0x0" and shown(0x100B) == '0x100b ""'
    assert shown(0x3000) == "0x3000 <error: Cannot access memory at address 0x3000>"
    assert printer(b"x" * 0x1000).show(text, (0x1FFD).to_bytes(8, "little")) == '0x1ffd "xxx"...'
    assert printer(b"k" * 4096).show(pointer(C.int, 8), (0x1000).to_bytes(8, "little")) == "0x1000"


@pytest.mark.parametrize(
    ("type", "number", "letter", "shown"),
    [
        (C.char, 65, "", "65 'A'"), (C.char, -1, "", r"-1 '\377'"), (C.int, 321, "c", "65 'A'"),
        (C.int, 255, "c", r"-1 '\377'"),
        (C.unsigned, 255, "c", r"255 '\377'"), (C.int, -5, "f", "-nan(0x7ffffb)"), (C.int, 7, "d", "7"),
        (C.character("u", True), 0x20AC, "", "8364 u'\u20ac'"), (C.character("U", True), 65, "", "65 U'A'"),
        (C.character("L", True), 10, "", r"10 L'\n'"), (C.named(["_Bool"]), 1, "", "true"),
        (C.named(["_Bool"]), 0, "", "false"),
        (C.named(["_Bool"]), 2, "", "2"), (C.named(["short"]), -2, "f", "-2"), (C.named(["short"]), -2, "x", "0xfffe"),
        (C.int, -1, "t", "1" * 32), (C.int, 8, "o", "010"), (C.int, 1, "z", "0x00000001"),
    ],
)  # fmt: skip
def test_numbers(type: CType | None, number: int, letter: str, shown: str) -> None:
    assert type is not None
    assert printer().value(Value(number, type), letter) == shown
    mask = (1 << 8 * type.size) - 1
    assert printer().show(type, (number & mask).to_bytes(type.size, "little"), letter) == shown


def test_radix() -> None:
    flag = C.named(["_Bool"])
    assert flag is not None
    assert [printer(radix=radix).value(Value(-2, C.int)) for radix in (10, 16, 8)] == [
        "-2",
        "0xfffffffe",
        "037777777776",
    ]
    assert [printer(radix=16).value(Value(one, type)) for one, type in ((1, flag), (65, C.char))] == ["0x1", "0x41"]


def test_enumerations() -> None:
    modes = CType("enum", "enum mode", 4)
    modes.values, modes.signed = {-1: "NONE", 0: "OFF", 1: "ON"}, True
    assert [printer().value(Value(one, modes)) for one in (-1, 0, 1, 2)] == ["NONE", "OFF", "ON", "2"]
    assert printer().show(modes, b"\xff" * 4) == "NONE" and printer().show(modes, b"\xff" * 4, "d") == "-1"
    odd = CType("enum", "enum odd", 4)
    odd.values = {1: "A", 3: "B"}
    assert printer().value(Value(2, odd)) == "2" and printer().value(Value(4, CType("enum", "enum none", 4))) == "4"
    flags = CType("enum", "enum flags", 1)
    flags.values = {1: "A", 2: "B", 0x80: "H"}
    shown = [printer().value(Value(one, flags)) for one in (3, 0x81, 0x83, 4, 7)]
    assert shown == ["(A | B)", "(A | H)", "(A | B | H)", "(unknown: 0x4)", "(A | B | unknown: 0x4)"]


def test_functions_and_pointers() -> None:
    function = function_returning(C.int, [C.char])
    named = printer(label=lambda at: "main" if at == 0x40 else "")
    assert named.value(Value(0x40, function)) == "{int (char)} 0x40 <main>"
    assert (
        named.value(Value(0x40, function), "x") == "0x40"
        and named.value(Value(0x40, function), "z") == f"0x{0x40:016x}"
    )
    assert named.value(Value(0x40, pointer(function, 8))) == "(int (*)(char)) 0x40 <main>"
    assert named.value(Value(0x44, pointer(C.int, 8))) == "(int *) 0x44"
    assert (
        named.value(Value(0x44, pointer(C.int, 8)), "d") == "68"
        and named.value(Value(0x40, C.int), "a") == "0x40 <main>"
    )
    plain = printer(label=lambda at: "main", symbol=False)
    assert (
        plain.show(pointer(function, 8), bytes(8)) == "0x0 <main>" and plain.show(pointer(C.int, 8), bytes(8)) == "0x0"
    )
    assert printer(symbol=False, address=False).show(pointer(C.int, 8), bytes(8)) == ""


def test_references() -> None:
    memory = struct.pack("<2i", 5, -6)
    to_int = reference(C.int)
    at = (0x1004).to_bytes(8, "little")
    assert printer(memory).show(to_int, at) == "@0x1004: -6" and printer(memory).show(to_int, at, depth=1) == "@0x1004"
    assert printer(b"").show(to_int, at).startswith("@0x1004: <") and printer(memory).show(to_int, at, "x") == "0x1004"
    value = Value(-6, C.int, MemoryRef(0x1004, 4, "linear"), "linear", b"", to_int)
    assert printer(memory).value(value) == "(int &) @0x1004: -6"


def test_complex_numbers() -> None:
    assert printer().show(complex_of(C.int), struct.pack("<2i", 1, -2)) == "1 + -2i"
    assert printer().show(complex_of(C.int), struct.pack("<2i", 10, 255), "x") == "0xa + 0xffi"
    assert printer().show(complex_of(C.double), struct.pack("<2d", 1.5, -2), "x") == "1.5 + -2i"


# -- bit fields --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bit", range(32))
def test_bit_fields_at_every_bit(bit: int) -> None:
    """Among ones a field of 0, among zeros one of ones."""
    for bits in {1, 2, 5, 7, 8, 9, 32 - bit}:
        if bit + bits > 32:
            continue
        mask = (1 << bits) - 1 << bit
        unsigned, signed = Member("u", C.unsigned, 4, bit, bits), Member("s", C.int, 4, bit, bits)
        for number, as_unsigned, as_signed in (
            (mask, (1 << bits) - 1, -1), (0xFFFFFFFF ^ mask, 0, 0), (1 << bit, 1, -1 if bits == 1 else 1),
            (1 << bit + bits - 1, 1 << bits - 1, -(1 << bits - 1)),
        ):  # fmt: skip
            data = b"\xaa" * 4 + number.to_bytes(4, "little") + b"\xaa" * 4
            assert printer().member(unsigned, data) == str(as_unsigned)
            assert printer().member(signed, data) == str(as_signed)
            assert printer().member(unsigned, data, "x") == f"{as_unsigned:#x}"


# -- classes -----------------------------------------------------------------------------------------------------


def test_bases() -> None:
    top, left, right, bottom = diamond()
    data = struct.pack("<10i", 0, 1, 2, 0, 3, 0, 4, 0, 5, 0)
    text = "{<Left> = {<Top> = {t = 1}, l = 2}, <Right> = {<Top> = {t = 0}, r = 3}, b = 5}"
    right.members[0] = Member("<Top>", top, 8)
    assert printer().show(bottom, data) == text
    assert (
        printer(pretty=True).show(left, data[:16]) == "{\n  <Top> = {\n    t = 1\n  }, \n  members of Left:\n  l = 2\n}"
    )
    only = structure("Only", 8, Member("<Top>", top, 0))
    assert printer().show(only, data) == "{<Top> = {t = 1}, <No data fields>}"
    assert printer(pretty=True).show(only, data) == "{\n  <Top> = {\n    t = 1\n  }, <No data fields>}"
    empty = structure("Empty", 1)
    assert printer().show(empty, b"\0") == "{<No data fields>}"


def test_virtual_bases_are_shown_once() -> None:
    top = structure("Top", 4, Member("t", C.int, 0))
    left = structure("Left", 8, Member("<Top>", top, 0, virtual=lambda read, at: at + 16), Member("l", C.int, 4))
    right = structure("Right", 8, Member("<Top>", top, 0, virtual=lambda read, at: at + 8), Member("r", C.int, 4))
    bottom = structure("Bottom", 20, Member("<Left>", left, 0), Member("<Right>", right, 8))
    data = struct.pack("<5i", 0, 1, 0, 2, 3)
    wanted = "{<Left> = {<Top> = {t = 3}, l = 1}, <Right> = {r = 2}, <No data fields>}"
    assert printer().show(bottom, data) == printer(data).show(bottom, data, at=0x1000) == wanted
    outside = struct.pack("<2i", 0, 1)
    assert printer(data).show(left, outside, at=0x1000) == "{<Top> = {t = 3}, l = 1}"
    assert printer().show(left, outside, at=0x1000) == "{<Top> = <invalid address>, l = 1}"


def test_static_members() -> None:
    thing = structure("Thing", 4, Member("a", C.int, 0))
    thing.statics = [Static("first", C.int, "public", 0, struct.pack("<i", 8)), Static("last", C.int, "public", 1)]
    assert printer().show(thing, b"\7\0\0\0") == "{static first = 8, a = 7, static last = <optimized out>}"
    assert printer(static_members=False).show(thing, b"\7\0\0\0") == "{a = 7}"
    thing.statics = [Static("self", thing, "public", 1, struct.pack("<i", 9))]
    seen = "<same as static member of an already seen type>"
    shown = printer()
    for _ in range(2):
        text = shown.show(thing, b"\7\0\0\0")
        assert text == f"{{a = 7, static self = {{a = 9, static self = {seen}}}}}"
    none = structure("None", 1)
    none.statics = thing.statics
    assert printer(static_members=False).show(none, b"\0") == "{<No data fields>}"


def test_pointers_to_members() -> None:
    _, left, _, bottom = diamond()
    to_member, to_function = CType("member", "", 8), CType("member", "", 16)
    to_member.owner = to_function.owner = bottom
    to_member.target, to_function.target = C.int, function_returning(C.int, [pointer(bottom, 8)])

    def shown(*words: int) -> str:
        type = to_member if len(words) == 1 else to_function
        return printer(label=lambda at: "Top::f()" if at == 0x40 else "").show(
            type, struct.pack(f"<{len(words)}q", *words)
        )

    assert [shown(one) for one in (32, 8, 4, 16, 0, 33, -1)] == [
        "&Bottom::b", "&Left::l", "&Top::t", "&Right::r", "0", "33", "NULL",
    ]  # fmt: skip
    assert shown(0, 0) == "NULL" and shown(0x40, 0) == f"({to_function}) 0x40 <Top::f()>"
    assert shown(0x40, 16) == f"({to_function}) 0x40 <Top::f()>, this adjustment 16"
    assert shown(0x40, -8).endswith(", this adjustment -8")
    left.methods = [
        Method(name, function_returning(C.int, [pointer(left, 8), C.int, C.char]), "public", virtual=True, slot=slot)
        for slot, name in enumerate(("first", "second"))
    ]
    assert [shown(one, 0) for one in (1, 9)] == ["&virtual Left::first(int, char)", "&virtual Left::second(int, char)"]
    assert shown(17, 0).startswith("(") and shown(1, 16).startswith("(")


# -- arrays and depth --------------------------------------------------------------------------------------------


def test_arrays() -> None:
    numbers = array_of(C.int, 5)
    data = struct.pack("<5i", 1, 2, 3, 4, 5)
    shown = {
        style: printer(**dict(style)).show(numbers, data) for style in ((), (("elements", 5),), (("elements", 4),))
    }
    assert list(shown.values()) == ["{1, 2, 3, 4, 5}", "{1, 2, 3, 4, 5}", "{1, 2, 3, 4...}"]
    assert printer(elements=0).show(array_of(C.int, 500), bytes(2000), "x") == "{0x0 <repeats 500 times>}"
    same = struct.pack("<12i", *[1] * 10, *[2] * 2)
    assert printer().show(array_of(C.int, 12), same) == f"{{{', '.join(['1'] * 10)}, 2, 2}}"
    assert printer(repeats=9).show(array_of(C.int, 12), same) == "{1 <repeats 10 times>, 2, 2}"
    assert printer(repeats=1).show(array_of(C.int, 12), same) == "{1 <repeats 10 times>, 2 <repeats 2 times>}"
    assert printer(repeats=2, elements=3).show(array_of(C.int, 12), same) == "{1 <repeats 10 times>, 2...}"
    assert printer(array_indexes=True, repeats=9).show(array_of(C.int, 12), same) == (
        "{[0] = 1 <repeats 10 times>, [10] = 2, [11] = 2}"
    )
    matrix = array_of(array_of(C.int, 2), 2)
    assert printer(max_depth=1).show(matrix, data) == "{{...}, {...}}"
    assert printer(max_depth=2).show(matrix, data) == printer(max_depth=0).show(matrix, data) == "{{1, 2}, {3, 4}}"
    assert printer(array=True).show(matrix, data) == "{\n  {\n    1,\n    2\n  },\n  {\n    3,\n    4\n  }\n}"
    assert printer().show(array_of(C.int, None), b"", at=0x1234) == "0x1234"


def test_depth_of_structures() -> None:
    inner = structure("In", 4, Member("i", C.int, 0))
    outer = structure(
        "Out",
        8,
        Member("in", inner, 0),
        Member("", structure("union {...}", 4, Member("u", C.int, 0), kind="union"), 4),
    )
    data = struct.pack("<2i", 1, 2)
    assert printer().show(outer, data) == "{in = {i = 1}, {u = 2}}"
    assert printer(max_depth=1).show(outer, data) == "{in = {...}, {u = 2}}"
    assert printer(union=False).show(outer, data) == "{in = {i = 1}, {...}}"
    assert printer(pretty=True).show(outer, data) == "{\n  in = {\n    i = 1\n  },\n  {\n    u = 2\n  }\n}"
