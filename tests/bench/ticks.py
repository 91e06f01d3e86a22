"""Timer interrupts of the machine's own controllers, beside those of KVM's: how many come, and how many come late."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import kvmdbg
from kvmdbg.build import from_assembly
from kvmdbg.devices.pit import HZ
from tests.bench.effort import Effort
from tests.interrupt_controllers import TIMER_ONLY

PORT = 0x99
GUEST = (
    """
        cli
        xor ax, ax
        mov ds, ax
        mov ss, ax
        mov sp, 0x7000
        mov word ptr [8 * 4], offset tick
        mov word ptr [8 * 4 + 2], 0
"""
    + TIMER_ONLY
    + """
        mov ax, {divisor}
        out 0x40, al
        mov al, ah
        out 0x40, al
        sti
again:  {waits}
        jmp again
tick:   push ax
        out 0x99, al
        mov al, 0x20
        out 0x20, al
        pop ax
        iret
"""
)


class Watch:
    """Notes when each tick is served, by the host's clock."""

    name = "watch"

    def __init__(self) -> None:
        self.times: list[int] = []

    def read(self, offset: int, size: int) -> int:
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        self.times.append(time.monotonic_ns())

    def describe(self) -> str:
        return "notes ticks"

    def save(self) -> Any:
        return None

    def load(self, state: Any) -> None:
        pass


def served(divisor: int, waits: str, seconds: float, irqchip: str) -> list[int]:
    """When the ticks were served that came in so many seconds."""
    with tempfile.TemporaryDirectory() as folder:
        image, _ = from_assembly(GUEST.format(divisor=divisor & 0xFFFF, waits=waits), Path(folder))
        with kvmdbg.open(image, format="flat", load=0x1000, irqchip=irqchip) as dbg:
            watch = Watch()
            dbg.machine.bus.add_ports(PORT, 1, watch)
            dbg.run(timeout=seconds)
            return watch.times


def per_second(effort: Effort) -> tuple[float, float]:
    """Ticks a second of an idle guest at 18.2 Hz, of ours and of KVM's."""
    seconds = max(10.0 / effort.divisor, 1.0)
    ours, theirs = (served(0, "hlt", seconds, irqchip) for irqchip in ("user", "kernel"))
    return rate(ours), rate(theirs)


def rate(times: list[int]) -> float:
    return (len(times) - 1) * 1e9 / (times[-1] - times[0])


def late(effort: Effort) -> tuple[float, float]:
    """Percent of the ticks of an idle guest at 1,000 Hz that are late by more than a tick, of ours and of KVM's."""
    divisor = round(HZ / 1000)
    seconds = max(5.0 / effort.divisor, 0.5)
    ours, theirs = (served(divisor, "hlt", seconds, irqchip) for irqchip in ("user", "kernel"))
    return share_late(ours, divisor), share_late(theirs, divisor)


def share_late(times: list[int], divisor: int) -> float:
    """In percent, where each tick belongs by the one that is earliest for its number."""
    period = divisor * 1e9 / HZ
    first = min(moment - number * period for number, moment in enumerate(times))
    return 100 * sum(moment - first - number * period > period for number, moment in enumerate(times)) / len(times)
