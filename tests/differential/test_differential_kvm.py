"""A fixed small part of the proof: `make differential COUNT=…` runs more."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.differential.machine import Runnable
from tests.differential.program import DATA, DEBUG, LAYOUTS, Program
from tests.differential.proof import NotCounted, check, chosen, free_run, programs

pytestmark = [pytest.mark.kvm, pytest.mark.timeout(120)]
SLOW = float(os.environ.get("KVMDBG_TIME_SCALE", "1")) > 1
COUNT = int(os.environ.get("KVMDBG_DIFFERENTIAL_COUNT", "6" if SLOW else "30"))


@pytest.mark.parametrize("seed", range(1, COUNT + 1))
def test_a_program_computes_under_the_debugger_what_it_computes_alone(seed: int) -> None:
    try:
        _, found = check(programs(seed), chosen(seed))
    except NotCounted:
        return  # this KVM cannot run it to an end without the debugger, either
    assert not found, "\n".join(one.describe() for one in found)


@pytest.mark.parametrize("seed", [10, 11, 13])
def test_code_at_cpl_3_computes_under_the_debugger_what_it_computes_alone(seed: int) -> None:
    program = programs(seed, ("long",))
    assert program.rings
    try:
        _, found = check(program, ["held-otherwise", "ignored", "watchpoints", "caught-exceptions", "step-then-run"])
    except NotCounted:
        return  # as above
    assert not found, "\n".join(one.describe() for one in found)


def test_the_trap_of_user_code_that_steps_itself_stays_in_dr6() -> None:
    program = programs(5000357, ("long",))  # a #DB at CPL 3, a fault stepped in the kernel after it
    assert program.rings
    try:
        _, found = check(program, ["ignored", "breakpoints"])
    except NotCounted:
        return  # as above
    assert not found, "\n".join(one.describe() for one in found)


@pytest.mark.parametrize(
    ("seed", "variant"),
    [(6002603, "false-conditions"), (6003405, "steps")],
    ids=["a tick on a stack that came to a guarded page", "a handler within an instruction"],
)
def test_a_program_that_differed_once(seed: int, variant: str) -> None:
    try:
        _, found = check(programs(seed), [variant])
    except NotCounted:
        return  # as above
    assert not found, "\n".join(one.describe() for one in found)


def test_a_program_that_steps_itself_ends_where_handlers_return_by_retf(tmp_path: Path) -> None:
    steps_itself = ("pushfd", "or byte ptr [esp+1], 1", "popfd", "nop", "nop", "inc eax")
    program = Program(0, "prot", LAYOUTS[0], (steps_itself,), returns="retf")
    runnable = Runnable(program, tmp_path)
    free = free_run(runnable)
    assert free.registers["rax"] == DATA + 1
    assert free.memory[program.layout.counts + 2 * DEBUG] == 1
