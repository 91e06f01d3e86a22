"""Lines of other debuggers that begin with a command of kvmdbg's which takes any text: what to type instead.

`!` runs a program of the host, and WinDbg's extensions begin with it; `type` types on the guest's keyboard, and lldb
tells by it how values are shown. Only what is surely theirs is refused: ``!dd if=a of=b``, ``type format c:`` are ours.
"""

from __future__ import annotations

import re
from collections.abc import Collection

_EXTENSION = re.compile(r"\s*!\s*(?P<word>\w+)(?P<rest>\s+.*)?")
_PLACE = re.compile(r"(\[\w+\]\s*)*([@$]+\w+|(0x)?[0-9a-fA-F`]+)(\s.*)?")
"""What WinDbg's extensions are given: an address or a register."""
_PHYSICAL = (
    (re.compile("d[bcdpquw]"), "x/16xw phys:ADDRESS shows physical memory"),
    (re.compile("e[bdq]"), "set {u32}phys:ADDRESS = VALUE writes physical memory"),
    (re.compile("[io][bdw]"), "the debugger reads and writes no ports, which would change devices"),
)
_OF_TYPES = re.compile(
    r"\s*type\s+(format|summary|filter|synthetic|category)\s+"
    r"(add|clear|define|delete|disable|enable|info|list)(\s.*)?"
)


def instead(line: str, words: Collection[str]) -> str:
    """Why such a line is not taken, and what to type; "" for others. ``words`` are WinDbg's that are taken here."""
    if (found := _OF_TYPES.fullmatch(line)) is not None:
        return (
            f"type {found[1]} is lldb's: print -pretty, print/x and set print change how values are shown; "
            f"send and sendkey reach a guest that is to read '{found[1]} {found[2]}'"
        )
    if (found := _EXTENSION.fullmatch(line)) is None:
        return ""
    word, rest = found["word"], (found["rest"] or "").strip()
    if not _PLACE.fullmatch(rest) if rest else word == "id":  # the host's
        return ""
    meant = next((what for pattern, what in _PHYSICAL if pattern.fullmatch(word)), "")
    if not meant and word in words:
        meant = f"without ! {word} is taken here"
    return f"!{word} is an extension of WinDbg's: {meant}; shell {word} runs a program of the host" if meant else ""
