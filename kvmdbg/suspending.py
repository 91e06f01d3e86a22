"""Ctrl-Z (SIGTSTP) stops kvmdbg only while it closes no VM.

Linux 6.14 and later keep a thread of KVM's in the process of each VM. A stop that comes while a VM is closed stops that
thread, which the close waits for in turn: the process neither stops nor goes on, and the shell that started it hears of
nothing. SIGCONT ends that, but nobody knows to send it.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

held_off = threading.RLock()
"""Whoever holds it is not suspended. Reentrant, as the signal's handler runs on the main thread, wherever that is."""


def suspend(number: int = 0, frame: FrameType | None = None) -> None:
    """Stop this process as SIGTSTP does by default; returns when it goes on. Main thread only; also a handler of it."""
    with held_off:
        before = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, before)


def suspend_in_order() -> None:
    """From now on SIGTSTP waits until no VM is being closed; where it is ignored it stays so."""
    if hasattr(signal, "SIGTSTP") and signal.getsignal(signal.SIGTSTP) == signal.SIG_DFL:
        signal.signal(signal.SIGTSTP, suspend)
