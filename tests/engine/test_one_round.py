"""One element of a repeated string instruction, on a KVM of which a step may do many."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from kvmdbg.engine.watching import Watching
from kvmdbg.x86.operands import Repetition
from kvmdbg.x86.registers import EFLAGS_ZF

AT, BEHIND, HANDLER = 0x1000, 0x1002, 0x3000
LOW16, LOW32, LOW64 = 0xFFFF, 0xFFFFFFFF, (1 << 64) - 1


def round_of(
    count: int, *, mask: int = LOW64, while_zero: bool | None = None, others: int = 0, zf: bool = False,
    left: int = 0, handler: bool = False,
) -> tuple[int, int]:  # fmt: skip
    """(rip, rcx) after a round of which KVM leaves so many; ``others`` are the bits of RCX that are not counted."""
    regs = SimpleNamespace(rip=AT, rcx=others | count, rflags=2 | (EFLAGS_ZF if zf else 0))
    counts: list[int] = []

    def one_of(whole: int) -> Any:
        counts.append(whole)
        return nullcontext()

    stepper = SimpleNamespace(at_handler=False, traps=SimpleNamespace(one_of=one_of))
    runner: Any = SimpleNamespace(
        vcpu=SimpleNamespace(regs=regs), stepper=stepper, set_general=lambda name, value: setattr(regs, name, value)
    )

    def step() -> None:
        assert regs.rcx == others | 1, "one element is to be done"
        regs.rcx = (0 if mask == LOW32 else others) | left
        regs.rip = AT if left else HANDLER if handler else BEHIND
        stepper.at_handler = handler

    watching: Any = Watching(runner)
    assert watching._one_round(Repetition(count, mask, 1, while_zero), step) is None
    assert counts == [count]
    return regs.rip, regs.rcx


def test_there_are_more() -> None:
    assert round_of(5) == (AT, 4)


def test_it_was_the_last() -> None:
    assert round_of(1) == (BEHIND, 0)


@pytest.mark.parametrize("while_zero", [True, False])
@pytest.mark.parametrize("zf", [True, False])
def test_a_comparison_ends_it(while_zero: bool, zf: bool) -> None:
    assert round_of(5, while_zero=while_zero, zf=zf) == (AT if while_zero == zf else BEHIND, 4)


def test_the_bits_of_rcx_that_are_not_counted_stay() -> None:
    assert round_of(5, mask=LOW16, others=0xABCD0000) == (AT, 0xABCD0004)


def test_a_count_of_32_bits_clears_the_upper_half() -> None:
    assert round_of(5, mask=LOW32, others=0xABCD << 32) == (AT, 4)


def test_an_element_that_was_not_done_is_to_be_done() -> None:
    assert round_of(5, left=1) == (AT, 5)
    assert round_of(5, handler=True) == (HANDLER, 5)
    assert round_of(5, handler=True, mask=LOW16, others=0xABCD0000) == (HANDLER, 0xABCD0005)
