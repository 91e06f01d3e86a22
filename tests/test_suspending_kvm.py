"""Ctrl-Z while a VM is being opened or closed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PROGRAM = """
import signal, sys, threading, time, kvmdbg
from kvmdbg.suspending import suspend_in_order

suspend_in_order()

def open_and_close():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTSTP})
    while True:
        with kvmdbg.open(sys.argv[1], load=0x1000) as dbg:
            dbg.run()

thread = threading.Thread(target=open_and_close, daemon=True)
thread.start()
print("ready", flush=True)
while thread.is_alive():
    time.sleep(0.001)  # a read would not hear of a signal just before it
"""


def test_it_stops_and_goes_on_whatever_is_being_closed(tmp_path: Path, time_scale: float) -> None:
    guest = tmp_path / "guest.bin"
    guest.write_bytes(b"\xf4")
    command = [sys.executable, "-c", PROGRAM, str(guest)]
    # a group of its own, whose parent is in another: Linux does not stop an orphaned one
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, process_group=0)
    assert child.stdout
    try:
        assert child.stdout.readline() == "ready\n"
        for n in range(40):
            time.sleep(0.003 * (n % 7))  # elsewhere in opening and closing each time
            os.kill(child.pid, signal.SIGTSTP)
            end = time.monotonic() + 10 * time_scale
            ended, status = 0, 0
            while not ended:
                assert time.monotonic() < end, "it does not stop"
                time.sleep(0.001)
                ended, status = os.waitpid(child.pid, os.WNOHANG | os.WUNTRACED)
            assert os.WIFSTOPPED(status)
            os.kill(child.pid, signal.SIGCONT)
    finally:
        child.send_signal(signal.SIGCONT)
        child.kill()
        child.wait()
        child.stdout.close()
