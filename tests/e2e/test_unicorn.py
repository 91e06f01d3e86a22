"""gdb and lldb on an emulator of others that gdbstub shows: docs/examples/unicorn_gdb.py."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.e2e.debuggers import ROOT, Gdb, Lldb, ordered

pytestmark = pytest.mark.e2e


@pytest.fixture
def address() -> Iterator[str]:
    """Where the emulator's CPU is served."""
    serving = subprocess.Popen(
        [sys.executable, "docs/examples/unicorn_gdb.py", "0"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert serving.stdout is not None
    try:
        yield serving.stdout.readline().split()[-1]
    finally:
        serving.kill()
        serving.communicate()


def test_gdb(gdb: Gdb, address: str) -> None:
    said = gdb(
        address, "x/4i $pc", "break *0x1004 if $eax == 3", "continue", "x/2i $pc", "p $eax", "stepi", "x/1xw 0x2000",
        "set var *(char *)0x2001 = 1", "p $rsp = 0x2800", "info registers rsp", "p $st0", "x/x 0x9000",
        "set var $pc = 0x9000", "continue",
    )  # fmt: skip
    ordered(
        said, "=> 0x1000:\txor    %eax,%eax", "Breakpoint 1, 0x0000000000001004", "=> 0x1004:", "$1 = 3",
        "0x000000000000100b", "0x2000:\t0x00000003", "$2 = (void *) 0x2800", "0x2800", "$3 = 0",
    )  # fmt: skip
    assert "Cannot access memory at address 0x9000" in said
    assert "Program received signal SIGSEGV" in said


def test_it_runs_on_when_gdb_has_left(gdb: Gdb, address: str) -> None:
    assert "detached" in gdb(address, "break *0x1004", "continue", "detach")
    assert "$1 = 1" in gdb(address, "p $eax != 1")


def test_lldb(lldb: Lldb, address: str) -> None:
    said = lldb(
        address,
        "breakpoint set -a 0x1004",
        "continue",
        "register read rax",
        "continue",
        "register read rax",
        "x/4xb 0x1000",
    )
    ordered(said, "stop reason = breakpoint 1.1", "rax = 0x0000000000000001", "rax = 0x0000000000000002", "0x31 0xc0")


def test_it_is_short() -> None:
    assert len((ROOT / "docs/examples/unicorn_gdb.py").read_text().splitlines()) <= 60
