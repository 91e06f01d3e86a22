"""The proof's own parts that need no KVM."""

from __future__ import annotations

import pytest

from kvmdbg.engine.stops import WatchpointStop
from kvmdbg.x86.operands import Access
from tests.differential.blocks import generate
from tests.differential.machine import Observation
from tests.differential.mutations import MUTATIONS, ROOT, Mutation
from tests.differential.program import ALIAS, LAYOUTS, MODES, Program, assembled
from tests.differential.trace import Step, Visit, match, match_order, touches, visits


def test_a_seed_gives_the_same_program_each_time() -> None:
    assert generate(7) == generate(7)
    assert assembled(generate(7)).image == assembled(generate(7)).image


@pytest.mark.parametrize("mode", MODES)
def test_blocks_can_be_taken_out(mode: str) -> None:
    program = Program(1, mode, LAYOUTS[0], (("jmp {on}", "nop", "on:"), ("call {f}", "jmp {g}", "f:", "ret", "g:")))
    whole, part = assembled(program), assembled(program.with_blocks(program.blocks[1:]))
    assert len(whole.spans) == 2 and len(part.spans) == 1
    assert whole.spans[1][1] - whole.spans[1][0] == part.spans[0][1] - part.spans[0][0]


def _observation(**changes: object) -> Observation:
    values = {"end": "halted", "registers": {"rax": 1}, "memory": bytes(0x80000), "output": b"", "accesses": []}
    return Observation(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"end": "shutdown"}, "ends with shutdown"),
        ({"registers": {"rax": 2}}, "rax is 0x2, not 0x1"),
        ({"memory": bytes(0x1234) + b"\xf1" + bytes(0x80000 - 0x1235)}, "memory at 0x1234 is f1"),
        ({"output": b"x"}, "serial output"),
        ({"accesses": [["read", 0, 1, 2]]}, "access 0"),
        ({}, None),
    ],
)
def test_the_first_difference_is_named(changes: dict[str, object], text: str | None) -> None:
    found = _observation().difference(_observation(**changes))
    assert found is None if text is None else found is not None and text in found


def _step(pc: int, *accesses: Access, certain: bool = True) -> Step:
    return Step(pc, pc + 1, "", accesses, (), certain)


STEPS = [
    _step(0x10, Access(0x500, 2, False, True)),
    _step(0x11),
    _step(0x12, Access(0x501, 1, True, False)),
    _step(0x12, Access(0x501, 1, True, False)),
    _step(0x10, Access(0x500, 2, False, True)),
]


def test_what_must_be_hit() -> None:
    assert [visit.pc for visit in visits(STEPS, [(0x10, "linear"), (0x12, "linear")])] == [0x10, 0x12, 0x10]
    assert [touch.step.pc for touch in touches(STEPS, 0x501, 1, "access")] == [0x10, 0x12, 0x12, 0x10]
    assert [touch.step.pc for touch in touches(STEPS, 0x501, 1, "write")] == [0x10, 0x10]
    assert touches(STEPS, 0x502, 8, "access") == []
    elsewhere = touches(STEPS, ALIAS + 0x501, 1, "write")
    assert [(touch.step.pc, touch.certain) for touch in elsewhere] == [(0x10, False), (0x10, False)]


def test_a_debug_register_does_not_fire_where_eflags_rf_is_set() -> None:
    sets_rf = Step(0x10, 0x20, "iretq", (), (), True, sets_rf=True)
    steps = [sets_rf, _step(0x20), _step(0x21), _step(0x20)]
    assert [visit.certain for visit in visits(steps, [(0x20, "linear")])] == [True, True]
    assert [visit.certain for visit in visits(steps, [(0x20, "linear")], {0x20})] == [False, True]


@pytest.mark.parametrize(
    ("found", "right"),
    [
        ([0x10, 0x12, 0x10], True),
        ([0x10, 0x12, 0x12, 0x10], True),  # each round of a repeated instruction
        ([0x10, 0x10], False),
        ([0x10, 0x12], False),
        ([0x10, 0x12, 0x10, 0x12], False),
    ],
)
def test_the_order_of_breakpoints(found: list[int], right: bool) -> None:
    wanted = [
        *visits(STEPS[:1], [(0x10, "linear")]),
        Visit(0x11, False),
        *visits(STEPS[1:], [(0x10, "phys"), (0x12, "linear")]),
    ]
    assert (match_order(found, wanted) is None) is right


def test_a_place_that_is_perhaps_reached_before_it_surely_is() -> None:
    wanted = [Visit(0x10, False), Visit(0x20, True), Visit(0x10, True)]
    assert match_order([0x20, 0x10], wanted) is None and match_order([0x10, 0x20, 0x10], wanted) is None
    assert match_order([0x10, 0x20], wanted) is not None
    assert match_order([0x10], [Visit(0x10, False), Visit(0x10, True)]) is None


def _stop(instruction: int) -> WatchpointStop:
    return WatchpointStop(0, instruction + 1, (), "write", 0x500, 1, b"", b"", instruction)


@pytest.mark.parametrize(
    ("stops", "right"),
    [([0x10, 0x10], True), ([0x10], False), ([], False), ([0x10, 0x11, 0x10], False), ([0x10, 0x10, 0x12], False)],
)
def test_stops_of_a_watchpoint_are_matched_with_the_trace(stops: list[int], right: bool) -> None:
    wanted = touches([STEPS[0], STEPS[1], _step(0x20), STEPS[4]], 0x500, 1, "write")
    wanted = [
        *wanted[:1],
        *touches([_step(0x30, Access(0x500, 1, False, True), certain=False)], 0x500, 1, "write"),
        *wanted[1:],
    ]
    assert (match([_stop(one) for one in stops], wanted, extra=False) is None) is right


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_fault_can_be_put_back(mutation: Mutation) -> None:
    assert (ROOT / "kvmdbg" / mutation.file).read_text().count(mutation.old) == 1
