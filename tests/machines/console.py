"""What comes over a machine's serial port: the command's output, and between it what the init script says."""

from __future__ import annotations

import re

from tests.machines.results import MARK


class Console:
    """The machine's serial output: what of it is the command's, and what the init script says of it.

    ``status`` is the command's exit status once it is known, ``boot`` what came before the command started. The
    tests report how far they are (``progress``) and which have ``failed``, and at their end the counts (``result``).
    """

    _MESSAGE = re.compile(re.escape(MARK) + r"(start|exit|failed|progress|result) ?(.*)\n")

    def __init__(self) -> None:
        self.started = False
        self.status: int | None = None
        self.failed: list[str] = []
        self.progress: str | None = None
        self.result: str | None = None
        self.boot = ""
        self._pending = ""

    @property
    def file(self) -> str:
        """The file of tests that is being run, "" when none is."""
        return (self.progress or "").partition(", at ")[2].partition("::")[0]

    def feed(self, text: str) -> str:
        """Take in ``text``; return what of the command's own output it completes."""
        self._pending += text.replace("\r", "")
        output = ""
        while self.status is None and (message := self._MESSAGE.search(self._pending)):
            output += self._take(message.start())
            self._pending = self._pending[message.end() - message.start() :]
            word, rest = message.groups()
            if word == "start":
                self.started = True
            elif word == "exit":
                self.status = int(rest)
            elif word == "failed":
                self.failed.append(rest)
            else:
                setattr(self, word, rest)
        if self.status is None:
            output += self._take(len(self._pending) - self._unfinished())
        return output

    def _take(self, size: int) -> str:
        text, self._pending = self._pending[:size], self._pending[size:]
        if self.started:
            return text
        self.boot += text
        return ""

    def _unfinished(self) -> int:
        """How many characters at the end may still become a message."""
        at = self._pending.find(MARK)
        if at >= 0:
            return len(self._pending) - at
        return next((n for n in range(len(MARK), 0, -1) if self._pending.endswith(MARK[:n])), 0)
