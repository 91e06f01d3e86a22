"""Which pages of memory have changed, found by comparing them with what they were.

Unicorn tells of no write. To have it refuse writes to pages that have none yet does not do: its walk of the page tables
loses an accessed or dirty bit where it may not write, and says nothing.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator

from kvmdbg.machine.region import PAGE, Region

SPAN = 64 * 1024
"""So much is compared at once."""


class ChangedPages:
    """Since the last ``take`` of each region; at first, of a region that was all zero."""

    def __init__(self) -> None:
        self._before: dict[Region, mmap.mmap] = {}

    def take(self, region: Region) -> Iterator[int]:
        """Addresses of the pages, which count as unchanged from here on."""
        before = self._before.get(region)
        if before is None:
            before = self._before[region] = mmap.mmap(-1, region.size)
        now = region.mapping
        stretches = region.populated() if region.fd >= 0 else iter([(0, region.size)])
        for begin, end in stretches:
            for span in range(begin, end, SPAN):
                span_end = min(span + SPAN, end)
                if now[span:span_end] == before[span:span_end]:
                    continue
                for at in range(span, span_end, PAGE):
                    page = now[at : at + PAGE]
                    if page != before[at : at + PAGE]:
                        before[at : at + PAGE] = page
                        yield region.address + at

    def put(self, region: Region, offset: int, page: bytes) -> None:
        """A page has been made this, which is no change."""
        before = self._before.get(region)
        if before is not None:
            before[offset : offset + PAGE] = page

    def forget(self) -> None:
        """As if all regions were new."""
        for before in self._before.values():
            before.close()
        self._before.clear()
