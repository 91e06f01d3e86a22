"""gdb at a Linux kernel that comes without any debug information."""

from __future__ import annotations

import subprocess

import pytest

import kvmdbg
from tests.e2e.debuggers import GDBS, Served, ordered
from tests.linux.kernel import COMMAND_LINE, kernel

pytestmark = pytest.mark.timeout(600)


def test_its_first_function(time_scale: float) -> None:
    """The first breakpoint is kvmdbg's: while the CPU is in 32-bit mode gdb cuts addresses short."""
    with kvmdbg.open(kernel(), format="pvh") as dbg:
        start, after = dbg.symbols["start_kernel"], dbg.symbols["setup_arch"]
    options = ["--format", "pvh", "--memory", "96M", "--irqchip", "user", "--serial", "none", "--append", COMMAND_LINE]
    served = Served(*options, str(kernel()))
    try:
        commands = [
            "set pagination off", f"target remote {served.address}", "monitor tbreak start_kernel", "continue",
            "x/i $pc", "info registers rip", "stepi", f"tbreak *{after:#x}", "continue", "x/i $pc", "monitor bt",
            "monitor lx-ps",
        ]  # fmt: skip
        said = subprocess.run(
            [GDBS["distribution"], "-nx", "-batch", *(word for line in commands for word in ("-ex", line))],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            timeout=400 * time_scale,
        ).stdout  # fmt: skip
    finally:
        served.close()
    ordered(said, f"=> {start:#x}", "call", f"rip            {start:#x}", f"Temporary breakpoint 1 at {after:#x}")
    ordered(said, f"Temporary breakpoint 1, {after:#x}", f"=> {after:#x}", "setup_arch", "start_kernel", "swapper")
