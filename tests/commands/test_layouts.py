"""Layouts of the full-screen mode: how they are written, and how the screen is divided by them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmdbg.commands.layouts import NARROW, WIDE, Share, Split, parse, shared, spaces
from kvmdbg.errors import UsageError


def test_as_gdb_writes_them() -> None:
    assert parse("src 1 cmd 2") == Split(False, (("src", 1), ("cmd", 2)))
    found = parse("{-horizontal src 1 asm 1} 2 cmd 1")
    assert found == Split(False, ((Split(True, (("src", 1), ("asm", 1))), 2), ("cmd", 1)))
    assert list(found.panes()) == ["src", "asm", "cmd"]
    for text in (*WIDE.values(), *NARROW.values()):
        assert "cmd" in parse(text).panes()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "needs panes"),
        ("src", "its weight"),
        ("src 0", "its weight"),
        ("src cmd 1", "its weight"),
        ("{src 1", "no } behind"),
        ("src 1 } 1", "no { before"),
        ("{} 1", "needs panes"),
        ("src 1 src 1", "once"),
    ],
)
def test_what_is_none_is_told(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse(text)


def test_what_is_left_goes_by_weight() -> None:
    assert shared(12, [Share(1), Share(2)], [None, None]) == [4, 8]
    assert shared(20, [Share(1, 2, 6), Share(1)], [None, None]) == [6, 14]
    assert shared(20, [Share(1), Share(1)], [None, 5]) == [15, 5]
    assert shared(20, [Share(1, 0, 0), Share(1)], [None, None]) == [0, 20]
    assert shared(20, [Share(1), Share(1)], [30, None]) == [18, 2]
    assert shared(20, [Share(3, 4), Share(3, 4), Share(1, 8, 10), Share(2, 4)], [None, None, None, 12]) == [2, 3, 3, 12]
    assert shared(3, [Share(1, 4), Share(1, 4)], [None, None]) == [1, 2]


@given(
    st.integers(0, 300),
    st.lists(
        st.tuples(st.integers(1, 5), st.integers(0, 9), st.integers(0, 50), st.none() | st.integers(1, 400)), min_size=1
    ),
)
def test_all_lines_are_used_and_no_more(total: int, parts: list[tuple[int, int, int, int | None]]) -> None:
    shares = [Share(weight, least, least + more) for weight, least, more, _ in parts]
    sizes = shared(total, shares, [wanted for *_, wanted in parts])
    assert sum(sizes) == total and min(sizes) >= 0


def test_the_space_of_each_part() -> None:
    found = spaces(parse("-horizontal {src 1 cmd 1} 1 regs 1"), 21, 81, lambda name, weight: Share(weight), {"cmd": 5})
    assert found == {(): (21, 81), (0,): (21, 40), (1,): (21, 40), (0, 0): (16, 40), (0, 1): (5, 40)}


def test_columns_that_were_asked_for() -> None:
    layout = parse("-horizontal {src 1 cmd 1} 1 {regs 1 stack 1} 1")
    found = spaces(layout, 20, 121, lambda name, weight: Share(weight), {}, {"cmd": 80, "src": 70})
    assert (found[0, 0][1], found[0, 1][1], found[1, 0][1]) == (80, 80, 40)
    found = spaces(layout, 20, 121, lambda name, weight: Share(weight), {}, {"regs": 30})
    assert (found[0, 0][1], found[1, 0][1]) == (90, 30)
