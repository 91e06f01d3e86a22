"""The guest's source: variables, types."""

from __future__ import annotations

import os
import re
from typing import Annotated

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import FileType, Format, RestType
from kvmdbg.commands.printing import formatted
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Fields, Message, Result, Table
from kvmdbg.errors import KvmdbgError, UsageError
from kvmdbg.language.ctype import CType
from kvmdbg.language.types import MemoryRef


@command(
    "info locals",
    group="info",
    example=("break demand_page", "run", "info locals"),
    guest="guests/kernel-O0.elf",
    py="dbg.locals()",
)
def info_locals(dbg: Interpreter) -> Result:
    """Show the local variables of the function that pc is in, those of inner blocks too, and their values (DWARF)."""
    return _variables(dbg, parameters=False)


@command(
    "info args",
    group="info",
    example=("break divide", "run", "info args"),
    guest="guests/kernel-O0.elf",
    py="dbg.arguments()",
)
def info_args(dbg: Interpreter) -> Result:
    """Show the arguments of the function that pc is in, and their values (DWARF)."""
    return _variables(dbg, parameters=True)


def _variables(dbg: Interpreter, *, parameters: bool) -> Result:
    variables = dbg.session.c_variables
    if variables.function() is None:
        return Message("Nothing is known of the function at pc: it has no debug information (compile with -g).")
    found = variables.visible(parameters=parameters)
    rows = tuple((one.name, variables.value(one), one.type.name) for one in found)
    what = "arguments" if parameters else "locals"
    data = tuple({"name": name, "value": value, "type": type_} for name, value, type_ in rows)
    return Table(what, ("Name", "Value", "Type"), rows, f"No {what}.", data)


NO_DEBUG_INFO = Message("The guest has no debug information: compile with -g, or give an ELF file that has it.")
CNameArg = Annotated[str, RestType("EXPRESSION|TYPE", "expression")]


@command(
    "ptype",
    group="data",
    example=("ptype struct task", "ptype tasks"),
    guest="guests/kernel-O0.elf",
    py="dbg.c_variables.declaration(type)",
)
def ptype(dbg: Interpreter, name: CNameArg) -> Result:
    """Show a type (struct point, a typedef), or the type of a variable or an expression, as the source has it (DWARF).

    A pointer's target is shown, too.
    """
    variables = dbg.session.c_variables
    if not variables.known:
        return NO_DEBUG_INFO
    type_ = variables.type(name) if variables.find(name) is None else None
    if type_ is None:
        type_ = _typed(dbg, name)
    return Message(variables.declaration(type_))


def _typed(dbg: Interpreter, text: str) -> CType:
    """The type in the source of an expression. UsageError where it has none."""
    symbol = dbg.session.symbols.lookup(text)
    if re.fullmatch(r"[\w.]+", text) and symbol is None and dbg.session.c_variables.find(text) is None:
        raise UsageError(f"no variable and no type is called {text!r}")
    found = dbg.session.evaluate(text).type
    if found.c is not None:
        return found.c
    if found.pointer_to is not None and found.pointer_to.c is not None:
        made = CType("pointer", f"{found.pointer_to.c.name} *", found.size)
        made.target = found.pointer_to.c
        return made
    return CType("uint", str(found), found.size)


@command(
    "whatis",
    aliases=("var",),
    group="data",
    example=("break divide", "run", "whatis value", "whatis all[1].total + 1"),
    guest="guests/kernel-O0.elf",
    py="dbg.c_variables.value(variable)",
)
def whatis(dbg: Interpreter, name: CNameArg) -> Result:
    """Show a variable of the source, or an expression: its type, its value, and where it is (DWARF)."""
    variables = dbg.session.c_variables
    if not variables.known:
        return NO_DEBUG_INFO
    variable = variables.find(name)
    if variable is None:
        type_ = _typed(dbg, name)
        found = dbg.session.evaluate(name)
        shown = {"type": type_.name, "value": formatted(dbg, name, Format())[0]}
        if isinstance(found.lvalue, MemoryRef):
            shown["at"] = f"{found.lvalue.address:#x}"
        return Fields(name, shown)
    values = {"type": variable.type.name, "value": variables.value(variable)}
    try:
        place = variables.place(variable)
        values["at"] = f"{place.address:#x}" if place.address is not None else place.register or "worked out"
    except KvmdbgError as error:
        values["at"] = str(error)
    return Fields(name, values)


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
        return Message("Sources are looked for where they were compiled, and beside the guest.")
    if not os.path.isdir(folder):
        raise UsageError(f"{folder} is no folder")
    folders.insert(0, os.path.abspath(folder))
    return Message(f"Sources are looked for in {', '.join(folders)}, too.", data={"folders": list(folders)})
