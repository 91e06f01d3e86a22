"""The unforeseen on any thread becomes a stop or a sentence, and the session goes on."""

from __future__ import annotations

import socket
import sys
import threading
import time
from contextlib import suppress
from typing import NoReturn

import pytest

from kvmdbg.core.session import Session
from kvmdbg.devices.backends import AHEAD
from kvmdbg.engine.stops import ErrorStop, Stop
from kvmdbg.errors import KvmdbgError, SessionStateError

from .conftest import Boot

pytestmark = pytest.mark.kvm
LOOP = b"\x90\xeb\xfd"


def broken(*arguments: object) -> NoReturn:
    raise AttributeError("something of ours")


@pytest.fixture
def dbg(boot: Boot) -> Session:
    return boot(LOOP)


def test_one_listener_keeps_nothing_from_the_others(dbg: Session) -> None:
    told: list[object] = []
    warned: list[str] = []
    dbg.listeners.on_stop(broken)
    dbg.listeners.on_stop(told.append)
    dbg.listeners.on_kill(broken)
    dbg.listeners.on_kill(lambda: told.append("killed"))
    dbg.listeners.on_warning(broken)
    dbg.listeners.on_warning(warned.append)
    stop = dbg.step()
    dbg.runner.call(lambda: None)  # listeners are told when the guest may be used already
    assert told == [stop]
    assert "internal error: AttributeError('something of ours')" in warned[0]
    dbg.kill()
    assert told == [stop, "killed"]
    assert len(warned) == 2


def test_exit_at_a_stop_ends_no_vcpu(dbg: Session) -> None:
    """Called by a hook or a listener, on the vCPU's thread: told as what a hook raises otherwise."""
    warned: list[str] = []
    dbg.listeners.on_warning(warned.append)
    dbg.listeners.on_stop(lambda stop: sys.exit(3))

    @dbg.on.stop()
    def leaves(stop: Stop) -> None:
        sys.exit(3)

    dbg.step()
    dbg.step()
    dbg.runner.call(lambda: None)
    assert "leaves" in warned[0]
    assert "exit(3)" in warned[1]
    assert not dbg.hooks["leaves"].enabled


@pytest.mark.parametrize("error", [KvmdbgError("no"), OSError(5, "no"), AttributeError("no")])
def test_where_a_run_fails_and_even_its_place_cannot_be_told(
    dbg: Session, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def job() -> NoReturn:
        raise error

    monkeypatch.setattr(dbg.runner, "stop", broken)
    dbg.start(lambda: {dbg.runner: job}, plant=False)
    stop = dbg.wait(5)
    assert isinstance(stop, ErrorStop)
    assert "no" in stop.message
    monkeypatch.undo()
    assert dbg.step().pc == 0x1001


@pytest.mark.parametrize("what", ["lift_all", "announce"])
def test_what_is_done_at_a_stop_fails(dbg: Session, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    if what == "lift_all":
        monkeypatch.setattr(dbg.guest.traps, "lift_all", broken)
    else:
        monkeypatch.setattr(dbg.world, "_announce", broken)
        dbg.listeners.on_warning(lambda text: None)
    dbg.resume()
    dbg.interrupt()
    assert dbg.state == "stopped"
    monkeypatch.undo()
    dbg.restart()
    assert dbg.step().pc == 0x1001


def test_a_restart_waits_until_nobody_uses_the_guest(dbg: Session) -> None:
    lock = threading.RLock()
    dbg.sharers.append(lock)
    machine = dbg.machine
    with lock:
        restarting = threading.Thread(target=dbg.restart)
        restarting.start()
        time.sleep(0.2)
        assert dbg.machine is machine
        assert dbg.regs.rip == 0x1000
    restarting.join(10)
    assert dbg.machine is not machine


def test_a_vcpus_thread_does_not_wait_to_restart(dbg: Session) -> None:
    """Whoever uses the guest may be waiting for that very thread."""
    lock = threading.RLock()
    dbg.sharers.append(lock)
    refused: list[SessionStateError] = []

    def job() -> None:
        try:
            dbg.restart()
        except SessionStateError as error:
            refused.append(error)

    with lock:
        dbg.runner.call(job)
    assert "in use" in str(refused[0])
    dbg.restart()


def test_restarts_while_others_look(boot: Boot) -> None:
    """Without any lock, between two machines, they may see nonsense; but nobody waits for ever."""
    dbg = boot(LOOP)
    seen: set[str] = set()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            with suppress(Exception):
                seen.add(f"{dbg.regs.rip:#x}")
                dbg.runner.sregs  # noqa: B018
                dbg.memory.read(0x1000, 3)

    looking = threading.Thread(target=look)
    looking.start()
    for _ in range(20):
        dbg.restart()
    done.set()
    looking.join(10)
    assert not looking.is_alive()
    assert "0x1000" in seen


def test_a_vcpu_that_is_gone_says_so(dbg: Session) -> None:
    old = dbg.runner
    dbg.restart()
    with pytest.raises(SessionStateError, match="restarted"):
        old.set_sregs(dbg.runner.sregs)
    with pytest.raises(SessionStateError, match="restarted"):
        old.call(lambda: None)


@pytest.mark.parametrize("what", ["$pc", "$rax", "$cr0"])
def test_registers_of_a_guest_that_is_closed(dbg: Session, what: str) -> None:
    dbg.close()
    with pytest.raises(SessionStateError, match="closed"):
        dbg.evaluate(what)
    with pytest.raises(SessionStateError, match="closed"):
        dbg.regs.get(what[1:])


def test_a_serial_client_that_sends_without_end(boot: Boot, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guest reads nothing: the debugger takes a little, and the rest stays with the client."""
    dbg = boot(LOOP, serial="tcp:0")
    port = int(dbg._serial._backend.where.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(1)
        with pytest.raises(TimeoutError):
            for _ in range(10_000):
                client.sendall(bytes(1 << 16))
        assert AHEAD < len(dbg.uart.received) < 2 * AHEAD
        warned: list[str] = []
        dbg.listeners.on_warning(warned.append)
        monkeypatch.setattr(dbg.uart, "feed", broken)
        end = time.monotonic() + 10
        while not warned and time.monotonic() < end:
            time.sleep(0.01)
        assert "something of ours" in warned[0]
        monkeypatch.undo()
    assert dbg.step().pc == 0x1001
