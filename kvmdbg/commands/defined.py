"""Commands that a user has made with define."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from kvmdbg.errors import UsageError
from kvmdbg.numbers import counted

_ARGUMENT = re.compile(r"\$arg(c|\*|\d+)")
_WORDS = re.compile(r"([^\s(]+)(?:(\s+)([^\s(]+))?")


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
        return _ARGUMENT.sub(self._argument, line)

    def _argument(self, match: re.Match[str]) -> str:
        which = match[1]
        if which == "c":
            return str(len(self.words))
        if which == "*":
            return self.text
        number = counted(which)
        return self.words[number] if number < len(self.words) else match[0]


class Macros(dict[str, Macro]):
    """The macros of one user, by name (one word, or two: "info mine"), and which of them are being run."""

    def __init__(self) -> None:
        super().__init__()
        self.prefixes: set[str] = set()  # made with define-prefix
        self._calls: list[MacroCall] = []
        self._hooked: list[str] = []  # what hooks are being run for

    def named_by(self, text: str) -> tuple[Macro, str] | None:
        """The macro that a line names, and the rest of the line."""
        words = _WORDS.match(text) if self else None
        if words is None:
            return None
        if words[3] and (macro := self.get(f"{words[1]} {words[3]}")) is not None:
            return macro, text[words.end() :].strip()
        macro = self.get(words[1])
        return None if macro is None else (macro, text[words.end(1) :].strip())

    def filled(self, line: str) -> str:
        """A line with the arguments of the macro that runs it; as in gdb, an error where one was not given."""
        if not self._calls:
            return line
        call = self._calls[-1]
        line = call.fill(line)
        if missing := _ARGUMENT.search(line):
            raise UsageError(f"{call.name}: {missing[0]} was not given ({len(call.words)} arguments)")
        return line

    @contextmanager
    def called(self, macro: Macro, text: str) -> Iterator[Iterator[str]]:
        """While inside, a macro is run: its lines."""
        call = MacroCall(macro.name, self._calls[-1].fill(text) if self._calls else text)
        self._calls.append(call)
        try:
            yield map(call.fill, macro.lines)
        finally:
            self._calls.pop()

    @contextmanager
    def hook(self, name: str, kind: str) -> Iterator[Macro | None]:
        """While inside, what was defined to come before ("hook-") or after ("hookpost-") a command is run, if any."""
        parent, _, last = name.rpartition(" ")
        hook = None if name in self._hooked else self.get(f"{parent} {kind}{last}".strip())
        self._hooked.append(name)
        try:
            yield hook
        finally:
            self._hooked.pop()

    @contextmanager
    def none_called(self) -> Iterator[None]:
        """While inside, no macro is being run."""
        calls, self._calls = self._calls, []
        try:
            yield
        finally:
            self._calls = calls
