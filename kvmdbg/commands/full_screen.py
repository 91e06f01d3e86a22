"""The full-screen mode: showing it, and its layouts, panes and their heights."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated

from kvmdbg.commands import layouts
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import RestType, WordType
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Message, Result, Table
from kvmdbg.errors import UsageError

PANES = (
    "source", "code", "registers", "stack", "memory", "locals", "backtrace", "watch", "breakpoints", "exits", "screen",
    "console", "log",
)  # fmt: skip
OF_GDB = {"src": "source", "asm": "code", "regs": "registers", "cmd": "log"}
"""What gdb calls some of them."""
SIDE = "side"
"""In a layout: the pane that F2 changes."""
NEEDS_IT = Message("There are panes in the full-screen mode only: tui shows it.", "warning")


class FullScreen:
    """Where the shell has a terminal, ``show`` shows everything on the whole screen."""

    show: Callable[[], None] | None = None
    focus: Callable[[str], None] | None = None
    """Chooses a pane while the whole screen is shown."""
    size: Callable[[str], tuple[int, int]] | None = None
    """How many lines and columns of a pane are seen; UsageError where it is not shown."""
    panes: Callable[[], list[tuple[str, bool]]] | None = None
    """The panes that are shown, and which of them has been chosen."""
    redraw: Callable[[], None] | None = None
    """Draws the whole screen anew."""
    leave: Callable[[], None] | None = None


def pane_of(name: str) -> str:
    """The pane that a name, gdb's or the beginning of one, means. UsageError."""
    name = OF_GDB.get(name, name)
    near = [name] if name in PANES else [one for one in PANES if name and one.startswith(name)]
    if len(near) != 1:
        raise UsageError(f"'{name}' is none of the panes {', '.join(PANES)}")
    return near[0]


def _layout_names(dbg: Interpreter) -> list[str]:
    return [*layouts.WIDE, *dbg.settings["tui-layouts"]]


PaneArg = Annotated[str, WordType("PANE", (*PANES, *OF_GDB), strict=False)]
LayoutArg = Annotated[
    str, WordType("src|asm|split|regs|next|prev|NAME", lambda dbg: [*_layout_names(dbg), "next", "prev"])
]
HeightArg = Annotated[str, RestType("[+|-]LINES")]
WidthArg = Annotated[str, RestType("[+|-]COLUMNS")]
NewArg = Annotated[str, RestType("{ [-horizontal] PANE WEIGHT … }", words=(*OF_GDB, *PANES[2:], SIDE, "-horizontal"))]


@command("tui", group="support", example="tui", varies="it needs a terminal", host=True)
def tui(dbg: Interpreter) -> Result | None:
    """Show the guest on the whole screen: code, registers, stack, memory, breakpoints, exits, its console and screen.

    The same commands are typed at the bottom; F2 changes what the lower pane shows, a click or F3 chooses the pane that
    PgUp and PgDn scroll, Ctrl-D comes back to the shell. A click into a chosen code pane sets a breakpoint there, or
    deletes it. `list` moves the source pane. `layout` chooses which panes there are, `winheight` and `winwidth` how
    large one is, `focus` a pane by its name: the next session has them as this one leaves them. `display` fills the
    pane of what is watched, `set tui-memory ADDRESS` that of memory.
    """
    screen = dbg.kept(FullScreen)
    if screen.leave is not None:
        return Message("This is the full-screen mode.", "warning")
    if screen.show is None:
        return Message("The full-screen mode needs the shell on a terminal.", "warning")
    screen.show()
    return None


@command("tui enable", group="support", example="tui enable", varies="it needs a terminal", host=True)
def tui_enable(dbg: Interpreter) -> Result | None:
    """Show the full-screen mode, as `tui` alone."""
    return tui(dbg)


@command("tui disable", group="support", example="tui disable", varies="it needs the full-screen mode")
def tui_disable(dbg: Interpreter) -> Result | None:
    """Leave the full-screen mode, as Ctrl-D there."""
    leave = dbg.kept(FullScreen).leave
    if leave is None:
        return NEEDS_IT
    leave()
    return None


@command(
    "tui new-layout",
    group="support",
    example=("tui new-layout wide -horizontal {src 1 cmd 1} 2 {regs 1 locals 1} 1", "layout wide"),
)
def tui_new_layout(dbg: Interpreter, name: Annotated[str, WordType("NAME")], panes: NewArg = "") -> None:
    """Make a layout of the full-screen mode, or another of that name: panes with weights, as in gdb.

    The panes stand one above the other, with -horizontal beside each other; braces put some together. Weights say how
    much of what is left each gets. `side` is the pane that F2 changes, src source, asm instructions, cmd the log.
    """
    if not re.fullmatch(r"[A-Za-z][\w-]*", name) or name in (*layouts.WIDE, "next", "prev"):
        raise UsageError(f"'{name}' cannot be a layout's name")
    found = layouts.parse(panes)
    for pane in found.panes():
        if pane != SIDE:
            pane_of(pane)
    dbg.settings["tui-layouts"] = {**dbg.settings["tui-layouts"], name: panes}


@command("layout", aliases=("la",), group="support", example=("layout asm", "show tui-layout"), host=True)
def layout(dbg: Interpreter, name: LayoutArg) -> None:
    """Choose which panes the full-screen mode (tui) has, and show it; `set tui-layout` chooses alone.

    src has source, asm instructions, split both, regs instructions with registers also where the screen is narrow.
    `tui new-layout` makes others.
    """
    if name in ("next", "prev"):
        names = _layout_names(dbg)
        now = dbg.settings["tui-layout"]
        at = (names.index(now) if now in names else 0) + (1 if name == "next" else -1)
        name = names[at % len(names)]
    dbg.settings.set("tui-layout", name)
    screen = dbg.kept(FullScreen)
    if screen.leave is None and screen.show is not None:
        screen.show()


@command("focus", aliases=("fs",), group="support", example="focus registers", varies="it needs the full-screen mode")
def focus(dbg: Interpreter, pane: PaneArg) -> Result | None:
    """Choose the pane of the full-screen mode (tui) that PgUp and PgDn scroll, and show it."""
    choose = dbg.kept(FullScreen).focus
    if choose is None:
        return NEEDS_IT
    choose(pane)
    return None


@command("winheight", aliases=("wh",), group="support", example="winheight cmd 8")
def winheight(dbg: Interpreter, pane: PaneArg, lines: HeightArg = "") -> Result | None:
    """Give a pane of the full-screen mode (tui) so many lines, more (+LINES) or fewer (-LINES), or its usual ones.

    `winheight PANE` alone forgets what it was given.
    """
    return _sized(dbg, pane, lines, "tui-sizes", 0)


@command("winwidth", aliases=("ww",), group="support", example="winwidth src 70")
def winwidth(dbg: Interpreter, pane: PaneArg, columns: WidthArg = "") -> Result | None:
    """Give a pane of the full-screen mode (tui) so many columns, more (+COLUMNS) or fewer (-COLUMNS), or the usual.

    What stands above and below it is as wide. `winwidth PANE` alone forgets what it was given.
    """
    return _sized(dbg, pane, columns, "tui-widths", 1)


def _sized(dbg: Interpreter, pane: str, text: str, setting: str, axis: int) -> Result | None:
    name = pane_of(pane)
    kept = {one: size for one, size in dbg.settings[setting].items() if one != name}
    if not text:
        dbg.settings[setting] = kept
        return None
    match = re.fullmatch(r"([+-]?)\s*(\d{1,4})", text)
    if match is None:
        raise UsageError(f"'{text}' is no number of {('lines', 'columns')[axis]}")
    size = int(match[2])
    if match[1]:
        seen = dbg.kept(FullScreen).size
        if seen is None:
            return NEEDS_IT
        size = seen(name)[axis] + (size if match[1] == "+" else -size)
    dbg.settings[setting] = {**kept, name: max(size, 1)}
    return None


@command(
    "refresh", group="support", example="refresh", varies="it needs the full-screen mode",
)  # fmt: skip
def refresh(dbg: Interpreter) -> Result | None:
    """Draw the screen of the full-screen mode (tui) anew, as Ctrl-L."""
    redraw = dbg.kept(FullScreen).redraw
    if redraw is None:
        return NEEDS_IT
    redraw()
    return None


@command("info win", group="info", example="info win", varies="it needs the full-screen mode")
def info_win(dbg: Interpreter) -> Result:
    """List the panes that the full-screen mode (tui) shows, with their lines and columns, and which has the focus."""
    screen = dbg.kept(FullScreen)
    if screen.panes is None or screen.size is None:
        return NEEDS_IT
    rows = tuple(
        (name, *map(str, screen.size(name)), "(has focus)" if chosen else "") for name, chosen in screen.panes()
    )
    return Table("panes", ("Name", "Lines", "Columns", "Focus"), rows)
