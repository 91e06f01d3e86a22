"""alias, pipe, with: other commands, run under another name, through a program, or with another setting."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Annotated

from kvmdbg.commands.aliases import Alias
from kvmdbg.commands.gdb_settings import ignored
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import FlagWordType, RestType
from kvmdbg.commands.print_settings import PrintSettings
from kvmdbg.commands.programs import run_program
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Result, Table, Text
from kvmdbg.errors import UsageError

PipeArg = Annotated[str, RestType("COMMAND | PROGRAM", "command")]
WithArg = Annotated[str, RestType("SETTING [VALUE] -- COMMAND", "setting")]
DefinitionArg = Annotated[str, RestType("NAME = COMMAND", "command")]


def text_of(results: Iterable[Result], width: int) -> str:
    """Results as the text that a terminal without colours would show."""
    found = ""
    for one in results:
        text = one.plain(width)
        if isinstance(one, Text):
            found += text
        else:
            found += ("\n" if found and not found.endswith("\n") else "") + text + "\n"
    return found


@command(
    "alias",
    group="support",
    example=("alias words = x/4xw", "words 0x1000", "alias"),
)
def alias(
    dbg: Interpreter, abbreviation: Annotated[bool, FlagWordType("-a")] = False, definition: DefinitionArg = ""
) -> Result | None:
    """Make NAME, one word or two, stand for a command with its first arguments. Without a word list the aliases.

    What is typed behind NAME goes behind COMMAND. With -a completion does not offer it.
    """
    if not definition:
        rows = tuple((one.name, one.text) for one in dbg.aliases)
        return Table("aliases", ("Alias", "Command"), rows, "There are no aliases.")
    name, equals, text = (part.strip() for part in definition.removeprefix("-- ").partition("="))
    if not equals or not name or not text:
        raise UsageError("alias needs a name, = and a command, as in: alias words = x/4xw")
    name = " ".join(name.split())
    parent, _, last = name.rpartition(" ")
    taken = dbg.registry.names(parent).get(last)
    if taken is not None:
        raise UsageError(f"{name} is a command of kvmdbg already ({taken.name})")
    dbg.registry.resolve(dbg.aliases.expand(text))
    dbg.aliases.add(Alias(name, text, abbreviation))
    return None


@command(
    "pipe",
    aliases=("|",),
    group="support",
    example=("pipe info registers | grep -i ax", "| x/20i 0x1000 | head -2", "print $_shell_exitcode"),
    host=True,
)
def pipe(dbg: Interpreter, text: PipeArg) -> Result | None:
    """Give what a command shows to a program of the host's, through its shell; `|` does the same.

    `pipe -d DELIMITER COMMAND DELIMITER PROGRAM` takes other words than | between the two. The program's exit status is
    kept in $_shell_exitcode.
    """
    delimiter = "|"
    if text.startswith("-d"):
        words = text.split(maxsplit=2)
        if len(words) < 3:
            raise UsageError("pipe -d needs a delimiter, a command and a program")
        _, delimiter, text = words
    text = text.removeprefix("-- ")
    typed, found, program = (part.strip() for part in text.partition(delimiter))
    if not found or not program or not typed:
        raise UsageError(f"pipe needs a command, {delimiter} and a program, as in: pipe info registers | grep ax")
    shown = text_of(dbg.run_line(typed), dbg.columns())
    return run_program(dbg, program, shown)


@command(
    "with",
    aliases=("w",),
    group="support",
    example=("with output-radix 16 -- print $ax", "with disassembly-flavor att -- x/i $pc"),
)
def with_(dbg: Interpreter, text: WithArg) -> Iterator[Result]:
    """Run a command with another value of a setting, which has its old one again afterwards.

    Without a command the last one that an empty line would run is run again.
    """
    before, dashes, typed = text.partition(" --")
    line = typed.strip() if dashes else ""
    if not dashes:
        raise UsageError("with needs a setting, its value, -- and a command, as in: with output-radix 16 -- print $ax")
    if not line:
        raise UsageError("with needs a command behind --")
    if re.match(r"\s*(p|pr|pri|prin|print)\s", before):
        kept = dbg.kept(PrintSettings)
        style, arguments = kept.style, kept.frame_arguments
        try:
            yield from dbg.run_lines([f"set {before}", line])
        finally:
            kept.style, kept.frame_arguments = style, arguments
        return
    setting, value = dbg.settings.named(before)
    if setting is None and ignored(before) is not None:  # refused, or it changes nothing
        yield from dbg.run_lines([f"set {before}", line])
        return
    if setting is None:
        raise UsageError(f"there is no setting {before.split()[0] if before.split() else ''}; show lists them")
    old = dbg.settings[setting.name]
    dbg.settings.set(setting.name, value)
    try:
        yield from dbg.run_line(line)
    finally:
        dbg.settings[setting.name] = old
