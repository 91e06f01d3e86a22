"""The source of the guest: list, info line, info symbol, and what is said of places in it."""

from __future__ import annotations

import os
import re
from typing import Annotated

from kvmdbg.commands.examine import examined, go_on_at
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import LocationType, RestType, split_arguments
from kvmdbg.commands.places import Place
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Disassembly, Fields, Group, Message, Result
from kvmdbg.commands.views import code_lines, segment_offset, source_text
from kvmdbg.core.locations import MAIN_FUNCTIONS, NUMBER, Found
from kvmdbg.errors import UsageError
from kvmdbg.numbers import compiled, counted

ListArg = Annotated[str, RestType("LOCATION | FIRST,LAST | -", "location")]
EntryArg = Annotated[Place, LocationType(entry=True)]
RegexArg = Annotated[str, RestType("REGEX")]
MOST_INSTRUCTIONS = 1000
"""In one list, where listsize is unlimited."""
AddressedArg = Annotated[Place, LocationType("ADDRESS", entry=True, addressed=True)]


def _listed(dbg: Interpreter, file: str, first: int, count: int = 0) -> Result:
    count = count or dbg.settings["listsize"]
    text = dbg.source_lines(file)
    if not text:
        raise UsageError(f"{file} cannot be read; directory FOLDER says where sources are")
    if first > len(text):
        raise UsageError(f"line {first} is not there: {os.path.basename(file)} has {len(text)} lines")
    shown = source_text(dbg, file, first, count)
    examined(dbg).source, examined(dbg).found = (file, shown.lines[0][0], shown.lines[-1][0]), False
    dbg.session.locations.note_listed(file, (shown.lines[0][0] + shown.lines[-1][0]) // 2)
    dbg.repeat_line = "list"
    return shown


@command(
    "list",
    aliases=("l",),
    group="data",
    example=("list kernel_main", "list", "list tasks.c:20,22"),
    guest="guests/kernel-O0.elf",
    repeat=True,
    py="dbg.source.text(file)",
)
def list_(dbg: Interpreter, what: ListArg = "") -> Result:
    """Show the source around a place ($pc without one): a line N of the current file, FILE:LINE, a function, *ADDRESS.

    `list 5,8` shows these lines, `list 5,` ten from there on, `list ,20` ten up to there. The next list, or an empty
    line, goes on after what was shown, `list -` before it, and `list .` is where the selected frame is. Where no source
    is known, the main function is shown (main, kmain or kernel_main), or else instructions.
    """
    known = examined(dbg)
    if what == "-" and known.source is not None:
        file, first, _ = known.source
        if first <= 1:
            raise UsageError(f"already at the start of {os.path.basename(file)}")
        start = max(first - dbg.settings["listsize"], 1)
        return _listed(dbg, file, start, first - start)
    if what in ("", "+", "-") and known.source is not None:
        file, _, last = known.source
        return _listed(dbg, file, max(last - dbg.settings["listsize"] // 2, 1) if known.found else last + 1)
    if what == "." and (line := dbg.session.source.at(dbg.session.frame.place)) is not None:
        what = f"{line.file}:{line.line}"
    parts = split_arguments(what) if what not in ("", "+", "-") else []
    if "<" in what:
        parts = re.split(r"\s*,(?![^<>]*>)\s*", what)  # none of those in Arr<short,4>::get
    if len(parts) > 2:
        raise UsageError("list takes FIRST,LAST")
    if len(parts) == 2:
        return _range(dbg, *parts)
    if what in ("", "+", "-"):
        here = dbg.session.frame.place
        line = dbg.session.source.at(here)
        place = (line.file, line.line) if line is not None else dbg.session.locations.line_of(*MAIN_FUNCTIONS)
        if place is None or not dbg.source_lines(place[0]) or known.code is not None:
            return _instructions(dbg, known.code if known.code is not None else here)
        return _listed(dbg, place[0], place[1] - dbg.settings["listsize"] // 2)
    return _around(dbg, what)


def _searched(dbg: Interpreter, pattern: str, way: int) -> Result:
    """The next line that matches, forwards (1) or backwards (-1) from what was listed last."""
    regex, known = compiled(pattern), examined(dbg)
    if known.source is None:
        list_(dbg)
    if known.source is None:
        raise UsageError("no source is known here: there is nothing to search")
    file, _, last = known.source
    lines = dbg.source_lines(file)
    numbers = range(last + way, len(lines) + 1 if way > 0 else 0, way)
    number = next((one for one in numbers if regex.search(lines[one - 1])), None)
    if number is None:
        raise UsageError(f"no line of {os.path.basename(file)} {'behind' if way > 0 else 'before'} {last} matches")
    found = _listed(dbg, file, number, 1)
    known.found, dbg.session.variables["_"] = True, number
    return found


@command(
    "forward-search",
    aliases=("fo",),
    group="data",
    example=("list kernel_main", "forward-search report", "print $_", "list"),
    guest="guests/kernel-O0.elf",
    py="dbg.source.text(file)",
)
def forward_search(dbg: Interpreter, regex: RegexArg = "") -> Result:
    """Show the next line of the source, behind what was listed last, that matches a regular expression.

    Its number is in $_, and the next list shows what is around it. The word search alone is pwndbg's: of memory.
    """
    found = _searched(dbg, regex, 1)
    dbg.repeat_line = f"forward-search {regex}"
    return found


@command(
    "reverse-search",
    aliases=("rev",),
    group="data",
    example=("list kernel_main", "reverse-search static"),
    guest="guests/kernel-O0.elf",
    py="dbg.source.text(file)",
)
def reverse_search(dbg: Interpreter, regex: RegexArg = "") -> Result:
    """Show the next line of the source, back from what was listed last, that matches a regular expression."""
    found = _searched(dbg, regex, -1)
    dbg.repeat_line = f"reverse-search {regex}"
    return found


def _range(dbg: Interpreter, first: str, last: str) -> Result:
    """From one line up to another; one that is left out is ten lines away."""
    locations = dbg.session.locations
    if not first:
        file, end, _ = _only(locations.lines(last), last)
        start = max(end - dbg.settings["listsize"] + 1, 1)
        return _listed(dbg, file, start, end - start + 1)
    file, start, _ = _only(locations.lines(first), first)
    if not last:
        return _listed(dbg, file, start)
    locations.note_listed(file, start)
    other, end, _ = _only(locations.lines(last, listed=start), last)
    if other != file:
        raise UsageError(f"{first} and {last} are in different files")
    if end < start:
        raise UsageError(f"the lines end at {end}, before {start}, where they begin")
    return _listed(dbg, file, start, end - start + 1)


def _only(found: list[tuple[str, int, str]], text: str) -> tuple[str, int, str]:
    if not found:
        raise UsageError(f"no source is known of {text}")
    if len(found) > 1:
        places = ", ".join(f"{os.path.basename(file)}:{line}" for file, line, _ in found[:6])
        raise UsageError(f"{text} is at {places}: say which")
    return found[0]


def _around(dbg: Interpreter, what: str) -> Result:
    """The lines around a place, or around each of several; instructions where none are known."""
    locations = dbg.session.locations
    shown = examined(dbg).source
    listed = None if shown is None else shown[2] + 1
    if NUMBER.fullmatch(what) and locations.current_file() is None:
        return _instructions(dbg, counted(what))
    found = [one for one in locations.lines(what, listed=listed) if dbg.source_lines(one[0])]
    if not found:
        place = locations.find(what, entry=True).first
        return _instructions(dbg, place.address)
    parts: list[Result] = []
    if what.startswith("*"):
        address = locations.find(what).first.address
        file, line, function = found[0]
        sentence = f"{address:#x} is in {function} ({os.path.basename(file)}:{line})."
        parts.append(Message(sentence, data={"address": address, "function": function, "file": file, "line": line}))
    for file, line, function in found:
        if len(found) > 1:
            sentence = f"file: {os.path.basename(file)}, line number: {line}, function: {function}"
            parts.append(Message(sentence, data={"file": file, "line": line, "function": function}))
        parts.append(_listed(dbg, file, line - dbg.settings["listsize"] // 2))
    return parts[0] if len(parts) == 1 else Group(tuple(parts))


def _instructions(dbg: Interpreter, start: int) -> Result:
    known = examined(dbg)
    lines = code_lines(dbg, start, min(dbg.settings["listsize"], MOST_INSTRUCTIONS))
    known.code = lines[-1].address + len(lines[-1].data) if lines else None
    dbg.repeat_line = "list"
    return Disassembly(lines, syntax=dbg.settings["disassembly-flavor"])


@command(
    "info symbol",
    aliases=("sym",),
    group="info",
    example="info symbol 0x7c1e",
    guest="--symbols guests/boot16.elf guests/boot16.bin",
    py="dbg.symbols.format({address})",
)
def info_symbol(dbg: Interpreter, address: AddressedArg) -> Result:
    """Say which symbol an address lies in."""
    name = dbg.session.symbols.format(address.address)
    text = f"{address.address:#x} is {name}" if name else f"No symbol matches {address.address:#x}."
    return Message(text, data={"address": address.address, "symbol": name})


@command(
    "info line", group="info", example="info line divide", guest="guests/kernel-O0.elf", py="dbg.source.at({address})"
)
def info_line(dbg: Interpreter, address: EntryArg | None = None) -> Result:
    """Say where a place in code ($pc without one) is: the line and its addresses, symbol, segment, physical address.

    Of a line without code it says so, and where the code of the next line that has some begins.
    """
    found = address.found if address is not None else None
    addresses = [one.address for one in found.locations] if found is not None else [dbg.session.vcpu.pc]
    parts: list[Result] = []
    for where in addresses:
        parts += _line_at(dbg, where, found)
    line = dbg.session.source.at(addresses[-1])
    go_on_at(dbg, addresses[-1] if line is None else line.address)
    return parts[0] if len(parts) == 1 else Group(tuple(parts))


def _line_at(dbg: Interpreter, where: int, asked: Found | None) -> list[Result]:
    walk = dbg.session.translate(where)
    line = dbg.session.source.at(where)
    values = {
        "linear": f"{where:#x}",
        "symbol": dbg.session.symbols.format(where) or "(none)",
        "seg:off": segment_offset(dbg, where) or "-",
        "physical": f"{walk.physical:#x}" if walk.physical is not None else f"not mapped ({walk.fault})",
        "source": f"{line.file}:{line.line}" if line is not None else "no line information",
    }
    if line is None:
        return [Fields("", values)]

    def at(address: int) -> str:
        symbol = dbg.session.symbols.format(address)
        return f"{address:#x} <{symbol}>" if symbol else f"{address:#x}"

    name = os.path.basename(line.file)
    if asked is not None and asked.line and (asked.file, asked.line) != (name, line.line):
        sentence = f'Line {asked.line} of "{asked.file}" is at address {at(where)} but contains no code.'
        data = {"file": asked.file, "line": asked.line, "start": where, "end": where}
        return [Message(sentence, data=data), Fields("", values)]
    sentence = f'Line {line.line} of "{name}" starts at address {at(line.address)}'
    data = {"file": line.file, "line": line.line, "start": line.address, "end": line.end}
    return [Message(f"{sentence} and ends at {at(line.end)}.", data=data), Fields("", values)]
