"""macOS and Windows, as far as that shows on Linux: nothing that only Linux has is imported before it is needed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from kvmdbg.version import VERSION

ROOT = Path(__file__).resolve().parents[1]
TIME_SCALE = float(os.environ.get("KVMDBG_TIME_SCALE", "1"))
BY_PROMPT_TOOLKIT = ("kvmdbg.ui", "kvmdbg.pytest_plugin")
"""prompt_toolkit and pytest have ways of their own on Windows, which are not to be had here."""


def elsewhere(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.elsewhere", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50 * TIME_SCALE,
    )


def ran(*arguments: str) -> str:
    done = elsewhere(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_it_is_another_system() -> None:
    code = """
        import os, signal
        for name in ("fcntl", "termios", "pty"):
            try:
                __import__(name)
            except ModuleNotFoundError:
                print(name)
        print(hasattr(signal, "SIGHUP"), hasattr(os, "memfd_create"), hasattr(os, "pread"))
    """
    assert ran("-c", "if True:" + code) == "fcntl\ntermios\npty\nFalse False False\n"


def test_every_module_can_be_imported() -> None:
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for top in ("kvmdbg", "gdbstub")
        for path in sorted((ROOT / top).rglob("*.py"))
        if path.name != "__main__.py"
    ]
    wanted = [name for name in names if not name.startswith(BY_PROMPT_TOOLKIT)]
    code = f"""
import importlib
for name in {wanted!r}:
    try:
        importlib.import_module(name)
    except Exception as error:
        print(name, error)
"""
    assert ran("-c", code) == ""


def test_what_needs_no_guest() -> None:
    assert ran("--version") == f"kvmdbg {VERSION}\n"
    assert ran("-c", "import kvmdbg; print(kvmdbg.__version__)") == f"{VERSION}\n"
    assert ran("--help").startswith("usage: kvmdbg")
    assert ran("demo", "--list").startswith("hello ")
    doctor = elsewhere("--doctor")
    assert doctor.stderr == "" and "Python" in doctor.stdout and "to attach" in doctor.stdout


def test_a_terminal_without_termios() -> None:
    shown = pexpect.run(f"{sys.executable} -m tests.elsewhere --version", cwd=str(ROOT), timeout=50 * TIME_SCALE)
    assert shown == f"kvmdbg {VERSION}\r\n".encode()
    assert ran("-c", "from kvmdbg.ui import pager, typing_through; print(typing_through.TAKES_KEYS)") == "False\n"


def test_code_and_expressions_without_a_vcpu() -> None:
    code = """
from kvmdbg.language.expressions import parse
from kvmdbg.x86.disasm import disassemble
from tests.language.machine import filled
print([one.text for one in disassemble(bytes.fromhex("90f4"), 0, 16)], parse("(2 + 3) * 'a'").evaluate(filled()).value)
"""
    assert ran("-c", code) == "['nop', 'hlt'] 485\n"


def test_memory_without_memory_files() -> None:
    """Region, which has one mapping then."""
    code = """
from kvmdbg.machine.region import PAGE, Region
region = Region(0x1000, 4 * PAGE)
region.view[PAGE : PAGE + 3] = b"abc"
print(list(region.populated()), bytes(region.view[PAGE : PAGE + 4]), region.host_address % PAGE)
region.clear()
print(list(region.populated()), bytes(region.view[PAGE : PAGE + 4]))
region.close()
"""
    assert ran("-c", code) == "[(4096, 8192)] b'abc\\x00' 0\n[] b'\\x00\\x00\\x00\\x00'\n"


def test_kicks_without_signals() -> None:
    code = """
import threading
from kvmdbg.machine import kick
seen, ready = [], threading.Event()
def work():
    kick.expect()
    seen.append(kick.pending())
    ready.set()
    seen.append(kick.take(30))
    seen.append(kick.take())
thread = threading.Thread(target=work)
thread.start()
ready.wait()
kick.send(thread.ident)
thread.join()
print(seen)
"""
    assert ran("-c", code) == "[False, True, False]\n"


def test_a_disk_without_pread(tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    image.write_bytes(b"\1" * 512 + b"\2" * 512)
    code = f"""
from kvmdbg.machine.disk import Disk
disk = Disk("hd0", {str(image)!r}, "disk", write=True)
disk.write(0, b"\\3" * 512)
print(disk.read(1, 1)[:2], disk.read(0, 1)[:2])
disk.close()
"""
    assert ran("-c", code) == "b'\\x02\\x02' b'\\x03\\x03'\n"
    assert image.read_bytes()[:2] == b"\3\3"


def test_an_alarm_without_signals() -> None:
    code = """
import time
from kvmdbg.engine import alarm
from kvmdbg.machine import kick
kick.expect()
one = alarm.make()
one.set(time.monotonic_ns() + 3_600_000_000_000)
print(kick.take())
one.set(time.monotonic_ns() + 1_000_000)
print(kick.take(30))
one.set(None)
one.close()
"""
    assert ran("-c", code) == "False\nTrue\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["hello", "--run"], "4\n"),
        (["boot", "-ex", "break func if $cx == 3", "-ex", "continue", "-ex", "print $cx"], "$1 = 3\n"),
        (["kernel", "-ex", "tbreak kernel_main", "-ex", "run", "-ex", "next 3", "-ex", "continue"], "count 36\n"),
        (["modes", "-ex", "watch *(char*)0x9000", "-ex", "continue", "-ex", "continue", "-ex", "continue"], "R"),
        (["disk", "-ex", "catch bios 0x13", "-ex", "continue", "-ex", "stepi 20", "-ex", "screen"], "first sector"),
    ],
)
def test_guests_run_on_the_software_engine(words: list[str], says: str) -> None:
    name, *rest = words
    done = elsewhere("demo", name, "--batch", "--engine", "soft", "-ex", "set context none", *rest)
    assert says in done.stdout and done.returncode == 0, done.stdout + done.stderr


def test_a_guest_reads_what_is_piped_to_it(tmp_path: Path) -> None:
    """It echoes what comes at the serial port until a line ends."""
    guest = tmp_path / "echo.bin"
    guest.write_bytes(bytes.fromhex("bafd03 ec a801 74fb baf803 ec ee 3c0a 75ef f4"))
    done = subprocess.run(
        [sys.executable, "-m", "tests.elsewhere", "--batch", "--engine", "soft", "--run", str(guest)],
        cwd=ROOT,
        input="hello\n",
        capture_output=True,
        text=True,
        timeout=50 * TIME_SCALE,
    )
    assert (done.stdout, done.returncode) == ("hello\n", 0), done.stderr
    refused = elsewhere("--batch", "--engine", "soft", "--serial", "pty", str(guest))
    assert refused.returncode == 2 and "no pseudo-terminals" in refused.stderr


def test_a_guest_that_runs_on_is_stopped() -> None:
    code = """
import kvmdbg
from kvmdbg import demo
guest = str(demo.guests() / "counter16.bin")
with kvmdbg.open(guest, load=0x10000, entry="0x1000:0", engine="soft") as dbg:
    print(type(dbg.run(timeout=0.2)).__name__)
    dbg.snapshots.save("here")
    before = dbg.regs.rax
    dbg.step(7)
    dbg.snapshots.restore("here")
    print(dbg.regs.rax == before)
"""
    assert ran("-c", code).splitlines()[1:] == ["True"]
