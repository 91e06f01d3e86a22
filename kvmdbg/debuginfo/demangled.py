"""Names of C++ and Rust as their source has them, from the symbols that compilers make of them (Itanium C++ ABI)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

RUST_HASH = re.compile(r"::h[0-9a-f]{16}$")
RUST_SIGNS = {
    "$LT$": "<", "$GT$": ">", "$LP$": "(", "$RP$": ")", "$C$": ",", "$RF$": "&", "$BP$": "*", "$SP$": "@", "..": "::",
}  # fmt: skip
"""What rustc writes for signs that symbols cannot have (its "legacy" names)."""
MOST_PARTS = 10_000
"""Of a name: a short symbol can stand for one that no memory holds, by saying again and again what it has said."""


@lru_cache(maxsize=8192)
def demangled(name: str) -> str:
    """The name in the source; the symbol's own where it is none of these."""
    if not name.startswith("_Z"):
        return name
    stand_ins: dict[str, str] = {}
    parsed = _parsed(name) or _parsed(_with_stand_ins(name, stand_ins))
    if parsed is None:
        return name
    found = str(_unpacked(parsed))
    for stand_in, meant in stand_ins.items():
        found = found.replace(stand_in, meant)
    if not RUST_HASH.search(found):
        return _as_gdb_has_it(found)
    found = RUST_HASH.sub("", found)
    for sign, meant in RUST_SIGNS.items():
        found = found.replace(sign, meant)
    found = re.sub(r"\$u([0-9a-f]{1,6})\$", lambda match: _character(int(match[1], 16)) or match[0], found)
    return re.sub(r"(^|::)_<", r"\1<", found)


def _parsed(symbol: str) -> Any:
    """What the demangler makes of a symbol; None where it does not know it, or it would be endless."""
    try:
        import itanium_demangler
    except ImportError:
        return None
    try:  # its parse() in two steps: the second one writes out what is said again
        parsed = itanium_demangler._parse_mangled_name(itanium_demangler._Cursor(symbol))
        if parsed is None or _parts(parsed, {}) > MOST_PARTS:
            return None
        return itanium_demangler._expand_arg_packs(parsed)
    except Exception:  # it has no exceptions of its own for names that are none
        return None


def _parts(parsed: Any, known: dict[int, int]) -> int:
    """How many parts a name has when it is written out; ``known`` are those of the ones that were counted."""
    if not isinstance(parsed, tuple):
        return 1
    if id(parsed) not in known:
        known[id(parsed)] = 1 + sum(_parts(one, known) for one in parsed)
    return known[id(parsed)]


def _character(code: int) -> str:
    """A character that rustc has written as a number; "" for one that no name has."""
    return chr(code) if code < 0x110000 and chr(code).isprintable() else ""


_NUMBERS = {"c": "char", "a": "signed char", "h": "unsigned char", "s": "short", "t": "unsigned short", "i": "int",
            "j": "unsigned int", "l": "long", "m": "unsigned long", "x": "long long", "y": "unsigned long long",
            "f": "float", "d": "double"}  # fmt: skip
_VECTOR = re.compile(r"Dv(\d+)_([a-z])")


def _with_stand_ins(symbol: str, stand_ins: dict[str, str]) -> str:
    """A symbol with names for what the demangler does not know, vectors; ``stand_ins`` gets what they stand for."""

    def named(one: re.Match[str]) -> str:
        if one[2] not in _NUMBERS:
            return one[0]
        stand_in = f"stand_in_{len(stand_ins)}_"
        stand_ins[stand_in] = f"{_NUMBERS[one[2]]} __vector({one[1]})"
        return f"{len(stand_in)}{stand_in}"

    return _VECTOR.sub(named, symbol)


def _unpacked(parsed: Any) -> Any:
    """A function with each argument of a parameter pack by itself, where the demangler leaves the pack together."""
    if parsed.kind != "func":
        return parsed
    takes = []
    for one in parsed.arg_tys:
        around: list[Any] = []
        inner: Any = one.value if one.kind == "expand_arg_pack" else None
        while getattr(inner, "kind", "") in ("lvalue", "rvalue", "pointer"):
            around.append(inner)
            inner = inner.value
        if getattr(inner, "kind", "") != "tpl_arg_pack":
            takes.append(one)
            continue
        for each in inner.value:
            for wrapped in reversed(around):
                each = wrapped._replace(value=each)
            takes.append(each)
    return parsed._replace(arg_tys=tuple(takes))


_NUMBER_ARGUMENT = re.compile(r"\((bool|int|unsigned int|long|unsigned long|long long|unsigned long long)\)(-?\d+)")
_NUMBER_ENDINGS = {"int": "", "unsigned int": "u", "long": "l", "unsigned long": "ul", "long long": "ll",
                   "unsigned long long": "ull"}  # fmt: skip
_MADE = re.compile(r"([\w~]+)((?:<.*>)?)::\{(?:\w+ )?(ctor|dtor)\}")


def _as_gdb_has_it(name: str) -> str:
    """What the demangler gives, in the words of others: without the types that templates return, ``const`` behind."""
    if (thunk := re.match(r"((?:non-)?virtual thunk) for ", name)) is not None:
        return f"{thunk[1]} to {_as_gdb_has_it(name[thunk.end() :])}"
    name = name.replace("_GLOBAL__N_1::", f"{ANONYMOUS}::")
    name = _NUMBER_ARGUMENT.sub(
        lambda one: str(bool(int(one[2]))).lower() if one[1] == "bool" else one[2] + _NUMBER_ENDINGS[one[1]], name
    )
    name = _MADE.sub(lambda one: f"{one[1]}{one[2]}::{'~' if one[3] == 'dtor' else ''}{one[1]}", name)
    own, takes = in_two(name)
    match = re.fullmatch(r"(.*?) (const|volatile|const volatile)", own)
    if match is not None and takes:
        own, takes = match[1], f"{takes} {match[2]}"
    return own[_start_of(own) :] + takes if takes else own


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
            return name[:at], name[at:]
        depth += (name[at] in "<(") - (name[at] in ">)")
        at += 1
    return name, ""


ANONYMOUS = "(anonymous namespace)"
_OPERATOR = re.compile(r"operator(?:\(\)|->\*?|<=>|<<=?|>>=?|[<>]=?|\b(?=\W))")


def _start_of(name: str) -> int:
    """Where a function's name begins behind the type that it returns, which templates have in their symbols."""
    depth = start = 0
    if "operator " in name:
        return 0
    for at, letter in enumerate(name.replace(ANONYMOUS, "_" * len(ANONYMOUS))):
        depth += (letter in "<(") - (letter in ">)")
        if letter == " " and not depth:
            start = at + 1
    return start if "<" in name[start:] else 0


def is_called(symbol: str, name: str) -> bool:
    """Whether a user means a symbol by this name: its name in the source, with or without outer scopes and types."""
    if not symbol.startswith("_Z"):
        return False
    wanted, types = in_two(name.replace(f"{ANONYMOUS}::", ""))
    known, takes = in_two(demangled(symbol).replace(f"{ANONYMOUS}::", ""))
    if known != wanted and not known.endswith(f"::{wanted}"):
        return False
    wanted, known = _plain_types(types), _plain_types(takes)
    return not types or wanted in (known, known.removesuffix("const"))


def is_exactly(symbol: str, name: str) -> bool:
    """The same with all scopes but those without a name."""
    found = in_two(demangled(symbol).replace(f"{ANONYMOUS}::", ""))[0]
    return is_called(symbol, name) and found == in_two(name.replace(f"{ANONYMOUS}::", ""))[0]


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
