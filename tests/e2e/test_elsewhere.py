"""gdb and lldb on a guest of the software engine, served without what only Linux has (tests/elsewhere.py)."""

from __future__ import annotations

import socket

import pytest

from gdbstub.testing import Remote
from tests.e2e.conftest import Serve
from tests.e2e.debuggers import TIME_SCALE, Gdb, Lldb, ordered

pytestmark = pytest.mark.e2e
GUEST = ("--engine", "soft", "guests/boot16.bin")


def test_gdb(gdb: Gdb, serve: Serve) -> None:
    served = serve(*GUEST, module="tests.elsewhere")
    said = gdb(served, "break *0x7c16 if $cx == 3", "continue", "x/i $pc", "stepi", "p $cx", "p/x *(short *)0x7c1c")
    ordered(said, "Breakpoint 1, 0x00007c16", "mov    %ecx,0x7c1c", "= 3", "= 0x3")


def test_a_running_guest_is_interrupted(serve: Serve) -> None:
    served = serve(*GUEST, module="tests.elsewhere")
    client = Remote(socket.create_connection(("127.0.0.1", int(served.port))), timeout=30 * TIME_SCALE)
    client.send(b"vCont;c")
    client.interrupt()
    assert client.receive().startswith(b"T02")
    client.send(b"k")
    assert served.end() == 0
    client.close()


def test_lldb(lldb: Lldb, serve: Serve) -> None:
    said = lldb(
        serve(*GUEST, module="tests.elsewhere"),
        "breakpoint set -a 0x7c16", "continue", "register read ecx", "continue", "register read ecx",
    )  # fmt: skip
    ordered(said, "stop reason = breakpoint", "ecx = 0x00000000", "stop reason = breakpoint", "ecx = 0x00000001")
