"""Lines are broken between words, never inside a number."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from kvmdbg.commands.results import Table
from kvmdbg.ui.folded import folded


def test_a_row_of_a_table() -> None:
    row = "#1  0x100661  shrink+0x3a       tasks.c:21  task=0x100e88 <all+40>   cfi"
    assert folded(row, 60) == ("#1  0x100661  shrink+0x3a       tasks.c:21  task=0x100e88\n    <all+40>   cfi")
    assert folded(row, 80) == row


def test_colours_take_no_room() -> None:
    assert folded("\x1b[1m0x1000\x1b[0m 0x2000", 13) == "\x1b[1m0x1000\x1b[0m 0x2000"
    assert folded("\x1b[1m0x1000\x1b[0m 0x2000", 12) == "\x1b[1m0x1000\x1b[0m\n    0x2000"


@given(st.lists(st.text("0123456789abcdefx", min_size=1, max_size=12), min_size=1), st.integers(16, 100))
def test_no_word_is_cut(words: list[str], width: int) -> None:
    found = folded("  ".join(words), width)
    assert re.findall(r"\S+", found) == words
    assert all(len(line) <= width for line in found.split("\n"))


def test_help_beside_long_commands_goes_below_where_there_is_no_room() -> None:
    table = Table("", ("Command", "What it does"), (("x" * 40, "It does a thing or two, and a third."),), prose=True)
    assert table.plain(60).splitlines()[-2:] == ["x" * 40, "    It does a thing or two, and a third."]
    assert table.plain(100).splitlines()[-1] == "x" * 40 + "  It does a thing or two, and a third."
