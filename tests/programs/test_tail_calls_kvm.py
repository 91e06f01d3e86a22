"""A function that has jumped on to another has no frame: the backtrace names it where its caller says so."""

from __future__ import annotations

import re

import pytest

from tests.programs.conftest import Open

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]


def test_the_backtrace_says_what_was_called(debug: Open) -> None:
    dbg = debug("tails.c", flags="-O2 -mgeneral-regs-only", bits=64)
    dbg.typed("break leaf", "run")
    found = []
    for _ in range(4):
        said = dbg.typed("backtrace")
        assert re.search(r"^#1 .*\bkmain|^#1 .*\bthrough", said, re.MULTILINE)
        found.append(re.findall(r"by tail calls of (\w+)", said))
        dbg.typed("continue")
    assert found == [[], ["first"], [], []]


def test_not_without_optimization(debug: Open) -> None:
    dbg = debug("tails.c", flags="-mgeneral-regs-only", bits=64)
    dbg.typed("break leaf", "run", "continue")
    said = dbg.typed("backtrace")
    assert "tail calls" not in said
    assert re.findall(r"^#\d .*?\b(leaf|tail|first|kmain)\b", said, re.MULTILINE) == ["leaf", "tail", "first", "kmain"]


def test_a_copy_of_a_function_is_no_other(debug: Open) -> None:
    """GCC makes foo.constprop.0 of foo for callers that hand over constants."""
    dbg = debug("copies.c", flags="-O3 -fipa-cp-clone -mgeneral-regs-only", bits=64)
    dbg.typed("break leaf", "run")
    said = dbg.typed("backtrace")
    assert re.search(r"^#1 .*\bwork\.constprop", said, re.MULTILINE)
    assert "tail calls" not in said
