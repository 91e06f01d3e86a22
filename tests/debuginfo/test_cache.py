"""What is kept of large files, where it cannot be kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmdbg.debuginfo.cache import Cache


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "vmlinux"
    path.write_bytes(b"\x7fELF")
    return path


def test_what_was_kept_is_there(file: Path) -> None:
    cache = Cache(str(file), "ab12")
    assert not cache.has("units")
    cache.write("units", b"rows")
    assert cache.has("units")
    assert cache.read("units") == b"rows"


def test_a_build_id_that_is_too_long_for_a_name(file: Path) -> None:
    """Asking for it raised what the host says of such names."""
    cache = Cache(str(file), "ab" * 500)
    cache.write("units", b"rows")
    assert not cache.has("units")
    assert cache.read("units") is None


def test_a_file_that_is_gone(file: Path) -> None:
    cache = Cache(str(file), "")
    file.unlink()
    assert not cache.has("units")
