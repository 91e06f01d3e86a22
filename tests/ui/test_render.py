"""Results in colour say the same as results without."""

from __future__ import annotations

import io
import re

import pytest
from pygments.token import Comment, Name, Token

from kvmdbg.commands.machine_results import Piece
from kvmdbg.commands.results import (
    CodeLine,
    Disassembly,
    Fields,
    Group,
    HelpPage,
    HexDump,
    Memory,
    MemoryRow,
    Message,
    Registers,
    RegisterValue,
    Result,
    Stack,
    StackSlot,
    Table,
    Value,
)
from kvmdbg.ui.render import render, tokens
from kvmdbg.ui.style import TOKENS, Changed, Mark, wants_color

CODE = (
    CodeLine(0x1000, b"\xba\xf8\x03", "mov", "dx, 0x3f8", "<start>", "0000:1000", breakpoints=(1,)),
    CodeLine(0x1003, b"\x75\x00", "jne", "0x1005", seg_off="0000:1003", current=True, branch="taken", target=0x1005),
    CodeLine(0x1005, b"\xf4", "hlt", "", target_label="<end>"),
)
RESULTS: list[Result] = [
    Message("It stopped.", "warning"),
    Fields("vcpu 0", {"state": "runnable", "mode": "real", "empty": ""}),
    Table("t", ("Num", "What"), (("1", "a"), ("10", "bcd")), notes={0: ("hit twice",)}),
    Table("t", ("A",), (), "None here."),
    Value("$1", "42", 42, 3),
    HexDump(0x1000, bytes(range(40)), frozenset((1, 17))),
    Memory(0x1000, "x", 4, (MemoryRow(0x1000, "<main>", ("0x1", "0x22")),), (1, 0x22)),
    Disassembly(CODE, raw=True),
    Disassembly(CODE, syntax="att", title="Code"),
    Registers((RegisterValue("eax", 1, 32, True), RegisterValue("eflags", 2, 32, False, "IF ZF")), "grid"),
    Registers((RegisterValue("eax", 1, 32, True), RegisterValue("eflags", 2, 32, False, "IF ZF"))),
    Stack((StackSlot(0x7C00, 0, 0x1234, "<main>"),), 16, "the stack ends here"),
    HelpPage("break", "break LOCATION", "Stop there.", ("break main",), ("b",)),
    Group((Message("a"), Message("b"))),
]


@pytest.mark.parametrize("result", RESULTS, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("width", [30, 80, 200])
def test_colour_changes_no_text(result: Result, width: int) -> None:
    plain = result.plain(width)
    assert render(result, width, theme="") == plain
    colourful = render(result, width, theme="terminal")
    assert re.sub(r"\x1b\[[0-9;]*m", "", colourful) == plain
    assert {role for role, _ in result.pieces(width)} <= {*TOKENS, "code", "code-att"}


def test_code_is_lexed_in_its_syntax() -> None:
    found = list(tokens(Disassembly((CODE[0],)), 80))
    assert (Name.Function, "mov") in found
    assert (Name.Builtin, "dx") in found
    line = CodeLine(0, b"\x90", "movw", "%dx, %ax")
    assert (Name.Variable, "%dx") in list(tokens(Disassembly((line,), syntax="att"), 80))


def test_what_changed_stands_out() -> None:
    assert (Changed, "*00000001") in list(tokens(RESULTS[9], 80))
    assert [text for token, text in tokens(RESULTS[5], 80) if token is Changed] == ["01", "*", ".", "11", "*", "."]
    assert (Mark, "=>") in list(tokens(RESULTS[7], 80))


@pytest.mark.parametrize("width", range(20, 90, 7))
def test_code_fits_the_width(width: int) -> None:
    lines = Disassembly(CODE, raw=True).plain(width).split("\n")
    assert all(len(line) <= width for line in lines)
    assert len([line for line in lines if line != "<start>:"]) == 3
    shows_bytes = "ba f8 03" in lines[0]
    assert shows_bytes == all(len(line) <= width for line in Disassembly(CODE, raw=True).plain(1000).split("\n"))


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert render(Message("a\x1b[2Jb\x9bc\nd\t"), 80, theme="") == "a\\x1b[2Jb\\x9bc\nd\t"


def test_when_colour_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert wants_color(Screen())
    assert not wants_color(io.StringIO())
    assert not wants_color(Screen(), False)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_color(Screen())
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not wants_color(Screen())


def test_roles_have_tokens() -> None:
    piece: Piece = ("note", "x")
    assert TOKENS[piece[0]] is Comment
    assert TOKENS[""] is Token
