"""SIGTERM, SIGHUP and SIGQUIT end kvmdbg as leaving it does: the terminal is put back, sockets are
removed, files finished."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGQUIT") if hasattr(signal, name))
PATIENCE = 15.0
"""Seconds that putting everything in order may take."""


RETRY = 0.05
"""Seconds after which a signal comes again whose exception was raised where nothing could catch it (in a __del__)."""


class Terminated(SystemExit):
    """Raised on the main thread where a signal asks kvmdbg to end; its code is 128 plus the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number


class Terminal:
    """The settings of the terminal at the start, to be put back at the end."""

    def __init__(self) -> None:
        self._file: int | None = None
        if sys.stdin.isatty():
            with suppress(ImportError):  # Windows has no such settings
                import termios

                self._file = sys.stdin.fileno()
                self._settings = termios.tcgetattr(self._file)

    def put_back(self) -> None:
        """Unless it is as it was, or another process group has it now."""
        if self._file is None:
            return
        import termios

        try:
            if os.tcgetpgrp(self._file) == os.getpgrp() and termios.tcgetattr(self._file) != self._settings:
                termios.tcsetattr(self._file, termios.TCSANOW, self._settings)
        except (OSError, termios.error):
            pass  # it has gone


def end_in_order(terminal: Terminal) -> None:
    """From now on these signals raise Terminated; one that is ignored (nohup) stays so."""

    def end(number: int, frame: FrameType | None) -> None:
        def give_up() -> None:
            terminal.put_back()
            os._exit(128 + number)

        for one in SIGNALS:
            signal.signal(one, signal.SIG_IGN)
        _later(PATIENCE, give_up)
        raise Terminated(number)

    tell_unraisable = sys.unraisablehook

    def raise_again(unraisable: sys.UnraisableHookArgs) -> None:
        raised = unraisable.exc_value
        if isinstance(raised, Terminated):
            signal.signal(raised.number, end)
            _later(RETRY, lambda: os.kill(os.getpid(), raised.number))
        elif isinstance(raised, KeyboardInterrupt):
            _later(RETRY, lambda: os.kill(os.getpid(), signal.SIGINT))
        else:
            tell_unraisable(unraisable)

    sys.unraisablehook = raise_again
    for number in SIGNALS:
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, end)


def _later(seconds: float, function: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, function)
    timer.daemon = True
    timer.start()
