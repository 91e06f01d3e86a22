"""Another thread restarts the guest between a call that lets it go and its going."""

from __future__ import annotations

import threading
import time

import pytest

from kvmdbg.engine import stops
from kvmdbg.errors import SessionStateError
from tests.scripted.machine import ScriptedHost, profile, scripted_session

HLT = b"\xf4"


def test_a_run_that_waits_for_a_restart_runs_the_new_guest() -> None:
    with scripted_session(HLT, host=ScriptedHost(profile(), {0: (1, lambda cpu: None)})) as dbg:
        found: list[stops.Stop] = []
        run = threading.Thread(target=lambda: found.append(dbg.run(timeout=10)))
        with dbg.control._lock:
            run.start()
            time.sleep(0.1)
            dbg.restart()
        run.join(20)
        assert [type(stop) for stop in found] == [stops.HaltedStop]
        assert dbg.state == "stopped"


def test_jobs_of_vcpus_that_are_gone_leave_nothing_running() -> None:
    with scripted_session(HLT, host=ScriptedHost(profile(), {0: (1, lambda cpu: None)})) as dbg:
        old = {runner: runner.go for runner in dbg.runners}
        dbg.restart()
        with pytest.raises(SessionStateError, match="this vCPU is gone"):
            dbg.control.start(lambda: old, plant=True)
        assert dbg.state == "stopped"
        assert isinstance(dbg.run(timeout=10), stops.HaltedStop)
