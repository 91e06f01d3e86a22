"""``skip``: functions that steps do not go into."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import RestType
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Message, Result, Table
from kvmdbg.core.skips import Skip
from kvmdbg.errors import UsageError
from kvmdbg.numbers import compiled, counted

OPTIONS = {"-file": "-fi", "-fi": "-fi", "-gfile": "-gfi", "-gfi": "-gfi", "-function": "-fu", "-fu": "-fu",
           "-rfunction": "-rfu", "-rfu": "-rfu"}  # fmt: skip
SkipArg = Annotated[str, RestType("[-fi SOURCE|-gfi PATTERN] [-fu FUNCTION|-rfu REGEX]", words=tuple(OPTIONS))]
FunctionArg = Annotated[str, RestType("[FUNCTION]", complete_as="location")]
FileNameArg = Annotated[str, RestType("[SOURCE]")]
NumbersArg = Annotated[str, RestType("[NUMBER…]")]
EXAMPLE = ("skip function divide", "break run_tasks", "run", "info skip")
GUEST = "guests/kernel-O0.elf"


def _made(dbg: Interpreter, file: str = "", function: str = "", *, glob: bool = False, regex: bool = False) -> Result:
    if regex:
        compiled(function)
    made = dbg.session.skips.add(file, function, glob=glob, regex=regex)
    return Message(f"{made.describe()} will be skipped when stepping.", data=_data(made))


@command(
    "skip", group="running", guest=GUEST, py="dbg.skips.add(function={what})",
    example=("skip divide", "skip -gfi *.h", "skip -fi tasks.c -rfu ^run", "info skip"),
)  # fmt: skip
def skip(dbg: Interpreter, what: SkipArg = "") -> Result:
    """Let step go over a function as next does: the one that is named, or that the selected frame is in.

    -fi SOURCE means all functions of a source file, -gfi those of files by a pattern (*.h), -rfu functions by a regular
    expression; one of each may be given together. finish, until and breakpoints do not know of it.
    """
    words = what.split()
    if not words or words[0][:1] != "-":
        return skip_function(dbg, what)
    given: dict[str, str] = {}
    while words:
        word = words.pop(0)
        option = OPTIONS.get(word)
        if option is None:
            raise UsageError(f"skip has no option {word}; there are -fi, -gfi, -fu and -rfu")
        if not words:
            raise UsageError(f"{word} needs a value")
        given[option] = words.pop(0)
    for one, other in (("-fi", "-gfi"), ("-fu", "-rfu")):
        if one in given and other in given:
            raise UsageError(f"skip takes {one} or {other}, not both")
    file, function = given.get("-fi", given.get("-gfi", "")), given.get("-fu", given.get("-rfu", ""))
    return _made(dbg, file, function, glob="-gfi" in given, regex="-rfu" in given)


@command("skip function", group="running", guest=GUEST, example=EXAMPLE, py="dbg.skips.add(function={name})")
def skip_function(dbg: Interpreter, name: FunctionArg = "") -> Result:
    """Let step go over a function as next does: the one that is named, or that the selected frame is in."""
    if not name:
        name = dbg.session.source.function_name(dbg.session.frame.place)
        if not name:
            raise UsageError("no function is known here: skip function needs a NAME")
    return _made(dbg, function=name)


@command("skip file", group="running", guest=GUEST, example=("skip file tasks.c",), py="dbg.skips.add({name})")
def skip_file(dbg: Interpreter, name: FileNameArg = "") -> Result:
    """Let step go over all functions of a source file: the one that is named, or that the selected frame is in."""
    name = name or dbg.session.locations.current_file() or ""
    if not name:
        raise UsageError("no source file is known here: skip file needs a SOURCE")
    return _made(dbg, file=name)


def _chosen(dbg: Interpreter, numbers: str) -> list[Skip]:
    """Those with these numbers ("1 3-5"), all of them without any."""
    every = dbg.session.skips.all
    if not numbers:
        return list(every)
    found = []
    for word in re.split(r"[\s,]+", numbers.strip()):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", word)
        wanted = range(counted(match[1]), counted(match[2] or match[1]) + 1) if match else range(0)
        these = [one for one in every if one.number in wanted]
        if not these:
            raise UsageError(f"there is no skip {word}; info skip lists them")
        found += these
    return found


@command("skip delete", group="running", guest=GUEST, example=("skip divide", "skip delete 1"),
         py="dbg.skips.delete(dbg.skips.all)")  # fmt: skip
def skip_delete(dbg: Interpreter, numbers: NumbersArg = "") -> None:
    """Let step go again into what skips NUMBER say, or all of them."""
    dbg.session.skips.delete(_chosen(dbg, numbers))


@command("skip enable", group="running", guest=GUEST, example=("skip divide", "skip disable 1", "skip enable 1"),
         py="dbg.skips.all[0].enabled = True")  # fmt: skip
def skip_enable(dbg: Interpreter, numbers: NumbersArg = "") -> None:
    """Let skips NUMBER, or all of them, count again."""
    for one in _chosen(dbg, numbers):
        one.enabled = True


@command("skip disable", group="running", guest=GUEST, example=("skip divide", "skip disable 1"),
         py="dbg.skips.all[0].enabled = False")  # fmt: skip
def skip_disable(dbg: Interpreter, numbers: NumbersArg = "") -> None:
    """Let skips NUMBER, or all of them, not count for a while."""
    for one in _chosen(dbg, numbers):
        one.enabled = False


@command("info skip", group="info", guest=GUEST, example=("skip divide", "info skip"), py="dbg.skips.all")
def info_skip(dbg: Interpreter, numbers: NumbersArg = "") -> Result:
    """Show what steps do not go into."""
    return Table(
        "skips",
        ("Num", "Enb", "Glob", "File", "RE", "Function"),
        tuple(_rows(dbg, numbers)),
        "Not skipping any files or functions.",
        tuple(_data(one) for one in _chosen(dbg, numbers)),
    )


def _rows(dbg: Interpreter, numbers: str) -> Iterator[tuple[str, ...]]:
    for one in _chosen(dbg, numbers):
        signs = ["ny"[sign] for sign in (one.enabled, one.glob, one.regex)]
        yield str(one.number), signs[0], signs[1], one.file or "<none>", signs[2], one.function or "<none>"


def _data(one: Skip) -> dict[str, object]:
    return {"number": one.number, "enabled": one.enabled, "file": one.file, "glob": one.glob,
            "function": one.function, "regex": one.regex}  # fmt: skip
