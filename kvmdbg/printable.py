"""Text that a terminal only shows: names of guests and files may hold what moves its cursor or changes its settings."""

from __future__ import annotations

import re
from functools import cache

_MARKS = (
    r"\x7f-\x9f\ud800-\udfff"  # DEL and C1; bytes that were no UTF-8, as surrogates
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what turns the writing's direction
    r"\u200b\u2028\u2029\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # what cannot be seen
)
_UNSAFE = r"\x00-\x08\x0b-\x1f"
_UNSAFE_IN_NAMES = r"\x00-\x1f"
_UNSAFE_IN_JSON = ""
"""JSON escapes those below the space by itself."""


@cache
def _pattern(others: str) -> re.Pattern[str]:
    """Of the marks and of ``others``; made when it is needed, as that takes time at the start."""
    return re.compile(f"[{others}{_MARKS}]")


def _is_plain(text: str) -> bool:
    """Whether there is surely nothing to escape: most text is like that."""
    return text.isascii() and text.isprintable()


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code < 0xDD00:  # a byte that Python could not decode
        code -= 0xDC00
    if code < 0x100:
        return {0x09: "\\t", 0x0A: "\\n", 0x0D: "\\r"}.get(code, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def printable(text: str) -> str:
    """The text with control characters as ``\\x1b``, so that it is shown as it is; newlines and tabs stay."""
    return text if _is_plain(text) else _pattern(_UNSAFE).sub(_escape, text)


def printable_name(text: str) -> str:
    """The same for a name, which has no lines."""
    return text if _is_plain(text) else _pattern(_UNSAFE_IN_NAMES).sub(_escape, text)


def printable_json(line: str) -> str:
    """JSON that means the same, without the characters that JSON itself would leave in it."""
    return _pattern(_UNSAFE_IN_JSON).sub(_json_escape, line)


def _json_escape(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
