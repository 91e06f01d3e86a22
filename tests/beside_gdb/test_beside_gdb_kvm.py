"""What kvmdbg shows of expressions is what gdb shows of them, but for what docs/expressions.md says."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

import kvmdbg
from tests.beside_gdb import Difference, answers_of_gdb, answers_of_kvmdbg, build, differences
from tests.beside_gdb.questions import Questions
from tests.e2e.debuggers import GDBS

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]
COUNT = 150


@pytest.mark.parametrize(("bits", "optimize"), list(product((32, 64), ("-O0", "-O2"))))
def test_generated_expressions(tmp_path: Path, bits: int, optimize: str) -> None:
    program = build(tmp_path, bits, optimize)
    questions = Questions(bits + len(optimize))
    lines = [questions.question() for _ in range(COUNT)]
    theirs = answers_of_gdb(GDBS["distribution"], program, lines)
    with kvmdbg.open(program, memory="16M") as session:
        ours = answers_of_kvmdbg(session, lines)
    found = differences(lines, theirs, ours)
    assert not [one for one in found if not one.reason]
    assert len(found) < COUNT // 20


def test_a_difference_is_found() -> None:
    lines = ["print 1", "print 2", "print x", "print yes+no"]
    theirs = ["1", "2", "(refused) No symbol", "(refused) Invalid operation on booleans."]
    found = differences(lines, theirs, ["1", "3", "(refused) no symbol", "1"])
    assert [(one.line, bool(one.reason)) for one in found] == [("print 2", False), ("print yes+no", True)]
    assert str(found[0]) == "print 2\n  gdb:    2\n  kvmdbg: 3"
    assert isinstance(found[0], Difference)
