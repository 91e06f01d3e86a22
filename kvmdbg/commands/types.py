"""Types of the guest's source and of expressions: ptype, whatis, var."""

from __future__ import annotations

import re
from typing import Annotated

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import FlagsType, Format, RestType
from kvmdbg.commands.printing import formatted, is_void
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Fields, Message, Result
from kvmdbg.errors import KvmdbgError, UsageError
from kvmdbg.language.ctype import ADDRESS, VOID, CType
from kvmdbg.language.declared import declaration, layout, made_of
from kvmdbg.language.objects import has_table
from kvmdbg.language.types import MemoryRef

CNameArg = Annotated[str, RestType("EXPRESSION|TYPE", "expression")]


def _type_of(dbg: Interpreter, text: str) -> tuple[CType, bool]:
    """The type that a text names or an expression has, and whether it names one. UsageError."""
    from kvmdbg.language.expressions import named_type, parse, void_pointed_to

    scope = dbg.session.scope()
    found = named_type(text, scope)
    if found is not None:
        return found, True
    if is_void(dbg, text):
        return VOID, False
    if (void := void_pointed_to(text, scope)) is not None:
        dbg.session.type_of(text[1:])  # refused where a name in it is unknown
        return void, False
    if re.fullmatch(r"[A-Za-z_:][\w:]*", text) and parse(text, scope=scope).type is ADDRESS:
        symbol = dbg.session.symbols.lookup(text)
        if symbol is None:
            raise UsageError(f"no variable and no type is called {text!r}")
        why = "; ".join(dbg.session.files.missing) or "compile with -g"
        raise UsageError(f"'{text}' is a symbol whose type is not known: {why}, or give a type: (char)*{text}")
    return dbg.session.type_of(text), False


def _real_type(dbg: Interpreter, text: str, named: bool) -> str:
    """With set print object on, what gdb writes before the type of an object, or of a pointer to one: its own class."""
    from kvmdbg.commands.print_settings import style_of
    from kvmdbg.language.expressions import parse

    if named or not style_of(dbg).object or not parse(text, scope=dbg.session.scope()).is_variable:
        return ""
    found = dbg.session.c_variables.printer().real(dbg.session.evaluate(text))
    return f"/* real type = {found[2]} */\n" if found is not None else ""


@command(
    "ptype",
    group="data",
    example=("ptype struct task", "ptype/o struct task", "ptype tasks"),
    guest="guests/kernel-O0.elf",
    py="dbg.evaluate(name).type",
)
def ptype(dbg: Interpreter, flags: Annotated[str, FlagsType("otmxdr", "/o")] = "", name: CNameArg = "") -> Result:
    """Show a type (struct point, unsigned long, a typedef), or the type of an expression, with its members (DWARF).

    Names that typedefs give are resolved. /m leaves member functions of C++ out, /t the names that a class gives to
    types. /o shows the offset and the size of each member, and the holes between them, /ox in hexadecimal. /r is for
    gdb's scripts: names of types are shown as they are anyway.
    """
    if not name:
        raise UsageError("ptype needs an expression or a type, as in ptype struct point")
    found, named = _type_of(dbg, name)
    if "o" in flags and made_of(found).is_structure:
        return Message(layout(found, "x" in flags), data={"type": found.name})
    shown = declaration(found, methods="m" not in flags, typedefs="t" not in flags)
    return Message(
        f"type = {_real_type(dbg, name, named)}{shown}",
        data={"type": found.name},
    )


@command(
    "whatis",
    group="data",
    example=("break divide", "run", "whatis value", "whatis all[1].total + 1"),
    guest="guests/kernel-O0.elf",
    py="dbg.evaluate(name).type",
)
def whatis(dbg: Interpreter, name: CNameArg) -> Result:
    """Show the type of an expression, without evaluating more than that takes; of a typedef what it stands for."""
    found, named = _type_of(dbg, name)
    if named and found.original is not None and not found.qualifiers:
        found = found.original
    return Message(f"type = {_real_type(dbg, name, named)}{found}", data={"type": found.name})


@command(
    "var",
    group="data",
    example=("break divide", "run", "var value", "var all[1].total + 1"),
    guest="guests/kernel-O0.elf",
    py="dbg.c_variables.value(variable)",
)
def var(dbg: Interpreter, name: CNameArg) -> Result:
    """Show a variable of the source, or an expression: its type, its value, and where it is (DWARF)."""
    variables = dbg.session.c_variables
    variable = variables.find(name) if variables.known else None
    if variable is None:
        type_, _ = _type_of(dbg, name)
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


@command(
    "info vtbl", group="info", example="info vtbl all[1]", guest="guests/kernel-O0.elf", py="dbg.evaluate({expression})"
)
def info_vtbl(dbg: Interpreter, expression: CNameArg) -> Result:
    """Show the tables of virtual functions of an object of C++, or of the one that a pointer leads to.

    It is of the class that the source says, with set print object on of the one that it really has.
    """
    from kvmdbg.commands.print_settings import style_of

    value = dbg.session.evaluate(expression)
    printer = dbg.session.c_variables.printer()
    objects = printer.objects
    type = value.type.target if value.type.kind == "pointer" else value.type
    if type is None or not has_table(type) or not (value.type.kind == "pointer" or isinstance(value.lvalue, MemoryRef)):
        return Message("This object does not have a virtual function table")
    whole, at = type, value.value
    if style_of(dbg).object:
        whole, at = objects.whole(type, at) or (type, at)
    shown = []
    for table in objects.tables(whole, at):
        lines = [f"vtable for '{table.type}' @ {table.address:#x} (subobject @ {table.place:#x}):"]
        functions = objects.functions(table)
        shown.append("\n".join(lines + [f"[{slot}]: {printer.address(one)}" for slot, one in enumerate(functions)]))
    return Message("\n\n".join(shown))
