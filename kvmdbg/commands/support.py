"""help, apropos, echo, shell, quit, and the words that only have sub-commands."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Annotated

from kvmdbg.commands import of_others
from kvmdbg.commands.info import subcommand_table
from kvmdbg.commands.interpreter import Interpreter, Quit
from kvmdbg.commands.other_words import INSTEAD
from kvmdbg.commands.parameters import CommandTextArg, NumberType, RestType, TextArg
from kvmdbg.commands.programs import run_program
from kvmdbg.commands.registry import GROUPS, Command, command
from kvmdbg.commands.results import Group, HelpPage, Message, Result, Table, Text
from kvmdbg.errors import KvmdbgError, UsageError
from kvmdbg.numbers import compiled

StatusArg = Annotated[int, NumberType("STATUS")]
ShellArg = Annotated[str, RestType("COMMAND")]


def page(dbg: Interpreter, one: Command) -> HelpPage:
    """The help of one command."""
    parent = one.words[0] + " " if len(one.words) == 2 else ""
    text = one.text
    under = dbg.registry.subcommands(one.name)
    if under:
        listed = Table("", ("", ""), tuple((child.name, child.summary) for child in under), prose=True)
        text += "\n" + listed.plain(min(dbg.columns(), 100))
    names = tuple(parent + name for name in one.aliases)
    return HelpPage(one.name, one.usage, text, one.examples, names, GROUPS[one.group], one.py)


class Topics(dict[str, str]):
    """Pages of help that are no command's, e.g. the shell's "keys"."""


@command("help", aliases=("h",), group="support", example=("help", "help silent", "help break"))
def help_(dbg: Interpreter, topic: CommandTextArg = "") -> Iterator[Result]:
    """Explain a command, or list the commands of a group; without a word list the groups, and how to read more.

    gdb's classes status, stack, user-defined and aliases list theirs, too.
    """
    if not topic:
        rows = tuple((name, title) for name, title in GROUPS.items())
        yield Table("help", ("Group", "Commands for"), rows)
        yield Message("help GROUP lists its commands, help COMMAND explains one, apropos WORD searches.")
        return
    topics = dbg.kept(Topics)
    if topic in topics:
        yield HelpPage(topic, topic, topics[topic])
        return
    if topic in dbg.macros:
        macro = dbg.macros[topic]
        yield HelpPage(topic, topic, macro.text, (), (), "User-defined")
        return
    exact = dbg.registry.names().get(topic)
    if exact is None and f"{topic}s" in GROUPS:
        topic = f"{topic}s"
    if topic in GROUPS and (exact is None or topic != exact.name):
        yield _listed(dbg.registry.in_group(topic), GROUPS[topic])
        return
    if topic == "all":
        yield _listed(list(dbg.registry), "All commands")
        return
    if exact is None and (listed := _class_of_gdb(dbg, topic)) is not None:
        yield listed
        return
    other = of_others.found(topic, lambda parent, name: name in dbg.registry.names(parent))
    if other is not None:
        name, word, _ = other
        said = f": {word.means}" if name in INSTEAD else f"; here it is: {word.means or 'what follows it'}"
        yield HelpPage(name, name, f"A word of {word.of}{said}")
        return
    try:
        found = dbg.registry.resolve(topic)
    except UsageError:
        near = [name for name in GROUPS if name.startswith(topic)]
        if len(near) != 1:
            raise
        yield _listed(dbg.registry.in_group(near[0]), GROUPS[near[0]])
        return
    if found.rest.strip():
        raise UsageError(f"there is no help on '{topic}'; try help {found.command.name}")
    yield page(dbg, found.command)


STACK = ("backtrace", "down", "down-silently", "faas", "frame", "frame apply", "return", "select-frame", "up",
         "up-silently")  # fmt: skip

FULL_SCREEN = ("focus", "info win", "layout", "refresh", "tui", "tui disable", "tui enable", "winheight", "winwidth")


def _class_of_gdb(dbg: Interpreter, topic: str) -> Result | None:
    """The commands of a class of gdb's help that is no group here; None for other words.

    Source: gdb manual, "Getting Help".
    """
    if topic == "status":
        return _listed(dbg.registry.in_group("info"), GROUPS["info"])
    if topic == "stack":
        return _listed([one for one in dbg.registry if one.name in STACK], "Frames")
    if topic == "text-user-interface":
        return _listed([one for one in dbg.registry if one.name in FULL_SCREEN], "The full screen")
    if topic in ("user", "user-defined"):
        rows = tuple((name, macro.text.partition("\n")[0]) for name, macro in sorted(dbg.macros.items()))
        none = "No user-defined commands; define NAME makes one."
        return Table("User-defined", ("Command", "What it does"), rows, none, prose=True)
    if topic == "aliases":
        rows = tuple((one.name, one.text) for one in dbg.aliases)
        return Table("Aliases", ("Name", "Stands for"), rows, "No aliases; alias NAME = COMMAND makes one.")
    if topic == "internals":
        return Message(f"There are no maintenance commands here: {INSTEAD['maintenance'][1]}.")
    if topic == "obscure":
        return Message("No commands are kept apart as obscure here: help all lists every one.")
    if topic == "tracepoints":
        return Message(f"There are no tracepoints here: {INSTEAD['tfind'][1]}.")
    return None


def _listed(commands: list[Command], title: str) -> Table:
    return Table(title, ("Command", "What it does"), tuple((one.usage, one.summary) for one in commands), prose=True)


@command("apropos", group="support", example="apropos coverage")
def apropos(dbg: Interpreter, regex: Annotated[str, RestType("REGEX", words=("-v",))]) -> Result:
    """List the commands whose name, help or examples match a regular expression; with -v their whole help."""
    text = re.sub(r"^(-v(?!\S))?\s*(--(?!\S))?\s*", "", regex)
    if not text:
        raise UsageError("apropos needs a REGEX, as in apropos coverage")
    pattern = compiled(text, re.IGNORECASE)
    found = [one for one in dbg.registry if any(map(pattern.search, (one.name, one.text, *one.examples)))]
    if found and re.match(r"-v(?!\S)", regex):
        return Group(tuple(page(dbg, one) for one in found), between="\n\n")
    rows = tuple((one.name, one.summary) for one in found)
    return Table(f"apropos {text}", ("Command", "What it does"), rows, f"Nothing is known about '{text}'.", prose=True)


@command("complete", group="support", example="complete info reg")
def complete(dbg: Interpreter, text: CommandTextArg = "") -> Result:
    """List the lines that what is typed may become, as the Tab key does."""
    lines = sorted({text[: one.start] + one.text for one in dbg.complete(text)})
    return Message("\n".join(lines), data={"lines": lines})


@command("echo", group="support", example="echo hello\\n")
def echo(dbg: Interpreter, text: TextArg = "") -> Result:
    r"""Show text as it is, without a newline of its own: \n is a newline, \t a tab, \e escape, \101 an A, \\ itself."""
    return Text(_unescape(text), raw=True)


def _unescape(text: str) -> str:
    from kvmdbg.commands.printf import ESCAPED

    def meant(escape: re.Match[str]) -> str:
        if escape[1][:1] in tuple("01234567"):
            return chr(int(escape[1], 8) & 0xFF)
        return ESCAPED.get(escape[1], escape[1])

    return re.sub(r"\\([0-7]{1,3}|.|$)", meant, text)


@command("shell", aliases=("!",), group="support", example=("shell echo hello", "print $_shell_exitcode"), host=True)
def shell(dbg: Interpreter, text: ShellArg = "") -> Result | None:
    """Run a command of the system's shell, or the shell itself; `!` does the same.

    Its exit status is kept in $_shell_exitcode; of one that a signal ended that is in $_shell_exitsignal.
    """
    return run_program(dbg, text or os.environ.get("SHELL", "/bin/sh"))


@command("quit", aliases=("q", "exit"), group="support", example="quit")
def quit_(dbg: Interpreter, status: StatusArg = 0) -> Result | None:
    """Leave kvmdbg, with an exit status if one is given; asks first when the guest runs."""
    if dbg.session.state == "running" and not dbg.asks("The guest runs; end it and quit?"):
        return None
    raise Quit(status & 0xFF)


@command(
    "trace",
    group="exits",
    example="trace",
)
def trace(dbg: Interpreter) -> Result:
    """Show things as they happen; the words that may follow are listed without one."""
    return subcommand_table(dbg, "trace")


@command(
    "append",
    group="files",
    example="append",
)
def append(dbg: Interpreter) -> Result:
    """Add memory to the end of a file; the words that may follow are listed without one."""
    return subcommand_table(dbg, "append")


@command("cd", group="files", example="cd .", varies="it names a folder of the machine it runs on", host=True)
def change_directory(dbg: Interpreter, folder: TextArg = "~") -> Result:
    """Change the folder that file names start from."""
    try:
        dbg.session.files.keep_their_places()
        os.chdir(os.path.expanduser(folder))
    except OSError as error:
        raise KvmdbgError(f"cannot change to {folder}: {error.strerror}") from None
    return Message(f"Working directory {os.getcwd()}.", data={"folder": os.getcwd()})


@command("pwd", group="files", example="pwd", varies="it names a folder of the machine it runs on", host=True)
def print_directory(dbg: Interpreter) -> Result:
    """Show the folder that file names start from."""
    return Message(f"Working directory {os.getcwd()}.", data={"folder": os.getcwd()})
