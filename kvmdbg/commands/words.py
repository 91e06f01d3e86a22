"""What the last word of an expression or a place may become. Nothing is evaluated for it, and no large file is read."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from kvmdbg.errors import KvmdbgError

if TYPE_CHECKING:
    from kvmdbg.commands.interpreter import Interpreter
    from kvmdbg.language.ctype import CType

_WORD = r"[$\w]*$"
_SCOPE = r"([A-Za-z_]\w*(?:::\w+)*)::$"
_SCOPED = r"([A-Za-z_]\w*(?:::\w+)*)::(\w*)"
_TAG = r"\b(struct|union|enum|class)\s+$"
_FILE = r"([\w./+-]+):(\d*)$"
_PLAIN = re.compile(r"\w+")
_CLOSES = {")": "(", "]": "["}
VECTORS = tuple(f"{kind}{number}" for kind, count in (("xmm", 16), ("ymm", 16), ("st", 8)) for number in range(count))
SHORT_TYPES = tuple(f"{sign}{bits}" for sign in "us" for bits in (8, 16, 32, 64))
MOST_LINES = 200
"""So many lines of a file are offered."""


def words_of_expression(prefix: str, dbg: Interpreter) -> list[str]:
    """Completions of an expression's last word: registers, functions and variables after ``$``, members behind ``.``
    and ``->``, types behind ``struct`` and the like, else symbols, variables, enumerators and types of the source."""
    match = re.search(_WORD, prefix)
    assert match is not None
    start, last = prefix[: match.start()], match[0]
    if last.startswith("$"):
        found = dollar_names(dbg)
        return list(dict.fromkeys(f"{start}${name}" for name in found if name.startswith(last[1:].lower())))
    if "$" in last:
        return []
    if start.endswith((".", "->")):
        names = _members(start.removesuffix("->").removesuffix("."), dbg)
        dotted = re.search(r"[\w.]*$", prefix)  # symbols have dots, too
        if not names and dotted is not None and "." in dotted[0].lstrip("."):
            start, last = prefix[: dotted.start()], dotted[0]
            names = dbg.symbol_names(last)
    elif (scope := re.search(_SCOPE, start)) is not None:
        names = _names_in(scope[1], dbg)
    elif (tag := re.search(_TAG, start)) is not None:
        names = [name.partition(" ")[2] for name in types_of_source(dbg) if name.startswith(tag[1] + " ")]
    elif last:
        names = [*dbg.symbol_names(last), *variables_of_source(dbg), *_plain_types(dbg), *_members_of_this(dbg)]
    else:
        return []
    return [f"{start}{name}" for name in sorted({name for name in names if name.startswith(last)})]


def words_of_location(prefix: str, dbg: Interpreter) -> list[str]:
    """The same of a place in code, and source files with their lines."""
    if prefix.startswith("*"):
        return ["*" + one for one in words_of_expression(prefix[1:], dbg)]
    if (scoped := re.fullmatch(_SCOPED, prefix)) is not None:
        names = _names_in(scoped[1], dbg, code=True)
        return [f"{scoped[1]}::{name}" for name in sorted(set(names)) if name.startswith(scoped[2])]
    source = dbg.session.source
    if not source.is_listed:
        return words_of_expression(prefix, dbg)
    match = re.fullmatch(_FILE, prefix)
    if match is not None:
        with suppress(KvmdbgError):
            lines = sorted({line.line for line in source.lines_of(match[1])})
            return [f"{match[1]}:{line}" for line in lines if str(line).startswith(match[2])][:MOST_LINES]
        return []
    files = {os.path.basename(file) + ":" for file in source.files()} if prefix else set()
    return [*words_of_expression(prefix, dbg), *sorted(name for name in files if name.startswith(prefix))]


def _plain_types(dbg: Interpreter) -> list[str]:
    """Types that are one word."""
    return [
        *(name for name in types_of_source(dbg) if " " not in name),
        *SHORT_TYPES,
        "struct",
        "union",
        "enum",
        "sizeof",
    ]


def functions_of_frames(prefix: str, dbg: Interpreter) -> list[str]:
    """The functions of the backtrace."""
    with suppress(KvmdbgError):
        names = {one.name.partition("(")[0] for one in dbg.session.backtrace().frames}
        return sorted(name for name in names if name and name.startswith(prefix))
    return []


def dollar_names(dbg: Interpreter) -> list[str]:
    """What may follow ``$``, in groups: pc and sp, the registers in their groups, variables, functions."""
    from kvmdbg.language import functions
    from kvmdbg.x86 import registers

    return [
        *("pc", "sp", "fp"),
        *registers.names(),
        *VECTORS,
        *sorted(name for name in dbg.session.variables),
        *sorted(f"{name}(" for name in functions.known()),
    ]


def _members(text: str, dbg: Interpreter) -> list[str]:
    """Members of what the end of ``text`` names."""
    from kvmdbg.language.expressions import parse

    scope = dbg.session.scope()
    for start in _starts(text):
        with suppress(KvmdbgError):
            c = parse(text[start:], scope=scope).structure
            return _member_names(c) if c is not None else []
    return []


def _starts(text: str) -> list[int]:
    """Where the operand that ends the text may begin, the longest first: names, calls, brackets, members."""
    at, found = len(text), []
    while at > 0:
        char = text[at - 1]
        if char in _CLOSES:
            depth = 0
            while at > 0:
                at -= 1
                depth += (text[at] in ")]") - (text[at] in "([")
                if not depth:
                    break
            if depth:
                break
        elif char.isalnum() or char in "_$":
            while at > 0 and (text[at - 1].isalnum() or text[at - 1] in "_$"):
                at -= 1
        elif char == ".":
            at -= 1
            continue
        elif text[:at].endswith("->"):
            at -= 2
            continue
        else:
            break
        found.append(at)
    return found[::-1]


def _member_names(c: CType) -> list[str]:
    """Names of a structure's members, those of members without a name and of base classes included."""
    found = [*(one.name for one in c.methods if not one.made), *(one.name for one in c.statics)]
    for member in c.members:
        is_inside = not member.name or member.name[0] == "<"
        found += _member_names(member.type.resolved) if is_inside else [member.name] if not member.made else []
    return [name for name in found if _PLAIN.fullmatch(name) and not c.goes_by(name)]


def _members_of_this(dbg: Interpreter) -> list[str]:
    """What the member function that is looked at may name alone."""
    scope = dbg.session.scope()
    with suppress(KvmdbgError):
        this = scope.variable("this") if scope.is_local("this") else None
        return _member_names(this.target.resolved) if this is not None and this.target is not None else []
    return []


def _names_in(scope: str, dbg: Interpreter, *, code: bool = False) -> list[str]:
    """What a namespace or a class of C++ has; ``code``: functions, and what has such."""
    from kvmdbg.debuginfo.demangled import demangled, in_two

    source = dbg.session.scope().source
    if source is None:
        return []
    with suppress(KvmdbgError):
        starts = {one.removesuffix("_") for one in source.meanings(f"{scope}::_")}
        own = {one.removesuffix("::").rpartition("::")[2] for one in starts}
        kinds = ("function",) if code else ("function", "object")
        mangled = [one.name for one in dbg.session.symbols if one.name.startswith("_Z") and one.kind in kinds]
        known = [in_two(demangled(one))[0] for one in mangled if any(each in one for each in own)]
        others = () if code else (*source.outer_names(), *source.type_names())
        known += [name.rpartition(" ")[2] for name in others]
        found = [name[len(start) :].partition("::")[0] for name in known for start in starts if name.startswith(start)]
        type = None if code else source.type(scope)
        found += _member_names(type.resolved) if type is not None and type.is_structure else []
        return [name for name in found if _PLAIN.fullmatch(name)]
    return []


def variables_of_source(dbg: Interpreter) -> list[str]:
    """The variables that the selected frame sees, and those outside of functions."""
    source = dbg.session.scope().source
    if source is None:
        return []
    found = source.outer_names()
    with suppress(KvmdbgError):
        found += [one.name for parameters in (True, False) for one in source.visible(parameters=parameters)]
    return found


def types_of_source(dbg: Interpreter) -> list[str]:
    source = dbg.session.scope().source
    return source.type_names() if source is not None else []
