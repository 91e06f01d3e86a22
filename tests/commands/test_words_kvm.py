"""What Tab offers, by the grammar of what is typed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.core.session import Session
from kvmdbg.errors import KvmdbgError
from kvmdbg.pytest_plugin import Builds, Guests
from tests.commands.conftest import Typist

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]

C = """\
typedef unsigned char byte;
enum color { RED, GREEN };
struct item { int id; struct { int inside; }; const char *name; struct item *next; };
union either { int whole; byte part; };
struct item table[2] = { { 1 } };
struct item *first = table;
int total;
enum color shade;
static __attribute__((noinline)) int sum_up(struct item *from, int count) {
    int sum_here = from->id + count;
    union either both = { 3 };
    total = sum_here + both.whole;
    return total;
}
void _start(void) {
    sum_up(first, 2);
    __asm__("hlt");
}
"""


@pytest.fixture(scope="module")
def dbg(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Session:
    guests = Guests(tmp_path_factory.mktemp("words"), Builds(tmp_path_factory))
    request.addfinalizer(guests.close)
    session = guests(c=C, optimize=0)
    session.break_at("guest.c:12")
    session.run(timeout=20)
    return session


@pytest.fixture
def texts(dbg: Session) -> Callable[[str], list[str]]:
    shell = Interpreter(dbg)
    return lambda line: [one.text for one in shell.complete(line)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("print table[0].n", ["table[0].name", "table[0].next"]),
        ("print table[0].in", ["table[0].inside"]),
        ("print table[0].", ["table[0].id", "table[0].inside", "table[0].name", "table[0].next"]),
        ("print (&table[0])->na", ["(&table[0])->name"]),
        ("print first->next->n", ["first->next->name", "first->next->next"]),
        ("print first->next.ne", ["first->next.next"]),
        ("print 1 + first->i", ["1 + first->id", "1 + first->inside"]),
        ("print from->na", ["from->name"]),
        ("print both.", ["both.part", "both.whole"]),
        ("print ((struct item *)$rdi)->na", ["((struct item *)$rdi)->name"]),
        ("print *first.ne", ["*first.next"]),
        ("print sum_", ["sum_here", "sum_up"]),
        ("print tot", ["total"]),
        ("print RE", ["RED"]),
        ("print (byt", ["(byte"]),
        ("print (u3", ["(u32"]),
        ("frame function ", ["_start", "sum_up"]),
        ("print $xmm1.v4_f", ["$xmm1.v4_float"]),
        ("print $ymm15", ["$ymm15"]),
        ("print cou", ["count"]),
        ("ptype struct ", ["struct item"]),
        ("ptype union e", ["union either"]),
        ("ptype enum ", ["enum color"]),
        ("print sizeof(struct i", ["sizeof(struct item"]),
        ("print (union ", ["(union either"]),
        ("print total.", []),
        ("print nosuch->", []),
        ("print )->", []),
        ("print $read_u3", ["$read_u32("]),
        ("break gue", ["guest.c:"]),
        ("break nosuch.c:", []),
        ("break *sum_u", ["*sum_up"]),
        ("until sum_u", ["sum_up"]),
        ("frame 1", ["1"]),
        ("set context regs,st", ["regs,stack", "regs,stop"]),
        ("set context regs,re", []),
        ("watch first->i", ["first->id", "first->inside"]),
        ("break guest.c:11 if from->i", ["if from->id", "if from->inside"]),
    ],
)  # fmt: skip
def test_words_by_grammar(texts: Callable[[str], list[str]], line: str, expected: list[str]) -> None:
    assert sorted(texts(line)) == sorted(expected)


def test_lines_of_a_file(texts: Callable[[str], list[str]]) -> None:
    found = texts("break guest.c:1")
    assert {"guest.c:11", "guest.c:12"} <= set(found) and all(one.startswith("guest.c:1") for one in found)


def test_files(hello: Typist, tmp_path: Path) -> None:
    (tmp_path / "one.elf").touch()
    (tmp_path / "one folder").mkdir()
    found = [one.text for one in hello.dbg.complete(f"symbol-file {tmp_path}/o")]
    assert found == [f"{tmp_path}/one folder/", f"{tmp_path}/one.elf"]


def test_frames(texts: Callable[[str], list[str]], dbg: Session) -> None:
    numbers = [one for one in texts("frame ") if one.isdigit()]
    assert numbers == [str(one.number) for one in dbg.backtrace().frames] and len(numbers) > 1


def test_without_source(hello: Typist) -> None:
    for line in ("print foo.", "print ($sp)->", "ptype struct ", "break x.c:", "frame "):
        assert all(one.text != "" for one in hello.dbg.complete(line))


def test_symbols_with_dots(hello: Typist) -> None:
    from kvmdbg.machine.image import Symbol

    hello.dbg.session.symbols.add([Symbol("start.part.0", 0x1000, 2, "function")])
    assert [one.text for one in hello.dbg.complete("print start.p")] == ["start.part.0"]


def test_while_the_guest_runs(dbg: Session, texts: Callable[[str], list[str]]) -> None:
    dbg.resume()
    try:
        for line in ("print first->", "print su", "frame ", "break gue", "ptype struct "):
            texts(line)
    finally:
        dbg.interrupt()


def test_registers_come_in_their_groups(texts: Callable[[str], list[str]]) -> None:
    found = texts("print $")
    assert found[:5] == ["$pc", "$sp", "$fp", "$rax", "$eax"] and found.index("$cr0") > found.index("$r15")
    assert len(found) == len(set(found))


@pytest.mark.parametrize(
    ("line", "near"),
    [
        ("print totel", "total"),
        ("print shad3", "shade"),
        ("print $raz", "$rax"),
        ("ptype struct itm", "struct item"),
        ("print table[0].idd", "id"),
        ("break sum_ub", "sum_up"),
        ("list sum_ub", "sum_up"),
    ],
)
def test_did_you_mean(dbg: Session, line: str, near: str) -> None:
    shell = Interpreter(dbg)
    with pytest.raises(KvmdbgError) as error:
        list(shell.execute(line))
    assert f"did you mean {near}?" in str(error.value).partition("\n")[0]


def test_nothing_near_is_no_hint(dbg: Session) -> None:
    with pytest.raises(KvmdbgError) as error:
        list(Interpreter(dbg).execute("print zzzzzzzzz"))
    assert "did you mean" not in str(error.value)


def test_gdbs_settings_for_the_line_and_for_what_is_shown_are_taken(hello: Typist) -> None:
    assert (
        hello.type("set editing off")
        == "set editing changes nothing here: gdb's settings are taken so that its scripts work."
    )
    assert hello.type("set editing-mode vi") == ""
    told = hello.type("set disassemble-next-line on")
    assert told.startswith(
        "set disassemble-next-line changes nothing here: display/i $pc, or set context code, shows it."
    )
