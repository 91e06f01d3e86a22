from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def image_file(tmp_path: Path) -> Callable[[bytes], str]:
    """Writes bytes to a file named guest and gives its path."""

    def write(data: bytes) -> str:
        path = tmp_path / "guest"
        path.write_bytes(data)
        return str(path)

    return write
