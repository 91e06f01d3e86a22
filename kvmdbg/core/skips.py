"""Functions that steps do not go into: gdb's ``skip``.

Source: gdb manual, "Skipping Over Functions and Files".
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from kvmdbg.numbers import compiled

if TYPE_CHECKING:
    from kvmdbg.debuginfo.source import Source


class Skip:
    """One: functions by their file, by their name, or by both. ``glob``: the file is a pattern as a shell's;
    ``regex``: the function is a regular expression."""

    def __init__(
        self, number: int, file: str = "", function: str = "", *, glob: bool = False, regex: bool = False
    ) -> None:
        self.number, self.file, self.function, self.glob, self.regex = number, file, function, glob, regex
        self.enabled = True

    def describe(self) -> str:
        """What it skips, as gdb says it."""
        files = f"file(s) {self.file}" if self.glob else f"file {self.file}"
        if not self.function:
            return files[0].upper() + files[1:]
        function = f"Function(s) {self.function}" if self.regex else f"Function {self.function}"
        return f"{function} in {files}" if self.file else function

    def holds(self, name: str, file: str) -> bool:
        """Whether a function with this name, of a source file, is one of these."""
        return self._of_file(file) and self._of_function(name)

    def _of_file(self, file: str) -> bool:
        if not self.file:
            return True
        if self.glob:
            return fnmatchcase(file, self.file) or fnmatchcase(file.rpartition("/")[2], self.file)
        return file == self.file or file.endswith("/" + self.file.lstrip("/"))

    def _of_function(self, name: str) -> bool:
        if not self.function:
            return True
        if self.regex:
            return compiled(self.function).search(name)
        plain = name.partition("(")[0]
        return self.function in (name, plain) or plain.endswith(f"::{self.function}")


class Skips:
    """Those of one session."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._last = 0
        self.all: list[Skip] = []

    def add(self, file: str = "", function: str = "", *, glob: bool = False, regex: bool = False) -> Skip:
        """Let steps go into no function of this file, of this name, or of both."""
        self._last += 1
        self.all.append(Skip(self._last, file, function, glob=glob, regex=regex))
        return self.all[-1]

    def delete(self, which: Iterable[Skip]) -> None:
        """Take some out."""
        gone = list(which)
        self.all = [one for one in self.all if one not in gone]

    def at(self, address: int) -> bool:
        """Whether steps do not go into the function at a linear address."""
        enabled = [one for one in self.all if one.enabled]
        if not enabled:
            return False
        line = self._source.at(address)
        name, file = self._source.function_name(address), line.file if line is not None else ""
        return any(one.holds(name, file) for one in enabled)
