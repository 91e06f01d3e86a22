"""Signals that end kvmdbg, also where their exception is raised in a place that cannot pass it on."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import atexit, os, signal, time
from kvmdbg.ending import Terminal, end_in_order

class Dying:
    def __del__(self):
        os.kill(os.getpid(), signal.{name})

signal.signal(signal.{name}, signal.{handler})
atexit.register(print, "in order")
end_in_order(Terminal())
dying = Dying()
del dying
time.sleep(100)
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGQUIT", "SIGINT"])
def test_a_signal_in_a_destructor(name: str, time_scale: float) -> None:
    handler = "default_int_handler" if name == "SIGINT" else "SIG_DFL"
    program = PROGRAM.format(name=name, handler=handler)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60 * time_scale)
    assert ended.stdout == "in order\n"  # else the watchdog has ended it
    if name == "SIGINT":
        assert ended.returncode == -signal.SIGINT
        assert "Exception ignored" not in ended.stderr
    else:
        assert (ended.returncode, ended.stderr) == (128 + signal.Signals[name], "")
