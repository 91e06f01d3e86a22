"""Types as the System V ABIs of i386 and x86-64, the C and C++ standards and the Itanium C++ ABI have them."""

from __future__ import annotations

import pytest

from kvmdbg.language.abi import abi
from kvmdbg.language.ctype import CType, Member, Method, Static, array_of, complex_of, function_returning, pointer
from kvmdbg.language.objects import Objects, has_table, is_by_reference
from kvmdbg.language.overloads import Overload, best

C, C32 = abi(8), abi(4)


def structure(name: str, size: int, *members: Member, language: str = "c++", kind: str = "struct") -> CType:
    made = CType(kind, name, size)
    made.members, made.language = list(members), language
    return made


def method(owner: CType, name: str, *takes: CType, **more: object) -> Method:
    this = CType("pointer", "", 8)
    this.qualify(pointer(owner, 8), "const")
    made = function_returning(C.int, [this, *takes])
    return Method(name, made, "public", **more)  # type: ignore[arg-type]


def reference(to: CType, rvalue: bool = False) -> CType:
    made = pointer(to, 8)
    made.reference, made.rvalue = True, rvalue
    return made


def named(text: str, types: object = C) -> CType:
    found = types.named(text.split())  # type: ignore[attr-defined]
    assert found is not None, text
    return found


# -- sizes, alignment, conversions -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "size", "size_32", "signed"),
    [
        ("char", "char", 1, 1, True), ("signed char", "signed char", 1, 1, True),
        ("unsigned", "unsigned int", 4, 4, False),
        ("unsigned char", "unsigned char", 1, 1, False), ("short", "short", 2, 2, True), ("signed", "int", 4, 4, True),
        ("int short unsigned", "unsigned short", 2, 2, False), ("int long", "long", 8, 4, True),
        ("long unsigned int", "unsigned long", 8, 4, False), ("int long long", "long long", 8, 8, True),
        ("long int signed", "long", 8, 4, True), ("long unsigned long", "unsigned long long", 8, 8, False),
        ("__int128", "__int128", 16, 16, True), ("unsigned __int128", "unsigned __int128", 16, 16, False),
        ("float", "float", 4, 4, False), ("double", "double", 8, 8, False),
        ("double long", "long double", 16, 12, False),
        ("_Bool", "_Bool", 1, 1, False), ("void", "void", 0, 0, False), ("int8_t", "int8_t", 1, 1, True),
        ("uint8_t", "uint8_t", 1, 1, False), ("int16_t", "int16_t", 2, 2, True), ("uint16_t", "uint16_t", 2, 2, False),
        ("int32_t", "int32_t", 4, 4, True), ("uint32_t", "uint32_t", 4, 4, False), ("int64_t", "int64_t", 8, 8, True),
        ("uint64_t", "uint64_t", 8, 8, False), ("_Complex float", "complex float", 8, 8, False),
        ("double _Complex", "complex double", 16, 16, False),
        ("_Complex long double", "complex long double", 32, 24, False),
    ],
)  # fmt: skip
def test_built_in_types(text: str, name: str, size: int, size_32: int, signed: bool) -> None:
    found = named(text)
    assert (found.name, found.size, found.signed, named(text, C32).size) == (name, size, signed, size_32)


@pytest.mark.parametrize(
    "text",
    ["signed unsigned", "int int", "char short", "signed float", "signed double", "signed _Bool", "signed void",
     "unsigned float", "long long long", "_Complex void", "_Complex _Bool", "_Complex", "short short", "long float"],
)  # fmt: skip
def test_words_that_are_no_type(text: str) -> None:
    assert C.named(text.split()) is None


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("char", -128, 127), ("unsigned char", 0, 255), ("short", -32768, 32767), ("unsigned short", 0, 65535),
        ("int", -(2**31), 2**31 - 1), ("unsigned", 0, 2**32 - 1), ("long", -(2**63), 2**63 - 1),
        ("unsigned long", 0, 2**64 - 1), ("_Bool", 0, 1), ("void", 0, 0), ("__int128", -(2**127), 2**127 - 1),
    ],
)  # fmt: skip
def test_limits(text: str, low: int, high: int) -> None:
    assert (named(text).low, named(text).high) == (low, high)


def test_alignment() -> None:
    wanted = {"char": 1, "short": 2, "int": 4, "long": 8, "double": 8, "float": 4, "_Bool": 1, "long double": 16}
    wanted |= {"_Complex double": 8, "_Complex float": 4, "__int128": 16, "long long": 8}
    assert {name: C.alignment(named(name)) for name in wanted} == wanted
    at_most_4 = {name: min(size, 4) for name, size in wanted.items()}
    assert {name: C32.alignment(named(name, C32)) for name in wanted} == at_most_4  # i386 psABI, 2.1.1
    vector = array_of(C.float, 4)
    assert C.alignment(vector) == 4 and C.alignment(array_of(array_of(named("short"), 2), 3)) == 2
    vector.is_vector = True
    assert C.alignment(vector) == C32.alignment(vector) == 16
    mixed = structure("mixed", 24, Member("a", C.char, 0), Member("b", C.double, 8), Member("c", C.int, 16))
    assert (C.alignment(mixed), C32.alignment(mixed), C.alignment(structure("none", 1))) == (8, 4, 1)
    aligned, other = structure("aligned", 64, Member("a", C.char, 0)), CType("struct", "", 0)
    aligned.alignment = 32
    other.qualify(aligned, "")
    assert C.alignment(other) == 32
    other.alignment = 64
    assert C.alignment(other) == 64


@pytest.mark.parametrize(
    ("left", "right", "common", "common_32"),
    [
        ("char", "char", "int", "int"), ("unsigned short", "short", "int", "int"),
        ("int", "unsigned", "unsigned int", "unsigned int"),
        ("unsigned", "long", "long", "unsigned long"), ("long", "long long", "long", "long long"),
        ("unsigned long", "long", "unsigned long", "unsigned long"), ("float", "double", "double", "double"),
        ("long", "float", "float", "float"), ("double", "int", "double", "double"),
        ("float", "float", "float", "float"),
        ("long double", "double", "long double", "long double"), ("__int128", "unsigned long", "__int128", "__int128"),
        ("unsigned __int128", "__int128", "unsigned __int128", "unsigned __int128"), ("_Bool", "_Bool", "int", "int"),
        ("unsigned char", "long", "long", "long"), ("unsigned", "long long", "long", "long long"),
    ],
)  # fmt: skip
def test_the_usual_arithmetic_conversions(left: str, right: str, common: str, common_32: str) -> None:
    for one, two in ((left, right), (right, left)):
        assert str(C.common(named(one), named(two))) == common
        assert C32.common(named(one, C32), named(two, C32)).size == named(common_32, C32).size
        assert C32.common(named(one, C32), named(two, C32)).signed == named(common_32, C32).signed


def test_promotions() -> None:
    promoted = {name: str(C.promoted(named(name))) for name in ("char", "unsigned short", "_Bool", "unsigned", "long")}
    assert promoted == {
        "char": "int",
        "unsigned short": "int",
        "_Bool": "int",
        "unsigned": "unsigned int",
        "long": "long",
    }
    assert str(C.promoted(C.float)) == "float"


@pytest.mark.parametrize(
    ("prefix", "is_cpp", "name", "size", "size_32", "signed"),
    [("", True, "char", 1, 1, True), ("u8", False, "char", 1, 1, True), ("L", False, "wchar_t", 4, 4, True),
     ("u", False, "char16_t", 2, 2, False), ("U", True, "char32_t", 4, 4, False), ("u", True, "char16_t", 2, 2, False)],
)  # fmt: skip
def test_characters(prefix: str, is_cpp: bool, name: str, size: int, size_32: int, signed: bool) -> None:
    for types, wanted in ((C, size), (C32, size_32)):
        found = types.character(prefix, is_cpp)
        assert (found.name, found.size, found.signed, found.kind) == (name, wanted, signed, "char")
    assert C.character("u", True).original is None and str(C.character("u", False).original) == "unsigned short"
    assert (str(C.character("L", False).original), str(C32.character("L", False).original)) == ("int", "long")


# -- what types are called, and what is in them ------------------------------------------------------------------


def test_declarations_of_c() -> None:
    function = function_returning(pointer(C.char, 8), [C.int, pointer(C.char, 8)])
    assert function.declaring("f") == "char *f(int, char *)"
    assert pointer(function, 8).declaring("f") == "char *(*f)(int, char *)"
    assert array_of(pointer(function, 8), 3).declaring("f") == "char *(*f[3])(int, char *)"
    assert pointer(array_of(C.int, 3), 8).declaring("p") == "int (*p)[3]"
    assert array_of(C.int, None).declaring("a") == "int a[]"
    assert (function_returning(C.int).name, function_returning(C.int, []).name) == ("int ()", "int (void)")
    function.takes_more = True
    assert function.name == "char *(int, char *, ...)"
    assert (reference(C.int).declaring("r"), reference(C.int, True).declaring("r")) == ("int &r", "int &&r")
    member = CType("member", "", 8)
    member.target, member.owner = C.int, structure("Base", 4)
    assert member.declaring("m") == "int Base::*m"
    fixed = CType("", "", 0)
    fixed.qualify(pointer(C.int, 8), "const")
    assert (fixed.declaring("p"), fixed.declaring("")) == ("int * const p", "int * const")
    both, named_type = CType("", "", 0), CType("", "", 0)
    named_type.qualify(C.int, "volatile")
    both.qualify(named_type, "const")
    assert (both.name, both.unqualified, both.resolved) == ("const volatile int", "int", C.int)


def test_heads() -> None:
    assert structure("kern::Heap", 8).head == "struct kern::Heap"
    assert structure("struct heap", 8, language="c").head == "struct heap"
    assert structure("struct {...}", 8).head == "struct"
    mode = CType("enum", "Mode", 4)
    mode.language = "c++"
    assert mode.head == "enum Mode"
    mode.scoped = True
    assert mode.head == "enum class Mode"


def diamond() -> tuple[CType, CType, CType, CType]:
    """Top, Left : Top, Right : Top, Bottom : Left, Right."""
    top = structure("Top", 8, Member("t", C.int, 4))
    left = structure("Left", 16, Member("<Top>", top, 0), Member("l", C.int, 8))
    right = structure("Right", 16, Member("<Top>", top, 4), Member("r", C.int, 0))
    bottom = structure("Bottom", 40, Member("<Left>", left, 0), Member("<Right>", right, 16), Member("b", C.int, 32))
    return top, left, right, bottom


def test_members_and_bases() -> None:
    top, _, right, bottom = diamond()
    offsets = {name: found.offset for name in "tlrb" if (found := bottom.member(name)) is not None}
    assert offsets == {"t": 4, "l": 8, "r": 16, "b": 32} and bottom.member("x") is None
    assert [[one.name for one in way] for way in bottom.ways_to("t")] == [
        ["<Left>", "<Top>", "t"],
        ["<Right>", "<Top>", "t"],
    ]
    assert [[one.name for one in way] for way in bottom.ways_to_base(top)] == [
        ["<Left>", "<Top>"],
        ["<Right>", "<Top>"],
    ]
    assert [one.name for one in bottom.way_to_base("Right")] == ["<Right>"] and bottom.way_to_base("No") == []
    assert [one.name for one in bottom.way_to_base("Top")] == ["<Left>", "<Top>"]
    bottom.members.append(Member("t", C.int, 36))
    assert [way[-1].offset for way in bottom.ways_to("t")] == [36] and bottom.member("t").offset == 36  # type: ignore[union-attr]
    right.statics = [Static("count", C.int, "public", 0)]
    found = bottom.static("count")
    assert found is not None and found[1] is right and bottom.static("none") is None
    top.methods, right.methods = [method(top, "f")], [method(right, "g"), method(right, "h"), method(right, "g", C.int)]
    assert [[one.name for one in way] for way in (bottom.methods_named("f")[1], bottom.methods_named("g")[1])] == [
        ["<Left>", "<Top>"], ["<Right>"],
    ]  # fmt: skip
    assert len(bottom.methods_named("g")[0]) == 2 and bottom.methods_named("none") == ([], [])


def test_virtual_bases_are_there_once() -> None:
    top = structure("Top", 8, Member("t", C.int, 0))
    left = structure("Left", 16, Member("<Top>", top, 0, virtual=lambda read, at: at + 32))
    right = structure("Right", 16, Member("<Top>", top, 0, virtual=lambda read, at: at + 16))
    bottom = structure("Bottom", 40, Member("<Left>", left, 0), Member("<Right>", right, 16))
    assert len(bottom.ways_to("t")) == len(bottom.ways_to_base(top)) == 1
    right.members.append(Member("t", C.int, 8))  # hides that of its virtual base: C++, 6.5.2 (class.member.lookup)
    assert [[one.name for one in way] for way in bottom.ways_to("t")] == [["<Right>", "t"]]


def test_members_without_a_name() -> None:
    either = structure("union {...}", 4, Member("i", C.int, 0), Member("h", C.char, 2), kind="union")
    whole = structure("whole", 16, Member("a", C.int, 0), Member("", either, 8))
    assert whole.member("h").offset == 10  # type: ignore[union-attr]
    assert [one.offset for one in whole.way_to("h")] == [8, 2] and whole.way_to("no") == []


def test_what_a_class_goes_by() -> None:
    one = structure("kern::Heap", 8)
    assert one.goes_by("kern::Heap") and one.goes_by("Heap") and not one.goes_by("eap") and not one.goes_by("kern")
    assert structure("struct heap", 8).goes_by("heap") and not structure("union heap", 8).goes_by("heap")


def test_same_types() -> None:
    assert C.int.same(C32.int) and not C.int.same(C.unsigned) and not C.long.same(C32.long)
    assert pointer(C.int, 8).same(pointer(C.int, 8)) and not pointer(C.int, 8).same(pointer(C.int, 4))
    assert not structure("A", 4).same(structure("A", 4, kind="union"))


def test_complex_types() -> None:
    assert (complex_of(C.double).size, complex_of(C.double).target) == (16, C.double)
    assert not complex_of(C.int).is_number and not complex_of(C.int).is_float


# -- which function is meant -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("among", "given", "wanted"),
    [
        (["int", "double"], "int", "int"), (["int", "double"], "double", "double"),
        (["int", "double"], "float", "double"),
        (["int", "double"], "char", "int"), (["char", "long"], "int", "long"), (["long", "char"], "short", "long"),
        (["float", "long"], "int", "long"), (["int", "float"], "double", "float"), (["short", "int"], "_Bool", "short"),
        (["char", "double"], "int", "char"), (["double", "long double"], "float", "double"),
    ],
)  # fmt: skip
def test_overloads_of_numbers(among: list[str], given: str, wanted: str) -> None:
    functions = [Overload(one, function_returning(C.int, [named(one)])) for one in among]
    for order in (
        (functions, functions[::-1]) if given not in ("_Bool", "float") or wanted != among[0] else (functions,)
    ):
        found = best(order, [named(given)])
        assert found is not None and found.name == wanted


def test_overloads_of_pointers() -> None:
    void, text, numbers = (pointer(one, 8) for one in (named("void"), C.char, C.int))
    point = structure("Point", 8)
    among = [Overload(str(one), function_returning(C.int, [one])) for one in (void, text, reference(point), C.long)]

    def meant(*given: CType) -> str:
        found = best(among, given)
        return found.name if found is not None else ""

    assert meant(text) == "char *" and meant(array_of(C.char, 4)) == "char *" and meant(numbers) == "void *"
    assert meant(point) == "Point &" and meant(C.int) == "long" and meant(structure("Other", 8)) == ""
    assert meant() == "" and meant(C.int, C.int) == ""
    among.append(Overload("two", function_returning(C.int, [text, C.int])))
    assert meant(C.int) == "long" and meant(text, C.int) == "two"  # a pointer in front is no this
    among.pop()
    del among[0]
    assert meant(numbers) == "char *" and meant(array_of(C.int, 4)) == ""
    del among[0]
    assert meant(text) == ""


def test_overloads_of_methods() -> None:
    owner = structure("Heap", 8)
    takes = [(), (C.int,), (C.int, C.double), (C.double, C.int)]
    among = [Overload(str(at), method(owner, "f", *one).type) for at, one in enumerate(takes)]
    for at, given in ((0, ()), (1, (C.char,)), (2, (C.int, C.double)), (3, (C.double, C.int)), (3, (C.double, C.char))):
        found = best(among, given)
        assert found is not None and found.name == str(at)


# -- objects -----------------------------------------------------------------------------------------------------


def test_what_is_passed_by_reference() -> None:
    plain = structure("Plain", 8, Member("a", C.int, 0))
    assert not is_by_reference(plain) and not is_by_reference(C.int) and not is_by_reference(pointer(plain, 8))
    constant = CType("", "", 0)
    constant.qualify(plain, "const")
    for name, takes in (("~Plain", ()), ("Plain", (reference(constant),)), ("Plain", (reference(plain, True),))):
        plain.methods = [method(plain, name, *takes)]
        assert is_by_reference(plain)
        assert is_by_reference(array_of(plain, 2)) and not is_by_reference(array_of(C.int, 2))
        assert is_by_reference(structure("Outer", 8, Member("in", plain, 0)))
        assert is_by_reference(structure("Outer", 8, Member("<Plain>", plain, 0)))
        assert is_by_reference(structure("Outer", 16, Member("in", array_of(plain, 2), 0)))
        plain.methods = [method(plain, name, *takes, made=True)]
        assert not is_by_reference(plain)
        plain.methods = [method(plain, name, *takes, ending="= default")]
        assert not is_by_reference(plain)
    for name, takes in (
        ("Plain", ()),
        ("Plain", (C.int,)),
        ("Plain", (pointer(plain, 8),)),
        ("copy", (reference(plain),)),
    ):
        plain.methods = [method(plain, name, *takes)]
        assert not is_by_reference(plain)
    plain.methods = [method(plain, "Plain", reference(structure("Other", 8)))]
    assert not is_by_reference(plain)
    plain.methods = [method(plain, "f", virtual=True)]
    assert is_by_reference(plain) and has_table(plain)
    template = structure("kern::Box<int>", 8)
    template.methods = [method(template, "~Box")]
    assert is_by_reference(template)
    plain.language = "c"
    assert not is_by_reference(plain) and not has_table(plain)


def whole(memory: dict[int, int], labels: dict[int, str], *classes: CType) -> Objects:
    def read(address: int, size: int) -> bytes:
        return b"".join(memory.get(address + at, 0).to_bytes(8, "little", signed=True) for at in range(0, size, 8))

    known = {one.given: one for one in classes}
    return Objects(read, lambda address: labels.get(address, ""), known.get, 8)


def test_casts_of_objects() -> None:
    """The table that a base inside has says how far the whole begins before it: Itanium C++ ABI, 2.5.2."""
    top, left, right, bottom = diamond()
    for one in (top, left, right, bottom):
        one.methods = [method(one, "f", virtual=True, slot=0)]
    objects = whole(
        {0x1000: 0x5010, 0x1010: 0x5060, 0x5050: -16},
        {0x5010: "vtable for Bottom+16", 0x5060: "vtable for Bottom+96"},
        bottom,
    )
    assert objects.whole(left, 0x1000) == (bottom, 0x1000) and objects.whole(right, 0x1010) == (bottom, 0x1000)
    assert objects.cast(right, 0x1010, left) == objects.cast(right, 0x1010, named("void")) == 0x1000
    assert objects.cast(left, 0x1000, right) == 0x1010 and objects.cast(left, 0x1000, bottom) == 0x1000
    assert objects.cast(left, 0x1000, top) == 0  # it is there twice
    assert objects.cast(left, 0x1000, structure("Other", 8)) == objects.cast(left, 0, right) == 0
    hidden = Member("<Right>", right, 16, access="private")
    bottom.members[1] = hidden
    assert objects.cast(left, 0x1000, right) == 0 and objects.cast(left, 0x1000, top) == 0x1000
    assert objects.whole(structure("Plain", 8), 0x1000) is None and objects.whole(left, 0x2000) is None


def test_tables_of_objects() -> None:
    top, left, right, bottom = diamond()
    top.members[0] = Member("t", C.int, 8)
    right.members[0] = Member("<Top>", structure("Plain", 8), 0)
    left.methods = [method(left, "f", virtual=True, slot=0), method(left, "g", virtual=True, slot=2)]
    right.methods = [method(right, "h", virtual=True, slot=0), method(right, "i")]
    bottom.methods = [method(bottom, "f", virtual=True, slot=0)]
    memory = {0x1000: 0x5010, 0x1010: 0x5060, 0x5010: 0x100, 0x5018: 0x200, 0x5020: 0x300, 0x5060: 0x400, 0x5068: 0x500}
    objects = whole(memory, {}, bottom)
    found = objects.tables(bottom, 0x1000)
    assert [(one.type, one.place, one.address, one.count) for one in found] == [
        (bottom, 0x1000, 0x5010, 3), (right, 0x1010, 0x5060, 1),
    ]  # fmt: skip
    assert [objects.functions(one) for one in found] == [[0x100, 0x200, 0x300], [0x400]]
