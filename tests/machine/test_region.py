"""A stretch of guest memory: on hosts with memory files, and on those without (Linux before 3.17, macOS)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kvmdbg.machine import region
from kvmdbg.machine.region import PAGE, Region


@pytest.fixture(params=[True, False], ids=["file", "no file"])
def made(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Region]:
    if not request.param:
        monkeypatch.setattr(region, "HAS_MEMORY_FILES", False)
    found = Region(0x3000, 8 * PAGE)
    yield found
    found.close()


def pages(one: Region) -> set[int]:
    return {at // PAGE for start, end in one.populated() for at in range(start, end, PAGE)}


@pytest.mark.parametrize("address", [0, 0x1000, 0x3000, 0x7000, 0xFFFF8000])
def test_where_it_ends(address: int) -> None:
    one = Region(address, 5 * PAGE)
    assert one.end == address + 0x5000 and len(one.view) == 0x5000
    one.close()


def test_pages_that_were_touched(made: Region) -> None:
    assert pages(made) == set()
    made.view[PAGE] = 1
    made.view[8 * PAGE - 1] = 2
    made.view[4 * PAGE - 2 : 4 * PAGE + 2] = b"page"
    assert pages(made) == {1, 3, 4, 7}
    made.clear()
    assert pages(made) == set() and bytes(made.view) == bytes(8 * PAGE)


def test_clearing_without_files_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(region, "HAS_MEMORY_FILES", False)
    one = Region(0, 2 * PAGE)
    one.view[PAGE] = 1
    one.clear()
    assert one.fd < 0 and bytes(one.view) == bytes(2 * PAGE)
    one.close()


def test_nothing_of_it_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[int] = []
    close = region.os.close
    monkeypatch.setattr(region.os, "close", lambda fd: (closed.append(fd), close(fd))[1])
    one = Region(0, PAGE)
    number = one.fd
    assert number > 0
    one.close()
    assert closed == [number]
    monkeypatch.setattr(region, "HAS_MEMORY_FILES", False)
    Region(0, PAGE).close()
    assert closed == [number]
