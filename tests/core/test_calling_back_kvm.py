"""What the guest's run calls (hooks, devices, listeners) may ask the session for anything: done later, or refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from kvmdbg.core.session import Session
from kvmdbg.engine import control as control_module
from kvmdbg.engine import stops
from kvmdbg.errors import SessionStateError
from tests.core.conftest import Boot

pytestmark = pytest.mark.kvm

LOOP = bytes.fromhex("e680 ebfc")  # out 0x80, al; jmp
FROM_DEVICE = bytes.fromhex("e6ee ebfc")  # the same at port 0xee


def within(seconds: float, act: Callable[[], Any]) -> Any:
    """What ``act`` returns or raises; a failure where it does neither in time."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(act())
        except BaseException as error:  # given to the test
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert found, "it hangs"
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]


class Caller:
    """A device whose write calls back."""

    name = "caller"

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call

    def read(self, offset: int, size: int) -> int:
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        self.call()

    def describe(self) -> str:
        return "calls back"

    def save(self) -> None:
        return None

    def load(self, state: Any) -> None:
        pass

    def reset(self) -> None:
        pass


def called_by(how: str, boot: Boot, call: Callable[[Session], Any], **options: Any) -> Session:
    dbg = boot(FROM_DEVICE if how == "device" else LOOP, bits=32, **options)
    if how == "device":
        dbg.machine.bus.add_ports(0xEE, 1, Caller(lambda: call(dbg)))
    elif how == "listener":
        dbg.listeners.on_exit(lambda exit: call(dbg))
    else:
        dbg.on.io_out(0x80, when=how, name="caller")(lambda event: call(dbg))
    return dbg


HOW = ("before", "after", "device", "listener")


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("cpus", [1, 2])
def test_interrupt_is_done_when_it_has_returned(boot: Boot, how: str, cpus: int) -> None:
    dbg = called_by(how, boot, lambda dbg: dbg.interrupt(), cpus=cpus)
    for _ in range(3):
        stop = within(30, lambda: dbg.run(timeout=15))
        assert isinstance(stop, stops.InterruptedStop) and dbg.state == "stopped"
        assert dbg.regs.pc == stop.pc


@pytest.mark.parametrize("how", HOW)
def test_interrupt_during_steps(boot: Boot, how: str) -> None:
    dbg = called_by(how, boot, lambda dbg: dbg.interrupt())
    stop = within(30, lambda: dbg.run(instructions=10_000))
    assert isinstance(stop, stops.InterruptedStop)


@pytest.mark.parametrize("how", HOW)
def test_kill_is_done_when_it_has_returned(boot: Boot, how: str) -> None:
    killed: list[bool] = []
    dbg = called_by(how, boot, lambda dbg: dbg.kill())
    dbg.listeners.on_kill(lambda: killed.append(True))
    within(30, lambda: dbg.run(timeout=15))
    assert dbg.state == "dead"
    within(30, dbg.restart)
    assert dbg.state == "stopped" and killed == [True]


REFUSED: dict[str, Callable[[Session], Any]] = {
    "restart": lambda dbg: dbg.restart(),
    "close": lambda dbg: dbg.close(),
    "wait": lambda dbg: dbg.wait(),
    "run": lambda dbg: dbg.run(timeout=1),
    "resume": lambda dbg: dbg.resume(),
    "step": lambda dbg: dbg.step(),
    "next": lambda dbg: dbg.next(),
    "finish": lambda dbg: dbg.finish(),
    "break_at": lambda dbg: dbg.break_at(0x1000),
    "snapshot": lambda dbg: dbg.snapshots.take(),
    "restore": lambda dbg: dbg.snapshots.restore("s"),
    "fork": lambda dbg: list(dbg.fork([1])),
    "other vCPU": lambda dbg: dbg.vcpus[1].registers.get("dr7"),
    "other vCPU's state": lambda dbg: dbg.vcpus[1].registers.get("cr0"),
    "CPUID of the other vCPU": lambda dbg: dbg.runners[1].call(lambda: None),
}


@pytest.mark.parametrize("call", REFUSED)
@pytest.mark.parametrize("how", ["after", "device"])
def test_refused_in_words(boot: Boot, how: str, call: str) -> None:
    said: list[str] = []

    def ask(dbg: Session) -> None:
        try:
            REFUSED[call](dbg)
            said.append("done")
        except SessionStateError as error:
            said.append(str(error))
        dbg.interrupt()

    dbg = called_by(how, boot, ask, cpus=2)
    dbg.snapshots.save("s")
    within(30, lambda: dbg.run(timeout=15))
    assert said and said[0] != "done"
    within(30, lambda: (dbg.restart(), dbg.run(timeout=0.1)))


def test_refusal_that_the_hook_does_not_catch_stops_the_guest(boot: Boot) -> None:
    dbg = called_by("after", boot, lambda dbg: dbg.restart())
    stop = within(30, lambda: dbg.run(timeout=15))
    assert isinstance(stop, stops.HookStop)
    assert "hook caller failed and is now disabled: a hook or a device cannot restart the guest" in stop.message


@pytest.mark.parametrize("name", ["run", "step", "next", "finish", "until"])
def test_stop_listener_cannot_wait_for_the_guest(boot: Boot, name: str) -> None:
    dbg = boot(LOOP, bits=32)
    said: list[str] = []
    told = threading.Event()

    def listen(stop: stops.Stop) -> None:
        try:
            getattr(dbg, name)()
        except SessionStateError as error:
            said.append(str(error))
        told.set()

    dbg.listeners.on_stop(listen)
    dbg.break_at(0x1002)
    within(30, lambda: dbg.run(timeout=15))
    assert told.wait(20)
    assert len(said) == 1 and "cannot wait for the guest" in said[0]
    assert dbg.state == "stopped"


@pytest.mark.parametrize("name", ["interrupt", "kill", "restart", "close"])
def test_stop_listener_may_end_it(boot: Boot, name: str) -> None:
    dbg = boot(LOOP, bits=32)
    told = threading.Event()

    def listen(stop: stops.Stop) -> None:
        getattr(dbg, name)()
        told.set()

    dbg.listeners.on_stop(listen)
    dbg.break_at(0x1002)
    within(30, lambda: dbg.run(timeout=15))
    assert told.wait(20)
    assert dbg.state == ("stopped" if name in ("interrupt", "restart") else "dead")
    if name != "close":
        dbg.listeners.remove(listen)
        within(30, dbg.restart)
        assert within(30, lambda: dbg.run(timeout=15)).pc == 0x1002


def test_run_with_a_time_limit_returns_though_a_hook_does_not(boot: Boot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_module, "PATIENCE", 0.2)
    release = threading.Event()
    dbg = called_by("after", boot, lambda dbg: release.wait(60))
    try:
        with pytest.raises(SessionStateError, match="hook caller does not return"):
            within(30, lambda: dbg.run(timeout=0.2))
    finally:
        release.set()
    assert isinstance(within(30, dbg.interrupt), stops.LimitStop)


def test_ctrl_c_ends_the_wait_for_a_hook_that_does_not_return(boot: Boot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_module, "PATIENCE", 0.2)
    release, called = threading.Event(), threading.Event()

    def hook(dbg: Session) -> None:
        called.set()
        release.wait(60)

    dbg = called_by("after", boot, hook)
    wait = dbg.world.wait

    def ctrl_c(timeout: float | None) -> bool:
        if timeout is None:
            assert called.wait(20)
            raise KeyboardInterrupt
        return wait(timeout)

    monkeypatch.setattr(dbg.world, "wait", ctrl_c)
    try:
        with pytest.raises(SessionStateError, match="hook caller does not return"):
            within(30, dbg.run)
    finally:
        release.set()
    monkeypatch.undo()
    assert isinstance(within(30, dbg.interrupt), stops.InterruptedStop)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_hook_that_raises_keyboard_interrupt_interrupts(boot: Boot, when: str) -> None:
    def raises(dbg: Session) -> None:
        raise KeyboardInterrupt

    dbg = called_by(when, boot, raises)
    for _ in range(2):  # the hook is kept
        assert isinstance(within(30, lambda: dbg.run(timeout=15)), stops.InterruptedStop)


def test_hook_that_waits_for_a_thread_that_waits_for_the_guest(boot: Boot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_module, "PATIENCE", 0.2)

    def through_another_thread(dbg: Session) -> None:
        thread = threading.Thread(target=dbg.interrupt, daemon=True)
        thread.start()
        thread.join(3)

    dbg = called_by("after", boot, through_another_thread)
    began = time.monotonic()
    with pytest.raises(SessionStateError, match="does not return"):
        within(30, lambda: dbg.run(timeout=1))
    assert time.monotonic() - began < 25


def test_a_run_returns_its_stop_though_a_listener_has_put_another_state_back(boot: Boot) -> None:
    dbg = boot(LOOP, bits=32)
    dbg.snapshots.save("begin")
    dbg.listeners.on_stop(lambda stop: dbg.snapshots.put_back(dbg.snapshots.save("now")))
    dbg.break_at(0x1002)
    for _ in range(20):
        assert within(30, lambda: dbg.run(timeout=15)).reason == "breakpoint"
