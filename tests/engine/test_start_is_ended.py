"""A signal ends the start of a run: the guest stands, and the session can be used and closed."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from kvmdbg.engine.stops import HaltedStop
from kvmdbg.engine.vcpu_thread import VcpuThread
from kvmdbg.engine.watchdog import Watchdog
from tests.scripted.cpu import ScriptedCpu
from tests.scripted.machine import START, ScriptedHost, profile, scripted_session

STARTS = [(Watchdog, "start"), (Watchdog, "wake"), (VcpuThread, "post")]


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize(("where", "name"), STARTS)
def test_nothing_runs(where: type, name: str, behind: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_session(b"\x90\xf4", host=ScriptedHost(profile(), {START: (1, lambda cpu: None)})) as dbg:
        done = getattr(where, name)
        goes_on = threading.Event()
        told: list[object] = []
        dbg.listeners.on_stop(told.append)
        dbg.listeners.on_warning(told.append)

        def wait() -> None:
            goes_on.wait(10)

        def ended(self: object, *arguments: object) -> None:
            if isinstance(self, VcpuThread):
                if not self.runs_guest:
                    done(self, *arguments)
                    return
                done(self, wait)
            monkeypatch.setattr(where, name, done)
            if behind:
                done(self, *arguments)
            raise KeyboardInterrupt

        monkeypatch.setattr(where, name, ended)
        with pytest.raises(KeyboardInterrupt):
            dbg.run(timeout=10)
        goes_on.set()
        assert dbg.state == "stopped"
        assert dbg.control.runners[0].call(lambda: dbg.vcpu.pc) == START  # behind all that was posted
        assert told == []  # there was no run
        stop = dbg.run(timeout=10)
        assert isinstance(stop, HaltedStop), stop.describe()


@pytest.mark.parametrize("kind", [KeyboardInterrupt, MemoryError])
def test_what_has_begun_is_stopped(kind: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    began = threading.Event()

    def spin(cpu: ScriptedCpu) -> None:
        began.set()

    with scripted_session(b"\xeb\xfe", host=ScriptedHost(profile(), {START: (0, spin)})) as dbg:
        post = VcpuThread.post

        def ended(self: VcpuThread, job: Callable[[], None]) -> None:
            post(self, job)
            if self.runs_guest:
                monkeypatch.setattr(VcpuThread, "post", post)
                assert began.wait(10)
                raise kind

        monkeypatch.setattr(VcpuThread, "post", ended)
        with pytest.raises(kind):
            dbg.run(timeout=10)
        assert dbg.wait(10) is not None
        assert dbg.state == "stopped"
