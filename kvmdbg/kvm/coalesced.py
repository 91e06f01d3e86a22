"""The ring in which KVM collects writes instead of exiting (api.rst, KVM_REGISTER_COALESCED_MMIO)."""

from __future__ import annotations

import mmap
from collections.abc import Iterator

PAGE = 4096
ENTRY, HEADER = 24, 8
MOST = (PAGE - HEADER) // ENTRY


class CoalescedRing:
    """The ring at ``offset`` of the pages shared with a vCPU; all vCPUs of a VM have the same one there."""

    def __init__(self, raw: mmap.mmap, offset: int) -> None:
        self._raw = raw
        self._at = offset
        self.u32_first = offset // 4
        """Where the index of the first entry lies in the 32-bit view of the pages; that of the last is behind it."""

    @property
    def indexes(self) -> bytes:
        """Two words that are the same where there is nothing."""
        return self._raw[self._at : self._at + HEADER]

    @property
    def waiting(self) -> bool:
        """Whether there is anything."""
        indexes = self.indexes
        return indexes[:4] != indexes[4:]

    def writes(self) -> Iterator[tuple[int, bytes]]:
        """(port, bytes) in the order in which the guest wrote them; they stay until they are dropped."""
        first, last = (int.from_bytes(self.indexes[n : n + 4], "little") for n in (0, 4))
        for begin, end in [(first, last)] if first <= last else [(first, MOST), (0, last)]:
            if begin < end:
                yield from self._between(self._at + HEADER + begin * ENTRY, self._at + HEADER + end * ENTRY)

    def _between(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        raw = self._raw
        low, high, data = raw[start:end:ENTRY], raw[start + 1 : end : ENTRY], raw[start + 16 : end : ENTRY]
        if low == low[:1] * len(low) and high == high[:1] * len(high):
            yield low[0] | high[0] << 8, data
            return
        for a, b, value in zip(low, high, data, strict=True):
            yield a | b << 8, bytes((value,))

    def drop(self) -> None:
        """Let KVM use it again from the start."""
        self._raw[self._at : self._at + 4] = self._raw[self._at + 4 : self._at + HEADER]
