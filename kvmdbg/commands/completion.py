"""Completion as a pure function of the line up to the cursor."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kvmdbg.commands.registry import Candidate, Command, Parameter, Resolved, skip_separator, skip_space
from kvmdbg.errors import KvmdbgError

if TYPE_CHECKING:
    from kvmdbg.commands.interpreter import Interpreter

_FIRST = re.compile(r"\s*([\w-]*)$")
_SECOND = re.compile(r"\s*([A-Za-z][\w-]*)\s+([\w-]*)$")


def candidates(dbg: Interpreter, line: str) -> list[Candidate]:
    """What the text up to the cursor may become; never an error, an empty list when nothing is known."""
    expanded = dbg.aliases.expand(line) if " " in line.lstrip() else line
    if expanded != line:
        shift = len(line) - len(expanded)
        return [Candidate(one.text, one.start + shift, one.description) for one in candidates(dbg, expanded)]
    first = _FIRST.match(line)
    if first is not None:
        return _commands(dbg, first[1], first.start(1))
    try:
        found = dbg.registry.resolve(line)
    except KvmdbgError:
        second = _SECOND.match(line)
        return _subcommands(dbg, second[1], second[2], second.start(2)) if second else []
    answer: list[Candidate] = []
    second = _SECOND.match(line)
    if second is not None:
        answer = _subcommands(dbg, second[1], second[2], second.start(2))
        if len(found.command.words) == 2 and line.rstrip() == line and found.rest == "":
            return answer
    seen = {one.text for one in answer}
    return answer + [one for one in _arguments(dbg, found) if one.text not in seen]


def _commands(dbg: Interpreter, prefix: str, start: int) -> list[Candidate]:
    names = dbg.registry.names()
    shown = [
        (name, one.summary)
        for name, one in names.items()
        if name == one.words[0] or (len(name) > 2 and not one.words[0].startswith(name))
    ]
    shown += [(macro.name, macro.text) for macro in dbg.macros.values() if " " not in macro.name]
    shown += [(alias.name, alias.text) for alias in dbg.aliases if not alias.abbreviation and " " not in alias.name]
    return [Candidate(name, start, text) for name, text in sorted(shown) if name.startswith(prefix)]


def _subcommands(dbg: Interpreter, word: str, prefix: str, start: int) -> list[Candidate]:
    try:
        parent = dbg.registry.resolve(word).command
    except KvmdbgError:
        return []
    return [
        Candidate(one.words[-1], start, one.summary)
        for one in dbg.registry.subcommands(parent.name)
        if one.words[-1].startswith(prefix)
    ]


def _arguments(dbg: Interpreter, found: Resolved) -> list[Candidate]:
    text = found.rest
    if not text[:1].isspace() and text:
        return []
    pos = skip_space(text, 0)
    waiting = _remaining(dbg, found.command, text, pos)
    answer: list[Candidate] = []
    seen: set[str] = set()
    for parameter, at in waiting:
        for one in parameter.type.complete(text[at:], dbg):
            if one not in seen:
                seen.add(one)
                answer.append(Candidate(one, found.column + at))
    return answer


def _remaining(dbg: Interpreter, command: Command, text: str, pos: int) -> list[tuple[Parameter, int]]:
    """The parameters that the last word of ``text`` may belong to, each with the column where it starts."""
    waiting: list[tuple[Parameter, int]] = []
    for parameter in command.parameters:
        if parameter.suffix:
            continue
        while True:
            end = _parsed_to(dbg, parameter, text, pos) if pos < len(text) else None
            if end is None or end >= len(text):
                waiting.append((parameter, pos))
                if not parameter.optional:
                    return waiting
                break
            waiting = []
            pos = skip_separator(text, end)
            if not parameter.many:
                break
    return waiting


def _parsed_to(dbg: Interpreter, parameter: Parameter, text: str, pos: int) -> int | None:
    """The column after this argument when it is complete (something follows it), else None."""
    try:
        found = parameter.type.parse(text, pos, dbg)
    except KvmdbgError:
        space = text.find(" ", pos)
        return space if space >= 0 else None
    return found[1] if found else None
