"""Counts of exits, gathered from the vCPUs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from kvmdbg.kvm.exits import BY_NUMBER
from kvmdbg.machine.bus import Device


class PortCounts(Protocol):
    """Accesses of one size to a port: ``word`` is "in" or "out", ``first`` the instruction that made the first one."""

    word: str
    port: int
    size: int
    count: int
    device: Device | None
    first: int | None


class VcpuCounts(Protocol):
    """What one vCPU's exit loop counts."""

    exit_counts: dict[int, int]
    mmio_counts: dict[tuple[str, int], int]
    unclaimed_mmio: dict[tuple[str, int], tuple[int, int | None]]

    @property
    def ports(self) -> Mapping[Any, PortCounts]: ...


class ExitStatistics:
    """How many exits there were since the guest was loaded."""

    def __init__(self, vcpus: Callable[[], Iterable[VcpuCounts]]) -> None:
        self._vcpus = vcpus

    @property
    def by_reason(self) -> dict[str, int]:
        """Exits by kind, the most frequent first."""
        counts: dict[str, int] = {}
        for vcpu in self._vcpus():
            for number, count in list(vcpu.exit_counts.items()):
                cls = BY_NUMBER.get(number)
                kind = cls.kind if cls else f"reason {number}"
                counts[kind] = counts.get(kind, 0) + count
            ports = sum(entry.count for entry in list(vcpu.ports.values()))
            if ports:
                counts["io"] = counts.get("io", 0) + ports
        return dict(sorted(counts.items(), key=lambda item: -item[1]))

    @property
    def by_port(self) -> dict[tuple[str, int], int]:
        """Exits by ("in" or "out", port), the most frequent first."""
        counts: dict[tuple[str, int], int] = {}
        for vcpu in self._vcpus():
            for entry in list(vcpu.ports.values()):
                key = (entry.word, entry.port)
                counts[key] = counts.get(key, 0) + entry.count
        return dict(sorted(counts.items(), key=lambda item: -item[1]))

    @property
    def unclaimed(self) -> list[tuple[str, int, int, int, int | None]]:
        """Accesses that no device answers: ("in" or "out", port, bytes, count, first instruction), by port; then
        ("read" or "write", guest-physical address, bytes, count, first instruction), by address."""
        ports = [
            (entry.word, entry.port, entry.size, entry.count, entry.first)
            for vcpu in self._vcpus()
            for entry in list(vcpu.ports.values())
            if entry.device is None
        ]
        addresses = [
            (word, address, size, vcpu.mmio_counts.get((word, address), 0), first)
            for vcpu in self._vcpus()
            for (word, address), (size, first) in list(vcpu.unclaimed_mmio.items())
        ]
        by_place = [sorted(found, key=lambda one: (one[1], one[0])) for found in (ports, addresses)]
        return by_place[0] + by_place[1]

    @property
    def by_address(self) -> dict[tuple[str, int], int]:
        """MMIO exits by ("read" or "write", guest-physical address), the most frequent first."""
        counts: dict[tuple[str, int], int] = {}
        for vcpu in self._vcpus():
            for key, count in list(vcpu.mmio_counts.items()):
                counts[key] = counts.get(key, 0) + count
        return dict(sorted(counts.items(), key=lambda item: -item[1]))

    @property
    def total(self) -> int:
        return sum(self.by_reason.values())

    def clear(self) -> None:
        """Start counting anew."""
        for vcpu in self._vcpus():
            vcpu.exit_counts.clear()
            vcpu.mmio_counts.clear()
            for entry in vcpu.ports.values():
                entry.count = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "total": self.total,
            "by_reason": self.by_reason,
            "by_port": [{"direction": d, "port": p, "count": c} for (d, p), c in self.by_port.items()],
        }
