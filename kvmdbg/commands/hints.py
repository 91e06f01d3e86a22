"""Did you mean: the nearest name to one that nothing has, or what to type in place of words that only gdb takes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from kvmdbg.commands import words
from kvmdbg.commands.gdb_arguments import instead
from kvmdbg.commands.registry import REGISTRY, Resolved
from kvmdbg.errors import KvmdbgError

if TYPE_CHECKING:
    from kvmdbg.commands.interpreter import Interpreter

_SYMBOL = re.compile(r"no symbol '(\w+)'|no function(?: of a known type)? is called '(\w+)'")
_DOLLAR = re.compile(r"no register, flag or variable (\$\w+)")
_TYPE = re.compile(r"no type '([\w ]+)'|no variable and no type is called '(\w+)'")
_MEMBER = re.compile(r"has no member '(\w+)'; it has ([\w, ]+)")
MOST = 20_000
"""So many names are looked at."""


def add_hint(dbg: Interpreter, error: KvmdbgError, line: Resolved) -> None:
    """Put the nearest name that there is into the sentence of a name that there is not; where the line that was refused
    has words that only gdb takes, say what to type."""
    if sentence := instead(line.command.name, line.rest):
        error.args = (sentence,)
        return
    if not error.args or not isinstance(error.args[0], str) or "did you mean" in error.args[0]:
        return
    first, newline, rest = error.args[0].partition("\n")
    with suppress(KvmdbgError):
        if macro := _macro(dbg, first):
            error.args = (f"{first}; {macro}{newline}{rest}", *error.args[1:])
            return
        near = _nearest(dbg, first)
        if near:
            error.args = (f"{first}; did you mean {near}?{newline}{rest}", *error.args[1:])


def _macro(dbg: Interpreter, text: str) -> str:
    """What an unknown name is defined as, where it is a macro of the source: expressions do not know these."""
    match = _SYMBOL.search(text) or _TYPE.search(text)
    if match is None:
        return ""
    from kvmdbg.debuginfo.macros import definitions

    files = dict.fromkeys(dwarf.path for dwarf, _ in dbg.session.files.dwarf())
    found = dict.fromkeys(one for path in files for one in definitions(path, match[1] or match[2]))
    return f"it is a macro, which expressions do not know: {' or '.join(found)}" if found else ""


def _nearest(dbg: Interpreter, text: str) -> str:
    if match := _SYMBOL.search(text):
        wanted = match[1] or match[2]
        return _near(wanted, [*dbg.symbol_names(wanted[:1]), *words.variables_of_source(dbg)])
    if match := _DOLLAR.search(text):
        return near_dollar_name(dbg, match[1])
    if match := _TYPE.search(text):
        found = words.types_of_source(dbg)
        return _near(match[1] or match[2], [*found, *words.variables_of_source(dbg)] if match[2] else found)
    if match := _MEMBER.search(text):
        return _near(match[1], match[2].split(", "))
    return ""


def near_dollar_name(dbg: Interpreter, wanted: str) -> str:
    """The register, flag, variable or function that is nearly called ``wanted``; "" where none is."""
    return _near(wanted, [f"${name}" for name in words.dollar_names(dbg)])


def _near(wanted: str, names: Iterable[str]) -> str:
    import difflib  # only when somebody mistyped

    alike = [name for name in names if abs(len(name) - len(wanted)) < 3][:MOST]
    found = difflib.get_close_matches(wanted, alike, n=1, cutoff=0.6)
    return found[0] if found else ""


REGISTRY.add_hint = add_hint
