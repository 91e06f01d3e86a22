"""The guest's source: variables, types."""

from __future__ import annotations

import os
from typing import Annotated

from kvmdbg.commands.choosing import chosen_by
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import FileType, RestType
from kvmdbg.commands.print_settings import style_of
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Message, Result, Table
from kvmdbg.errors import UsageError

WhichArg = Annotated[str, RestType("[-q] [-t TYPE] [REGEX]", words=("-q", "-t"))]


@command(
    "info locals",
    group="info",
    example=("break demand_page", "run", "info locals"),
    guest="guests/kernel-O0.elf",
    py="dbg.locals()",
)
def info_locals(dbg: Interpreter, which: WhichArg = "") -> Result:
    """Show the local variables of the function that pc is in, those of inner blocks too, and their values (DWARF).

    Those whose name matches REGEX, and with -t those whose type matches TYPE; -q says nothing where there are none.
    """
    return _variables(dbg, which, parameters=False)


@command(
    "info args",
    group="info",
    example=("break divide", "run", "info args"),
    guest="guests/kernel-O0.elf",
    py="dbg.arguments()",
)
def info_args(dbg: Interpreter, which: WhichArg = "") -> Result:
    """Show the arguments of the function that pc is in, and their values (DWARF).

    Those whose name matches REGEX, and with -t those whose type matches TYPE; -q says nothing where there are none.
    """
    return _variables(dbg, which, parameters=True)


def _variables(dbg: Interpreter, which: str, *, parameters: bool) -> Result:
    chosen = chosen_by(which)
    variables = dbg.session.c_variables
    if variables.function() is None:
        missing = dbg.session.files.missing
        told = "Nothing is known of the function at pc: it has no debug information"
        told += "." if missing else " (compile with -g)."
        return Message("\n".join((told, *(f"{one}." for one in missing))))
    found = [one for one in variables.visible(parameters=parameters) if chosen.takes(one.name, one.type.name)]
    style = style_of(dbg)
    rows = tuple((one.name, variables.value(one, style), one.type.name) for one in found)
    what = "arguments" if parameters else "locals"
    data = tuple({"name": name, "value": value, "type": type_} for name, value, type_ in rows)
    if rows and (style.pretty or style.array):  # over several lines
        return Message("\n".join(f"{name} = {value}" for name, value, _ in rows), data={what: list(data)})
    return Table(what, ("Name", "Value", "Type"), rows, "" if chosen.quiet else f"No {what}.", data)


FolderArg = Annotated[str | None, FileType("FOLDER")]


@command(
    "directory",
    aliases=("dir",),
    group="files",
    example="directory .",
    varies="it names a folder of the machine it runs on",
    py="dbg.source.folders.append({folder})",
)
def directory(dbg: Interpreter, folder: FolderArg = None) -> Result:
    """Look for source files in this folder, too, before those beside the guest; without one, in none but those.

    For sources that are no longer where they were compiled: a file is found by its name, with or without the last
    folders of its path.
    """
    folders = dbg.session.source.folders
    if folder is None:
        folders.clear()
        return show_directories(dbg)
    if not os.path.isdir(folder):
        raise UsageError(f"{folder} is no folder")
    folders.insert(0, os.path.abspath(folder))
    return show_directories(dbg)


@command("show directories", group="files", example="show directories", py="dbg.source.folders")
def show_directories(dbg: Interpreter) -> Result:
    """Show where source files are looked for."""
    folders = dbg.session.source.folders
    if not folders:
        return Message("Sources are looked for where they were compiled, and beside the guest.", data={"folders": []})
    return Message(f"Sources are looked for in {', '.join(folders)}, too.", data={"folders": list(folders)})
