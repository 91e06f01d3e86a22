"""print, output, call-like evaluation, and ``set`` of registers, memory and variables."""

from __future__ import annotations

import re
from typing import Annotated

from kvmdbg.commands.gdb_settings import ignored
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import ExpressionTextArg, Format, FormatArg, RestType, split_arguments
from kvmdbg.commands.places import Place, value_place
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Message, Result, Text, Value
from kvmdbg.commands.values import format_value, number_in_radix
from kvmdbg.errors import MemoryFault, UsageError
from kvmdbg.language.formats import character, signed
from kvmdbg.language.types import MemoryRef, is_number
from kvmdbg.language.types import Value as Evaluated
from kvmdbg.printable import printable

TemplateArg = Annotated[str, RestType('"TEMPLATE"[, EXPRESSION]...', "expression")]

_TEMPLATE = re.compile(r'"((?:\\.|[^"\\])*)"\s*')
_CONVERSION = re.compile(r"%(?:%|([-+ #0]*\d{0,4}(?:\.\d{1,4})?)(hh|h|ll|l|z|j|t)?([a-zA-Z]))")
_ESCAPE = re.compile(r"\\([0-7]{1,3}|.)")
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "e": "\033"}
LONGEST_STRING = 4096


def formatted(dbg: Interpreter, text: str, form: Format) -> tuple[str, Evaluated]:
    """An expression evaluated: its text in the format, and its value."""
    if form.letter in ("s", "i"):
        raise UsageError(f"print has no format /{form.letter}; use x/{form.letter}")
    if form.count is not None or form.unit is not None:
        raise UsageError("print takes a format letter only, as in p/x; x takes counts and sizes")
    found = dbg.session.evaluate(text)
    size = found.type.size
    c = found.type.c
    if c is not None and (not form.letter or not is_number(found.type)):
        data = found.data or (found.value & (1 << 8 * size) - 1).to_bytes(size, "little")
        scalar = (lambda raw, width: format_value(dbg, raw, form.letter or "", width)) if form.letter else None
        kind = f"({c.name}) " if c.kind == "pointer" else ""
        return kind + dbg.session.c_variables.show(c, data, scalar=scalar), found
    if form.letter:
        return format_value(dbg, found.value, form.letter, size), found
    if found.type.pointer_to is not None and found.type.pointer_to.c is not None:
        return f"({found.type}) {format_value(dbg, found.value, 'a', size)}", found
    if found.type.pointer_to is not None:
        return format_value(dbg, found.value, "a", size), found
    return number_in_radix(found.value, dbg.settings["radix"]), found


def print_value(dbg: Interpreter, text: str, form: Format) -> Value:
    """The value of an expression, not yet in the history."""
    shown, found = formatted(dbg, text, form)
    return Value(text, shown, found.value)


@command(
    "print",
    aliases=("p", "inspect", "call"),
    group="data",
    example=("print $rax + 2", "print all[1]", "p/x &all[1]", "p all[1].name", "p/t *(u8*)$pc"),
    guest="guests/kernel-O0.elf",
    py="dbg.evaluate({expression}).value",
)
def print_(dbg: Interpreter, form: FormatArg = Format(), expression: ExpressionTextArg = "") -> Result:  # noqa: B008
    """Evaluate an expression and show its value.

    Expressions are C's: registers are $rax, flags $zf, memory *(u16*)0x7c00 or {u8}0x7c00, addresses also as
    0x7c0:0x10 or phys:0x1000; assignments work ($ax = 5). A name is a variable of the guest's source (DWARF), with
    members, elements and targets (list->next->name, table[2], *p@4), or else a symbol's address. Formats: /x /d /u
    /o /t /c /a /f /z.
    The value is kept as $1, $2, … for later expressions (of structures and arrays the place is); without an
    expression the last value is shown again. A vector register alone ($xmm0) is shown in all its forms, and not kept.
    """
    if re.fullmatch(r"\s*\$[xy]mm\d+\s*", expression):
        from kvmdbg.commands.state import info_vectors

        return info_vectors(dbg, expression.strip())
    history = dbg.session.history
    if not expression:
        if not history:
            raise UsageError("there is no value yet; print needs an EXPRESSION")
        expression = f"${len(history)}"
    shown, found = formatted(dbg, expression, form)
    place = found.lvalue
    in_memory = isinstance(place, MemoryRef) and place.space == "linear"
    typed = found.type.c is not None or found.type.pointer_to is not None
    number = dbg.session.add_to_history(
        found.value, found.type if typed and (is_number(found.type) or in_memory) else None
    )
    return Value(f"${number}", shown, found.value)


@command("output", group="data", example="output $ax", py="dbg.evaluate({expression}).value")
def output(dbg: Interpreter, form: FormatArg = Format(), expression: ExpressionTextArg = "") -> Result:  # noqa: B008
    """Show a value alone: no $1, no newline; not kept in the history."""
    if not expression:
        raise UsageError("output needs an EXPRESSION")
    return Text(formatted(dbg, expression, form)[0])


@command("printf", group="data", example='printf "ax is %d, at %#x\\n", $ax, $pc', py="dbg.evaluate(expression).value")
def printf(dbg: Interpreter, template: TemplateArg = "") -> Result:
    """Show values in a text, as C's printf does.

    Conversions: %d %i %u %x %X %o %c, with C's flags, width and precision, %s for the text at an address, %p, and %%.
    """
    match = _TEMPLATE.match(template)
    if match is None:
        raise UsageError('printf needs a text in double quotes first, as in printf "ax is %d\\n", $ax')
    rest = template[match.end() :]
    if rest and not rest.startswith(","):
        raise UsageError(f"printf: a comma is expected before '{rest}'")
    values = split_arguments(rest[1:]) if rest else []
    wanted = sum(1 for one in _CONVERSION.finditer(match[1]) if one[0] != "%%")
    if wanted != len(values):
        raise UsageError(f"printf: the text has {wanted} conversions, and {len(values)} values follow")
    following = iter(values)

    def convert(one: re.Match[str]) -> str:
        if one[0] == "%%":
            return "%"
        return printable(_converted(dbg, one, next(following)))

    def escape(one: re.Match[str]) -> str:
        return chr(int(one[1], 8) & 0xFF) if one[1][0] in "01234567" else _ESCAPED.get(one[1], one[1])

    return Text(_CONVERSION.sub(convert, _ESCAPE.sub(escape, match[1])), raw=True)


def _converted(dbg: Interpreter, one: re.Match[str], expression: str) -> str:
    flags, length, letter = one[1], one[2] or "", one[3]
    value = dbg.session.evaluate(expression)
    size = {"hh": 1, "h": 2, "": 4}.get(length, 8)
    number = value.value & (1 << 8 * size) - 1
    if letter in "di":
        return f"%{flags}d" % signed(value.value, size)
    if letter == "u":
        return f"%{flags}d" % number
    if letter in "xXo":
        return f"%{flags}{letter}" % number if letter != "o" else f"%{flags.replace('#', '')}o" % number
    if letter == "p":
        return f"%{flags}s" % f"{value.value & (1 << 64) - 1:#x}"
    if letter == "c":
        return f"%{flags}s" % character(value.value & 0xFF, "")
    if letter == "s":
        return f"%{flags}s" % _text_at(dbg, value_place(expression, value))
    raise UsageError(f"printf has no conversion {one[0]}; there are d i u x X o c s p and %%")


def _text_at(dbg: Interpreter, place: Place) -> str:
    """The bytes up to a zero."""
    memory = dbg.session.physical if place.space == "phys" else dbg.session.memory
    found = bytearray()
    while len(found) < LONGEST_STRING:
        try:
            byte = memory.read(place.address + len(found), 1)
        except MemoryFault:
            if not found:
                raise
            break
        if byte == b"\0":
            break
        found += byte
    return found.decode("latin-1")


@command(
    "set var",
    aliases=("variable",),
    group="data",
    example=("set var $count = 3", "set var $ax = $count * 2", "print $ax"),
    py="dbg.evaluate({assignment})",
)
def set_var(dbg: Interpreter, assignment: ExpressionTextArg) -> None:
    """Evaluate an assignment without showing its value: registers, memory, or a variable of your own.

    The form that cannot be mistaken for a setting's name.
    """
    dbg.session.evaluate(assignment)


@command(
    "set",
    group="data",
    example=("set $ax = 5", "set {u8}0x1000 = 0x90", "set $zf = 1", "set context regs,code", "info registers ax flags"),
)
def set_(dbg: Interpreter, assignment: ExpressionTextArg) -> Result | None:
    """Change a register, a flag, memory or a variable; or, by its name, a setting.

    set $rax=1, set $zf=0, set {u16}0x7dfe=0xaa55, set $mine=$ax*2. A `set NAME VALUE` of a setting is described
    by help set NAME; show lists them all. Settings that only gdb has are taken and change nothing, so that its
    scripts work.
    """
    if (name := ignored(assignment)) is not None:
        return no_use_for(dbg, name)
    word = assignment.split()[0]
    if "=" not in assignment and "++" not in assignment and "--" not in assignment:
        raise UsageError(
            f"set {word}: no setting has this name, and there is no = to assign with; show lists the settings"
        )
    dbg.session.evaluate(assignment)
    return None


class Told:
    """What a user is told once."""

    of_gdb_settings = False


def no_use_for(dbg: Interpreter, name: str) -> Result | None:
    """What is said of a setting that only gdb has: the first time, for all of them."""
    if (so_far := dbg.kept(Told)).of_gdb_settings:
        return None
    so_far.of_gdb_settings = True
    return Message(f"set {name} changes nothing here: gdb's settings are taken so that its scripts work (told once).")


def _enter(name: str, *aliases: str) -> None:
    """One that begins the name of a setting of kvmdbg's, or is written shorter than others, needs a row of its own."""

    def change(dbg: Interpreter, rest: Annotated[str, RestType("WORDS")] = "") -> Result | None:
        if name == "breakpoint" and rest.startswith("pending"):
            dbg.settings.set("breakpoint-pending", rest.removeprefix("pending").strip() or "on")
            return None
        return no_use_for(dbg, name)

    change.__doc__ = f"Taken, with all that gdb has behind set {name}, so that gdb's scripts work; it changes nothing."
    change.__annotations__ = {"rest": Annotated[str, RestType("WORDS")]}
    example = {"print": "pretty on", "breakpoint": "pending on", "tui": "border-kind acs"}[name]
    command(f"set {name}", aliases=aliases, group="settings", example=f"set {name} {example}")(change)


_enter("print", "p", "pr")
_enter("breakpoint")
_enter("tui")
