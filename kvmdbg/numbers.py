"""Numbers and sizes as people write them on the command line and in calls of the API."""

from __future__ import annotations

import re
from functools import lru_cache

from kvmdbg.errors import UsageError
from kvmdbg.regex import Regex

_SIZE = r"(0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|[0-9][0-9_]*)(?:([kKmMgGtT])(?:i?[bB])?)?$"
_SHIFTS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}


def number(text: str) -> int:
    """An integer in decimal, 0x, 0o or 0b, perhaps negative. Raises ValueError."""
    try:
        return int(text, 0)
    except ValueError:
        return int(text, 10)  # leading zeros are decimal; anything else is the error


def size(text: str) -> int:
    """A size in bytes: a number in any base, with K, M, G or T (powers of 1024; "KiB" and "KB" mean the same)."""
    match = re.match(_SIZE, text.strip())
    if match is None:
        raise UsageError(f"'{text}' is no size such as 2M, 0x200000 or 1G")
    return number(match[1]) << _SHIFTS[(match[2] or "").lower()]


MOST_DIGITS = 18


def counted(text: str) -> int:
    """A decimal number that was typed. UsageError for one with more digits than any count, line or number here has."""
    if len(text.lstrip("+-0")) > MOST_DIGITS:
        raise UsageError(f"{text[:MOST_DIGITS]}... is too great a number")
    return int(text)


@lru_cache(maxsize=32)
def compiled(pattern: str, flags: int = 0) -> Regex[str]:
    """The regular expression that was typed, as gdb and grep read it. UsageError."""
    try:
        return Regex(_from_basic(pattern), flags)
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(f"'{pattern}' is no regular expression: {error}") from None


_SIGNS = "(){}|+?"
_PARTS = re.compile(r"\\(?P<escaped>.)|(?P<set>\[\^?\]?(?:\[:[a-z]+:\]|[^\]])*\])|(?P<other>.)", re.DOTALL)
_CLASSES = {"alpha": "a-zA-Z", "digit": "0-9", "alnum": "a-zA-Z0-9", "lower": "a-z", "upper": "A-Z", "space": r"\s",
            "xdigit": "0-9a-fA-F", "punct": r"!-/:-@\[-`{-~", "blank": r" \t"}  # fmt: skip


def _from_basic(pattern: str) -> str:
    """A basic regular expression, where ``(`` is a sign and ``\\(`` begins a group, in Python's words.

    Source: POSIX, 9.3; GNU's ``\\|``, ``\\+`` and ``\\?``.
    """
    found = ""
    for part in _PARTS.finditer(pattern):
        escaped, inside, other = part["escaped"], part["set"], part["other"]
        if escaped is not None:
            found += escaped if escaped in _SIGNS else r"\b" if escaped in "<>" else part[0]
        elif inside is not None:
            inside = inside.replace("\\", "\\\\")
            found += re.sub(r"\[:([a-z]+):\]", lambda one: _CLASSES.get(one[1], one[0]), inside)
        elif other in _SIGNS or (other == "*" and (not found or found[-1:] in ("(", "|", "^"))):
            found += f"\\{other}"
        else:
            found += other
    return found
