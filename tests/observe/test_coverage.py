"""What coverage says where it cannot be written."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kvmdbg.errors import UsageError
from kvmdbg.observe import coverage


@pytest.mark.parametrize(
    ("missing", "says"),
    [([], "with it (compile or assemble with -g)"), (["guest.dwo is not there"], "with it; guest.dwo is not there")],
)
def test_lcov_without_lines_says_what_could_not_be_read(tmp_path: Path, missing: list[str], says: str) -> None:
    source, files = SimpleNamespace(lines=list), SimpleNamespace(missing=missing)
    guest: Any = SimpleNamespace(source=source, files=files)
    trace: Any = None
    with pytest.raises(UsageError) as refused:
        coverage.write(guest, trace, str(tmp_path / "a.info"))
    assert str(refused.value).endswith(says)
