"""Each row of docs/coming-from.md, typed: it is accepted, and is what stands beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kvmdbg.commands import coming_from, of_others, other_words
from kvmdbg.commands.coming_from import START, TABLES, Row
from kvmdbg.commands.interpreter import Quit
from kvmdbg.errors import KvmdbgError, UsageError

from .conftest import GUESTS, Typist

pytestmark = pytest.mark.kvm
ROWS = [pytest.param(row, id=f"{name}: {row.theirs}") for name, rows in TABLES.items() for row in rows]


def shown(typist: Typist, row: Row, text: str) -> str:
    """What comes out of ``text``, after what has to be before it, from the start of the guest."""
    for line in (*START, *row.setup):
        typist.type(line)
    try:
        return typist.type(text)
    except Quit:
        return "quit"


@pytest.fixture
def kernel(opened: Callable[..., Typist], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Typist]:
    monkeypatch.chdir(tmp_path)
    return lambda: opened(GUESTS / "kernel-O0.elf")


@pytest.mark.parametrize("row", ROWS)
def test_a_row(kernel: Callable[[], Typist], row: Row) -> None:
    ours = shown(kernel(), row, row.ours or row.theirs)
    if row.refused:
        return
    theirs = shown(kernel(), row, row.theirs)
    if not row.once:
        assert theirs == ours


def test_every_word_is_in_a_table() -> None:
    typed = {row.theirs.split()[0] for rows in TABLES.values() for row in rows}
    typed |= {" ".join(row.theirs.split()[:2]) for rows in TABLES.values() for row in rows}
    more = {*other_words.LIKE, *other_words.INSTEAD}
    assert {name for name in of_others.WORDS if name not in typed} - more == UNTOLD


def test_the_other_words_stand_for_what_there_is(kernel: Callable[[], Typist]) -> None:
    dbg = kernel().dbg
    for name, (_, means) in other_words.LIKE.items():
        assert not means or dbg.registry.resolve(means).command, name
        assert of_others.lines(f"{name} x", dbg._has_command, dbg.session) == [f"{means} x".strip()]


def test_what_to_do_instead_is_said(kernel: Callable[[], Typist]) -> None:
    typist = kernel()
    for name, (of, sentence) in other_words.INSTEAD.items():
        with pytest.raises(UsageError) as error:
            typist.type(f"{name} 1")
        assert str(error.value) == f"{name} is a word of {of}: {sentence}"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("help po", "A word of lldb, gdb; here it is: print"),
        ("help reverse-step", "A word of gdb: snapshot save NAME keeps a state"),
        ("help internals", "info symbols, info memory"),
        ("help obscure", "help all"),
        ("help text-user-interface", "winheight"),
        ("help user", "define NAME"),
        ("help breakpoint", "tbreak"),
        ("help re r", "A word of lldb; here it is: info registers"),
    ],
)
def test_help_on_them(hello: Typist, line: str, said: str) -> None:
    assert said in hello.type(line)


UNTOLD = {
    "dw", "ew", "kp", "fp", "sse", "ymm", "registers", "lbreak", "vb", "vbreak", "pbreak", "info break",
    "breakpoint enable", "watchpoint delete", "thread until", "process interrupt", "stop", "command source",
}  # fmt: skip
"""Other names of what is in the tables, and what has no example there."""


def test_the_page_is_not_stale() -> None:
    assert coming_from.PAGE.read_text() == coming_from.page(), "make docs"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ba x4 0", "ba takes e, r or w"),
        ("eb 0x5000", "the values to write"),
        ("xp", "an address"),
        ("breakpoint set -z", "breakpoint set takes"),
        ("breakpoint set -o true", "breakpoint set needs"),
        ("setpmem 0x5000 3 1", "a size of 1, 2 or 4"),
        ("memsave 0x5000", "ADDRESS SIZE FILE"),
        ("memory read", "needs an ADDRESS"),
        ("memory find x", "memory find takes"),
        ("distance 1", "two addresses"),
        ("xuntil", "an address"),
    ],
)
def test_mistakes(hello: Typist, line: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        hello.type(line)
    assert said in str(error.value)


def test_words_of_ones_own_win(hello: Typist) -> None:
    hello.type("define dd\nprint 1\nend")
    assert hello.type("dd 0x1000") == "$1 = 1"
    hello.type("alias dq = print 2 +")
    assert hello.type("dq 1") == "$2 = 3"


def test_help_tells_the_word(hello: Typist) -> None:
    assert "info mappings" in hello.type("help vmmap") and "lldb" in hello.type("help register read")


def test_clients_of_the_stub_reach_no_files_by_them(hello: Typist) -> None:
    hello.dbg.user.host_allowed = False
    for line in ("memsave 0x1000 4 x", "writemem x 0x1000 4", "screendump x", "script 1", "command source x"):
        with pytest.raises(KvmdbgError, match="--gdb-allow-host"):
            hello.type(line)
