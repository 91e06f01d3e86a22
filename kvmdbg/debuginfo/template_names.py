"""Integers among the arguments of a template: gcc writes `Vec<long unsigned int>`, gdb `Vec<unsigned long>`."""

from __future__ import annotations

import re
from collections.abc import Callable

_WORDS = re.compile(r"\b(?:unsigned|signed|short|long|int)(?: +(?:unsigned|signed|short|long|int|char))*\b(?! +double)")


def _words(match: re.Match[str]) -> tuple[list[str], list[str], bool]:
    words = match[0].split()
    if "char" in words:
        return [], words, False
    return ["unsigned"] * ("unsigned" in words), [one for one in words if one in ("short", "long")], True


def _short(match: re.Match[str]) -> str:
    sign, sizes, is_plain = _words(match)
    return " ".join([*sign, *(sizes or ["int"])]) if is_plain else match[0]


def _long(match: re.Match[str]) -> str:
    sign, sizes, is_plain = _words(match)
    return " ".join([*sizes, *sign, "int"]) if is_plain else match[0]


def _in_arguments(change: Callable[[re.Match[str]], str], name: str) -> str:
    before, bracket, arguments = name.partition("<")
    return before + bracket + _WORDS.sub(change, arguments)


def as_gdb_writes(name: str) -> str:
    """The name of a type with the integers among its arguments in their short form."""
    return _in_arguments(_short, name)


def as_gcc_writes(name: str) -> str:
    """The name with these as they stand in gcc's debug information."""
    return _in_arguments(_long, name)
