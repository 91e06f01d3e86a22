"""Commands that a user has made with define."""

from __future__ import annotations

import re

from kvmdbg.errors import UsageError

ARGUMENT = re.compile(r"\$arg(c|\*|\d+)")


class Macro:
    """A user-defined command: its lines and, from ``document``, its help."""

    def __init__(self, name: str, lines: list[str], text: str = "User-defined.") -> None:
        self.name = name
        self.lines = lines
        self.text = text


class MacroCall:
    """A macro that is being run, and what it was given."""

    def __init__(self, name: str, text: str) -> None:
        import shlex

        self.name = name
        self.text = text
        try:
            self.words = shlex.split(text, posix=False)
        except ValueError as error:
            raise UsageError(f"{name}: {error}") from None

    def fill(self, line: str) -> str:
        """The line with what was given in place of $arg0, $argc and $arg*."""
        return ARGUMENT.sub(self._argument, line)

    def _argument(self, match: re.Match[str]) -> str:
        which = match[1]
        if which == "c":
            return str(len(self.words))
        if which == "*":
            return self.text
        return self.words[int(which)] if int(which) < len(self.words) else match[0]
