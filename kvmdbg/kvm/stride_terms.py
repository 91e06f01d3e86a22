"""What all strides of one run of steps have in common."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping

from kvmdbg.kvm.counted_port import CountedPort


class StrideTerms:
    """Where they may lead, and what becomes of what they meet. A class with slots: read for each stride."""

    __slots__ = ("last", "out_is_past", "plain", "ports", "record", "stops")

    def __init__(
        self,
        *,
        plain: Callable[[memoryview | bytes, int], bool],
        last: int,
        stops: Container[int],
        ports: Mapping[int, CountedPort],
        out_is_past: bool,
        record: list[bytes] | None,
    ) -> None:
        self.plain = plain
        """Whether they may step over the instruction so far behind the start of a page of code."""
        self.last = last
        """How far behind it ``plain`` may be asked at most: the instruction is all there."""
        self.stops = stops
        """The linear addresses at which they end, but for the one where they begin."""
        self.ports = ports
        """By ``io_key``. A write to one that is quiet is done as in ``free_run``."""
        self.out_is_past = out_is_past
        """Where an ``out`` exits it is done already."""
        self.record = record
        """Gets the general registers behind each step."""
