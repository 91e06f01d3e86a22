"""The guest's screen: as it is now, as it changes, as a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import FileArg
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Message, Result, Screen

if TYPE_CHECKING:
    from kvmdbg.engine.stops import Stop


@command("screen", group="exits", example=("set {u32}phys:0xb8000 = 0x07690748", "screen"), py="dbg.screen()")
def screen(dbg: Interpreter) -> Result:
    """Show the guest's screen: its text in its colours, or its picture, two pixels a character.

    Without colours a picture is shown in shades. `screen save` writes it exactly.
    """
    return Screen(dbg.session.peripherals.shown())


@command(
    "screen save",
    group="exits",
    example=("set {u32}phys:0xb8000 = 0x07690748", "screen save screen.png"),
    py="dbg.save_screen({file})",
)
def screen_save(dbg: Interpreter, file: FileArg) -> Result:
    """Write what the guest's screen shows into a PNG file: a picture pixel by pixel, text with its font and colours."""
    picture = dbg.session.save_screen(file)
    size = {"file": file, "width": picture.width, "height": picture.height}
    return Message(f"Wrote {picture.width} x {picture.height} pixels to {file}.", data=size)


class LiveScreen:
    """Where the shell has a terminal, ``show`` shows the guest's screen until the user leaves."""

    show: Callable[[], None] | None = None


@command("screen live", group="exits", example="screen live", varies="it needs a terminal")
def screen_live(dbg: Interpreter) -> Result | None:
    """Let the guest run and show its text screen as it changes; keys go to its keyboard, Ctrl-] stops it.

    Needs the shell on a terminal; where the guest does not run it is let go first.
    """
    show = dbg.kept(LiveScreen).show
    if show is None:
        return Message("A live screen needs the shell on a terminal; `screen` shows it as it is now.", "warning")
    if not dbg.user.has_terminal:
        return Message("A pane of the full-screen mode shows the screen as it changes: focus screen.", "warning")

    def action() -> Stop | None:
        if dbg.session.state == "stopped":
            dbg.session.resume()
        show()
        return dbg.session.interrupt()

    with dbg.runs.taken_over() as untold:
        if untold:
            dbg.runs.go(action)
    return None
