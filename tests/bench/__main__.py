"""Speed, as ratios of kvmdbg to a C loop of the same guest, both measured in this run.

python -m tests.bench [--quick] [NAME…]     all, or exits, steps, records, conditions, watch, …

Each bench alternates the two sides several times and prints the median of the ratios,
both sides of it, and the bar. Exit status 1 when a bar is missed; with --quick, which
shows that every bench ends, only when one does not.
"""

from __future__ import annotations

import functools
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import kvmdbg
from kvmdbg.engine.probe import host_profile
from tests.bench import boot_sector, large, screens, ticks
from tests.bench.effort import Effort, compare, parse
from tests.machines.dev_kvm import why_unusable

HERE = Path(__file__).parent
GUESTS = HERE.parents[1] / "guests"
Bench = Callable[[Path, Effort], tuple[float, float]]
"""One round: given the C program and how much to measure, our side and the peer's."""
LOOP = b"\x41\x90\xeb\xfc"  # again: inc cx; nop; jmp again


def c_side(program: Path, *arguments: str) -> float:
    return float(subprocess.run([str(program), *arguments], check=True, capture_output=True, text=True).stdout)


def rate(count: int, work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return count / (time.perf_counter() - begin)


def counter() -> kvmdbg.Session:
    return kvmdbg.open(GUESTS / "counter16.bin", load=0x10000, entry="0x1000:0", memory="512M")


def flat(code: bytes) -> kvmdbg.Session:
    with tempfile.NamedTemporaryFile(suffix=".bin") as file:
        file.write(code)
        file.flush()
        return kvmdbg.open(file.name, format="flat", mode="real", load=0x1000, memory="1M")


def exits(program: Path, effort: Effort) -> tuple[float, float]:
    with counter() as dbg:
        dbg.run(exits=1000)
        count = effort.count(200_000)
        return rate(count, lambda: dbg.run(exits=count)), c_side(program, "exits", str(count))


def steps(program: Path, effort: Effort) -> tuple[float, float]:
    with counter() as dbg:
        dbg.step(100)
        count = effort.count(50_000)
        return rate(count, lambda: dbg.step(count)), c_side(program, "steps", str(count))


def calls(program: Path, effort: Effort) -> tuple[float, float]:
    with counter() as dbg:
        dbg.step(100)
        count = effort.count(20_000)
        ours = rate(count, lambda: [dbg.step() for _ in range(count)])
        return 1e6 / ours, 1e6 / c_side(program, "steps", str(count))


def records(program: Path, effort: Effort) -> tuple[float, float]:
    with counter() as dbg:
        dbg.step(100)
        record: list[bytes] = []
        count = effort.count(50_000)
        ours = rate(count, lambda: dbg.step(count, record=record))
        assert len(record) == count
        return ours, c_side(program, "steps", str(count))


def conditions(program: Path, effort: Effort) -> tuple[float, float]:
    count = effort.count(20_000)
    with flat(LOOP) as dbg:
        dbg.break_at(0x1001, when=f"$cx == {count}")
        ours = rate(count, lambda: dbg.run())
        assert dbg.regs.cx == count
    profile = host_profile()
    trap = 0 if profile.kernel_execute_dr else profile.kernel_trap
    return ours, c_side(program, "hits", str(count), f"{trap:x}")


def watch(program: Path, effort: Effort) -> tuple[float, float]:
    count = effort.count(20_000)
    # mov cx, COUNT; again: mov [0x9004], cx; loop again; hlt
    with flat(b"\xb9" + count.to_bytes(2, "little") + bytes.fromhex("890e0490 e2fa f4")) as dbg:
        dbg.watch(0x9000, 1)
        ours = rate(count, lambda: dbg.run())
        assert dbg.regs.cx == 0
    return ours, c_side(program, "exits", str(effort.count(100_000)))


def restores(pages: int) -> Bench:
    """Restores of a 2 MiB guest that has written ``pages`` pages, a minute; the peer is a bare C loop of them."""

    def measure(program: Path, effort: Effort) -> tuple[float, float]:
        # mov cx, PAGES; mov di, 0; again: mov es:[di], al; mov ax, es; add ax, 0x100; mov es, ax; loop again; hlt
        code = bytes.fromhex("b9") + pages.to_bytes(2, "little")
        code += bytes.fromhex("b80020 8ec0 31ff 268805 8cc0 050001 8ec0 e2f4 f4")
        with tempfile.NamedTemporaryFile(suffix=".bin") as file:
            file.write(code)
            file.flush()
            with kvmdbg.open(file.name, format="flat", mode="real", load=0x1000, memory="2M") as dbg:
                here = dbg.snapshots.save("here")
                dbg.run()
                assert dbg.snapshots.put_back(here) >= pages
                count, spent = effort.count(300), 0.0
                for _ in range(count):
                    dbg.run()
                    begin = time.perf_counter()
                    dbg.snapshots.put_back(here)
                    spent += time.perf_counter() - begin
        return count / spent * 60, c_side(program, "restores", str(pages), str(effort.count(1000))) * 60

    return measure


def output(program: Path, effort: Effort) -> tuple[float, float]:
    count = effort.count(60_000)
    # mov dx, 0x3f8; mov cx, COUNT; again: out dx, al; loop again; hlt
    with flat(bytes.fromhex("baf803 b9") + count.to_bytes(2, "little") + bytes.fromhex("ee e2fd f4")) as dbg:
        ours = rate(count, dbg.run)
        assert len(dbg.output) == count
    return ours, c_side(program, "exits", str(effort.count(100_000)))


def hook(program: Path, effort: Effort) -> tuple[float, float]:
    with counter() as dbg:
        dbg.run(exits=1000)
        times = effort.count(50_000)
        without = rate(times, lambda: dbg.run(exits=times))
        seen = [0]

        @dbg.on.io_out(0x10)
        def count(event: object) -> None:
            seen[0] += 1

        hooked = rate(times, lambda: dbg.run(exits=times))
        assert seen[0] >= times - 1, seen
    return hooked, without


SYMBOLS = 10_000
GDB_TIMES = """
import time
gdb.execute("stepi", to_string=True)
begin = time.perf_counter()
gdb.execute("info registers", to_string=True)
gdb.execute("x/10i $pc", to_string=True)
print("took", (time.perf_counter() - begin) * 1e3)
"""


def context(program: Path, effort: Effort) -> tuple[float, float]:
    """The context view of a stop, in words; gdb asks the stub for the same guest's registers and code."""
    from kvmdbg.commands.interpreter import Interpreter
    from kvmdbg.commands.stop_report import stop_report

    with tempfile.TemporaryDirectory() as folder:
        source, guest, script = Path(folder) / "guest.S", Path(folder) / "guest.elf", Path(folder) / "times.py"
        script.write_text(GDB_TIMES)
        functions = "\n".join(f".type f{n},@function\nf{n}: nop; nop; ret\n.size f{n},.-f{n}" for n in range(SYMBOLS))
        source.write_text(f".globl _start\n_start: call f77; jmp _start\n{functions}\n")
        make = ["gcc", "-nostdlib", "-static", "-Wl,-Ttext=0x100000,--build-id=none", "-o", str(guest), str(source)]
        subprocess.run(make, check=True)
        spent = []
        with kvmdbg.open(guest) as dbg:
            interpreter = Interpreter(dbg)
            for number in range(max(effort.count(30), 5)):
                stop = dbg.step()
                begin = time.perf_counter()
                shown = stop_report(interpreter, stop).plain(100)
                spent.append((time.perf_counter() - begin) * 1e3)
                assert "f77" in shown or "_start" in shown, number
        serve = [sys.executable, "-m", "kvmdbg", "--gdb", "127.0.0.1:0", "--batch", str(guest)]
        with subprocess.Popen(serve, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            assert server.stderr is not None
            try:
                port = next(found[1] for line in server.stderr if (found := re.search(r":(\d+)", line)))
                asked = ["-ex", f"target remote 127.0.0.1:{port}", *["-x", str(script)] * 10]
                gdb = subprocess.run(["gdb", "-nx", "-batch", str(guest), *asked], capture_output=True, text=True)
            finally:
                server.terminate()
        theirs = [float(line.split()[1]) for line in gdb.stdout.splitlines() if line.startswith("took")]
        assert theirs, gdb.stdout + gdb.stderr
        return statistics.median(spent), statistics.median(theirs)


@functools.cache
def large_sides(folder: Path, effort: Effort) -> dict[str, tuple[float, float]]:
    """A breakpoint in a 100 MB file with a cache, reached: seconds and MiB; gdb is only asked to set it."""
    guest = large.build(folder, effort.count(large.UNITS))
    environment = os.environ | {"XDG_CACHE_HOME": str(folder)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # installed, kvmdbg is compiled

    def cost(arguments: list[str], expected: str) -> tuple[float, float]:
        begin = time.perf_counter()
        with subprocess.Popen(
            arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        ) as child:
            assert child.stdout is not None
            said = child.stdout.read()
            _, child.returncode, used = os.wait4(child.pid, 0)
        assert expected in said, said
        return time.perf_counter() - begin, used.ru_maxrss / 1024

    wanted = ["-ex", "break u7_f3", "-ex", "run"]
    ours = [sys.executable, "-m", "kvmdbg", "--batch", "--memory", "256M", *wanted, str(guest)]
    theirs = ["gdb", "-nx", "-batch", *wanted[:2], str(guest)]
    stopped = "<u7_f3>"
    cold = cost(ours, stopped)
    pairs = [(cost(ours, stopped), cost(theirs, "Breakpoint 1 at")) for _ in range(effort.rounds)]
    sides = [statistics.median(values) for side in zip(*pairs, strict=True) for values in zip(*side, strict=True)]
    return {"seconds": (sides[0], sides[2]), "memory": (sides[1], sides[3]), "cold": (cold[0], sides[2])}


def large_file(what: str) -> Bench:
    return lambda program, effort: large_sides(program.parent, effort)[what]


def start(program: Path, effort: Effort) -> tuple[float, float]:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    hello = ["--batch", "--run", "--load", "0x1000", "--reg", "rax=2", "--reg", "rbx=2", str(GUESTS / "hello16.bin")]

    def whole(arguments: list[str]) -> float:
        begin = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=environment)
        return (time.perf_counter() - begin) * 1e3

    whole(["-m", "kvmdbg", *hello])
    return whole(["-m", "kvmdbg", *hello]), whole(["-c", "import ctypes, mmap, argparse"])


def teletype(program: Path, effort: Effort) -> tuple[float, float]:
    return boot_sector.teletype_calls(effort), c_side(program, "exits", str(effort.count(100_000)))


def tick_rate(program: Path, effort: Effort) -> tuple[float, float]:
    return ticks.per_second(effort)


def late_ticks(program: Path, effort: Effort) -> tuple[float, float]:
    return ticks.late(effort)


def seen(measure: Callable[[Effort], tuple[float, float]]) -> Bench:
    return lambda program, effort: measure(effort)


BENCHES: dict[str, tuple[Bench, str, float | None, str]] = {
    "exits": (exits, "port exits a second, nothing caught", 0.81, "C loop"),
    "steps": (steps, "steps a second", 0.75, "C loop"),
    "calls": (calls, "us of dbg.step(), called one at a time", None, "a step in a C loop"),
    "records": (records, "steps a second, every register recorded", 0.35, "C loop"),
    "conditions": (conditions, "false conditions a second", 0.69, "C loop of hits stepped past"),
    "watch": (watch, "writes a second beside a watched byte", None, "C loop of port exits"),
    "output": (output, "bytes a second through the serial port", 5.6, "C loop of port exits"),
    "hook": (hook, "port exits a second with a Python hook that counts", 0.6, "without one"),
    "restore-1": (restores(1), "restores a minute, 2 MiB guest, 1 page written", None, "C loop of the same ioctls"),
    "restore-10": (restores(10), "the same, 10 pages", None, "C loop"),
    "restore-100": (restores(100), "the same, 100 pages", None, "C loop"),
    "context": (context, "ms of a context view, 10,000 symbols", None, "gdb's info registers and x/10i"),
    "symbols": (large_file("seconds"), "s from start to a breakpoint, 100 MB file, cached", None, "gdb setting it"),
    "symbols-cold": (large_file("cold"), "the same, nothing cached", None, "gdb setting it"),
    "symbols-mib": (large_file("memory"), "MiB of memory for it", None, "gdb"),
    "start": (start, "ms from start to the end of hello16", -3.0, "python3 -c 'import ctypes, mmap, argparse'"),
    "boot": (boot_sector.first_output, "ms from start to a boot sector's first output", -0.35, "QEMU with SeaBIOS"),
    "ticks": (tick_rate, "ticks a second of an idle guest at 18.2 Hz", None, "KVM's own timer"),
    "late": (late_ticks, "percent of ticks at 1,000 Hz late by more than one, idle guest", None, "KVM's own timer"),
    "key": (seen(screens.key), "ms from a key to its echo, all CPUs busy", None, "gdb's prompt"),
    "stepi": (seen(screens.stepi), "ms of stepi with context, the same", None, "gdb's with display/10i"),
    "screen": (seen(screens.full_screen), "ms from F11 in the full screen to its repaint", None, "gdb's, layout asm"),
    "prompt": (seen(screens.prompt), "ms from start to prompt, all CPUs busy", None, "gdb's"),
    "teletype": (teletype, "calls a second of int 10h, AH=0Eh", None, "C loop of port exits"),
}
"""Name: (one round, what is measured, bar, the peer). A negative bar is a most, not a least."""


LEAST = {"ticks": 18.0, "restore-1": 10_000.0, "restore-10": 10_000.0, "restore-100": 10_000.0}
"""What our own side has to be at least, whatever the peer's is."""


MOST = {
    "calls": 45.0,
    "key": 15.0,
    "stepi": 40.0,
    "screen": 50.0,
    "prompt": 500.0,
    "context": 15.0,
    "symbols": 1.0,
    "late": 5.0,
}
"""What our own side may be at most, whatever the peer's is."""


def verdict(name: str, bar: float | None, ours: float, ratio: float) -> tuple[str, bool]:
    """What to say of the bar, "" where there is none, and whether it is met."""
    if name in LEAST:
        words, met = f"ours at least {LEAST[name]:,.0f}", ours >= LEAST[name]
    elif name in MOST:
        words, met = f"ours at most {MOST[name]:g}", ours <= MOST[name]
    elif bar is None:
        return "", True
    elif bar > 0:
        words, met = f"at least {bar:g}", ratio >= bar
    else:
        words, met = f"at most {-bar:g}", ratio <= -bar
    return f"  {words}: {'met' if met else 'MISSED'}", met


def main(argv: Sequence[str]) -> int:
    names, effort = parse("tests.bench", __doc__, BENCHES, argv)
    if no_kvm := why_unusable():
        print(f"the benches need KVM: {no_kvm}", file=sys.stderr)
        return 1
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "loops"
        subprocess.run(["gcc", "-O2", "-o", str(program), str(HERE / "loops.c")], check=True)
        for name in names:
            bench, what, bar, peer = BENCHES[name]
            more = 3 if name == "start" and effort.judged else 1
            effort_here = replace(effort, rounds=effort.rounds * more)
            ours, theirs, ratio = compare(name, effort_here, functools.partial(bench, program, effort))
            said, met = verdict(name, bar, ours, ratio)
            missed += not met
            form = ".2f" if max(ours, theirs) < 100 else ",.0f"
            print(f"{name:<12} {what}: {ours:{form}}; {peer}: {theirs:{form}}; ratio {ratio:.2f}{said}", flush=True)
    return 1 if missed and effort.judged else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
