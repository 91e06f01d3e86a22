"""The memory pane of the full-screen mode."""

from __future__ import annotations

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.ui.panes import Line, lines_of, plain

MEMORY = 512
"""Bytes that it shows, at most up to the end of their page."""


def memory_lines(dbg: Interpreter, width: int) -> list[Line]:
    """What is at the address of the setting tui-memory."""
    from kvmdbg.commands.examine import hex_dump, read

    if dbg.session.state != "stopped":
        return plain(f"(the guest is {dbg.session.state})")
    where = str(dbg.settings["tui-memory"])
    place = dbg.place(where)
    size = min(MEMORY, 0x1000 - place.address % 0x1000)
    shown = hex_dump(dbg, place.address, read(dbg, place, size), place.space)
    return [[("", where)], *lines_of(shown, width)]
