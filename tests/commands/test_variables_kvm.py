"""Variables and types of C guests, with and without optimization."""

from __future__ import annotations

import re

import pytest

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.core.session import Session
from kvmdbg.errors import ExpressionError, UsageError
from kvmdbg.pytest_plugin import Guests

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]

C = """\
enum color { RED, GREEN = 5, BLUE };
typedef unsigned long word;
struct inner { char name[8]; short pair[2]; };
struct thing {
    int number;
    unsigned flag : 1, level : 3;
    signed small : 4;
    enum color color;
    struct inner inner;
    struct thing *next;
    const char *text;
    double weight;
    _Bool yes;
};
union either { int whole; char part; };
struct thing global = { -7, 1, 5, -2, GREEN, { "abc", { 1, -2 } }, &global, "hello", 1.5, 1 };
volatile int sink;

static __attribute__((noinline)) int work(int first, word second, struct thing *thing) {
    int sum = first;
    int table[3] = { 10, 20, 30 };
    union either either = { 65 };
    for (int i = 0; i < 3; i++) {
        int product = table[i] * (int) second;
        sum += product;
        sink = sum;
    }
    sink = thing->number + either.part;
    return sum;
}

void _start(void) {
    sink = work(3, 4, &global);
    __asm__("hlt");
}
"""


def typed(dbg: Session, *lines: str) -> str:
    interpreter = Interpreter(dbg)
    return "\n".join(result.plain(100) for line in lines for result in interpreter.execute(line))


@pytest.fixture
def dbg(kvm_guest: Guests) -> Session:
    session = kvm_guest(c=C, optimize=0)
    session.break_at("guest.c:26")
    session.run(timeout=5)
    return session


def test_locals_and_arguments(dbg: Session) -> None:
    assert dbg.arguments() == {"first": "3", "second": "4", "thing": f"{dbg.symbols['global']:#x} <global>"}
    found = dbg.locals()
    assert {name: found[name] for name in ("sum", "table", "i", "product")} == {
        "sum": "43", "table": "{10, 20, 30}", "i": "0", "product": "40",
    }  # fmt: skip
    assert list(found)[:3] == ["product", "i", "sum"]  # those of inner blocks first
    assert found["either"] == "{whole = 65, part = 65 'A'}"
    dbg.run(timeout=5)
    assert (dbg.locals()["i"], dbg.locals()["product"]) == ("1", "80")
    assert "word" in typed(dbg, "info args")
    assert "product  80" in typed(dbg, "info locals")


def test_a_structure(dbg: Session) -> None:
    variable = dbg.c_variables.find("global")
    assert variable is not None
    address, text = dbg.symbols["global"], "hello"
    value = dbg.c_variables.value(variable)
    assert value.startswith(
        "{number = -7, flag = 1, level = 5, small = -2, color = GREEN, "
        'inner = {name = "abc\\000\\000\\000\\000", pair = {1, -2}}, '
        f"next = {address:#x} <global>, text = 0x"
    )
    assert value.endswith(f' "{text}", weight = 1.5, yes = true}}')
    assert f"at     {address:#x}" in typed(dbg, "var global")
    assert typed(dbg, "whatis global") == "type = struct thing"


def test_types(dbg: Session) -> None:
    shown = typed(dbg, "ptype struct thing")
    assert "    unsigned int level : 3;" in shown
    assert "/*      4: 1   |       4 */    unsigned int level : 3;" in typed(dbg, "ptype/o struct thing")
    assert "    struct thing *next;" in shown
    assert typed(dbg, "ptype color") == "type = enum color {RED, GREEN = 5, BLUE}"
    assert typed(dbg, "ptype word") == "type = unsigned long"
    assert typed(dbg, "ptype sum") == "type = int"
    assert "short pair[2];" in typed(dbg, "ptype struct inner")
    with pytest.raises(UsageError, match="no variable and no type is called 'nothing'"):
        typed(dbg, "ptype nothing")
    with pytest.raises(UsageError, match="no variable and no type is called 'nothing'"):
        typed(dbg, "whatis nothing")


def test_optimized_code(kvm_guest: Guests) -> None:
    dbg = kvm_guest(c=C, optimize=2)
    dbg.break_at("guest.c:29")
    dbg.run(timeout=5)
    assert dbg.arguments()["first"] in ("3", "<optimized out>", "113", "123")
    for value in dbg.locals().values():
        assert value
    assert typed(dbg, "whatis sink") == "type = volatile int"


def test_no_debug_information(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="hlt")
    assert typed(dbg, "info locals").startswith("Nothing is known of the function at pc")
    with pytest.raises(UsageError, match="no debug information"):
        dbg.locals()


def value_of(dbg: Session, text: str) -> str:
    return typed(dbg, f"output {text}")


@pytest.mark.parametrize(
    ("expression", "shown"),
    [
        ("sum", "43"),
        ("first + 1", "4"),
        ("table", "{10, 20, 30}"),
        ("table[1]", "20"),
        ("*table", "10"),
        ("table[i + 1] * 2", "40"),
        ("either.part", "65 'A'"),
        ("/x table", "{0xa, 0x14, 0x1e}"),
        ("thing->number", "-7"),
        ("(*thing).level", "5"),
        ("thing->small", "-2"),
        ("thing->small < 0 && thing->flag", "1"),
        ("thing->color", "GREEN"),
        ("thing->color == GREEN", "1"),
        ("BLUE", "BLUE"),
        ("BLUE + 1", "7"),
        ("thing->inner", '{name = "abc\\000\\000\\000\\000", pair = {1, -2}}'),
        ("thing->next->next->inner.pair[1]", "-2"),
        ("global.inner.name[1]", "98 'b'"),
        ("global.weight", "1.5"),
        ("global.yes", "true"),
        ("sizeof(struct thing)", "56"),
        ("sizeof global.inner", "12"),
        ("sizeof(word)", "8"),
        ("((struct thing *)&global)->number", "-7"),
        ("((struct inner *)&global.inner)->pair[0]", "1"),
        ("{struct inner}&global.inner", '{name = "abc\\000\\000\\000\\000", pair = {1, -2}}'),
        ("&table[2] - &table[0]", "2"),
        ("*&table[0]@2", "{10, 20}"),
        ("*thing->next->text@3", '"hel"'),
        ("(*table@3)[2]", "30"),
        ("table[1]@2", "{20, 30}"),
        ("&global == thing", "1"),
        ("(unsigned char)thing->number", "249 '\\371'"),
        ("second", "4"),
        ("i ? 1 : table[0]", "10"),
        ("work", None),
    ],
)
def test_expressions_of_the_source(dbg: Session, expression: str, shown: str | None) -> None:
    if shown is None:
        assert value_of(dbg, expression).endswith(f"<{expression}>")
    elif expression.startswith("/x "):
        assert typed(dbg, f"output/x {expression[3:]}") == shown
    else:
        assert value_of(dbg, expression) == shown


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("global + 1", "struct thing cannot be worked with: name one of its members"),
        ("thing->nothing", "struct thing has no member 'nothing'; it has number, flag"),
        ("sum.x", "what stands before a member is no structure"),
        ("global.weight % 2", "'%' works with integers only, not with double"),
        ("(struct nothing *)1", "there is no type 'struct nothing'"),
        ("&thing->flag", "a bit field has no address"),
        ("table = 1", "cannot be assigned to a"),
        ("thing->", "the name of a member is expected"),
        ("table@2", None),
        ("table[1]@0", "a count from 1"),
        ("nothing", "no symbol 'nothing'"),
    ],
)
def test_expressions_that_are_none(dbg: Session, expression: str, complaint: str | None) -> None:
    if complaint is None:
        assert value_of(dbg, expression).startswith("{{10, 20, 30}, {")
        return
    with pytest.raises(ExpressionError, match=re.escape(complaint)):
        typed(dbg, f"print {expression}")


def test_variables_are_written(dbg: Session) -> None:
    typed(dbg, "set var thing->flag = 0", "set var thing->small++", "set var global.weight = 2.5")
    assert value_of(dbg, "thing->level") == "5" and value_of(dbg, "thing->small") == "-1"
    assert value_of(dbg, "global.weight * 2") == "5" and value_of(dbg, "thing->flag") == "0"
    typed(dbg, "set var sum = 1000", "set var thing->inner.pair[1] = 77", "set var table[2] += 5", "print i++")
    assert dbg.locals()["sum"] == "1000"
    assert value_of(dbg, "global.inner.pair") == "{1, 77}"
    assert value_of(dbg, "table[2]") == "35"
    assert value_of(dbg, "i") == "1"


def test_values_and_addresses_as_commands_take_them(dbg: Session) -> None:
    address = dbg.symbols["global"]
    assert typed(dbg, "print thing") == f"$1 = (struct thing *) {address:#x} <global>"
    assert typed(dbg, "print &thing->inner") == f"$2 = (struct inner *) {address + 12:#x} <global+12>"
    assert typed(dbg, "print $1->number + 0") == "$3 = -7"
    assert typed(dbg, "x/1dw thing").split()[-1] == "-7"
    assert typed(dbg, "x/3dw table").split()[-3:] == ["10", "20", "30"]
    assert typed(dbg, "whatis thing->inner") == "type = struct inner"
    assert "short pair[2];" in typed(dbg, "ptype thing->inner")
    assert "struct thing *next;" in typed(dbg, "ptype thing")
    point = dbg.watch("thing->number")
    assert (point.address, point.length) == (address, 4)


def test_conditions_see_the_function_they_stop_in(kvm_guest: Guests) -> None:
    dbg = kvm_guest(c=C, optimize=0)
    point = dbg.break_at("guest.c:26", when="i == 2 && thing->color == GREEN")
    dbg.run(timeout=5)
    assert dbg.locals()["i"] == "2"
    typed(dbg, f"condition {point.number} product > 1")
    assert point.condition == "product > 1"
    with pytest.raises(ExpressionError, match="has no member 'wrong'"):
        dbg.break_at("guest.c:26", when="thing->wrong")
    assert len(list(dbg.breakpoints)) == 1


def test_frames(dbg: Session) -> None:
    assert "guest.c:26" in typed(dbg, "frame")
    shown = typed(dbg, "up")
    assert shown.splitlines()[0].startswith("#1  ")
    assert "sink = work(3, 4, &global);" in shown
    with pytest.raises(ExpressionError, match="no symbol 'sum'"):
        typed(dbg, "print sum")
    assert "*#1" in typed(dbg, "backtrace")
    assert "called from" in typed(dbg, "info frame")
    with pytest.raises(UsageError, match="there is no frame 9"):
        typed(dbg, "frame 9")
    assert typed(dbg, "up 8").startswith("#1  ")  # as far as it goes
    typed(dbg, "down 8")
    assert value_of(dbg, "sum") == "43"
    with pytest.raises(UsageError, match="this is the innermost frame"):
        typed(dbg, "down")
    typed(dbg, "frame 1")
    dbg.run(timeout=5)
    assert dbg.frame.number == 0
    assert value_of(dbg, "i") == "1"


OPTIMIZED = """\
volatile unsigned long sink;
struct flags { unsigned low : 3, high : 5; };

__attribute__((noipa)) unsigned long twice(unsigned long first, unsigned long second) {
    first = sink;
    sink = first;
    return first;
}

void _start(void) {
    for (unsigned long kept = 5; kept < 7; kept++)
        sink = twice(kept, 77);
    __asm__("hlt");
}
"""


def test_values_on_entry(kvm_guest: Guests) -> None:
    """What the caller put into a register is known from its call site, even where the register is used anew."""
    dbg = kvm_guest(c=OPTIMIZED, optimize=2)
    dbg.break_at("guest.c:7")
    dbg.run(timeout=5)
    assert dbg.arguments()["second"] == "77"
