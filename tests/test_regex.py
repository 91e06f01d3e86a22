"""Regular expressions in bounded time, beside Python's."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmdbg import regex
from kvmdbg.errors import UsageError
from kvmdbg.numbers import compiled
from kvmdbg.regex import Regex

SOME = st.recursive(
    st.sampled_from(["a", "b", ".", "[^a]", r"\w", "^", "$", r"\b", "", "[a-b]", r"\."]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map("".join),
        st.tuples(inner, inner).map(lambda two: f"({two[0]}|{two[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "*?", "{2,}"])).map("(?:{0[0]}){0[1]}".format),
    ),
    max_leaves=8,
)


@given(SOME, st.text("abA. \n", max_size=6), st.sampled_from([0, re.IGNORECASE]))
def test_it_finds_what_re_finds(pattern: str, text: str, flags: int) -> None:
    expression: Regex[str] = Regex(pattern, flags)
    slow: Any = expression
    assert slow._slowly(text, anywhere=True) == expression.search(text) == bool(re.search(pattern, text, flags))
    assert slow._slowly(text, anywhere=False) == expression.match(text) == bool(re.match(pattern, text, flags))


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "pattern",
    ["^(a+)+$", "^(a|a)*$", "(a*)*b", "^(a|b|ab)*c", "a?" * 30 + "b", "a*a*a*a*a*a*a*a*b", "(.*a){12}b"],
)
def test_what_takes_python_for_ever(pattern: str) -> None:
    assert not Regex(pattern).search("a" * 2000 + "!")
    assert not Regex(pattern.encode()).match(b"a" * 2000 + b"!")


def test_most_is_left_to_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regex, "_Ways", None)
    for pattern in ("^sys_.*read", "a|b", ".*foo.*bar", "[a-z_]+$", r"(ab)\1", "(foo|bar)_init", "x(?=y)"):
        Regex(pattern).search("a_name_of_forty_characters_or_about_that")


@pytest.mark.parametrize("pattern", [r"((a+)+)\1", "((?=a)a+)+$", "(a{0,900}b?){0,900}"])
def test_what_is_refused(pattern: str) -> None:
    with pytest.raises(UsageError, match="this regular expression"):
        Regex(pattern).search("a" * 30 + "!")


def test_a_text_that_is_too_long() -> None:
    with pytest.raises(UsageError, match="takes too long"):
        Regex("(a{20}b?)+c").search("a" * 3_000_000)


@pytest.mark.timeout(20)
def test_what_is_typed() -> None:
    assert compiled(r"\(o\|oo\)*k$").search("book")
    assert not compiled(r"^\(o*\)*$").search("o" * 100 + "k")
