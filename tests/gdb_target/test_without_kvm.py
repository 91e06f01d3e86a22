"""A client of the stub on a guest on a scripted vCPU."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from gdbstub import Point
from gdbstub.testing import Loop
from kvmdbg.gdb_target.target import MOST_KEPT
from tests.gdb_target.conftest import Attach
from tests.scripted.guest import AGAIN, CODE, END, LOOP, READ, STORE, counting_guest
from tests.scripted.machine import START, ScriptedSession, profile


@pytest.fixture
def session() -> Iterator[ScriptedSession]:
    with counting_guest() as opened:
        yield opened


@pytest.fixture
def client(session: ScriptedSession, attach: Attach) -> Loop:
    return attach(session)


def stop_after(client: Loop, packet: bytes) -> bytes:
    """The stop reply that this leads to, which comes from the vCPU's thread."""
    told, tell = threading.Event(), client.target.on_stop
    client.target.on_stop = lambda stop: (tell(stop), told.set())[0]
    found = client.send(packet)
    assert told.wait(10)
    client.target.on_stop = tell
    *_, reply = found or client.raw(b"")  # behind what is said of it
    return reply


def read(client: Loop, name: str) -> int:
    number = client.client.layout.number(name)
    return int.from_bytes(bytes.fromhex(client.ask(b"p%x" % number).decode()), "little")


def test_registers(client: Loop) -> None:
    assert read(client, "eip") == START
    number = client.client.layout.number("ebx")
    assert client.ask(b"P%x=44332211" % number) == b"OK"
    assert read(client, "ebx") == 0x11223344
    assert client.ask(b"g")[: 4 * 8] == b"00000000" * 3 + b"44332211"


def test_memory(client: Loop) -> None:
    assert bytes.fromhex(client.ask(b"m%x,%x" % (START, len(CODE))).decode()) == CODE
    assert client.ask(b"M5000,2:abcd") == b"OK"
    assert client.ask(b"m5000,3") == b"abcd00"
    assert client.ask(b"m20000,1")[:1] == b"E"


def test_steps(client: Loop) -> None:
    assert stop_after(client, b"vCont;s:1").startswith(b"T05")
    assert read(client, "eip") == AGAIN
    stop_after(client, b"vCont;s:1")
    assert read(client, "eip") == READ


@pytest.mark.parametrize("kind", [0, 1], ids=["software", "hardware"])
def test_a_breakpoint(client: Loop, session: ScriptedSession, kind: int) -> None:
    session.let_probe_find(profile(registers=kind == 1))
    assert client.ask(b"Z%d,%x,1" % (kind, STORE)) == b"OK"
    assert stop_after(client, b"vCont;c").startswith(b"T05")
    assert read(client, "eip") == STORE
    assert session.machine.memory.read(START, len(CODE)) == CODE
    assert client.ask(b"z%d,%x,1" % (kind, STORE)) == b"OK"
    assert stop_after(client, b"vCont;c").startswith(b"T00")
    assert read(client, "eip") == END


def test_a_breakpoint_that_the_shell_has_deleted_comes_back_with_the_client(
    client: Loop, session: ScriptedSession
) -> None:
    """gdb takes it away at a stop and puts it back: OK was the answer, and nothing stopped there."""
    assert client.ask(b"Z0,%x,1" % READ) == b"OK"
    assert stop_after(client, b"vCont;c").startswith(b"T05")
    assert client.ask(b"z0,%x,1" % READ) == b"OK"
    session.breakpoints.delete(next(iter(session.breakpoints)).number)
    assert client.ask(b"Z0,%x,1" % READ) == b"OK"
    assert stop_after(client, b"vCont;c").startswith(b"T05")
    assert read(client, "eip") == READ


def test_a_client_that_sets_ever_more_points_takes_no_more_memory(client: Loop, session: ScriptedSession) -> None:
    """Each address that a client had ever set was kept."""
    target = client.target
    target.insert(Point("sw", START, 1))
    for address in range(MOST_KEPT + 10):
        target.insert(Point("sw", address, 1))
        target.remove("sw", address, 1)
        target._drop_lifted()
    assert len(target._kept) == MOST_KEPT
    assert [one.address for one in session.breakpoints] == [START]
    target.remove("sw", START, 1)
    target.insert(Point("sw", START, 1))
    assert [one.number for one in session.breakpoints] == [1]


def test_a_watchpoint(client: Loop) -> None:
    assert client.ask(b"Z2,5000,1") == b"OK"
    assert b"watch:5000" in stop_after(client, b"vCont;c")
    assert read(client, "eip") == LOOP


def test_a_restart_is_at_the_entry(client: Loop) -> None:
    stop_after(client, b"vCont;c")
    assert client.ask(b"vRun;").startswith(b"T05")
    assert read(client, "eip") == START


def test_a_search_reads_its_memory_once(client: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end, which has no room for the pattern any more, was read again for each byte of it."""
    read, sizes = client.target.read_memory, list[int]()
    monkeypatch.setattr(client.target, "read_memory", lambda *which: (sizes.append(which[2]), read(*which))[1])
    assert client.ask(b"qSearch:memory:5000;1000;" + b"x" * 400) == b"0"
    assert sizes == [0x1000]
    assert client.ask(b"M5ffe,2:7878") == b"OK"
    assert client.ask(b"qSearch:memory:5000;1000;xx") == b"1,5ffe"
    assert client.ask(b"qSearch:memory:5000;fff;xx") == b"0"
