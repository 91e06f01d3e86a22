"""The commands of the full-screen mode, one after the other, on a thread of their own: the screen stays alive."""

from __future__ import annotations

import threading
from collections.abc import Callable

from kvmdbg import error_log
from kvmdbg.commands.interpreter import Interpreter, Quit
from kvmdbg.commands.results import Message, Result
from kvmdbg.errors import KvmdbgError, refused_by_host

IT_RUNS = "The guest runs: F6 or Ctrl-C interrupts it; F3 or a click into its screen or console gives it keys."
PATIENCE = 5.0
"""Seconds that a command may take to end when the user leaves."""


class TypedCommands:
    """``begun`` is told each line when its turn comes, ``show`` gets the results, ``ended`` is called behind each,
    ``quit`` with the exit status where the user leaves kvmdbg."""

    def __init__(
        self,
        interpreter: Interpreter,
        *,
        begun: Callable[[str], None],
        show: Callable[[Result], None],
        ended: Callable[[], None],
        quit: Callable[[int], None],
    ) -> None:
        self._interpreter = interpreter
        self._begun, self._show, self._ended, self._quit = begun, show, ended, quit
        self._waiting: list[str | Callable[[], str]] = []
        """The first is being executed."""
        self._lock = threading.Lock()
        """Guards those that wait."""
        self._idle = threading.Event()
        self._idle.set()
        self.at_work = threading.Lock()
        """Held while a command is executed, and while something that it may replace is looked at."""

    @property
    def are_executed(self) -> bool:
        """Whether one is."""
        return bool(self._waiting)

    def add(self, line: str | Callable[[], str]) -> None:
        """Run a command, or what is the one when its turn comes."""
        with self._lock:
            if self._waiting and self._interpreter.session.state == "running":
                self._show(Message(IT_RUNS, "warning"))
                return
            self._waiting.append(line)
            if len(self._waiting) == 1:
                self._idle.clear()
                threading.Thread(target=self._work, name="kvmdbg-command", daemon=True).start()

    def interrupt(self) -> None:
        """Forget those that wait; interrupt the guest where it runs, else end what is executed, if that can be."""
        interpreter = self._interpreter
        runs = interpreter.session.state == "running"
        if runs:
            interpreter.runs.interrupted = True
            threading.Thread(target=interpreter.session.interrupt, daemon=True).start()
        with self._lock:
            del self._waiting[1:]
            if self.are_executed:
                end = interpreter.user.interrupt_python if runs else interpreter.user.cancel
                end()

    def end(self) -> None:
        """The user leaves: have what is executed come to its end."""
        with self._lock:
            del self._waiting[1:]
            self._interpreter.runs.interrupted = self.are_executed
            if self.are_executed:
                self._interpreter.user.cancel()
        if self._interpreter.session.state == "running":
            self._interpreter.session.world.stop_within(PATIENCE)
        self._idle.wait(PATIENCE)

    def _work(self) -> None:
        """Execute what was typed until nothing is left."""
        while True:
            try:
                line = one if isinstance(one := self._waiting[0], str) else one()
                self._begun(line)
                with self.at_work:
                    first, *rest = line.split("\n")
                    more = iter(rest)
                    for result in self._interpreter.execute(first, lambda more=more: next(more, None)):  # type: ignore[misc]
                        self._show(result)
            except KvmdbgError as error:
                self._show(Message(str(error), "error"))
            except Quit as leave:
                with self._lock:
                    del self._waiting[1:]
                self._quit(leave.status)
            except OSError as error:
                self._show(Message(str(refused_by_host(error)), "error"))
            except KeyboardInterrupt:  # raised by the user's own Python
                self._show(Message("Interrupted.", "warning"))
            except Exception as error:
                self._show(Message(error_log.internal(error), "error"))
            with self._lock:
                del self._waiting[:1]
                self._interpreter.user.cancelled = False  # panes read memory, too
                self._ended()
                if not self._waiting:
                    self._idle.set()
                    return
