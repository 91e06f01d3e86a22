"""Ctrl-C at any moment of a command that lets the guest run."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

from kvmdbg.ending import Terminated
from kvmdbg.engine.vcpu_thread import VcpuThread
from tests.commands.conftest import Typist

pytestmark = pytest.mark.kvm

Opened = Callable[..., Typist]


@pytest.fixture
def busy(opened: Opened, tmp_path: Path) -> Typist:
    guest = tmp_path / "busy.bin"
    guest.write_bytes(b"\xeb\xfe")
    return opened(guest, load=0x1000)


def sigint_once(
    before: Callable[..., object], *, behind: bool = False, number: int = signal.SIGINT
) -> Callable[..., object]:
    """The same function, with a SIGINT, or signal ``number``, on the main thread before (or behind) its first call."""
    came = False

    def call(*args: object, **options: object) -> object:
        nonlocal came
        came, due = True, not came
        if due and not behind:
            signal.raise_signal(number)
        result = before(*args, **options)
        if due and behind:
            signal.raise_signal(number)
        return result

    return call


def test_before_anything_is_put_in_place(busy: Typist) -> None:
    busy.dbg.session.control.at_start.append(sigint_once(lambda: None))
    assert busy.type("continue") == "Interrupted at 0x1000."


@pytest.mark.parametrize("behind", [False, True])
def test_between_the_starts_of_the_vcpus(busy: Typist, monkeypatch: pytest.MonkeyPatch, behind: bool) -> None:
    """The guest is running by then, and no vCPU has been told so."""
    monkeypatch.setattr(VcpuThread, "post", sigint_once(VcpuThread.post, behind=behind))
    assert busy.type("continue") == "Interrupted at 0x1000."
    assert busy.dbg.session.state == "stopped"


@pytest.mark.parametrize("line", ["continue", "stepi 1000000000", "until *0x1001"])
def test_while_it_runs(busy: Typist, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    world = busy.dbg.session.world
    monkeypatch.setattr(world, "wait", sigint_once(world.wait))
    assert busy.type(line) == "Interrupted at 0x1000."


def test_a_second_one_is_an_exception(busy: Typist) -> None:
    """Nobody has to wait for a guest that does not stop."""
    session = busy.dbg.session
    with pytest.raises(KeyboardInterrupt):
        session.world.stop_by_signal()
    session.resume()
    session.world.stopping = True
    with pytest.raises(KeyboardInterrupt):
        session.world.stop_by_signal()
    session.interrupt()


def test_the_handler_is_put_back(busy: Typist) -> None:
    before = signal.getsignal(signal.SIGINT)
    busy.type("stepi")
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("behind", [False, True])
def test_a_signal_that_ends_kvmdbg_waits_until_the_guest_has_started(
    busy: Typist, monkeypatch: pytest.MonkeyPatch, behind: bool
) -> None:
    """Half started it could neither be stopped nor closed."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Terminated(number)

    monkeypatch.setattr(VcpuThread, "post", sigint_once(VcpuThread.post, behind=behind, number=signal.SIGTERM))
    before = signal.signal(signal.SIGTERM, end)
    try:
        with pytest.raises(Terminated):
            busy.type("continue")
        assert signal.getsignal(signal.SIGTERM) is end
    finally:
        signal.signal(signal.SIGTERM, before)
    session = busy.dbg.session
    assert session.state == "running"
    session.interrupt()
    assert session.state == "stopped"
