"""A fixed small part of the proof: `make differential COUNT=…` runs more."""

from __future__ import annotations

import os

import pytest

from tests.differential.proof import NotCounted, check, chosen, programs

pytestmark = [pytest.mark.kvm, pytest.mark.timeout(120)]
COUNT = int(os.environ.get("KVMDBG_DIFFERENTIAL_COUNT", "24"))
SEEDS = (
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    10,
    11,
    12,
    13,
    14,
    15,
    16,
    18,
    20,
    21,
    23,
    24,
    25,
    26,
    27,
    29,
    30,
    32,
    33,
    35,
    36,
    39,
    41,
)


@pytest.mark.parametrize("seed", SEEDS[:COUNT])
def test_a_program_computes_under_the_debugger_what_it_computes_alone(seed: int) -> None:
    try:
        _, found = check(programs(seed), chosen(seed))
    except NotCounted:
        return  # this KVM cannot run it to an end without the debugger, either
    assert not found, "\n".join(one.describe() for one in found)
