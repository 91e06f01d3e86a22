"""Variables and types of C guests, with and without optimization."""

from __future__ import annotations

import pytest

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.core.session import Session
from kvmdbg.errors import UsageError
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
        '{number = -7, flag = 1, level = 5, small = -2, color = GREEN, inner = {name = "abc", pair = {1, -2}}, '
        f"next = {address:#x} <global>, text = 0x"
    )
    assert value.endswith(f" '{text}', weight = 1.5, yes = true}}")
    shown = typed(dbg, "whatis global")
    assert f"at     {address:#x}" in shown


def test_types(dbg: Session) -> None:
    shown = typed(dbg, "ptype struct thing")
    assert "    unsigned int level : 3;  /* offset 4 */" in shown
    assert "    struct thing *next;" in shown
    assert typed(dbg, "ptype color") == "enum color {RED = 0, GREEN = 5, BLUE = 6}"
    assert typed(dbg, "ptype word") == "word  /* 8 bytes */"
    assert typed(dbg, "ptype sum") == "int  /* 4 bytes */"
    assert "short int pair[2];" in typed(dbg, "ptype struct inner")
    with pytest.raises(UsageError, match="no variable and no type is called 'nothing'"):
        typed(dbg, "ptype nothing")
    with pytest.raises(UsageError, match="no variable is called 'nothing' here"):
        typed(dbg, "whatis nothing")


def test_optimized_code(kvm_guest: Guests) -> None:
    dbg = kvm_guest(c=C, optimize=2)
    dbg.break_at("guest.c:29")
    dbg.run(timeout=5)
    assert dbg.arguments()["first"] in ("3", "<optimized out>", "113", "123")
    for value in dbg.locals().values():
        assert value
    assert typed(dbg, "whatis sink").splitlines()[1].split() == ["type", "volatile", "int"]


def test_no_debug_information(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="hlt")
    assert typed(dbg, "info locals").startswith("Nothing is known of the function at pc")
    with pytest.raises(UsageError, match="no debug information"):
        dbg.locals()
