"""define, document, source: commands made of commands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated

from kvmdbg.commands.interpreter import Interpreter, Macro
from kvmdbg.commands.parameters import ExpressionTextArg, FileArg, WordType
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Result, Table
from kvmdbg.errors import KvmdbgError, UsageError
from kvmdbg.loaders.registry import read_file

NameArg = Annotated[str, WordType("NAME", strict=False)]
MacroArg = Annotated[str, WordType("NAME", lambda dbg: sorted(dbg.macros))]


@command(
    "define",
    group="support",
    example=("define twice\nprint $arg0 * 2\nend", "twice 21"),
    body="macro",
)
def define(dbg: Interpreter, name: NameArg, *, body: list[str]) -> Result | None:
    """Make a command of your own from the lines that follow, up to `end`.

    $arg0, $arg1, … in the lines are its arguments, $argc their number, $arg* the whole text after the name.
    """
    if not re.fullmatch(r"[A-Za-z_][\w-]*", name):
        raise UsageError(f"'{name}' cannot name a command; letters, digits, _ and - can")
    known = dbg.registry.names().get(name)
    if known is not None:
        raise UsageError(f"{name} is a command of kvmdbg ({known.name}); choose another name")
    old = dbg.macros.get(name)
    dbg.macros[name] = Macro(name, body, old.text if old else "User-defined.")
    return None


@command(
    "document",
    group="support",
    example=("define twice\nprint $arg0 * 2\nend", "document twice\nPrint twice a number.\nend", "help twice"),
    body="document",
)
def document(dbg: Interpreter, name: MacroArg, *, body: list[str]) -> None:
    """Give a command made with define its help: the lines that follow, up to `end`."""
    if name not in dbg.macros:
        raise UsageError(f"{name} is no command made with define")
    dbg.macros[name].text = "\n".join(body)


@command("show user", group="support", example=("define twice\nprint $arg0 * 2\nend", "show user"))
def show_user(dbg: Interpreter) -> Result:
    """List the commands made with define and their lines."""
    rows = tuple((one.name, one.text.splitlines()[0] if one.text else "") for one in dbg.macros.values())
    notes = {at: tuple(one.lines) for at, one in enumerate(dbg.macros.values())}
    return Table("user-defined commands", ("Name", "What it does"), rows, "No user-defined commands.", notes=notes)


@command("if", group="support", example="if $ax == 2\nprint $bx\nelse\nprint $cx\nend", body="commands")
def if_(dbg: Interpreter, condition: ExpressionTextArg, *, body: list[str]) -> Iterator[Result]:
    """Run the lines that follow, up to `else` or `end`, when an expression is not 0; those after `else` when it is."""
    then, otherwise = _branches(body)
    yield from dbg.run_lines(then if dbg.number(condition) else otherwise)


@command(
    "while", group="support", example=("set $i = 0", "while $i < 3\nprint $i\nset $i = $i + 1\nend"), body="commands"
)
def while_(dbg: Interpreter, condition: ExpressionTextArg, *, body: list[str]) -> Iterator[Result]:
    """Run the lines that follow, up to `end`, as long as an expression is not 0."""
    while dbg.number(condition):
        yield from dbg.run_lines(body)


def _branches(body: list[str]) -> tuple[list[str], list[str]]:
    depth = 0
    for at, line in enumerate(body):
        word = line.split()[0] if line.split() else ""
        if word in ("if", "while", "commands", "define", "document"):
            depth += 1
        elif word == "end":
            depth -= 1
        elif word == "else" and depth == 0:
            return body[:at], body[at + 1 :]
    return body, []


@command("source", group="support", example=("shell echo 'print $ax' > start.kvmdbg", "source start.kvmdbg"))
def source(dbg: Interpreter, file: FileArg) -> Iterator[Result]:
    """Run the commands in a file, one a line. It ends at the first error, which names the file and the line."""
    try:
        text = read_file(file, "command file").decode()
    except UnicodeDecodeError:
        raise KvmdbgError(f"cannot read {file}: it is no text") from None
    yield from dbg.run_lines(text.splitlines(), file)
