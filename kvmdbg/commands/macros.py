"""define, document, source: commands made of commands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated

from kvmdbg.commands.defined import Macro
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import ExpressionTextArg, FileArg, WordType
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Result, Table
from kvmdbg.errors import KvmdbgError, UsageError
from kvmdbg.loaders.registry import read_file

NameArg = Annotated[str, WordType("NAME", strict=False)]
MacroArg = Annotated[str, WordType("NAME", lambda dbg: sorted(dbg.macros))]


_NAME = re.compile(r"[A-Za-z_][\w.-]*")
_HOOK = re.compile(r"hook(?:post)?-(.+)")
LastArg = Annotated[str, WordType("NAME", strict=False)]


@command(
    "define",
    group="support",
    example=("define twice\nprint $arg0 * 2\nend", "twice 21", "define hook-print\necho so:\nend", "print 1"),
    body="macro",
)
def define(dbg: Interpreter, name: NameArg, last: LastArg = "", *, body: list[str]) -> Result | None:
    """Make a command of your own from the lines that follow, up to `end`.

    $arg0, $arg1, … in the lines are its arguments, $argc their number, $arg* the whole text after the name. One named
    hook-NAME runs before the command NAME, hookpost-NAME after it; hook-stop and hookpost-stop when the guest stops,
    before and after that is shown. Behind a word that takes others (`define info mine`, `define info hook-registers`) a
    name has two words; define-prefix makes such words.
    """
    full = f"{name} {last}".strip()
    for word in full.split():
        if not _NAME.fullmatch(word):
            raise UsageError(f"'{word}' cannot name a command; letters, digits, _, - and . can")
    parent, _, own = full.rpartition(" ")
    if parent and parent not in dbg.macros.prefixes and not dbg.registry.subcommands(parent):
        raise UsageError(f"no command takes words behind {parent}; define-prefix {parent} makes one")
    hook = _HOOK.fullmatch(own)
    if hook is not None:
        hooked = f"{parent} {hook[1]}".strip()
        if hooked != "stop" and hooked not in dbg.macros and dbg.registry.get(hooked) is None:
            found = dbg.registry.names(parent).get(hook[1])
            hint = f"; {hook[1]} is {found.name}: define {own.replace(hook[1], found.words[-1])}" if found else ""
            raise UsageError(f"{own} would be a hook of no command{hint}")
    known = dbg.registry.names(parent).get(own)
    if known is not None:
        raise UsageError(f"{full} is a command of kvmdbg ({known.name}); choose another name")
    old = dbg.macros.get(full)
    dbg.macros[full] = Macro(full, body, old.text if old else "User-defined.")
    return None


@command(
    "define-prefix",
    group="support",
    example=("define-prefix mine", "define mine sum\nprint $arg0 + $arg1\nend", "mine sum 1 2"),
)
def define_prefix(dbg: Interpreter, name: NameArg) -> None:
    """Make a word behind which commands of your own can be defined, as in `define NAME OTHER`."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"'{name}' cannot name a command; letters, digits, _, - and . can")
    if dbg.registry.names().get(name) is not None:
        raise UsageError(f"{name} is a command of kvmdbg; choose another name")
    dbg.macros.prefixes.add(name)


@command(
    "document",
    group="support",
    example=("define twice\nprint $arg0 * 2\nend", "document twice\nPrint twice a number.\nend", "help twice"),
    body="document",
)
def document(dbg: Interpreter, name: NameArg, last: LastArg = "", *, body: list[str]) -> None:
    """Give a command made with define its help: the lines that follow, up to `end`."""
    full = f"{name} {last}".strip()
    if full not in dbg.macros:
        raise UsageError(f"{full} is no command made with define")
    dbg.macros[full].text = "\n".join(body)


@command("show user", group="support", example=("define twice\nprint $arg0 * 2\nend", "show user"))
def show_user(dbg: Interpreter, name: MacroArg = "") -> Result:
    """List the commands made with define and their lines, or the one that is named."""
    chosen = [one for one in dbg.macros.values() if name in ("", one.name)]
    if name and not chosen:
        raise UsageError(f"{name} is no command made with define; show user lists them")
    rows = tuple((one.name, one.text.splitlines()[0] if one.text else "") for one in chosen)
    notes = {at: tuple(one.lines) for at, one in enumerate(chosen)}
    return Table("user-defined commands", ("Name", "What it does"), rows, "No user-defined commands.", notes=notes)


@command("if", group="support", example="if $ax == 2\nprint $bx\nelse\nprint $cx\nend", body="commands")
def if_(dbg: Interpreter, condition: ExpressionTextArg, *, body: list[str]) -> Iterator[Result]:
    """Run the lines that follow, up to `else` or `end`, when an expression is not 0; those after `else` when it is."""
    then, otherwise = _branches(dbg, body)
    yield from dbg.run_lines(then if dbg.number(condition) else otherwise)


class LoopLeft(KvmdbgError):
    """`loop_break` or `loop_continue`, on its way to the loop that it is in."""


@command(
    "while", group="support", example=("set $i = 0", "while $i < 3\nprint $i\nset $i = $i + 1\nend"), body="commands"
)
def while_(dbg: Interpreter, condition: ExpressionTextArg, *, body: list[str]) -> Iterator[Result]:
    """Run the lines that follow, up to `end`, as long as an expression is not 0."""
    while dbg.number(condition):
        try:
            yield from dbg.run_lines(body)
        except LoopLeft as left:
            if "loop_break" in str(left):
                return
        if dbg.runs.interrupted:
            raise UsageError("interrupted")


@command(
    "loop_break",
    group="support",
    example=("set $i = 0", "while 1\nset $i = $i + 1\nif $i == 3\nloop_break\nend\nend", "print $i"),
)
def loop_break(dbg: Interpreter) -> None:
    """Leave the innermost `while` at once."""
    raise LoopLeft("loop_break stands in no while")


@command(
    "loop_continue",
    group="support",
    example=("set $i = 0", "while $i < 2\nset $i = $i + 1\nloop_continue\nprint 9\nend", "print $i"),
)
def loop_continue(dbg: Interpreter) -> None:
    """Go on with the next round of the innermost `while`."""
    raise LoopLeft("loop_continue stands in no while")


def _branches(dbg: Interpreter, body: list[str]) -> tuple[list[str], list[str]]:
    numbered = iter(enumerate(body))
    for at, line in numbered:
        if (opened := dbg.opened_body(line)) is not None:
            dbg.read_body(lambda: next(numbered, (0, None))[1], opened)
        elif line.split()[:1] == ["else"]:
            return body[:at], body[at + 1 :]
    return body, []


@command("source", group="support", example=("shell echo 'print $ax' > start.kvmdbg", "source start.kvmdbg"))
def source(dbg: Interpreter, file: FileArg) -> Iterator[Result]:
    """Run the commands in a file, one a line. It ends at the first error, which names the file and the line."""
    try:
        text = read_file(file, "command file").decode("utf-8-sig")
    except UnicodeDecodeError:
        raise KvmdbgError(f"cannot read {file}: it is no text") from None
    yield from dbg.run_lines(text.split("\n"), file)
