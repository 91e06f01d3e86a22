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
        return replace(found, name=one.text, number=one.number)
    except KvmdbgError as error:
        return Value(one.text, f"<{str(error).splitlines()[0]}>", "", one.number)


def enabled_displays(dbg: Interpreter) -> tuple[Result, ...]:
    """The values of all displays that are enabled, as a stop report shows them."""
    return tuple(shown(dbg, one) for one in displays(dbg) if one.enabled)


@command("display", group="data", example=("display $al", "display/i $pc", "stepi 2"))
def display(dbg: Interpreter, form: FormatArg = Format(), expression: ExpressionArg = "") -> Iterator[Result]:  # noqa: B008
    """Show an expression now and at every stop.

    With a count, a size, or the format i or s it shows memory at the address, as x does. Without an expression it
    shows the whole list again. `undisplay N` ends one, `info display` lists them.
    """
    if not expression:
        yield from enabled_displays(dbg)
        return
    _check(dbg, expression)
    known = dbg.kept(Displays)
    known.last_number += 1
    one = Display(known.last_number, expression, form)
    known.all.append(one)
    yield shown(dbg, one)


def _check(dbg: Interpreter, text: str) -> None:
    """ExpressionError where the text is no expression, or names what there is not. Nothing is evaluated."""
    from kvmdbg.commands.print_settings import options_of, style_of
    from kvmdbg.language.expressions import parse

    symbols = dbg.session.symbols
    expression = options_of(style_of(dbg), text)[1]
    parse(expression, scope=dbg.session.scope()).check_symbols(lambda name: symbols.scoped(name) is not None)


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
    """List the expressions shown at every stop."""
    rows = tuple((str(d.number), "y" if d.enabled else "n", d.format_text, d.text) for d in displays(dbg))
    return Table("displays", ("Num", "Enb", "Format", "Expression"), rows, "There are no displays.")
