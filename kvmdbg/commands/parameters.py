"""The kinds of argument that commands take. Each parses its part of a line and completes it.

At the end are the short names that commands annotate with, e.g. ``count: CountArg = 1``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

from kvmdbg.commands.places import Place, location_place
from kvmdbg.commands.registry import Later
from kvmdbg.commands.words import words_of_expression, words_of_location
from kvmdbg.errors import UsageError
from kvmdbg.numbers import counted
from kvmdbg.record import record

if TYPE_CHECKING:
    from kvmdbg.commands.interpreter import Interpreter

_IF = re.compile(r"if\b")
_NUMBERS = re.compile(r"([\w$]+)(?:-([\w$]+))?(?=[\s,]|$)")
_SUFFIX = re.compile(r"(-?\d+)?([A-Za-z]*)$")
_NAME = re.compile(r"[A-Za-z_.$][\w.$]*$")


@record
class Format:
    """A "/4xw" taken apart; None where it was not given; ``unit`` in bytes."""

    count: int | None = None
    letter: str | None = None
    unit: int | None = None


LETTERS = "xduotacfsizr"
UNITS = {"b": 1, "h": 2, "w": 4, "g": 8}


def parse_format(text: str) -> Format:
    """gdb's format: an optional count, one of LETTERS and one of UNITS, the two in either order.

    Source: gdb manual, "Output Formats" and "Examining Memory".
    """
    match = _SUFFIX.match(text)
    if match is None:
        raise UsageError(f"/{text} is no format; as in /4xw: a count, one of x d u o t a c f s i z r, one of b h w g")
    letter: str | None = None
    unit: int | None = None
    for char in match[2]:
        if char in UNITS and unit is None:
            unit = UNITS[char]
        elif char in LETTERS and letter is None:
            letter = char
        else:
            raise UsageError(f"/{text}: '{char}' is no format letter or size here; as in /4xw or /3i or /s")
    return Format(counted(match[1]) if match[1] else None, letter, unit)


def _prefix(text: str, pos: int, dbg: Interpreter) -> tuple[str, int]:
    """The longest expression at ``pos``: its text and end."""
    from kvmdbg.language.expressions import parse_prefix

    _, end = parse_prefix(text, pos, scope=dbg.session.scope())
    return text[pos:end].rstrip(), end


@record
class AddressType:
    """An expression whose value is an address."""

    metavar: str = "ADDRESS"

    def parse(self, text: str, pos: int, dbg: Interpreter) -> tuple[Later, int] | None:
        if _IF.match(text, pos) or (text[pos] == "&" and not text[pos + 1 :].strip()):
            return None
        typed, end = _prefix(text, pos, dbg)
        return Later(lambda dbg: dbg.place(typed)), end

    def complete(self, prefix: str, dbg: Interpreter) -> list[str]:
        return words_of_expression(prefix, dbg)


def place_text(text: str, pos: int, dbg: Interpreter) -> tuple[str, int]:
    """The place that is typed at ``pos`` (core/locations.py): its text and end."""
    from kvmdbg.core.locations import end_of_place

    end = end_of_place(text, pos)
    if end is not None:
        return text[pos:end].rstrip(), end
    typed, end = _prefix(text, pos + (text[pos] == "*"), dbg)
    return ("*" if text[pos] == "*" else "") + typed, end


@record
class LocationType:
    """A place in code, as core/locations.py reads it; the value is a ``Place`` with all that was found.

    With ``pending`` it is the text of a place instead, which nothing needs to be called yet; with ``entry`` a function
    is where its code begins; ``addressed``: a number is an address, never a line.
    """

    metavar: str = "LOCATION"
    pending: bool = False
    entry: bool = False
    addressed: bool = False

    def parse(self, text: str, pos: int, dbg: Interpreter) -> tuple[Later | str, int] | None:
        if _IF.match(text, pos) or (text[pos] == "&" and not text[pos + 1 :].strip()):
            return None
        typed, end = place_text(text, pos, dbg)
        if self.pending:
            return typed, end
        if self.addressed and re.fullmatch(r"[+-]?[0-9]+", typed):
            return Later(lambda dbg: dbg.place(typed)), end
        find = partial(dbg.session.locations.find, typed, entry=self.entry, data=self.addressed)
        return Later(lambda dbg: location_place(find())), end

    def complete(self, prefix: str, dbg: Interpreter) -> list[str]:
        return words_of_location(prefix, dbg)


@record
class ExpressionType:
    """An expression, kept as its text (it is evaluated by the command, perhaps often)."""

    metavar: str = "EXPRESSION"

    def parse(self, text: str, pos: int, dbg: Interpreter) -> tuple[str, int] | None:
        if _IF.match(text, pos):
            return None
        return _prefix(text, pos, dbg)

    def complete(self, prefix: str, dbg: Interpreter) -> list[str]:
        return words_of_expression(prefix, dbg)


@record
class NumberType:
    """An expression with a number as value, of at least ``least``."""

    metavar: str = "COUNT"
    least: int = 0

    def parse(self, text: str, pos: int, dbg: Interpreter) -> tuple[int | Later, int] | None:
        if _IF.match(text, pos) or (text[pos] == "&" and not text[pos + 1 :].strip()):
            return None
        typed, end = _prefix(text, pos, dbg)
        return Later(lambda dbg: self._value(typed, dbg)), end

    def _value(self, typed: str, dbg: Interpreter) -> int:
        value = dbg.number(typed)
        if value < self.least:
            raise UsageError(f"{self.metavar} must be at least {self.least}, not {value}")
        return value

    def complete(self, prefix: str, dbg: Interpreter) -> list[str]:
        return words_of_expression(prefix, dbg) if prefix.startswith("$") else []


@record
class ConditionType:
    """``if EXPRESSION``; the value is the expression's text, parsed where it is going to be evaluated."""

    metavar: str = "if CONDITION"

    def parse(self, text: str, pos: int, dbg: Interpreter) -> tuple[str, int] | None:
        match = _IF.match(text, pos)
        if match is None:
            return None
        if not text[match.end() :].strip():
            raise UsageError("'if' needs a condition, as in: if $ax == 1")
        return text[match.end() :].strip(), len(text)

    def complete(self, prefix: str, dbg: Interpreter) -> list[str]:
        if _IF.match(prefix):
            return words_of_expression(prefix, dbg)
        return ["if"] if "if".startswith(prefix) else []


@record
class FormatType:
    """The "/4xw" on the command's word."""

    metavar: str = "/FMT"
    suffix: bool = True

    def parse(self, text: str, pos: int, dbg: Interpreter) -> tuple[Format, int] | None:
        return parse_format(text[pos:]), len(text)

    def complete(self, prefix: str, dbg: Interpreter) -> list[str]:
        return []


@record
class FlagsType:
    """Single-letter modifiers on the command's word, e.g. /r; the value is their text."""

    letters: str
    metavar: str
    suffix: bool = True

    def parse(self, text: str, pos: int, dbg: Interpreter) -> tuple[str, int] | None:
        if not text or text.strip(self.letters):
            raise UsageError(f"/{text} is not known here; there is {', '.join('/' + one for one in self.letters)}")
        return text, len(text)

    def complete(self, prefix: str, dbg: Interpreter) -> list[str]:
        return []


@record
class RegisterType:
    """A register's name, with or without ``$``."""

    metavar: str = "REGISTER"

    def parse(self, text: str, pos: int, dbg: Interpreter) -> tuple[str, int] | None:
        end = _word_end(text, pos)
        return text[pos:end].lstrip("$").lower(), end

    def complete(self, prefix: str, dbg: Interpreter) -> list[str]:
        from kvmdbg.x86 import registers

        sign = "$" if prefix.startswith("$") else ""
        return [sign + name for name in sorted(registers.names()) if name.startswith(prefix.lstrip("$").lower())]


_QUOTED = re.compile(r"""'[^']*'|"(?:[^"\\]|\\.)*\"""")


@record
class FileType:
    """A file's name; quotes hold spaces, ``~`` is the home directory. In double quotes backslashes go before these."""

    metavar: str = "FILE"
    host: bool = True

    def parse(self, text: str, pos: int, dbg: Interpreter) -> tuple[str, int] | None:
        if text[pos] in "'\"":
            match = _QUOTED.match(text, pos)
            if match is None:
                raise UsageError(f"{text[pos:]} lacks its closing {text[pos]}")
            return re.sub(r'\\(["\\])', r"\1", match[0][1:-1]) if text[pos] == '"' else match[0][1:-1], match.end()
        end = _word_end(text, pos, commas=False)
        return os.path.expanduser(text[pos:end]), end

    def complete(self, prefix: str, dbg: Interpreter) -> list[str]:
        if not dbg.user.host_allowed:
            return []
        folder, name = os.path.split(prefix)
        try:
            entries = sorted(os.listdir(os.path.expanduser(folder) or "."))
        except OSError:
            return []
        found = []
        for entry in entries:
            if entry.startswith(name) and (name.startswith(".") or not entry.startswith(".")):
                full = os.path.join(folder, entry)
                found.append(full + "/" if os.path.isdir(os.path.expanduser(full)) else full)
        return found


@record
class WordType:
    """One word; ``among`` gives what it may be (completion, and the check when ``strict``).

    Unique prefixes of the words are enough.
    """

    metavar: str
    among: Callable[[Interpreter], list[str]] | tuple[str, ...] = ()
    strict: bool = True
    optional_match: bool = False  # a word that is none of them belongs to the next parameter

    def words(self, dbg: Interpreter) -> list[str]:
        return list(self.among) if isinstance(self.among, tuple) else self.among(dbg)

    def parse(self, text: str, pos: int, dbg: Interpreter) -> tuple[str, int] | None:
        end = _word_end(text, pos)
        word = text[pos:end]
        known = self.words(dbg)
        if word in known or not known or not self.strict:
            return word, end
        near = [one for one in known if one.startswith(word)]
        if len(near) == 1:
            return near[0], end
        if self.optional_match:
            return None
        if near:
            raise UsageError(f"'{word}' is ambiguous: {', '.join(near)}")
        raise UsageError(f"'{word}' is none of {', '.join(known)}")

    def complete(self, prefix: str, dbg: Interpreter) -> list[str]:
        return [one for one in self.words(dbg) if one.startswith(prefix)]


@record
class FlagWordType:
    """One fixed word, there or not."""

    metavar: str

    def parse(self, text: str, pos: int, dbg: Interpreter) -> tuple[bool, int] | None:
        end = _word_end(text, pos)
        return (True, end) if text[pos:end] == self.metavar else None

    def complete(self, prefix: str, dbg: Interpreter) -> list[str]:
        return [self.metavar] if self.metavar.startswith(prefix) else []


def _number_or_variable(text: str) -> Callable[[Interpreter], int]:
    """What gives a breakpoint's number, typed as one, as ``$name``, or as a value of the history: ``$``, ``$2``."""
    if text.startswith("$"):
        return lambda dbg: _integer(dbg, text)
    try:
        number = int(text, 0)
    except ValueError:
        raise UsageError(f"'{text}' is no number") from None
    return lambda dbg: number


def _integer(dbg: Interpreter, text: str) -> int:
    found = dbg.session.evaluate(text)
    if found.type.is_float or not found.type.is_number:
        raise UsageError(f"{text} is a {found.type}, no number of a breakpoint")
    return int(found.value)


MOST_IN_A_RANGE = 100_000


@record
class NumbersType:
    """Numbers and ranges, e.g. ``1 3-5 $bpnum``; each parse gives the list of one item."""

    metavar: str = "NUMBER"
    among: Callable[[Interpreter], list[int]] = lambda dbg: [one.number for one in dbg.session.breakpoints]

    def parse(self, text: str, pos: int, dbg: Interpreter) -> tuple[Later, int] | None:
        match = _NUMBERS.match(text, pos)
        if match is None:
            raise UsageError(f"'{text[pos:].split()[0]}' is no number or range such as 2 or 2-5")
        typed, low, high = match[0], _number_or_variable(match[1]), _number_or_variable(match[2] or match[1])
        return Later(lambda dbg: self._range(typed, low(dbg), high(dbg))), match.end()

    @staticmethod
    def _range(typed: str, low: int, high: int) -> list[int]:
        if high < low:
            raise UsageError(f"'{typed}' is an inverted range")
        if high - low >= MOST_IN_A_RANGE:
            raise UsageError(f"'{typed}' is a range of more than {MOST_IN_A_RANGE:,} numbers")
        return list(range(low, high + 1))

    def complete(self, prefix: str, dbg: Interpreter) -> list[str]:
        return [str(number) for number in self.among(dbg) if str(number).startswith(prefix)]


@record
class OneNumberType(NumbersType):
    """Exactly one number of a list."""

    def parse(self, text: str, pos: int, dbg: Interpreter) -> tuple[Later, int] | None:
        end = _word_end(text, pos)
        value = _number_or_variable(text[pos:end])
        return Later(lambda dbg: [value(dbg)]), end


@record
class BackgroundType:
    """A ``&`` at the end: the guest runs on while commands are typed."""

    metavar: str = "&"

    def parse(self, text: str, pos: int, dbg: Interpreter) -> tuple[bool, int] | None:
        return (True, len(text)) if text[pos:].strip() == "&" else None

    def complete(self, prefix: str, dbg: Interpreter) -> list[str]:
        return []


@record
class RestType:
    """The rest of the line as it is. ``complete_as`` or ``words`` completes its last word."""

    metavar: str = "TEXT"
    complete_as: str = ""  # "expression", "location", "command", "setting" or ""
    words: tuple[str, ...] = ()

    def parse(self, text: str, pos: int, dbg: Interpreter) -> tuple[str, int] | None:
        return text[pos:].rstrip(), len(text)

    def complete(self, prefix: str, dbg: Interpreter) -> list[str]:
        if self.complete_as == "location":
            return words_of_location(prefix, dbg)
        if self.complete_as == "expression":
            return words_of_expression(prefix, dbg)
        if self.complete_as == "command":
            return [prefix[: one.start] + one.text for one in dbg.complete(prefix)]
        if self.complete_as == "setting":
            return _words_of_with(prefix, dbg)
        last = re.split(r"[\s,]", prefix)[-1]
        head = prefix[: len(prefix) - len(last)]
        given = set(re.split(r"[\s,]", head))
        return [head + word for word in self.words if word.startswith(last) and word not in given]


def _words_of_with(prefix: str, dbg: Interpreter) -> list[str]:
    """What `with` may be followed by: a setting, its values, a command behind --."""
    if " -- " in prefix:
        head, _, typed = prefix.partition(" -- ")
        return [f"{head} -- {typed[: one.start]}{one.text}" for one in dbg.complete(typed)]
    name, space, value = prefix.partition(" ")
    if not space:
        return [one.name for one in dbg.settings if one.name.startswith(prefix)]
    words = next((one.words for one in dbg.settings if one.name == name), ())
    return [f"{name} {word}" for word in words if word.startswith(value)]


def _word_end(text: str, pos: int, commas: bool = True) -> int:
    while pos < len(text) and not text[pos].isspace() and not (commas and text[pos] == ","):
        pos += 1
    return pos


def split_arguments(text: str) -> list[str]:
    """Expressions separated by commas that stand outside of parentheses, brackets and quotes."""
    found, depth, quote, start, escaped = [], 0, "", 0, False
    for at, char in enumerate(text):
        if quote:
            quote = "" if char == quote and not escaped else quote
            escaped = char == "\\" and not escaped
        elif char in "\"'":
            quote = char
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
        elif char == "," and depth == 0:
            found.append(text[start:at].strip())
            start = at + 1
    return [*found, text[start:].strip()]


AddressArg = Annotated[Place, AddressType()]
LocationArg = Annotated[Place, LocationType()]
LocationTextArg = Annotated[str, LocationType(pending=True)]
ExpressionArg = Annotated[str, ExpressionType()]
CountArg = Annotated[int, NumberType()]
ConditionArg = Annotated[str | None, ConditionType()]
FormatArg = Annotated[Format, FormatType()]
RegisterArg = Annotated[str, RegisterType()]
FileArg = Annotated[str, FileType()]
NumbersArg = Annotated[list[int], NumbersType()]
NumberArg = Annotated[list[int], OneNumberType()]
BackgroundArg = Annotated[bool, BackgroundType()]
TextArg = Annotated[str, RestType()]
ExpressionTextArg = Annotated[str, RestType("EXPRESSION", "expression")]
CommandTextArg = Annotated[str, RestType("COMMAND", "command")]
