"""Regular expressions that were typed, in a time that is bounded whatever they are.

Python's ``re`` may take years for a few characters (``(a+)+$``), and lets no other thread run meanwhile: not even a
signal ends the process then, and a client of the stub types expressions, too. What may take long is matched here, by
all ways at once (Thompson's construction), one character of the text after the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from re import _compiler, _parser  # type: ignore[attr-defined]
from typing import Any, AnyStr, Generic

from kvmdbg.errors import UsageError

QUICK = 10_000_000
"""Steps that re may take for one text."""
MOST_STATES = 5_000
LONGEST = 50_000_000
"""States times characters: what takes longer is refused."""
_REPEATS = ("MAX_REPEAT", "MIN_REPEAT")
_BODIES: dict[str, Callable[[Any], Any]] = {
    "SUBPATTERN": lambda value: value[3:],
    "BRANCH": lambda value: value[1],
    "ASSERT": lambda value: value[1:],
    "ASSERT_NOT": lambda value: value[1:],
}
_OF_ONE = ("LITERAL", "NOT_LITERAL", "ANY", "IN")


@lru_cache(maxsize=32)
def made(pattern: bytes) -> Regex[bytes]:
    """The same expression once more, as conditions have it at each hit."""
    return Regex(pattern)


class Regex(Generic[AnyStr]):
    """One expression; ``search`` and ``match`` say whether it is found. Raises what re.compile does."""

    def __init__(self, pattern: AnyStr, flags: int = 0) -> None:
        self._re: re.Pattern[AnyStr] = re.compile(pattern, flags)
        parsed = _parser.parse(pattern, flags)
        self._parsed, self._state, self._flags = parsed, parsed.state, parsed.state.flags
        self._repeats, self._nested = _counted(parsed, False)
        self._ways: _Ways | None = None

    def search(self, text: AnyStr) -> bool:
        """Whether it is anywhere in the text. UsageError where that cannot be said in a bounded time."""
        return self._re.search(text) is not None if self._quick(len(text) + 1) else self._slowly(text, anywhere=True)

    def match(self, text: AnyStr) -> bool:
        """Whether the text begins with it; so too."""
        return self._re.match(text) is not None if self._quick(len(text) + 1) else self._slowly(text, anywhere=False)

    def _quick(self, length: int) -> bool:
        return not self._nested and length ** (self._repeats + 1) <= QUICK

    def _slowly(self, text: AnyStr, *, anywhere: bool) -> bool:
        if self._ways is None:
            self._ways = _Ways(self)
        if len(self._ways.steps) * (len(text) + 1) > LONGEST:
            raise UsageError("this regular expression takes too long on a text of that length")
        return self._ways.found(text, anywhere)

    def part(self, node: Any, flags: int) -> re.Pattern[Any]:
        """One character's part, or a place as ``^``, as an expression of its own."""
        found: re.Pattern[Any] = _compiler.compile(_parser.SubPattern(self._state, [node]), flags)
        return found

    @property
    def parsed(self) -> Any:
        return self._parsed

    @property
    def flags(self) -> int:
        return int(self._flags)


def _counted(nodes: Any, within: bool) -> tuple[int, bool]:
    """How many repeats of any number there are, and whether some may go the same way twice."""
    repeats, nested = 0, False
    for node in nodes:
        name, value = str(node[0]), node[1]
        if name in _REPEATS:
            low, high, body = value
            inner = _counted(body, within or high > 1)
            repeats, nested = repeats + inner[0] + (high > low), nested or inner[1] or (within and high > low)
        elif name == "GROUPREF":
            repeats, nested = repeats + 1, nested or within
        elif name not in (*_OF_ONE, "AT"):
            nested = nested or (within and name != "SUBPATTERN") or name not in _BODIES
            for body in _BODIES[name](value) if name in _BODIES else ():
                inner = _counted(body, within)
                repeats, nested = repeats + inner[0], nested or inner[1]
    return repeats, nested


class _Ways:
    """The states of an expression: ``steps[n]`` is a part of one character or a place, and where it goes on."""

    def __init__(self, expression: Regex[Any]) -> None:
        self._expression = expression
        self.steps: list[tuple[re.Pattern[Any] | None, bool, tuple[int, ...]]] = [(None, False, ())]  # the end
        self._begin = self._of(expression.parsed, 0, expression.flags)

    def _add(self, part: re.Pattern[Any] | None, takes: bool, *after: int) -> int:
        if len(self.steps) >= MOST_STATES:
            raise UsageError("this regular expression is too large")
        self.steps.append((part, takes, after))
        return len(self.steps) - 1

    def _of(self, nodes: Any, after: int, flags: int) -> int:
        """Where these begin, if they go on at ``after``."""
        for node in reversed(list(nodes)):
            name, value = str(node[0]), node[1]
            if name in _OF_ONE or name == "AT":
                after = self._add(self._expression.part(node, flags), name != "AT", after)
            elif name == "BRANCH":
                after = self._add(None, False, *[self._of(one, after, flags) for one in value[1]])
            elif name == "SUBPATTERN":
                after = self._of(value[3], after, (flags | value[1]) & ~value[2])
            elif name in _REPEATS:
                low, high, body = value
                after = self._repeated(low, high, body, after, flags)
            else:
                raise UsageError("this regular expression may take too long, as it looks around or for a group again")
        return after

    def _repeated(self, low: int, high: int, body: Any, after: int, flags: int) -> int:
        if high is _parser.MAXREPEAT:
            end = after
            after = self._add(None, False)
            self.steps[after] = (None, False, (self._of(body, after, flags), end))
        else:
            end = after
            for _ in range(high - low):
                after = self._add(None, False, self._of(body, after, flags), end)
        for _ in range(low):
            after = self._of(body, after, flags)
        return after

    def found(self, text: Any, anywhere: bool) -> bool:
        now: set[int] = set()
        for at in range(len(text) + 1):
            if not at or anywhere:
                now.add(self._begin)
            now = self._reached(now, text, at)
            if 0 in now:
                return True
            now = {
                self.steps[one][2][0]
                for one in now
                if self.steps[one][1] and self.steps[one][0].match(text, at, at + 1)  # type: ignore[union-attr]
            }
        return False

    def _reached(self, states: set[int], text: Any, at: int) -> set[int]:
        """These, and what follows them without a character."""
        left, found = list(states), set(states)
        while left:
            part, takes, after = self.steps[left.pop()]
            if not takes and (part is None or part.match(text, at)):
                left += [one for one in after if one not in found]
                found.update(after)
        return found
