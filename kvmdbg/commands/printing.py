"""print, output, call-like evaluation, and ``set`` of registers, memory and variables."""

from __future__ import annotations

import re
from typing import Annotated

from kvmdbg.commands.gdb_settings import ignored, no_use
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import ExpressionTextArg, Format, FormatArg, NumberType, RestType
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Message, Result, Text, Value
from kvmdbg.errors import UsageError
from kvmdbg.language.ctype import EXACT, VOID
from kvmdbg.language.floats import Extended
from kvmdbg.language.types import Value as Evaluated
from kvmdbg.language.types import value_of

NumberArg = Annotated[int, NumberType("NUMBER", least=1)]

OF_THE_GRAMMAR = ("_isvoid", "_as_string", "_gdb_setting", "_gdb_setting_str")
"""Functions whose arguments are no values."""


def formatted(dbg: Interpreter, text: str, form: Format) -> tuple[str, Evaluated]:
    """An expression evaluated: its text in the format, and its value. It may have options before it: -pretty."""
    from kvmdbg.commands.print_settings import options_of, style_of
    from kvmdbg.language import functions

    if form.letter == "i":
        raise UsageError("print has no format /i; use x/i")
    if form.count is not None or form.unit is not None:
        raise UsageError("print takes a format letter only, as in p/x; x takes counts and sizes")
    style, text = options_of(style_of(dbg), text)
    if (name := text.strip()).startswith("$") and name[1:] in (*functions.known(), *OF_THE_GRAMMAR):
        return f"<internal function {name[1:]}>", Evaluated(0, VOID)
    found = Evaluated(0, VOID) if is_void(dbg, text) else dbg.session.evaluate(text)
    return dbg.session.c_variables.printer(style).value(found, form.letter or ""), found


def _recorded(dbg: Interpreter, text: str, form: Format) -> tuple[str, Evaluated]:
    """The same for print, whose format is that of the next ``x``, too."""
    from kvmdbg.commands.examine import examined

    if form.letter not in (None, "r"):
        examined(dbg).letter = form.letter
    return formatted(dbg, text, form)


def is_void(dbg: Interpreter, text: str) -> bool:
    """Whether the text is ``$name`` alone, which nothing has given a value, and nothing has nearly this name."""
    name = text.strip()
    if not re.fullmatch(r"\$[A-Za-z]\w*", name) or not dbg.session.evaluate(f"$_isvoid({name})").value:
        return False
    from kvmdbg.commands.hints import near_dollar_name

    return not near_dollar_name(dbg, name)


def print_value(dbg: Interpreter, text: str, form: Format) -> Value:
    """The value of an expression, not yet in the history."""
    shown, found = formatted(dbg, text, form)
    return Value(text, shown, _plain(found))


def _plain(found: Evaluated) -> int | float:
    """A value as a number; that of a structure or an array is its address."""
    return float(found.raw) if isinstance(found.raw, float | Extended) else found.value


@command(
    "print",
    aliases=("p", "inspect"),
    group="data",
    example=("print $rax + 2", "print all[1]", "print -pretty -- all[1]", "p/x &all[1]", "p all[1].name",
             "p/t *(u8*)$pc"),
    guest="guests/kernel-O0.elf",
    py="dbg.evaluate({expression}).value",
)  # fmt: skip
def print_(dbg: Interpreter, form: FormatArg = Format(), expression: ExpressionTextArg = "") -> Result:  # noqa: B008
    """Evaluate an expression and show its value.

    Expressions are C's: registers are $rax, flags $zf, memory *(u16*)0x7c00 or {u8}0x7c00, addresses also as
    0x7c0:0x10 or phys:0x1000; assignments work ($ax = 5). A name is a variable of the guest's source (DWARF), with
    members, elements and targets (list->next->name, table[2], *p@4), or else a symbol's address. Formats: /x /d /u
    /o /t /c /a /f /z /s /r. Options: -pretty, -elements 20 and the others of set print, then --.
    The value is kept as $1, $2, … for later expressions; without an expression the last value is shown again. Vector
    and x87 registers are $xmm0.v4_float[1], $ymm0, $st0.
    """
    history = dbg.session.history
    if not expression:
        if not history:
            raise UsageError("there is no value yet; print needs an EXPRESSION")
        expression = f"${len(history)}"
    shown, found = _recorded(dbg, expression, form)
    number = dbg.session.add_to_history(found.raw, found.type)
    return Value(f"${number}", shown, _plain(found))


@command(
    "call",
    group="data",
    example=("break run_tasks", "run", "call divide(7, 2)"),
    guest="guests/kernel-O0.elf",
    py="dbg.evaluate({expression}).value",
)
def call(dbg: Interpreter, form: FormatArg = Format(), expression: ExpressionTextArg = "") -> Result | None:  # noqa: B008
    """Evaluate an expression, most often a call of a function of the guest, as print does; void is not shown.

    A function that stops, at a breakpoint of its own, can be looked at: the backtrace has the call as a frame. When it
    returns, also by finish or return, the guest stops and is as it was before the call.
    """
    if not expression:
        raise UsageError("call needs an EXPRESSION, as in call function(1)")
    shown, found = _recorded(dbg, expression, form)
    if found.type.kind == "void":
        return None
    return Value(f"${dbg.session.add_to_history(found.raw, found.type)}", shown, _plain(found))


SHOWN_VALUES = 10


@command("show values", group="data", example=("print $ax", "print 5 * 3", "show values"), py="dbg.history")
def show_values(dbg: Interpreter, around: NumberArg = 0) -> Result:
    """Show the last ten values of the history, or ten around a number."""
    from kvmdbg.commands.print_settings import style_of

    kept = dbg.session.convenience
    last = len(kept.history)
    first = max(1, (around - SHOWN_VALUES // 2 if around else last - SHOWN_VALUES + 1))
    printer = dbg.session.c_variables.printer(style_of(dbg))
    lines = []
    for number in range(first, min(first + SHOWN_VALUES, last + 1)):
        value, type = kept.history[number - 1], kept.type_of(str(number)) or EXACT
        lines.append(f"${number} = {printer.value(value_of(value, type))}")
    return Message("\n".join(lines) or "There are no values yet.")


@command("output", group="data", example="output $ax", py="dbg.evaluate({expression}).value")
def output(dbg: Interpreter, form: FormatArg = Format(), expression: ExpressionTextArg = "") -> Result:  # noqa: B008
    """Show a value alone: no $1, no newline; not kept in the history."""
    if not expression:
        raise UsageError("output needs an EXPRESSION")
    return Text(formatted(dbg, expression, form)[0])


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
    by help set NAME; show lists them all. Settings that only gdb has are taken, so that its scripts work, and
    change nothing, which is said; those that would change what commands mean are refused with what to type.
    """
    if (name := ignored(assignment)) is not None:
        return no_use_for(dbg, name)
    word = assignment.split()[0]
    if "=" not in assignment and (named := dbg.settings.named(assignment))[0] is not None:
        dbg.settings.set(named[0].name, named[1])
        return None
    if "=" not in assignment and "++" not in assignment and "--" not in assignment:
        import difflib  # only when somebody mistyped

        near = difflib.get_close_matches(word, [one.name for one in dbg.settings], n=1)
        hint = f"; did you mean set {near[0]}?" if near else "; show lists the settings"
        raise UsageError(f"set {word}: no setting has this name, and there is no = to assign with{hint}")
    dbg.session.evaluate(assignment)
    return None


class Told:
    """What a user is told once: of each setting of gdb's that it changes nothing."""

    def __init__(self) -> None:
        self.of: set[str] = set()


def no_use_for(dbg: Interpreter, name: str) -> Result | None:
    """What is said, once, of a setting that only gdb has; "" is one that asks for what is done anyhow."""
    told = dbg.kept(Told).of
    if not name or name in told:
        return None
    told.add(name)
    return Message(no_use(name))


def _enter(name: str, *aliases: str) -> None:
    """One that begins the name of a setting of kvmdbg's, or is written shorter than others, needs a row of its own."""

    def change(dbg: Interpreter, rest: Annotated[str, RestType("WORDS")] = "") -> Result | None:
        if name == "breakpoint" and rest.startswith("pending"):
            dbg.settings.set("breakpoint-pending", rest.removeprefix("pending").strip() or "on")
            return None
        return no_use_for(dbg, ignored(f"{name} {rest}") or "")

    change.__doc__ = f"Taken, with all that gdb has behind set {name}, so that gdb's scripts work; it changes nothing."
    change.__annotations__ = {"rest": Annotated[str, RestType("WORDS")]}
    example = {"breakpoint": "pending on", "editing": "off", "tui": "border-kind acs"}[name]
    command(f"set {name}", aliases=aliases, group="settings", example=f"set {name} {example}")(change)


_enter("breakpoint")
_enter("editing")
_enter("tui")
