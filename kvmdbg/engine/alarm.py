"""A timer of the host's that kicks the thread which made it: a signal of that thread alone, from the kernel.

Python has only timers of the whole process, whose signal any thread may get.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from typing import Protocol

from kvmdbg.machine import kick

CLOCK_MONOTONIC, TIMER_ABSTIME, SIGEV_THREAD_ID = 1, 1, 4
"""time.h and signal.h of Linux."""
TIMER_CREATE, TIMER_SETTIME, TIMER_DELETE = 222, 223, 226
"""System calls of x86-64 (asm/unistd_64.h)."""
NS = 1_000_000_000


class _Event(ctypes.Structure):
    """struct sigevent, 64 bytes."""

    _fields_ = [
        ("value", ctypes.c_void_p),
        ("signo", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("thread", ctypes.c_int),
        ("padding", ctypes.c_int * 11),
    ]


class _Times(ctypes.Structure):
    """struct itimerspec: the period, and the first time."""

    _fields_ = [("period", ctypes.c_long * 2), ("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


class Alarm(Protocol):
    """Kicks the thread that has made it."""

    def set(self, when: int | None) -> None:
        """Go off at this time of ``time.monotonic_ns``; None: not any more."""

    def close(self) -> None: ...


def make() -> Alarm:
    """For this thread. OSError where the host has no timer left."""
    return SignalAlarm(kick.KICK_SIGNAL) if kick.BY_SIGNAL else ThreadAlarm()


class ThreadAlarm:
    """Where a kick is no signal: a thread of its own waits for each time that is set."""

    def __init__(self) -> None:
        self._kicked = threading.get_ident()
        self._timer: threading.Timer | None = None

    def set(self, when: int | None) -> None:
        self.close()
        if when is not None:
            self._timer = threading.Timer(max(when - time.monotonic_ns(), 0) / NS, kick.send, (self._kicked,))
            self._timer.daemon = True
            self._timer.start()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


class SignalAlarm:
    """Sends ``signal`` to the thread that makes it. OSError where the host has no timer left."""

    def __init__(self, signal: int) -> None:
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall
        self._timer = ctypes.c_int()
        event = _Event(signo=signal, notify=SIGEV_THREAD_ID, thread=threading.get_native_id())
        self._call(TIMER_CREATE, CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(self._timer))

    def _call(self, number: int, *arguments: object) -> None:
        if self._syscall(number, *arguments) < 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))

    def set(self, when: int | None) -> None:
        times = _Times() if when is None else _Times(seconds=when // NS, nanoseconds=max(when % NS, 1))
        self._call(TIMER_SETTIME, self._timer, TIMER_ABSTIME, ctypes.byref(times), None)

    def close(self) -> None:
        self._call(TIMER_DELETE, self._timer)
