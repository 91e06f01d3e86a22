"""Expressions over variables, types and enumerators of a source, which are made up here."""

from __future__ import annotations

import pytest

from kvmdbg.errors import ExpressionError, KvmdbgError
from kvmdbg.language.ctype import CType, Member, array_of, pointer
from kvmdbg.language.expressions import parse, parse_prefix
from kvmdbg.language.types import MemoryRef, Value

from .machine import Machine

INT, BYTE, LONG = CType("int", "int", 4), CType("uint", "unsigned char", 1), CType("uint", "unsigned long", 8)
INT.signed = True
DOUBLE = CType("float", "double", 8)
COLOUR = CType("enum", "enum colour", 4)
COLOUR.values = {0: "RED", 3: "BLUE"}


INNER = CType("union", "", 4)
INNER.members = [Member("whole", INT, 0), Member("part", BYTE, 0)]
THING = CType("struct", "struct thing", 40)
THING.members = [
    Member("number", INT, 0),
    Member("low", BYTE, 4, 0, 3),
    Member("signed", INT, 4, 3, 5),
    Member("far", INT, 4, 13, 9),
    Member("next", pointer(THING, 8), 8),
    Member("table", array_of(INT, 3), 16),
    Member("", INNER, 28),
    Member("real", DOUBLE, 32),
]
THINGS = 0x3000


class Source(Machine):
    """A machine that runs a program with some variables; ``fast`` is in a register, ``gone`` is nowhere."""

    def __init__(self) -> None:
        super().__init__(64)
        self.in_register = {"fast": bytes.fromhex("feffffff"), "pair": bytes(range(40))}
        self.addresses = {
            "thing": THINGS, "things": THINGS, "first": 0x2000, "colour": 0x2010, "letters": 0x2020, "ratio": 0x2030,
            "ticks": 0x2038,
        }  # fmt: skip
        memory = self.memory["linear"]
        memory[0x2000:0x2008] = THINGS.to_bytes(8, "little")
        memory[0x2010:0x2014] = bytes((3, 0, 0, 0))
        memory[0x2020:0x2024] = b"ab\0\xff"
        memory[0x2038:0x2040] = bytes((0xFF,)) * 8
        for n in range(2):
            at = THINGS + 40 * n
            memory[at : at + 4] = (-5 + n).to_bytes(4, "little", signed=True)
            memory[at + 4 : at + 8] = (0b101 | 0b10010 << 3 | 0x1FE << 13).to_bytes(4, "little")
            memory[at + 8 : at + 16] = (THINGS + 40 * (1 - n)).to_bytes(8, "little")
            memory[at + 16 : at + 28] = b"".join((10 * n + k).to_bytes(4, "little") for k in range(3))
            memory[at + 28 : at + 32] = (0x1234 + n).to_bytes(4, "little")

    def source_variable(self, name: str) -> tuple[int | None, bytes]:
        if name in self.in_register:
            return None, self.in_register[name]
        if name == "gone":
            raise KvmdbgError("gone: optimized out")
        return self.addresses[name], b""

    def set_source_variable(self, name: str, data: bytes) -> None:
        address, _ = self.source_variable(name)
        if address is None:
            self.in_register[name] = data
        else:
            self.write(address, data, "linear")


class Names:
    """The scope that goes with it."""

    long_size = pointer_size = 8
    language = "c"
    kept: dict[str, CType] = {}
    variables = {
        "thing": THING, "things": array_of(THING, 2), "first": pointer(THING, 8), "colour": COLOUR,
        "letters": array_of(BYTE, 4), "ratio": DOUBLE, "ticks": LONG, "fast": INT, "pair": THING, "gone": INT,
    }  # fmt: skip
    types = {
        "struct thing": THING,
        "word_t": BYTE,
        "enum colour": COLOUR,
        "struct empty": CType("struct", "struct empty", 0),
    }

    def variable(self, name: str) -> CType | None:
        return self.variables.get(name)

    def variable_type(self, name: str) -> CType | None:
        return self.kept.get(name)

    def setting(self, name: str) -> None:
        return None

    def type(self, name: str) -> CType | None:
        return self.types.get(name)

    def constant(self, name: str) -> tuple[int, CType] | None:
        return {"RED": (0, COLOUR), "BLUE": (3, COLOUR)}.get(name)


@pytest.fixture
def guest() -> Source:
    return Source()


def evaluated(text: str, guest: Source) -> Value:
    return parse(text, scope=Names()).evaluate(guest)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("thing.number", -5),
        ("thing.number + 1", -4),
        ("thing.low", 5),
        ("thing.signed", -14),
        ("thing.far", -2),
        ("thing.low + thing.signed", -9),
        ("thing.whole", 0x1234),
        ("thing.part", 0x34),
        ("thing.table[2]", 2),
        ("*thing.table", 0),
        ("thing.next->table[1]", 11),
        ("first->number", -5),
        ("first->next->number", -4),
        ("first->next->next == first", 1),
        ("(*first).next->low", 5),
        ("first[1].number", -4),
        ("things[1].number", -4),
        ("(first + 1)->number", -4),
        ("&first[1] - first", 1),
        ("&thing", THINGS),
        ("&thing.table[1]", THINGS + 20),
        ("&thing.real", THINGS + 32),
        ("&things[1]", THINGS + 40),
        ("letters[0]", 0x61),
        ("letters + 1", 0x2021),
        ("*(letters + 3)", 0xFF),
        ("colour == BLUE", 1),
        ("RED", 0),
        ("colour + RED", 3),
        ("ticks", (1 << 64) - 1),
        ("fast", -2),
        ("fast * 3", -6),
        ("sizeof thing", 40),
        ("sizeof(struct thing)", 40),
        ("sizeof(struct thing *)", 8),
        ("sizeof thing.table", 12),
        ("sizeof first", 8),
        ("sizeof(enum colour)", 4),
        ("((struct thing *)0x3028)->number", -4),
        ("(word_t)0x1ff", 0xFF),
        ("(word_t)fast", 0xFE),
        ("main", 0x1000),
        ("thing.number < 0 ? thing.low : colour", 5),
    ],
)
def test_values(guest: Source, text: str, value: int) -> None:
    expression = parse(text, scope=Names())
    assert expression.evaluate(guest).value == value
    assert expression.bind(guest)() == value


@pytest.mark.parametrize(
    ("low", "signed", "text", "value"),
    [
        (7, 0, "0xfffffffffffffff8 + thing.low", (1 << 64) - 1), (7, 0, "0xfffffffffffffff9 + thing.low", 0),
        (0, 15, "0xfffffffffffffff0 + thing.signed", (1 << 64) - 1), (0, 15, "0xfffffffffffffff1 + thing.signed", 0),
        (0, -16, "thing.signed - 0x7ffffffffffffff0", -(1 << 63)),
        (0, -16, "thing.signed - 0x7ffffffffffffff1", (1 << 63) - 1),
        (7, -16, "thing.low - thing.signed", 23), (5, 15, "-thing.signed", -15),
    ],
)  # fmt: skip
def test_bit_fields_at_the_ends_of_64_bits(guest: Source, low: int, signed: int, text: str, value: int) -> None:
    guest.memory["linear"][THINGS + 4] = low | (signed & 31) << 3
    assert evaluated(text, guest).value == value


def test_a_value_has_the_type_of_its_source(guest: Source) -> None:
    assert [str(evaluated(text, guest).type) for text in ("thing", "first", "thing.low", "fast", "colour")] == [
        "struct thing", "struct thing *", "unsigned char", "int", "enum colour",
    ]  # fmt: skip
    assert str(evaluated("&thing.table[1]", guest).type) == "int *"


def test_what_is_in_memory_says_where(guest: Source) -> None:
    whole = evaluated("thing", guest)
    assert whole.lvalue == MemoryRef(THINGS, 40) and whole.value == THINGS
    assert whole.data == bytes(guest.memory["linear"][THINGS : THINGS + 40])
    assert evaluated("thing.table[1]", guest).lvalue == MemoryRef(THINGS + 20, 4)
    assert evaluated("things[1].next", guest).lvalue == MemoryRef(THINGS + 48, 8)


def test_what_is_in_a_register_has_no_place(guest: Source) -> None:
    fast = evaluated("fast", guest)
    assert (fast.value, fast.lvalue, fast.data) == (-2, None, b"\xfe\xff\xff\xff")
    pair = evaluated("pair", guest)
    assert (pair.value, pair.lvalue, pair.data) == (0, None, bytes(range(40)))
    assert evaluated("pair.number", guest).value == 0x03020100
    for text in ("&fast", "&pair.number"):
        with pytest.raises(ExpressionError, match="is in a register here, it has no address"):
            evaluated(text, guest)


def test_what_is_nowhere_says_so(guest: Source) -> None:
    with pytest.raises(KvmdbgError, match="optimized out"):
        evaluated("gone + 1", guest)


def test_several_from_a_place_on(guest: Source) -> None:
    two = evaluated("*first@2", guest)
    assert (str(two.type), two.type.size, len(two.data)) == ("struct thing [2]", 80, 80)
    assert evaluated("letters[1]@2", guest).data == b"b\0"
    assert evaluated("(*first@2)[1].number", guest).value == -4
    for text in ("first->number@0", "first->number@10001", "first->number@fast", "first->number@ratio"):
        with pytest.raises(ExpressionError, match="1 to 10000"):
            evaluated(text, guest)
    assert evaluated("first->number@10000", Source()).type.size == 40_000
    with pytest.raises(ExpressionError, match="must be in memory"):
        evaluated("5@2", guest)


@pytest.mark.parametrize(
    ("text", "address", "data"),
    [
        ("thing.number = 7", THINGS, "07000000"),
        ("thing.number += 7", THINGS, "02000000"),
        ("thing.table[1] = -1", THINGS + 20, "ffffffff"),
        ("first->next->number--", THINGS + 40, "fbffffff"),
        ("letters[1] = 0x1ff", 0x2021, "ff"),
        ("colour = RED", 0x2010, "00000000"),
        ("first = &things[1]", 0x2000, "2830000000000000"),
        ("thing.low = 2", THINGS + 4, "92"),
        ("thing.signed += 20", THINGS + 4, "35"),
        ("thing.low++", THINGS + 4, "96"),
        ("things[1] = things[0]", THINGS + 40, "fbffffff"),
        ("ratio = 1.5", 0x2030, "000000000000f83f"),
        ("first++", 0x2000, "2830000000000000"),
    ],
)
def test_assignments(guest: Source, text: str, address: int, data: str) -> None:
    evaluated(text, guest)
    assert guest.memory["linear"][address : address + len(data) // 2] == bytes.fromhex(data)


def test_assignment_to_a_register(guest: Source) -> None:
    assert evaluated("fast += 5", guest).value == 3
    assert guest.in_register["fast"] == bytes((3, 0, 0, 0))
    assert evaluated("fast = 0xffffffff", guest).value == -1
    assert evaluated("fast++", guest).value == -1 and evaluated("fast", guest).value == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("thing + 1", "a struct thing cannot be worked with: name one of its members"),
        ("ratio % 2", "'%' works with integers only, not with double"),
        ("~ratio", "'~' works with integers only"),
        ("*ratio", "Attempt to take contents of a non-pointer value."),
        ("thing.none", "struct thing has no member 'none'; it has number, low, signed"),
        ("fast.x", "what stands before a member is no structure"),
        ("&thing.low", "a bit field has no address"),
        ("letters = 1", "a int cannot be assigned to a unsigned char"),
        ("(struct none *)1", "there is no type 'struct none'"),
        ("(struct empty)1", "void has no value"),
        ("first - letters", "cannot be subtracted"),
        ("first + first", "cannot be added"),
        ("thing.", "the name of a member is expected"),
    ],
)
def test_mistakes(guest: Source, text: str, message: str) -> None:
    with pytest.raises(ExpressionError) as error:
        evaluated(text, guest)
    assert message in str(error.value)


def test_the_structure_that_a_text_names() -> None:
    for text in ("thing", "first", "first->next", "things", "*first"):
        assert parse(text, scope=Names()).structure is THING, text
    for text in ("fast", "thing.number", "5", "letters"):
        assert parse(text, scope=Names()).structure is None, text


def test_what_is_assigned_to_a_variable_keeps_its_type() -> None:
    assigned = parse("$p = first", scope=Names()).assigned
    assert {name: str(type) for name, type in assigned.items()} == {"p": "struct thing *"}
    inside = parse("($p = first)->number + ($q = 1ll)", scope=Names()).assigned
    assert {name: str(type) for name, type in inside.items()} == {"p": "struct thing *", "q": "long long"}
    assert parse("thing.number = 1", scope=Names()).assigned == {}


def test_variables_of_the_user_have_the_types_that_they_were_given(guest: Source) -> None:
    names = Names()
    names.kept = {"p": pointer(THING, 8), "t": THING}
    guest.variables |= {"p": THINGS + 40, "t": guest.read(THINGS, 40, "linear")}
    assert parse("$p->number", scope=names).evaluate(guest).value == -4
    assert parse("$t.low", scope=names).evaluate(guest).value == 5
    assert parse("$p + 1", scope=names).evaluate(guest).value == THINGS + 80


def test_a_longest_prefix_ends_where_a_member_does(guest: Source) -> None:
    found, end = parse_prefix("thing.number if x", scope=Names())
    assert (found.evaluate(guest).value, end) == (-5, 12)
