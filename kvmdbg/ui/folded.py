"""Lines that are wider than the terminal, broken between words: a terminal would break them inside a number."""

from __future__ import annotations

import re

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_WORD = re.compile(r"(\s*)(\S+)")
INDENT = "    "


def folded(text: str, width: int) -> str:
    """The same text with no line wider than ``width`` where a space lets it be broken; what follows is indented."""
    return "\n".join(_fold(line, width) for line in text.split("\n"))


def _fold(line: str, width: int) -> str:
    if len(line) <= width or len(_COLOUR.sub("", line)) <= width or width < 2 * len(INDENT):
        return line
    out, column = "", 0
    for space, word in _WORD.findall(line):
        shown = len(_COLOUR.sub("", word))
        blank = len(_COLOUR.sub("", space))
        if column + blank + shown > width and out.strip() and shown + len(INDENT) <= width:
            out += f"\n{INDENT}{word}"
            column = len(INDENT) + shown
        else:
            out += space + word
            column += blank + shown
    return out
