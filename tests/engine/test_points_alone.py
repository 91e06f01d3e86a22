"""Points by themselves: how a breakpoint says where it is, and where the names of its condition are looked for."""

from __future__ import annotations

import pytest

from kvmdbg.engine.breakpoints import Breakpoint


@pytest.mark.parametrize(("space", "says", "place"), [("linear", "0x1000", 0x1000), ("phys", "phys:0x1000", None)])
def test_a_breakpoint_by_address_alone(space: str, says: str, place: int | None) -> None:
    asked: list[int | None] = []
    point = Breakpoint(0x1000, space=space)
    point.scope = lambda at: asked.append(at)  # type: ignore[assignment, func-returns-value]
    point.condition = "1"
    assert point.describe() == says and asked == [place]
