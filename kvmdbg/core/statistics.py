"""Counts of exits, gathered from the runners."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from kvmdbg.kvm.exits import BY_NUMBER

if TYPE_CHECKING:
    from kvmdbg.core.runner import Runner


class ExitStatistics:
    """How many exits there were since the guest was loaded."""

    def __init__(self, runners: Callable[[], Iterable[Runner]]) -> None:
        self._runners = runners

    @property
    def by_reason(self) -> dict[str, int]:
        """Exits by kind, the most frequent first."""
        counts: dict[str, int] = {}
        for runner in self._runners():
            for number, count in list(runner.exit_counts.items()):
                cls = BY_NUMBER.get(number)
                kind = cls.kind if cls else f"reason {number}"
                counts[kind] = counts.get(kind, 0) + count
            ports = sum(entry.count for entry in list(runner.ports.values()))
            if ports:
                counts["io"] = counts.get("io", 0) + ports
        return dict(sorted(counts.items(), key=lambda item: -item[1]))

    @property
    def by_port(self) -> dict[tuple[str, int], int]:
        """Exits by ("in" or "out", port), the most frequent first."""
        counts: dict[tuple[str, int], int] = {}
        for runner in self._runners():
            for entry in list(runner.ports.values()):
                key = ("out" if entry.direction else "in", entry.port)
                counts[key] = counts.get(key, 0) + entry.count
        return dict(sorted(counts.items(), key=lambda item: -item[1]))

    @property
    def unclaimed(self) -> list[tuple[str, int, int, int, int | None]]:
        """Accesses to ports that no device has: ("in" or "out", port, bytes, count, first instruction), by port."""
        found = [
            ("out" if entry.direction else "in", entry.port, entry.size, entry.count, entry.first)
            for runner in self._runners()
            for entry in list(runner.ports.values())
            if entry.device is None
        ]
        return sorted(found, key=lambda one: (one[1], one[0]))

    @property
    def by_address(self) -> dict[tuple[str, int], int]:
        """MMIO exits by ("read" or "write", guest-physical address), the most frequent first."""
        counts: dict[tuple[str, int], int] = {}
        for runner in self._runners():
            for key, count in list(runner.mmio_counts.items()):
                counts[key] = counts.get(key, 0) + count
        return dict(sorted(counts.items(), key=lambda item: -item[1]))

    @property
    def total(self) -> int:
        return sum(self.by_reason.values())

    def clear(self) -> None:
        """Start counting anew."""
        for runner in self._runners():
            runner.exit_counts.clear()
            for entry in runner.ports.values():
                entry.count = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "total": self.total,
            "by_reason": self.by_reason,
            "by_port": [{"direction": d, "port": p, "count": c} for (d, p), c in self.by_port.items()],
        }
