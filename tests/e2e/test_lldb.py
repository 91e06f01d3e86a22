"""An unmodified lldb, in each CPU mode."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pexpect
import pytest

from tests.e2e.conftest import Serve
from tests.e2e.debuggers import LLDBS, TIME_SCALE, Lldb, ordered

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]


@pytest.mark.parametrize(
    ("guest", "pc", "stop", "after", "code"),
    [
        ("guests/boot16.bin", "eip", 0x7C16, 0x7C1B, "movl   %ecx, 0x7c1c"),
        ("guests/mb32.elf", "eip", 0x100027, 0x10002D, "movl   %ecx, 0x100030"),
        ("guests/long64.elf", "rip", 0x100026, 0x100027, "pushq  %rbp"),
    ],
    ids=["real", "protected", "long"],
)
def test_a_session(lldb: Lldb, serve: Serve, guest: str, pc: str, stop: int, after: int, code: str) -> None:
    served = serve(guest)
    said = lldb(
        served, "register read cs cr0", f"breakpoint set -a {stop:#x}", "continue", f"register read {pc}", "stepi",
        f"register read {pc}", "breakpoint disable 1", "memory write 0x200000 0x12 0x34", "memory read -c 2 0x200000",
        "register write eax 77" if pc == "eip" else "register write rax 77", "thread list", "kill",
    )  # fmt: skip
    ordered(said, "cr0 = 0x", "stop reason = breakpoint 1.1", code, f"{stop:x}", "instruction step into", f"{after:x}")
    ordered(said, "12 34", "vCPU 0")
    assert served.end() == 0


def test_watchpoints(lldb: Lldb, serve: Serve) -> None:
    said = lldb(
        serve("guests/long64.elf"), "watchpoint set expression -w write -s 8 -- 0x100058", "continue", "continue",
        "detach",
    )  # fmt: skip
    ordered(said, "Watchpoint 1 hit", "Watchpoint 1 hit")


def test_an_interrupt(lldb: Lldb, serve: Serve) -> None:
    served = serve("guests/long64.elf")
    place = {**os.environ, "TERM": "dumb"}
    child = pexpect.spawn(
        lldb.program, ["--no-lldbinit", "--no-use-colors"], env=place, encoding="utf-8", timeout=20 * TIME_SCALE
    )
    try:
        child.expect_exact("(lldb)")
        child.sendline(f"gdb-remote {served.port}")
        child.expect_exact("stop reason")
        child.sendline("continue")
        child.expect_exact("resuming")
        for _ in range(10):  # lldb drops one that comes before it knows that the guest runs
            child.sendintr()
            if not child.expect_exact(["SIGINT", pexpect.TIMEOUT], timeout=2 * TIME_SCALE):
                break
        else:
            pytest.fail(f"not interrupted: {child.before}")
        child.sendline("kill")
        child.expect_exact("exited")
    finally:
        child.close(force=True)
    assert served.end() == 0


HALTS = bytes.fromhex("90 f4 ebfc")  # nop, hlt, back to the nop


def test_a_halt_is_a_stop(lldb: Lldb, serve: Serve, tmp_path: Path) -> None:
    """And stepping over it is one instruction."""
    guest = tmp_path / "halts.bin"
    guest.write_bytes(HALTS)
    said = lldb(
        serve("--load", "0x1000", str(guest)), "continue",
        after_exception=("register read eip", "stepi", "register read eip", "stepi", "stepi", "register read eip"),
    )  # fmt: skip
    ordered(said, "stop reason = halted (KVM_EXIT_HLT), next instruction at 0x1002", "->  0x1002", "eip = 0x00001002")
    ordered(said, "(lldb) stepi", "->  0x1000", "eip = 0x00001000", "->  0x1001", "stop reason = halted", "->  0x1002")
    assert said.count("stop reason = halted") == 2


def test_a_shutdown_and_what_the_shell_stops_at(lldb: Lldb, serve: Serve, tmp_path: Path) -> None:
    guest = tmp_path / "dies.bin"
    guest.write_bytes(bytes.fromhex("90 90 0f0b"))  # ud2, and there is no handler
    said = lldb(
        serve("--mode", "prot", "--load", "0x1000", str(guest)), "process plugin packet monitor break *0x1001",
        "continue", after_exception=("continue",),
    )  # fmt: skip
    ordered(said, "stop reason = breakpoint 1 at 0x1001", "->  0x1001", "stop reason = shutdown (triple fault)")


def test_all_regions_of_memory(lldb: Lldb, serve: Serve) -> None:
    """From one to the next, to the end of all."""
    said = lldb(serve("guests/long64.elf"), "memory region 0x1000", "memory region", "memory region", "kill")
    ordered(said, "[0x0000000000000000-0x0000000008000000) rwx", "[0x0000000008000000-0xffffffffffffffff) ---")


def test_all_regions_at_once(serve: Serve) -> None:
    """A command that the newest has."""
    said = Lldb(LLDBS["newest"])(serve("guests/boot16.bin"), "memory region --all", "kill")
    ordered(
        said,
        "[0x0000000000000000-0x0000000008000000) rwx",
        "[0x0000000008000000-0x00000000fd000000) ---",
        "[0x00000000fd000000-0x00000000fe000000) rwx",  # the adapter's picture
        "[0x00000000fe000000-0xffffffffffffffff) ---",
    )


def test_a_second_one_is_turned_away_at_once(lldb: Lldb, serve: Serve) -> None:
    served = serve("guests/long64.elf")
    with socket.create_connection(("127.0.0.1", int(served.port))):
        assert "Connection shut down by remote side" in lldb(served)
