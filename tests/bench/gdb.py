"""The stub against QEMU's: the same guest, the same KVM, the same client, in turn, in one run.

python -m tests.bench.gdb [--quick] [NAME…]    all, or p, g, m, read, read-binary, write, step, hit, condition, …

Prints both sides of each ratio, as rates a second (higher is better; medians over fresh processes), and the bar. Exit
status 1 when one is missed; with --quick, which shows that every bench ends, only when one does not.
Needs gdb, and qemu-system-x86_64, which it installs where it is missing.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from gdbstub.testing import Remote
from gdbstub.wire import escape
from tests.bench.effort import Effort, limited, medians, parse
from tests.machines import boot
from tests.machines.dev_kvm import why_unusable

ROOT = Path(__file__).resolve().parents[2]
GUEST = ROOT / "guests/boot16.bin"
ENTRY, FUNC, SCRATCH, MIB = 0x7C00, 0x7C16, 0x200000, 1 << 20
FIRMWARE = bytes.fromhex("ea 007c 0000").rjust(0xFFF5, b"\0").ljust(0x10000, b"\0")
"""At the reset vector a far jump to the boot sector: QEMU's own BIOS takes minutes on a KVM in software."""


PROCESSES = 10
"""Of each side, each measured once: one may be slower or faster than the next from its start on."""


class Side:
    """One stub, its guest stopped at the boot sector's first instruction."""

    def __init__(self, command: list[str], port: int) -> None:
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.port = port
        try:
            self.attach()
        except BaseException:
            self.process.kill()
            raise

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


Bench = Callable[[Side, Effort], float]
"""One round on one side: a rate a second."""


def rate(count: int, work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return count / (time.perf_counter() - begin)


def repeated(usual: int, body: bytes) -> Bench:
    def measure(side: Side, effort: Effort) -> float:
        count = effort.count(usual)
        return rate(count, lambda: [side.ask(body) for _ in range(count)])

    return measure


def read(side: Side, effort: Effort, letter: bytes = b"m") -> float:
    piece = side.size // 2 - 4

    def work() -> None:
        for at in range(0, MIB, piece):
            assert side.ask(b"%b%x,%x" % (letter, SCRATCH + at, min(piece, MIB - at)))[:1] != b"E"

    return rate(1, work)


def read_binary(side: Side, effort: Effort) -> float:
    """Where there is no x, with m."""
    return read(side, effort, b"x" if side.binary else b"m")


def write(side: Side, effort: Effort) -> float:
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


def step(side: Side, effort: Effort) -> float:
    return repeated(1000, b"vCont;s:" + side.thread)(side, effort)


def hit(side: Side, effort: Effort) -> float:
    """As gdb does it: run to the breakpoint, take it out, step, put it back."""
    point = b"1,%x,1" % FUNC
    count = effort.count(300)

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


def condition(side: Side, effort: Effort) -> float:
    """False conditions of a breakpoint of gdb's: evaluated in our stub, with QEMU in gdb, which stops each time."""
    count = effort.count(20_000 if side.binary else 200)
    side.remote.close()
    script = CONDITION.format(port=side.port, address=FUNC, count=count).strip().splitlines()
    command = ["gdb", "-nx", "-q", "-batch", *(part for line in script for part in ("-ex", line))]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    took = re.search(r"^took (\S+) (\d+)$", shown.stdout, re.MULTILINE)
    assert took and int(took[2]) == count, shown.stdout + shown.stderr
    side.attach()
    return count / float(took[1])


def interrupt(side: Side, effort: Effort) -> float:
    took = []
    for _ in range(effort.count(20)):
        side.remote.send(b"vCont;c")
        time.sleep(0.005)
        begin = time.perf_counter()
        side.remote.interrupt()
        assert side.remote.receive().startswith(b"T02")
        took.append(time.perf_counter() - begin)
    return 1 / statistics.median(took)


BENCHES: dict[str, tuple[Bench, float]] = {
    "p": (repeated(2000, b"p0"), 1.5),
    "g": (repeated(2000, b"g"), 1.5),
    "m": (repeated(2000, b"m%x,4" % SCRATCH), 1.5),
    "read": (read, 5.0),
    "read-binary": (read_binary, 10.0),
    "write": (write, 5.0),
    "step": (step, 5.0),
    "hit": (hit, 3.0),
    "condition": (condition, 50.0),
    "interrupt": (interrupt, 1.0),
}
"""Name: what is measured, and the least that our rate may be in QEMU's."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def sides() -> Iterator[tuple[Side, Side]]:
    """kvmdbg and QEMU, each stopped in the same boot sector's function."""
    with contextlib.ExitStack() as ends:
        firmware = ends.enter_context(tempfile.NamedTemporaryFile(suffix=".rom"))
        firmware.write(FIRMWARE)
        firmware.flush()
        ports = free_port(), free_port()
        kvmdbg = [sys.executable, "-m", "kvmdbg", "--gdb", str(ports[0]), "--memory", "64M", str(GUEST)]
        qemu = ["qemu-system-x86_64", "-accel", "kvm", "-m", "64", "-net", "none", "-display", "none"]
        qemu += ["-monitor", "none", "-serial", "none", "-bios", firmware.name, "-S"]
        qemu += ["-device", f"loader,file={GUEST},addr={ENTRY:#x},force-raw=on", "-gdb", f"tcp:127.0.0.1:{ports[1]}"]
        both = []
        for command, port in ((kvmdbg, ports[0]), (qemu, ports[1])):
            both.append(Side(command, port))
            ends.callback(both[-1].close)
        ours, theirs = both
        theirs.until(ENTRY)
        for side in both:
            side.until(FUNC)
        yield ours, theirs


def main(argv: Sequence[str]) -> int:
    names, effort = parse("tests.bench.gdb", __doc__, BENCHES, argv)
    if no_kvm := why_unusable():
        print(f"the benches need KVM: {no_kvm}", file=sys.stderr)
        return 1
    if not shutil.which("qemu-system-x86_64"):
        boot.install(["qemu-system-x86"])
    rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for _ in range(PROCESSES if effort.judged else 1):
        with sides() as (ours, theirs):
            for name in names:
                measure, _ = BENCHES[name]
                with limited(name, effort.limit):
                    rounds[name].append((measure(ours, effort), measure(theirs, effort)))
    missed = 0
    for name in names:
        mine, other, ratio = medians(rounds[name])
        bar = BENCHES[name][1]
        missed += ratio < bar
        verdict = "met" if ratio >= bar else "MISSED"
        print(f"{name:<12} {mine:>10,.0f}/s; QEMU {other:>10,.0f}/s; ratio {ratio:.2f}  at least {bar:g}: {verdict}")
    return 1 if missed and effort.judged else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
