"""Who wants to hear of stops, serial output and exits. Callbacks run on the vCPU's thread."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from kvmdbg.engine.stops import Stop, internal_error
from kvmdbg.kvm.exits import Exit


class InstructionListener(Protocol):
    def step(self, pc: int, before: bytes, after: bytes) -> None:
        """The instruction at ``pc`` has run; registers (struct kvm_regs) before and after it."""

    def flush(self) -> None:
        """The guest has stopped."""


class Listeners:
    """Callbacks by kind. While nobody listens to exits, the exit loop does not decode them.

    A callback that fails keeps nothing from the others: what it raises is told as a warning, and the guest's next stop
    is told to it again. One for output, exits and notes ends the guest's run, which it is part of: an error stop.
    """

    def __init__(self) -> None:
        self.stop: list[Callable[[Stop], None]] = []
        self.output: list[Callable[[bytes], None]] = []
        self.exit: list[Callable[[Exit], None]] = []
        self.kill: list[Callable[[], None]] = []
        self.warning: list[Callable[[str], None]] = []
        self.note: list[Callable[[int, Exit], None]] = []
        self.instructions: InstructionListener | None = None
        """Hears of each instruction that is stepped; while there is one, the guest is stepped."""

    def on_stop(self, callback: Callable[[Stop], None]) -> None:
        """``callback(stop)`` after each stop, when the guest may be used again."""
        self.stop.append(callback)

    def on_output(self, callback: Callable[[bytes], None]) -> None:
        """``callback(data)`` for each piece of serial output."""
        self.output.append(callback)

    def on_exit(self, callback: Callable[[Exit], None]) -> None:
        """``callback(exit)`` for each exit, from the next resume on."""
        self.exit.append(callback)

    def on_kill(self, callback: Callable[[], None]) -> None:
        """``callback()`` after the guest was killed."""
        self.kill.append(callback)

    def on_note(self, callback: Callable[[int, Exit], None]) -> None:
        """``callback(vcpu, exit)`` for each exit or event that is to be shown as it happens (``handle … print``)."""
        self.note.append(callback)

    def on_warning(self, callback: Callable[[str], None]) -> None:
        """``callback(text)`` when something went wrong that is nobody's to return: output is lost, a hook failed."""
        self.warning.append(callback)

    def remove(self, callback: object) -> None:
        """Forget a callback, of whatever kind."""
        for callbacks in (self.stop, self.output, self.exit, self.kill, self.note, self.warning):
            if callback in callbacks:
                callbacks.remove(callback)  # type: ignore[arg-type]

    def _each(self, callbacks: list[Callable[..., None]], *values: Any) -> None:
        for callback in list(callbacks):
            try:
                callback(*values)
            except SystemExit as error:
                self.unforeseen(RuntimeError(f"a listener called exit({error.code!r})"))
            except Exception as error:
                self.unforeseen(error)

    def unforeseen(self, error: Exception) -> None:
        """What should not have happened, on a thread that nobody waits for: one sentence, and it goes on."""
        if self.warning:
            self.tell_warning(internal_error(error, 0).message)
        else:
            threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))

    def tell_stop(self, stop: Stop) -> None:
        self._each(self.stop, stop)

    def tell_output(self, data: bytes) -> None:
        for callback in list(self.output):
            callback(data)

    def tell_kill(self) -> None:
        self._each(self.kill)

    def tell_exit(self, exit: Exit) -> None:
        for callback in list(self.exit):
            callback(exit)

    def tell_warning(self, text: str) -> None:
        if not self.warning:  # a script's session: Python's own way to say such things
            import warnings

            warnings.warn(text, RuntimeWarning, stacklevel=2)
        for callback in list(self.warning):
            with suppress(Exception):  # there is nobody left to tell
                callback(text)

    def tell_note(self, vcpu: int, exit: Exit) -> None:
        for callback in list(self.note):
            callback(vcpu, exit)
