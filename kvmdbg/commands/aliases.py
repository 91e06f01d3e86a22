"""Names that stand for the beginning of a command line, made with `alias`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kvmdbg.errors import UsageError
from kvmdbg.record import record

_NAME = r"[A-Za-z_][\w.-]*( [A-Za-z_][\w.-]*)?"
_WORDS = r"\s*([A-Za-z_][\w.-]*)(\s+[A-Za-z_][\w.-]*)?"


@record
class Alias:
    """``name`` (one word or two) means ``text``; ``abbreviation``: completion does not offer it."""

    name: str
    text: str
    abbreviation: bool = False


class Aliases:
    """The aliases of one user."""

    def __init__(self) -> None:
        self._known: dict[str, Alias] = {}

    def __iter__(self) -> Iterator[Alias]:
        return iter(sorted(self._known.values(), key=lambda one: one.name))

    def add(self, alias: Alias) -> None:
        """Enter one; another of its name goes. UsageError where nothing can be called so."""
        if not re.fullmatch(_NAME, alias.name):
            raise UsageError(f"'{alias.name}' cannot be an alias: one word or two of letters, digits, _ - and .")
        self._known[alias.name] = alias

    def expand(self, line: str) -> str:
        """The line with the alias that it begins with, if any, replaced by what it means."""
        match = re.match(_WORDS, line) if self._known else None
        if match is None:
            return line
        both = f"{match[1]} {match[2].strip()}" if match[2] else ""
        for name, end in ((both, match.end()), (match[1], match.end(1))):
            if name in self._known and not line[end : end + 1].startswith(("=", ".")):
                return self._known[name].text + line[end:]
        return line
