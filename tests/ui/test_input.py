"""Colours of the line that is typed, and the toolbar."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pygments.token import Comment, Error, Keyword, Name, Number, String

from kvmdbg import api
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.ui import keys
from kvmdbg.ui.lexer import tokens
from kvmdbg.ui.toolbar import toolbar

pytestmark = pytest.mark.kvm
GUESTS = Path(__file__).resolve().parents[2] / "guests"


@pytest.fixture(scope="module")
def dbg() -> Iterator[Interpreter]:
    with api.open(GUESTS / "hello16.bin", load=0x1000) as session:
        yield Interpreter(session)


def test_tokens(dbg: Interpreter) -> None:
    found = tokens(dbg, 'break *0x1003 if $eax == 3 && $nothing "text"')
    assert found[1] == (Name.Function, "break")
    for one in ((Number, "0x1003"), (Keyword, "if"), (Name.Builtin, "$eax"), (Name.Label, "$nothing")):
        assert one in found
    assert (String, '"text"') in found
    assert tokens(dbg, "zzz 1")[1] == (Error, "zzz")
    assert tokens(dbg, "bre")[1] == (Name.Function, "bre")
    assert tokens(dbg, "x/4i $pc")[1:3] == [(Name.Function, "x"), (Name.Attribute, "/4i")]
    assert tokens(dbg, "  # a remark") == [(Comment, "  # a remark")]


@given(line=st.text(max_size=40))
def test_tokens_are_the_line(dbg: Interpreter, line: str) -> None:
    line = line.replace("\n", "")
    assert "".join(text for _, text in tokens(dbg, line)) == line


@pytest.mark.parametrize("width", [20, 60, 80, 200])
def test_toolbar_fits(dbg: Interpreter, width: int) -> None:
    if dbg.runs.last_stop is None:
        list(dbg.execute("si"))
    text = "".join(fragment[1] for fragment in toolbar(dbg, width))
    assert len(text) < width
    assert text.startswith(" real  0000:1003")
    assert ("Stepped to 0x1003" in text) == (width >= 80) or width == 60


def test_help_names_every_key() -> None:
    text = keys.help_text()
    for name, _, command in keys.COMMAND_KEYS:
        assert f"{name:<10} {command}" in text
