"""The guest's source: variables, types, frames."""

from __future__ import annotations

import os
import re
from typing import Annotated

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import FileType, Format, NumberType, RestType
from kvmdbg.commands.printing import formatted
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Fields, Group, Message, Result, SourceText, Table
from kvmdbg.debuginfo.backtrace import Frame, call_frame_address
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


MostArg = Annotated[int, NumberType("COUNT", least=1)]


@command(
    "backtrace",
    aliases=("bt", "where"),
    group="data",
    example=("break divide", "run", "backtrace"),
    guest="guests/kernel-O0.elf",
    py="dbg.backtrace()",
)
def backtrace(dbg: Interpreter, count: MostArg = 50) -> Result:
    """Show the calls that led here, innermost first, at most COUNT; and why there are no more.

    By call frame information (DWARF) where the image has some, else by frame pointers ($rbp, $ebp, $bp).
    """
    found = dbg.session.backtrace(count)
    selected = dbg.session.frame.number
    rows, data = [], []
    for one in found.frames:
        label, place = _frame_place(dbg, one)
        mark = "*" if one.number == selected and selected else ""
        rows.append((f"{mark}#{one.number}", f"{one.pc:#x}", label, place, one.how))
        data.append({"frame": one.number, "pc": one.pc, "sp": one.sp, "symbol": label, "source": place, "how": one.how})
    table = Table("frames", ("", "Address", "Symbol", "Source", "Found by"), tuple(rows), data=tuple(data))
    return Group((table, Message(f"({found.end})", data={"end": found.end})))


def _frame_place(dbg: Interpreter, frame: Frame) -> tuple[str, str]:
    """Symbol and source line of a frame."""
    line = dbg.session.source.at(frame.place)
    near = dbg.session.symbols.nearest(frame.place)
    offset = frame.pc - near[0].address if near is not None else 0
    return (
        "" if near is None else f"{near[0].name}+{offset:#x}" if offset else near[0].name,
        f"{line.file.rpartition('/')[2]}:{line.line}" if line is not None else "",
    )


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


class FrameType(NumberType):
    """The number of a frame."""

    def complete(self, prefix: str, dbg: Interpreter) -> list[str]:
        if dbg.session.state != "stopped":
            return []
        numbers = [str(one.number) for one in dbg.session.backtrace(MOST_OFFERED).frames]
        return [number for number in numbers if number.startswith(prefix)] or super().complete(prefix, dbg)


MOST_OFFERED = 20
"""So many frames are offered."""
FrameArg = Annotated[int, FrameType("NUMBER")]


@command(
    "frame",
    aliases=("f",),
    group="data",
    example=("break divide", "run", "frame 1", "frame"),
    guest="guests/kernel-O0.elf",
    py="dbg.select_frame({number})",
)
def frame(dbg: Interpreter, number: FrameArg | None = None) -> Result:
    """Select a frame of the backtrace by its number, or show the selected one.

    Its variables are meant from then on, until the guest goes on; registers stay those of the CPU.
    """
    chosen = dbg.session.frame if number is None else dbg.session.select_frame(number)
    label, place = _frame_place(dbg, chosen)
    parts: list[Result] = [
        Message(
            f"#{chosen.number}  {chosen.pc:#x}" + (f" <{label}>" if label else "") + (f" at {place}" if place else ""),
            data={"frame": chosen.number, "pc": chosen.pc, "symbol": label, "source": place},
        )
    ]
    line = dbg.session.source.at(chosen.place)
    text = dbg.source_lines(line.file) if line is not None else ()
    if line is not None and 0 < line.line <= len(text):
        parts.append(SourceText(line.file, ((line.line, text[line.line - 1], True),)))
    return Group(tuple(parts))


UpArg = Annotated[int, NumberType("COUNT", least=1)]


@command(
    "up",
    group="data",
    example=("break divide", "run", "up", "up 2"),
    guest="guests/kernel-O0.elf",
    py="dbg.select_frame(dbg.frame.number + {count})",
)
def up(dbg: Interpreter, count: UpArg = 1) -> Result:
    """Select the frame that called the selected one, or the one COUNT frames out."""
    return frame(dbg, dbg.session.frame.number + count)


@command(
    "down",
    group="data",
    example=("break divide", "run", "up", "down"),
    guest="guests/kernel-O0.elf",
    py="dbg.select_frame(dbg.frame.number - {count})",
)
def down(dbg: Interpreter, count: UpArg = 1) -> Result:
    """Select the frame that the selected one called, or the one COUNT frames in."""
    if dbg.session.frame.number < count:
        raise UsageError("this is the innermost frame" if not dbg.session.frame.number else "there are not so many")
    return frame(dbg, dbg.session.frame.number - count)


@command(
    "info frame",
    group="info",
    example=("break divide", "run", "info frame"),
    guest="guests/kernel-O0.elf",
    py="dbg.frame",
)
def info_frame(dbg: Interpreter) -> Result:
    """Show the selected frame: its place, its call frame, who called it, and the registers that calls keep."""
    chosen = dbg.session.frame
    label, place = _frame_place(dbg, chosen)
    values = {"frame": str(chosen.number), "at": f"{chosen.pc:#x} <{label}>" if label else f"{chosen.pc:#x}"}
    if place:
        values["source"] = place
    values["stack pointer"] = f"{chosen.sp:#x}"
    cfa = call_frame_address(dbg.session.vcpu, dbg.session.files, chosen)
    if cfa is not None:
        values["call frame"] = f"{cfa:#x}"
    trace = dbg.session.backtrace(chosen.number + 2)
    if len(trace.frames) > chosen.number + 1:
        caller = trace.frames[chosen.number + 1]
        values["called from"] = f"{caller.pc:#x} <{_frame_place(dbg, caller)[0]}>, by {caller.how}"
    else:
        values["called from"] = f"not known: {trace.end}"
    values["registers"] = ", ".join(f"{name} {value:#x}" for name, value in chosen.regs.items())
    return Fields("", values)
