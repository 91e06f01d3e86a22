"""A signal ends the start of a run: the guest stands, and the session can be used and closed."""

from __future__ import annotations

import pytest

from kvmdbg.engine.stops import HaltedStop
from kvmdbg.engine.vcpu_thread import VcpuThread
from kvmdbg.engine.watchdog import Watchdog
from tests.scripted.machine import START, ScriptedHost, profile, scripted_session


@pytest.mark.parametrize(("where", "name"), [(Watchdog, "start"), (Watchdog, "wake"), (VcpuThread, "post")])
def test_nothing_runs(where: type, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_session(b"\x90\xf4", host=ScriptedHost(profile(), {START: (1, lambda cpu: None)})) as dbg:
        done = getattr(where, name)

        def ended(self: object, *arguments: object) -> None:
            monkeypatch.setattr(where, name, done)
            raise KeyboardInterrupt

        monkeypatch.setattr(where, name, ended)
        with pytest.raises(KeyboardInterrupt):
            dbg.run(timeout=10)
        assert dbg.state == "stopped"
        stop = dbg.run(timeout=10)
        assert isinstance(stop, HaltedStop), stop.describe()
