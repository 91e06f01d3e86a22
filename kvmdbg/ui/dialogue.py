"""What the one line of the full-screen mode asks for: a command, the lines of a body, an answer."""

from __future__ import annotations

import threading
from collections.abc import Callable

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.user import PLEASE
from kvmdbg.errors import UsageError


class Dialogue:
    """Takes each line that is typed. ``execute`` gets whole commands, with their bodies; ``changed``: draw it anew."""

    def __init__(self, interpreter: Interpreter, execute: Callable[[str], None], changed: Callable[[], None]) -> None:
        self._interpreter = interpreter
        self._execute = execute
        self._changed = changed
        self._body: list[str] = []
        self._question = ""
        self._answer = False
        self._answered = threading.Event()

    @property
    def prompt(self) -> str:
        """What stands before the line."""
        if self._question:
            return f"{self._question} (y or n) "
        return "> " if self._body else "(kvmdbg) "

    def typed(self, text: str) -> None:
        """A line, ended by Enter, or several that were pasted."""
        if self._question:
            word = text.strip().lower()
            if word in ("y", "yes", "n", "no"):
                self._end(word.startswith("y"))
            elif not self._question.startswith(PLEASE):
                self._question = PLEASE + self._question
                self._changed()
            return
        for line in text.rstrip("\n").split("\n"):  # an empty line would repeat the last one
            self._body.append(line)
            if self._is_whole():
                lines, self._body = self._body, []
                self._execute("\n".join(lines))

    def _is_whole(self) -> bool:
        first, *rest = self._body
        opened = self._interpreter.opened_body(first)
        if opened is None:
            return True
        lines = iter(rest)
        try:
            self._interpreter.read_body(lambda: next(lines, None), opened)
        except UsageError:
            return False
        return True

    def ask(self, question: str) -> bool:
        """On a command's thread: wait for yes or no."""
        self._question, self._answer = question, False
        self._answered.clear()
        self._changed()
        self._answered.wait()
        return self._answer

    def cancel(self) -> None:
        """Forget the lines of a body; the answer to a question is no."""
        self._body = []
        if self._question:
            self._end(False)

    def _end(self, answer: bool) -> None:
        self._question, self._answer = "", answer
        self._answered.set()
        self._changed()
