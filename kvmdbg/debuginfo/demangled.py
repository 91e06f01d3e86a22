"""Names of C++ and Rust as their source has them, from the symbols that compilers make of them (Itanium C++ ABI)."""

from __future__ import annotations

import re
from functools import lru_cache

RUST_HASH = re.compile(r"::h[0-9a-f]{16}$")
RUST_SIGNS = {
    "$LT$": "<", "$GT$": ">", "$LP$": "(", "$RP$": ")", "$C$": ",", "$RF$": "&", "$BP$": "*", "$SP$": "@", "..": "::",
}  # fmt: skip
"""What rustc writes for signs that symbols cannot have (its "legacy" names)."""


@lru_cache(maxsize=8192)
def demangled(name: str) -> str:
    """The name in the source; the symbol's own where it is none of these."""
    if not name.startswith("_Z"):
        return name
    try:
        import itanium_demangler
    except ImportError:
        return name
    try:
        parsed = itanium_demangler.parse(name)
    except Exception:  # it has no exceptions of its own for names that are none
        return name
    if parsed is None:
        return name
    found = str(parsed)
    if not RUST_HASH.search(found):
        return found
    found = RUST_HASH.sub("", found)
    for sign, meant in RUST_SIGNS.items():
        found = found.replace(sign, meant)
    found = re.sub(r"\$u([0-9a-f]{1,6})\$", lambda match: chr(int(match[1], 16)), found)
    return re.sub(r"(^|::)_<", r"\1<", found)


def is_called(symbol: str, name: str) -> bool:
    """Whether a user means a symbol by this name: its name in the source, with or without outer scopes and types."""
    if not symbol.startswith("_Z"):
        return False
    wanted, paren, types = name.partition("(")
    known, _, takes = demangled(symbol).partition("(")
    if known != wanted and not known.endswith(f"::{wanted}"):
        return False
    return not paren or types.rstrip(") ").replace(" ", "") == takes.rpartition(")")[0].replace(" ", "")


def last_part(name: str) -> str:
    """The function's own name, without scopes and types, which is in the symbol as it is."""
    return re.split(r"[(<]", name)[0].rpartition("::")[2]
