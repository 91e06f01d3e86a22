"""The distribution's Linux in a guest. It is entered by PVH here: a kernel that unpacks itself takes minutes where KVM
emulates kernel code."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import kvmdbg
from kvmdbg import Session
from kvmdbg.engine import stops
from tests.linux.kernel import COMMAND_LINE, initrd, kernel

EMULATED = os.environ.get("KVMDBG_MACHINE") == "kvm_amd"
"""On an emulated machine whose KVM runs kernel code, as a real host's does, and does not interpret it."""
pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def linux(tmp_path: Path) -> Iterator[Session]:
    with opened(tmp_path, format="pvh") as dbg:
        yield dbg


def opened(folder: Path, format: str | None = None, cpus: int = 1) -> Session:
    """One CPU with controllers of kvmdbg's own: planted traps exit then on every KVM."""
    dbg = kvmdbg.open(
        kernel(),
        format=format,
        memory="256M",
        initrd=initrd(folder),
        cmdline=COMMAND_LINE,
        serial="none",
        cpus=cpus,
        irqchip="user" if cpus == 1 else "kernel",
    )
    dbg.world.guest_rate = 0.1 if EMULATED else 1.0  # the emulated CPU has no time for 250 ticks a second
    return dbg


def stopped_at(dbg: Session, name: str, stop: stops.Stop) -> None:
    assert isinstance(stop, stops.BreakpointStop), stop.describe()
    assert dbg.symbols.format(stop.pc) == name


def names(dbg: Session) -> list[str]:
    return [dbg.symbols.format(frame.pc).partition("+")[0] for frame in dbg.backtrace().frames]


def test_its_first_function_in_c(linux: Session) -> None:
    """By the kernel's own symbols; steps go on in it, and its memory tells what it is."""
    dbg = linux
    point = dbg.break_at("start_kernel")
    stopped_at(dbg, "start_kernel", dbg.run(timeout=500))
    assert point.held_by != "stepping"
    here = dbg.regs.rip
    dbg.step()
    assert dbg.regs.rip != here
    assert [(one.pid, one.name) for one in dbg.linux.tasks()] == [(0, "swapper")]
    assert list(dbg.linux.modules()) == []
    dbg.break_at("setup_arch", temporary=True)
    stopped_at(dbg, "setup_arch", dbg.run(timeout=500))
    assert names(dbg)[0] == "setup_arch"
    assert any("Linux version" in one.text for one in dbg.linux.messages())


def test_its_command_line_and_symbols_are_told(tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "kvmdbg", "--batch", str(kernel()), "-ex", "info symbol start_kernel", "-ex", "p $pc"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "nokaslr" in said.stdout and "console=ttyS0" in said.stdout, said
    assert "start_kernel" in said.stdout and "0x100200" in said.stdout, said


if EMULATED:

    def until(dbg: Session, text: bytes, start: int, seconds: float) -> None:
        end = time.monotonic() + seconds
        while text not in dbg.output[start:] and time.monotonic() < end:
            dbg.run(timeout=2)
        assert text in dbg.output[start:], dbg.output[start:][-500:]

    @pytest.mark.kvm
    def test_to_a_shell_and_back(linux: Session) -> None:
        """A snapshot of the running kernel comes back, and each time the shell goes on from there."""
        dbg = linux
        until(dbg, b"# ", 0, 300)
        assert b"initramfs is up" in dbg.output
        tasks = {(one.pid, one.name) for one in dbg.linux.tasks()}
        assert {(0, "swapper/0"), (1, "busybox"), (2, "kthreadd")} <= tasks
        assert any("Run /init as init process" in one.text for one in dbg.linux.messages())
        dbg.snapshots.save("shell")
        for number in (1, 2):
            before = len(dbg.output)
            dbg.uart.feed(b"echo $((40 + %d))\n" % number)
            until(dbg, b"\n4%d" % number, before, 60)
            dbg.snapshots.restore("shell")
        point = dbg.break_at("do_sys_openat2")
        dbg.uart.feed(b"cat /proc/version\n")
        stopped_at(dbg, "do_sys_openat2", dbg.run(timeout=60))
        assert point.held_by != "stepping"
        assert {"do_syscall_64", "__x64_sys_openat"} & set(names(dbg))
        point.enabled = False
        before = len(dbg.output)
        until(dbg, b"Linux version", before, 60)

    def test_it_unpacks_itself(tmp_path: Path) -> None:
        """By the 64-bit protocol, with a breakpoint in what is not there yet."""
        with opened(tmp_path) as dbg:
            point = dbg.break_at("start_kernel")
            stopped_at(dbg, "start_kernel", dbg.run(timeout=300))
            assert point.held_by != "stepping"
            point.enabled = False
            until(dbg, b"initramfs is up", 0, 300)

    @pytest.mark.kvm
    def test_two_processors(tmp_path: Path) -> None:
        """The second is found by its table, started, and has its own stack."""
        with opened(tmp_path, format="pvh", cpus=2) as dbg:
            until(dbg, b"# ", 0, 500)
            before = len(dbg.output)
            dbg.uart.feed(b"nproc\n")
            until(dbg, b"\n2\r\n", before, 120)
            stacks = [one.registers.get("rsp") for one in dbg.vcpus]
            assert len(stacks) == 2 and stacks[0] != stacks[1]
