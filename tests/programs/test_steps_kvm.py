"""Steps that skip functions, and steps that would never end."""

from __future__ import annotations

import pytest

from tests.e2e.debuggers import TIME_SCALE
from tests.programs.conftest import Debugger, Open

pytestmark = pytest.mark.kvm


@pytest.fixture
def dbg(debug: Open) -> Debugger:
    found = debug("steps.c")
    found.typed("break steps.c:10", "run")
    return found


@pytest.mark.parametrize(
    "line", ["skip inner", "skip file inner.h", "skip -rfu ^inn", "skip -gfi *.h -fu inner"]
)  # fmt: skip
def test_a_step_does_not_go_into_what_is_skipped(dbg: Debugger, line: str) -> None:
    assert dbg.typed(line).endswith("will be skipped when stepping.")
    assert "(steps.c:11)" in dbg.typed("step")
    assert "(inner.h:3)" in dbg.typed("skip disable", "step")


def test_a_step_goes_into_what_is_not(dbg: Debugger) -> None:
    dbg.typed("skip other", "skip -gfi *.c", "skip -fi steps.c -fu inner", "skip -rfu ^nn")
    assert "(inner.h:3)" in dbg.typed("step")


def test_skips_are_listed_and_taken_out(dbg: Debugger) -> None:
    dbg.typed("skip inner", "skip file", "skip -gfi *.h -rfu ^i", "skip disable 1")
    rows = [row.split() for row in dbg.typed("info skip").splitlines()[1:]]
    assert [row[:3] + row[-2:] for row in rows] == [
        ["1", "n", "n", "n", "inner"],
        ["2", "y", "n", "n", "<none>"],
        ["3", "y", "y", "y", "^i"],
    ]
    assert rows[1][3].endswith("steps.c")
    dbg.typed("skip delete 1-2")
    assert len(dbg.typed("info skip").splitlines()) == 2
    assert dbg.typed("skip delete", "info skip") == "Not skipping any files or functions."
    dbg.typed("step")
    assert dbg.typed("skip") == "Function inner will be skipped when stepping."


def test_a_skip_that_means_nothing_is_refused(dbg: Debugger) -> None:
    for line in ("skip -gfi", "skip -x a", "skip -rfu [", "skip delete 9", "skip enable a", "skip -fi a -gfi b"):
        assert dbg.typed(line).startswith("refused: ")
    assert dbg.typed("info skip") == "Not skipping any files or functions."


@pytest.mark.parametrize("line", ["step", "next", "until", "stepi 4000000000", "finish"])
def test_steps_end_with_the_time_limit(dbg: Debugger, line: str) -> None:
    dbg.typed("tbreak 12", "continue")
    dbg.interpreter.settings["limit-time"] = 0.2 * TIME_SCALE
    said = dbg.typed(line)
    assert "(steps.c:12) after " in said, said
    dbg.interpreter.settings["limit-time"] = 0.0
    assert "Stepped to" in dbg.typed("stepi")
