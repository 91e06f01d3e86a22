"""Kicks: how a thread is brought out of its vCPU's run, and out of waiting for interrupts.

On Linux a kick is a signal that all threads block, and KVM_RUN does not: it ends with EINTR. Where there are no such
signals (macOS, Windows), and so no KVM, it is a flag of the thread, which the vCPU looks at.
"""

from __future__ import annotations

import signal
import threading

BY_SIGNAL = hasattr(signal, "SIGRTMIN") and hasattr(signal, "sigtimedwait")
KICK_SIGNAL = signal.SIGRTMIN + 5 if BY_SIGNAL else 0

_flags: dict[int, threading.Event] = {}
"""By thread, where a kick is a flag."""


def expect() -> None:
    """The thread that calls this may be kicked from now on; other signals go to other threads."""
    if BY_SIGNAL:
        signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals) | {KICK_SIGNAL})
    else:
        _flags[threading.get_ident()] = threading.Event()


def send(thread: int) -> None:
    """Kick a thread, by its ``ident``."""
    if BY_SIGNAL:
        signal.pthread_kill(thread, KICK_SIGNAL)
    elif flag := _flags.get(thread):
        flag.set()


def pending() -> bool:
    """Whether this thread has been kicked; the kick stays."""
    if BY_SIGNAL:
        return KICK_SIGNAL in signal.sigpending()
    flag = _flags.get(threading.get_ident())
    return flag is not None and flag.is_set()


def take(timeout: float = 0) -> bool:
    """Take a kick back, waiting for one as long as this; whether there was one."""
    if BY_SIGNAL:
        return signal.sigtimedwait([KICK_SIGNAL], timeout) is not None
    flag = _flags.setdefault(threading.get_ident(), threading.Event())
    found = flag.wait(timeout)
    flag.clear()
    return found
