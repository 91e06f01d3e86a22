"""Random instructions, and guests of ours, on two back ends."""

from __future__ import annotations

import pytest

from kvmdbg.lockstep.compare import Lockstep
from tests.differential.program import MODES
from tests.lockstep.harness import Found, compare, sessions
from tests.lockstep.instructions import generate

pytestmark = [pytest.mark.kvm, pytest.mark.timeout(120)]


@pytest.mark.parametrize("mode", MODES)
def test_random_instructions_are_the_same_twice(mode: str) -> None:
    found = Found()
    outcome = compare(generate(1, mode, 60), ("kvm", "kvm"), found)
    assert outcome.same, outcome.describe()
    assert found.instructions + sum(found.not_run.values()) >= 60


def test_a_difference_is_found() -> None:
    """Memory of the second guest, which an instruction reads, is made other on the way."""
    program = generate(2, "prot", 60)
    with sessions(program, ("kvm", "kvm")) as (first, second):
        both = Lockstep(first, second)
        assert both.one() is None
        at = program.layout.data
        second.memory.write(at, bytes((first.memory.read(at, 1)[0] ^ 1,)))
        found = both.whole()
    assert found is not None and [one.what for one in found.differences] == [f"memory at physical {at:#x}"]
