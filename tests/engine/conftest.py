"""A session on a scripted vCPU, which every test here gives its exits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.scripted.machine import ScriptedSession, scripted_session

CODE = bytes.fromhex("90 90 90 f4 90 90 f4")


@pytest.fixture
def dbg() -> Iterator[ScriptedSession]:
    with scripted_session(CODE) as session:
        yield session
