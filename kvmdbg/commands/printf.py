"""printf, dprintf, eval: texts with values in them."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import RestType, split_arguments
from kvmdbg.commands.places import value_place
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Message, Result, Text
from kvmdbg.errors import KvmdbgError, MemoryFault, UsageError
from kvmdbg.language.formats import character, signed
from kvmdbg.masks import LOW64
from kvmdbg.printable import printable
from kvmdbg.record import record

if TYPE_CHECKING:
    from kvmdbg.engine.hook_calls import Event
    from kvmdbg.language.types import Value

TemplateArg = Annotated[str, RestType('"TEMPLATE"[, EXPRESSION]...', "expression")]
DprintfArg = Annotated[str, RestType('LOCATION,"TEMPLATE"[, EXPRESSION]...', "location")]

_TEMPLATE = re.compile(r'"((?:\\.|[^"\\])*)"\s*')
_CONVERSION = re.compile(r"%(?:%|([-+ #0']*\d{0,4}(?:\.\d{0,4})?)(hh|h|ll|l|z|j|t|L|w)?(.))")
_ESCAPE = re.compile(r"\\([0-7]{1,3}|.)")
ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "e": "\033", "b": "\b", "f": "\f", "v": "\v"}
LONGEST_STRING = 4096
KNOWN = "diuxXocspfFeEgG"

Evaluate = Callable[[str], "Value"]
Read = Callable[["Value", int], bytes]
"""Reads one byte at a value's address and so many bytes behind it."""


@record
class Template:
    """A text with conversions, and the expressions whose values go there."""

    text: str
    values: tuple[str, ...]

    def filled(self, evaluate: Evaluate, read: Read) -> str:
        """The text with the values in it."""
        following = iter(self.values)
        return _CONVERSION.sub(lambda one: _converted(one, following, evaluate, read), self.text)


def template_of(typed: str, name: str = "printf") -> Template:
    """The text and the expressions of a printf's arguments. UsageError."""
    match = _TEMPLATE.match(typed.strip())
    if match is None:
        raise UsageError(f'{name} needs a text in double quotes first, as in {name} "ax is %d\\n", $ax')
    rest = typed.strip()[match.end() :]
    if rest and not rest.startswith(","):
        raise UsageError(f"{name}: a comma is expected before '{rest}'")
    values = split_arguments(rest[1:]) if rest else []
    wanted = [one for one in _CONVERSION.finditer(match[1]) if one[0] != "%%"]
    for one in wanted:
        if one[3] not in KNOWN:
            raise UsageError(f"{name} has no conversion {one[0]}; there are {' '.join(KNOWN)} and %%")
    if len(wanted) != len(values):
        raise UsageError(f"{name}: the text has {len(wanted)} conversions, and {len(values)} values follow")

    def escape(one: re.Match[str]) -> str:
        if one[1] not in ESCAPED and one[1][0] not in "01234567\\\"'?":
            raise UsageError(f"{name}: '{one[0]}' is no character; there are {' '.join(map(chr(92).__add__, ESCAPED))}")
        return chr(int(one[1], 8) & 0xFF) if one[1][0] in "01234567" else ESCAPED.get(one[1], one[1])

    return Template(_ESCAPE.sub(escape, match[1]), tuple(values))


def _converted(one: re.Match[str], following: Iterator[str], evaluate: Evaluate, read: Read) -> str:
    if one[0] == "%%":
        return "%"
    flags, length, letter = one[1].replace("'", ""), one[2] or "", one[3]
    expression = next(following)
    if letter == "s" and (literal := _TEMPLATE.fullmatch(expression)) is not None:
        return f"%{flags}s" % literal[1]
    value = evaluate(expression)
    if value.type.is_structure:
        raise UsageError(f"{expression} is a {value.type}, neither a number nor a text")
    size = {"hh": 1, "h": 2, "": 4, "w": 4}.get(length, 8)
    number = value.value & (1 << 8 * size) - 1
    if letter in "di":
        return f"%{flags}d" % signed(value.value, size)
    if letter == "u":
        return f"%{flags}d" % number
    if letter in "xXo":
        return _octal(flags, number) if letter == "o" else f"%{flags}{letter}" % number
    if letter == "p":
        address = value.value & LOW64
        return f"%{flags}s" % (f"{address:#x}" if address else "(nil)")
    if letter in "cs" and length == "l":
        return printable(f"%{flags}s" % _wide(value, read, letter))
    if letter == "c":
        code = value.value & 0xFF
        return printable(f"%{flags}s" % ((chr(code) if code else "") if code < 0x80 else character(code, "")))
    if letter == "s":
        none = value.type.is_number and not value.value and not value.data
        return printable(f"%{flags}s" % ("(null)" if none else _text(value, read)))
    return f"%{flags}{letter}" % _floating(value)


def _octal(flags: str, number: int) -> str:
    """C's ``%o``: with ``#`` a 0 stands before it, where Python has 0o."""
    shown, digits = f"%{flags.replace('#', '')}o" % number, f"{number:o}"
    lead, _, rest = shown.partition(digits)
    if "#" not in flags or not number or lead.endswith("0"):
        return shown
    return f"{lead[:-1]}0{digits}{rest if lead else rest[:-1]}"


def _floating(value: Value) -> float:
    """A value as a floating point number; an integer of 4 or 8 bytes are the bytes of one, as in gdb."""
    if value.type.is_float and not isinstance(value.raw, bytes):
        return float(value.raw)
    size = value.type.size
    data = value.data or (value.value & (1 << 8 * size) - 1).to_bytes(size, "little")
    if size in (4, 8):
        return float(struct.unpack("<f" if size == 4 else "<d", data)[0])
    return float(value.value)


def _wide(value: Value, read: Read, letter: str) -> str:
    """A character of wchar_t, char16_t or char32_t, or the text that they are up to a zero. UsageError."""
    target = value.type if letter == "c" else value.type.target
    if target is None or target.size not in (2, 4):
        raise UsageError(f"%l{letter} needs {'a character' if letter == 'c' else 'a text'} of 2 or 4 bytes, as L'a'")
    if letter == "c":
        return chr(value.value) if 0 <= value.value < 0x110000 else "?"
    size = target.size
    found = bytearray()
    while len(found) < LONGEST_STRING * size:
        at = len(found)
        unit = value.data[at : at + size] if value.data else b"".join(read(value, at + one) for one in range(size))
        if not any(unit):
            break
        found += unit
    return found.decode("utf-16-le" if size == 2 else "utf-32-le", "replace")


def _text(value: Value, read: Read) -> str:
    """The bytes up to a zero, of an array its own."""
    if value.data:
        return value.data.split(b"\0")[0].decode("latin-1")
    found = bytearray()
    while len(found) < LONGEST_STRING:
        try:
            byte = read(value, len(found))
        except MemoryFault:
            if not found:
                raise
            break
        if byte == b"\0":
            break
        found += byte
    return found.decode("latin-1")


def _filled(dbg: Interpreter, typed: str, name: str) -> str:
    session = dbg.session

    def read(value: Value, offset: int) -> bytes:
        place = value_place("", value)
        memory = session.physical if place.space == "phys" else session.memory
        return memory.read(place.address + offset, 1)

    return template_of(typed, name).filled(session.evaluate, read)


@command("printf", group="data", example='printf "ax is %d, at %#x\\n", $ax, $pc', py="dbg.evaluate(expression).value")
def printf(dbg: Interpreter, template: TemplateArg = "") -> Result:
    """Show values in a text, as C's printf does.

    %d %i %u %x %X %o %c %p %s (the text at an address) %f %e %g and %%, with flags, widths and h, l, ll; \\n, \\t, \\"
    and the like.
    """
    return Text(_filled(dbg, template, "printf"), raw=True)


@command("eval", group="support", example=('eval "print $%s + %d", "ax", 1',))
def eval_(dbg: Interpreter, template: TemplateArg = "") -> Iterator[Result]:
    """Run a command line that is made as printf makes its text."""
    yield from dbg.run_line(_filled(dbg, template, "eval"))


class Dprintfs:
    """What the dprintfs of a user print, by their breakpoint's number."""

    def __init__(self) -> None:
        self.typed: dict[int, str] = {}


@command(
    "dprintf",
    group="breakpoints",
    example=('dprintf *0x1005,"al is %d\\n", $al', "run"),
    py="@dbg.on.insn(location)",
)
def dprintf(dbg: Interpreter, typed: DprintfArg = "") -> Result:
    """Show values in a text each time the guest comes to LOCATION, and let it go on.

    The text and its values are as for printf. It has a number, a condition and an ignore count as breakpoints have.
    """
    quote = typed.find('"')
    location = typed[:quote].strip().removesuffix(",").strip() if quote >= 0 else ""
    if not location:
        raise UsageError('dprintf needs a place, a comma and a text, as in dprintf func,"cx is %d\\n", $cx')
    template = template_of(typed[quote:], "dprintf")
    session = dbg.session
    place = session.locations.find(location).first
    from kvmdbg.language.expressions import parse

    scope = session.scope(place.address if place.space == "linear" else None)
    parsed = {one: parse(one, scope=scope) for one in template.values if not _TEMPLATE.fullmatch(one)}

    def show(event: Event) -> None:
        context = session.contexts.of(session.runners[event.vcpu.index])

        def read(value: Value, offset: int) -> bytes:
            place = value_place("", value)
            return (session.physical if place.space == "phys" else event.memory).read(place.address + offset, 1)

        try:
            text = template.filled(lambda one: parsed[one].evaluate(context), read)
        except KvmdbgError as error:
            text = f"dprintf {location}: {error}\n"
        dbg.tell(Text(text, raw=True))

    before = {one.number for one in session.breakpoints}
    session.on.insn(location, name=f"dprintf {typed[quote:]}")(show)
    made = next(one for one in session.breakpoints if one.number not in before)
    dbg.kept(Dprintfs).typed[made.number] = typed[quote:]
    session.variables["bpnum"] = made.number
    text = f"Dprintf {made.number} at {location} ({place.address:#x})."
    return Message(text, data={"number": made.number, "address": place.address})
