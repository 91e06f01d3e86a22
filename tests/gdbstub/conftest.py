"""A target that has every capability, and a client of it."""

from __future__ import annotations

import pytest

from gdbstub.testing import FakeTarget, Loop


@pytest.fixture
def target() -> FakeTarget:
    return FakeTarget()


@pytest.fixture
def gdb(target: FakeTarget) -> Loop:
    loop = Loop(target)
    loop.ask(b"qSupported:swbreak+;hwbreak+;exec-events+")
    loop.ask(b"QStartNoAckMode")
    return loop
