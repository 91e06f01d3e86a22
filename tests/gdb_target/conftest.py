from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from gdbstub.testing import Loop
from kvmdbg.core.session import Session
from kvmdbg.gdb_target import GdbTarget

Attach = Callable[[Session], Loop]


@pytest.fixture
def attach() -> Iterator[Attach]:
    """``attach(SESSION)``: a client of the stub on it, without a connection."""
    targets: list[GdbTarget] = []

    def one(session: Session) -> Loop:
        targets.append(GdbTarget(session, lambda line, show: None))
        return Loop(targets[-1])

    yield one
    for target in targets:
        target.close()
