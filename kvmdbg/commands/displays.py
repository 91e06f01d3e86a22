"""``display`` and ``undisplay``: expressions and memory shown at every stop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import ExpressionArg, Format, FormatArg, NumbersType
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Group, Message, Result, Table, Value
from kvmdbg.commands.views import MORE_PARTS
from kvmdbg.errors import KvmdbgError, UsageError
from kvmdbg.record import record, replace


@record
class Display:
    """One entry of the display list; with a unit, a count, or the letters i and s it shows memory as ``x`` does."""

    number: int
    text: str
    format: Format
    enabled: bool = True
    names: frozenset[str] = frozenset()
    """The local variables in it, and the function that they are of: it is shown there alone, as in gdb."""
    function: tuple[int, int] | None = None

    @property
    def examines(self) -> bool:
        return self.format.letter in ("i", "s") or self.format.unit is not None or self.format.count is not None

    @property
    def format_text(self) -> str:
        """``/4xw`` or ""."""
        form = self.format
        unit = {1: "b", 2: "h", 4: "w", 8: "g", None: ""}[form.unit]
        text = f"{form.count or ''}{form.letter or ''}{unit}"
        return f"/{text}" if text else ""


class Displays:
    """The display list, and the number that was given last."""

    def __init__(self) -> None:
        self.all: list[Display] = []
        self.last_number = 0


def displays(dbg: Interpreter) -> list[Display]:
    return dbg.kept(Displays).all


DisplayNumbersArg = Annotated[list[int], NumbersType(among=lambda dbg: [one.number for one in displays(dbg)])]


def shown(dbg: Interpreter, one: Display) -> Result:
    """The display's value now; an error becomes its text."""
    from kvmdbg.commands.examine import examine  # not where a stop shows no displays, as mostly
    from kvmdbg.commands.printing import print_value

    try:
        if one.examines:
            memory = examine(dbg, one.format, dbg.place(one.text))
            return Group((Message(f"{one.number}: x{one.format_text} {one.text}"), memory))
        found = print_value(dbg, one.text, one.format)
        return replace(found, name=one.text, number=one.number, format=one.format_text)
    except KvmdbgError as error:
        return Value(one.text, f"<{str(error).splitlines()[0]}>", "", one.number)


def enabled_displays(dbg: Interpreter) -> tuple[Result, ...]:
    """The values of all displays that are enabled, as a stop report shows them."""
    return tuple(shown(dbg, one) for one in displays(dbg) if one.enabled and is_seen(dbg, one))


def is_seen(dbg: Interpreter, one: Display) -> bool:
    """Whether the local variables in it are those of the selected frame."""
    if one.function is None:
        return True
    try:
        variables = dbg.session.c_variables
        return _function(dbg) == one.function and all(variables.is_local(name) for name in one.names)
    except KvmdbgError:
        return False


def _function(dbg: Interpreter) -> tuple[int, int] | None:
    found = dbg.session.c_variables.function()
    return (found[0].start + found[1], found[0].offset) if found is not None else None


@command("display", group="data", example=("display $al", "display/i $pc", "stepi 2"))
def display(dbg: Interpreter, form: FormatArg = Format(), expression: ExpressionArg = "") -> Iterator[Result]:  # noqa: B008
    """Show an expression now and at every stop.

    With a count, a size, or the format i or s it shows memory at the address, as x does. Without an expression it
    shows the whole list again. One with local variables is shown in their function alone. `undisplay N` ends one,
    `info display` lists them.
    """
    if not expression:
        yield from enabled_displays(dbg)
        return
    names = _locals_of(dbg, expression)
    known = dbg.kept(Displays)
    known.last_number += 1
    one = Display(known.last_number, expression, form, names=names, function=_function(dbg) if names else None)
    known.all.append(one)
    yield shown(dbg, one)


def _locals_of(dbg: Interpreter, text: str) -> frozenset[str]:
    """The local variables that an expression names.

    ExpressionError where the text is none, or names what there is not. Nothing is evaluated.
    """
    from kvmdbg.commands.print_settings import options_of, style_of
    from kvmdbg.language.expressions import parse

    symbols = dbg.session.symbols
    expression = options_of(style_of(dbg), text)[1]
    scope = dbg.session.scope()
    parsed = parse(expression, scope=scope)
    parsed.check_symbols(lambda name: symbols.scoped(name) is not None)
    return frozenset(name for name in parsed.source_variables if scope.is_local(name))


def expressions_part(dbg: Interpreter) -> Result | None:
    """The display list as a part of the context."""
    values = enabled_displays(dbg)
    return Group(values) if values else None


MORE_PARTS["expressions"] = expressions_part


def _told(dbg: Interpreter, numbers: tuple[list[int], ...]) -> Iterator[int]:
    """The numbers of displays that were given; all without any. UsageError about those there are not comes last."""
    known = [one.number for one in displays(dbg)]
    wanted = list(dict.fromkeys(number for some in numbers for number in some)) or known
    yield from (one for one in wanted if one in known)
    if missing := [one for one in wanted if one not in known]:
        raise UsageError(f"there is no display {missing[0]}; info display lists them")


def _switch(dbg: Interpreter, numbers: tuple[list[int], ...], enabled: bool) -> None:
    for number in _told(dbg, numbers):
        displays(dbg)[:] = [replace(one, enabled=enabled) if one.number == number else one for one in displays(dbg)]


@command("undisplay", aliases=("delete-display",), group="data", example=("display $ax", "undisplay 1", "display"))
def undisplay(dbg: Interpreter, *numbers: DisplayNumbersArg) -> Result | None:
    """Take expressions off the display list; without numbers all of them, after asking."""
    if not numbers and displays(dbg) and not dbg.asks("Delete all displays?"):
        return None
    for gone in _told(dbg, numbers):
        displays(dbg)[:] = [one for one in displays(dbg) if one.number != gone]
    return None


@command("delete display", group="data", example=("display $ax", "delete display 1", "display"))
def delete_display(dbg: Interpreter, *numbers: DisplayNumbersArg) -> Result | None:
    """Take expressions off the display list (the same as undisplay)."""
    return undisplay(dbg, *numbers)


@command("disable display", group="data", example=("display $ax", "disable display 1", "stepi"))
def disable_display(dbg: Interpreter, *numbers: DisplayNumbersArg) -> None:
    """Keep expressions on the display list but do not show them."""
    _switch(dbg, numbers, False)


@command("enable display", group="data", example=("display $ax", "disable display 1", "enable display 1", "stepi"))
def enable_display(dbg: Interpreter, *numbers: DisplayNumbersArg) -> None:
    """Show expressions of the display list again."""
    _switch(dbg, numbers, True)


@command("info display", group="info", example=("display $ax", "display/i $pc", "info display"))
def info_display(dbg: Interpreter) -> Result:
    """List the expressions shown at every stop.

    Those with local variables are shown in their function alone.
    """
    rows = tuple(
        (
            str(one.number), "y" if one.enabled else "n", one.format_text,
            one.text if is_seen(dbg, one) else f"{one.text} (cannot be evaluated in the current context)",
        )
        for one in displays(dbg)
    )  # fmt: skip
    return Table("displays", ("Num", "Enb", "Format", "Expression"), rows, "There are no displays.")
