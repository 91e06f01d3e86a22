"""The software engine beside KVM, on the same guests: python -m tests.bench.soft [--quick]

Prints both sides and the bars. Rates are by time of this process's CPUs, as both wait for nothing; the start is by the
clock. With --quick small counts, and no bar is judged.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import kvmdbg
from tests.bench.effort import FULL, QUICK, Effort
from tests.machines.dev_kvm import why_unusable

GUESTS = Path(__file__).parents[2] / "guests"
OPTIONS = ["--batch", "-ex", "break *0x1003", "-ex", "run", "--load", "0x1000", "guests/hello16.bin"]
MILLION = 1_000_000
LOOP = bytes.fromhex("6641 90 90 90 ebf9")  # again: inc ecx; nop; nop; nop; jmp again


def opened(engine: str, guest: Path = GUESTS / "boot16.bin") -> kvmdbg.Session:
    return kvmdbg.open(guest, engine=engine, serial="none", machine="bare", irqchip="none")


def rate(count: int, work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return count / (time.process_time() - began)


def start(engine: str, effort: Effort) -> float:
    """Seconds to the first stop, the best of some."""
    best = 1e9
    for _ in range(effort.rounds * 2):
        began = time.perf_counter()
        command = [sys.executable, "-m", "kvmdbg", "--engine", engine, *OPTIONS]
        subprocess.run(command, check=True, capture_output=True, cwd=GUESTS.parent)
        best = min(best, time.perf_counter() - began)
    return best


def free(engine: str, effort: Effort) -> float:
    """Instructions a second of a guest that calls, writes to memory and returns."""
    return counted(engine, effort, GUESTS / "boot16.bin")


def without_memory(engine: str, effort: Effort) -> float:
    with tempfile.TemporaryDirectory() as folder:
        guest = Path(folder) / "loop.bin"
        guest.write_bytes(LOOP)
        return counted(engine, effort, guest)


def counted(engine: str, effort: Effort, guest: Path) -> float:
    """Instructions a second of a guest that counts each fifth in ECX."""
    with opened(engine, guest) as dbg:
        if engine == "soft":
            count = effort.count(40 * MILLION)
            return rate(count, lambda: dbg.run(instructions=count))
        began = time.process_time()
        dbg.run(timeout=2 / effort.divisor)
        return 5 * int(dbg.regs.ecx) / (time.process_time() - began)


def steps(engine: str, effort: Effort) -> float:
    with opened(engine) as dbg:
        dbg.step(1000)
        count = effort.count(100_000)
        return rate(count, lambda: dbg.step(count))


def restores(engine: str, effort: Effort) -> float:
    with opened(engine) as dbg:
        dbg.step(1000)
        dbg.snapshots.save("here")
        dbg.step(100)
        count = effort.count(5000)

        def work() -> None:
            for _ in range(count):
                dbg.snapshots.restore("here")

        return rate(count, work)


RATES = (
    ("instructions", free, 20 * MILLION),
    ("instructions without memory", without_memory, 30 * MILLION),
    ("steps", steps, 60_000),
    ("restores", restores, 10_000),
)


def main(arguments: list[str]) -> int:
    effort = QUICK if "--quick" in arguments else FULL
    engines = ["soft"] if why_unusable() else ["soft", "kvm"]
    missed = False
    began = {engine: start(engine, effort) for engine in engines}
    shown = ", ".join(f"{engine} {seconds * 1000:.0f} ms" for engine, seconds in began.items())
    print(f"start to first stop: {shown}; bar 1.5 times KVM's", flush=True)
    missed |= "kvm" in began and began["soft"] > 1.5 * began["kvm"]
    for name, measure, bar in RATES:
        found = {engine: measure(engine, effort) for engine in engines}
        shown = ", ".join(f"{engine} {one:,.0f}" for engine, one in found.items())
        print(f"{name} a second: {shown}; bar {bar:,}", flush=True)
        missed |= found["soft"] < bar
    return int(missed and effort.judged)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
