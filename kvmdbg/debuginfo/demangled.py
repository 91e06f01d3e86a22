"""Names of C++ and Rust as their source has them, from the symbols that compilers make of them (Itanium C++ ABI)."""

from __future__ import annotations

import re
from functools import lru_cache

from kvmdbg.debuginfo.itanium import ANONYMOUS, name_of

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
    found = name_of(name)
    if found is None or not RUST_HASH.search(found):
        return found or name
    found = RUST_HASH.sub("", found)
    for sign, meant in RUST_SIGNS.items():
        found = found.replace(sign, meant)
    found = re.sub(r"\$u([0-9a-f]{1,6})\$", lambda match: _character(int(match[1], 16)) or match[0], found)
    return re.sub(r"(^|::)_<", r"\1<", found)


def _character(code: int) -> str:
    """A character that rustc has written as a number; "" for one that no name has."""
    return chr(code) if code < 0x110000 and chr(code).isprintable() else ""


def in_two(name: str) -> tuple[str, str]:
    """A function's name and what it takes: "kern::Heap::alloc", "(int) const"."""
    depth, at = 0, 0
    while at < len(name):
        if name.startswith(ANONYMOUS, at):
            at += len(ANONYMOUS)
            continue
        if name.startswith("operator", at) and (match := _OPERATOR.match(name, at)):
            at = match.end()
            continue
        if name[at] == "(" and not depth:
            inside = _LOCAL.match(name, _behind(name, at))
            if inside is None:
                return name[:at], name[at:]
            at = inside.end()  # what is inside of a function: "count(int)::last"
            continue
        depth += (name[at] in "<({") - (name[at] in ">)}")
        at += 1
    return name, ""


def _behind(name: str, at: int) -> int:
    """Where the parentheses end that begin at a place."""
    depth = 0
    for end in range(at, len(name)):
        depth += (name[end] == "(") - (name[end] == ")")
        if not depth:
            return end + 1
    return len(name)


_LOCAL = re.compile(r"(?: const| volatile| &&?)*::")
_OPERATOR = re.compile(r"operator(?:\(\)|->\*?|<=>|<<=?|>>=?|[<>]=?|\b(?=\W))")


def is_called(symbol: str, name: str) -> bool:
    """Whether a user means a symbol by this name: its name in the source, with or without outer scopes and types."""
    if not symbol.startswith("_Z"):
        return False
    wanted, types = in_two(_closed(name.replace(f"{ANONYMOUS}::", "")))
    known, takes = in_two(_closed(demangled(symbol).replace(f"{ANONYMOUS}::", "")))
    if known != wanted and not known.endswith(f"::{wanted}"):
        return False
    wanted, known = _plain_types(types), _plain_types(takes)
    return not types or wanted in (known, known.removesuffix("const"))


def is_exactly(symbol: str, name: str) -> bool:
    """The same with all scopes but those without a name."""
    found = in_two(_closed(demangled(symbol).replace(f"{ANONYMOUS}::", "")))[0]
    return is_called(symbol, name) and found == in_two(_closed(name.replace(f"{ANONYMOUS}::", "")))[0]


def _closed(name: str) -> str:
    """A name with ``>>`` where older compilers have ``> >``."""
    while "> >" in name:
        name = name.replace("> >", ">>")
    return name


def _plain_types(types: str) -> str:
    """The types of parameters, compared as "(char const*)" and "(const char *)" are."""
    inner, _, behind = types.rpartition(")")
    parts = [re.sub(r"^\s*const\s+(\w+(?:\s\w+)*)", r"\1 const", one) for one in inner[1:].split(",")]
    return f"{','.join(parts)}){behind}".replace(" ", "").replace("(void)", "()").replace("void)", ")")


def last_part(name: str) -> str:
    """A function's own name, without scopes and types, which is in the symbol as it is; of an operator its class's."""
    own = in_two(name.replace(f"{ANONYMOUS}::", ""))[0]
    operator = re.search(r"(?:^|::)operator\b", own)
    if operator is None:
        return own.partition("<")[0].rpartition("::")[2]
    return own[: operator.start()].partition("<")[0].rpartition("::")[2] or "_Z"
