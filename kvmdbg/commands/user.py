"""Who types the lines."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kvmdbg.commands.results import Result

PLEASE = "Please answer y or n. "
"""Before a question that was answered by something else."""


class User:
    """What the one who types is shown, is asked and may do.

    ``on_event`` is called with results that come by themselves (a traced exit), from any thread; ``confirm`` asks a
    question before something is lost, and is None where nobody can be asked; ``width`` gives the terminal's columns.
    """

    def __init__(self) -> None:
        self.on_event: Callable[[Result], None] | None = None
        self.confirm: Callable[[str], bool] | None = None
        self.width: Callable[[], int] = lambda: 80
        self.host_allowed = True  # may reach files and commands of the host
        self.has_terminal = True  # programs may use the standard files, which are nobody else's
        self.shows_python = False  # beside each command what it is in Python
        self.cancelled = False  # wants what is under way to end; said by another thread
        self._python_on: int | None = None
        """The thread that executes Python of theirs, which looks at nothing."""
        self._python_lock = threading.Lock()

    def cancel(self) -> None:
        """Have what is under way end, from another thread."""
        self.cancelled = True
        self.interrupt_python()

    def interrupt_python(self) -> None:
        """Have Python of theirs end by a KeyboardInterrupt, from another thread."""
        with self._python_lock:
            if self._python_on is not None:
                interrupt(self._python_on)

    @contextmanager
    def python(self) -> Iterator[None]:
        """Inside, this thread executes Python of theirs."""
        self._python_on = threading.get_ident()
        try:
            yield
        finally:
            while self._python_on is not None:
                with suppress(KeyboardInterrupt), self._python_lock:
                    self._python_on = None
            with suppress(KeyboardInterrupt):  # one that is late comes in this loop
                for _ in range(2):
                    pass


def interrupt(thread: int) -> None:
    """Have the thread (``threading.get_ident``) raise KeyboardInterrupt at its next call or jump backwards.

    It cannot be taken back: Python 3.11 then looks for it for ever, which hangs under sys.settrace.
    """
    import ctypes

    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(KeyboardInterrupt))
