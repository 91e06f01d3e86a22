"""The stub against QEMU's: the same guest, the same KVM, the same client, in turn, in one run.

python -m tests.bench.gdb [NAME…]    all, or p, g, m, read, read-binary, write, step, hit, condition, interrupt

Prints both sides of each ratio, as rates a second (higher is better), and the bar. Exit status 1 when one is missed.
Needs qemu-system-x86_64 and gdb.
"""

from __future__ import annotations

import contextlib
import re
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from gdbstub.testing import Remote
from gdbstub.wire import escape

ROOT = Path(__file__).resolve().parents[2]
GUEST = ROOT / "guests/boot16.bin"
ENTRY, FUNC, SCRATCH, MIB = 0x7C00, 0x7C16, 0x200000, 1 << 20
ROUNDS = 5


class Side:
    """One stub, its guest stopped at the boot sector's first instruction."""

    def __init__(self, command: list[str], port: int) -> None:
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.port = port
        self.attach()

    def attach(self) -> None:
        self.remote = Remote(self._connect(self.port))
        offered = self.ask(b"qSupported:swbreak+;hwbreak+;multiprocess+").decode().split(";")
        self.size = next(int(one[11:], 16) for one in offered if one.startswith("PacketSize="))
        self.binary = "binary-upload+" in offered
        if "QStartNoAckMode+" in offered:
            self.ask(b"QStartNoAckMode")
            self.remote.wire.acknowledge = False
        self.thread = self.ask(b"qC")[2:]
        self.ask(b"Hg" + self.thread)

    def _connect(self, port: int) -> socket.socket:
        for _ in range(200):
            with contextlib.suppress(OSError):
                found = socket.create_connection(("127.0.0.1", port))
                found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return found
            time.sleep(0.05)
        raise OSError(f"nobody listens at port {port}")

    def ask(self, body: bytes) -> bytes:
        return self.remote.ask(body)

    def until(self, address: int) -> None:
        """Run to an address."""
        assert self.ask(b"Z1,%x,1" % address) == b"OK"
        assert self.ask(b"vCont;c").startswith(b"T05")
        assert self.ask(b"z1,%x,1" % address) == b"OK"

    def close(self) -> None:
        self.remote.close()
        self.process.terminate()
        self.process.wait()


def rate(count: int, work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return count / (time.perf_counter() - begin)


def repeated(count: int, body: bytes) -> Callable[[Side], float]:
    def measure(side: Side) -> float:
        return rate(count, lambda: [side.ask(body) for _ in range(count)])

    return measure


def read(side: Side, letter: bytes = b"m") -> float:
    piece = side.size // 2 - 4

    def work() -> None:
        for at in range(0, MIB, piece):
            assert side.ask(b"%b%x,%x" % (letter, SCRATCH + at, min(piece, MIB - at)))[:1] != b"E"

    return rate(1, work)


def read_binary(side: Side) -> float:
    """Where there is no x, with m."""
    return read(side, b"x" if side.binary else b"m")


def write(side: Side) -> float:
    """In binary; where there is no X, with M."""
    data = bytes(range(256)) * (MIB // 256)
    binary = side.ask(b"X0,0:") == b"OK"
    piece = side.size // 2 - 32

    def work() -> None:
        for at in range(0, MIB, piece):
            part = data[at : at + piece]
            body = escape(part) if binary else part.hex().encode()
            assert side.ask(b"%b%x,%x:%b" % (b"X" if binary else b"M", SCRATCH + at, len(part), body)) == b"OK"

    return rate(1, work)


def step(side: Side) -> float:
    return repeated(1000, b"vCont;s:" + side.thread)(side)


def hit(side: Side, count: int = 300) -> float:
    """As gdb does it: run to the breakpoint, take it out, step, put it back."""
    point = b"1,%x,1" % FUNC

    def work() -> None:
        for _ in range(count):
            assert side.ask(b"Z" + point) == b"OK"
            assert side.ask(b"vCont;c").startswith(b"T05")
            assert side.ask(b"z" + point) == b"OK"
            assert side.ask(b"vCont;s:" + side.thread).startswith(b"T05")

    return rate(count, work)


CONDITION = """
set pagination off
set confirm off
target remote 127.0.0.1:{port}
set $start = $ecx
eval "hbreak *{address:#x} if $ecx == %u", $start + {count}
python import time; begin = time.perf_counter()
continue
python print("took", time.perf_counter() - begin, int(gdb.parse_and_eval("$ecx - $start")))
delete
disconnect
"""


def condition(side: Side) -> float:
    """False conditions of a breakpoint of gdb's: evaluated in our stub, with QEMU in gdb, which stops each time."""
    count = 20_000 if side.binary else 200
    side.remote.close()
    script = CONDITION.format(port=side.port, address=FUNC, count=count).strip().splitlines()
    command = ["gdb", "-nx", "-q", "-batch", *(part for line in script for part in ("-ex", line))]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    took = re.search(r"^took (\S+) (\d+)$", shown.stdout, re.MULTILINE)
    assert took and int(took[2]) == count, shown.stdout + shown.stderr
    side.attach()
    return count / float(took[1])


def interrupt(side: Side) -> float:
    took = []
    for _ in range(20):
        side.remote.send(b"vCont;c")
        time.sleep(0.005)
        begin = time.perf_counter()
        side.remote.interrupt()
        assert side.remote.receive().startswith(b"T02")
        took.append(time.perf_counter() - begin)
    return 1 / statistics.median(took)


BENCHES: dict[str, tuple[Callable[[Side], float], float]] = {
    "p": (repeated(2000, b"p0"), 1.0),
    "g": (repeated(2000, b"g"), 1.0),
    "m": (repeated(2000, b"m%x,4" % SCRATCH), 1.0),
    "read": (read, 5.0),
    "read-binary": (read_binary, 10.0),
    "write": (write, 5.0),
    "step": (step, 5.0),
    "hit": (hit, 5.0),
    "condition": (condition, 50.0),
    "interrupt": (interrupt, 1.0),
}
"""Name: what is measured, and the least that our rate may be in QEMU's."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def sides() -> Iterator[tuple[Side, Side]]:
    ports = free_port(), free_port()
    kvmdbg = [sys.executable, "-m", "kvmdbg", "--gdb", str(ports[0]), "--memory", "64M", str(GUEST)]
    qemu = ["qemu-system-x86_64", "-accel", "kvm", "-m", "64", "-net", "none", "-display", "none", "-monitor", "none"]
    qemu += ["-serial", "none", "-drive", f"file={GUEST},format=raw,if=floppy,readonly=on", "-boot", "a", "-S"]
    qemu += ["-gdb", f"tcp:127.0.0.1:{ports[1]}"]
    ours, theirs = Side(kvmdbg, ports[0]), Side(qemu, ports[1])
    try:
        theirs.until(ENTRY)
        for side in (ours, theirs):
            side.until(FUNC)
        yield ours, theirs
    finally:
        ours.close()
        theirs.close()


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        print(f"no bench {unknown[0]!r}; there are: {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    missed = 0
    with sides() as (ours, theirs):
        for name in names or BENCHES:
            measure, bar = BENCHES[name]
            rounds = [(measure(ours), measure(theirs)) for _ in range(ROUNDS)]
            mine, other = (statistics.median(side) for side in zip(*rounds, strict=True))
            ratio = statistics.median(a / b for a, b in rounds)
            missed += ratio < bar
            verdict = "met" if ratio >= bar else "MISSED"
            print(
                f"{name:<12} {mine:>10,.0f}/s; QEMU {other:>10,.0f}/s; ratio {ratio:.2f}  at least {bar:g}: {verdict}"
            )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
