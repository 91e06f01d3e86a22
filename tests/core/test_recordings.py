"""What ``replay`` does not take."""

from __future__ import annotations

from typing import Any

import pytest

from kvmdbg.errors import UsageError
from tests.scripted.machine import scripted_session


@pytest.mark.parametrize("log", ["/nowhere/log", None, 5])
def test_what_is_no_recording_is_refused_in_words(log: Any) -> None:
    with scripted_session(b"\xf4") as dbg, pytest.raises(UsageError, match="what is replayed is a recording, as `with"):
        dbg.replay(log)
