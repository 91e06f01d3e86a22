"""Listings of nasm (``nasm -f bin -l boot.lst``): names and source lines of a flat image.

A listing counts each section from 0. Where the sections lie is worked out as ``nasm -f bin`` places them: from ``org``
on, .text first, then the others with contents as they come, then those without, each aligned (to 4 unless it says
otherwise); ``start=`` and ``vstart=`` place one by themselves. Source: the NASM manual, chapter "bin".
"""

from __future__ import annotations

import os
import re

from kvmdbg.loaders.symbol_files import Line, SymbolFile, symbol_reader
from kvmdbg.machine.image import Symbol
from kvmdbg.masks import LOW64
from kvmdbg.record import record

TEXT_AT = 40
"""The column where the source text begins."""
ROW = re.compile(r" *(?P<number>\d{1,9}) (?:(?P<offset>[0-9A-F]{8}) (?P<bytes>.{0,19})| {28}|$)")
DATA = re.compile(r"(?P<hex>(?:[0-9A-F?]{2}|[\[\]()])*)-?(?:<(?:rep|rept|res|bin|incbin) ?(?P<times>[0-9A-F]+)h?>)?")
LEVEL = re.compile(r" ?<(\d+)> ?")
LABEL = re.compile(
    r"(?P<name>[A-Za-z_?.][\w$#@~.?]*)"
    r"(?:\s*:|(?=\s+(?:d[bwdqtoyz]|res[bwdqtoyz]|times|incbin)\b))",
    re.IGNORECASE,
)
ORG = re.compile(r"\[?\s*org\s+(?P<value>0x[0-9a-f]+|[0-9][0-9a-f]*h|\d+)\s*\]?", re.IGNORECASE)
SECTION = re.compile(r"\[?\s*(?:section|segment)\s+(?P<name>[\w.]+)(?P<rest>[^;\]]*)", re.IGNORECASE)
INCLUDE = re.compile(r"\s*%include\s+[\"'`](?P<name>[^\"'`]+)", re.IGNORECASE)
BODY = re.compile(r"%(?:(?P<end>endmacro|endrep)|i?macro|rep)\b", re.IGNORECASE)
STRUCTURE = re.compile(r"\[?\s*struc\s", re.IGNORECASE)
ABSOLUTE = re.compile(r"\[?\s*absolute\s", re.IGNORECASE)
ATTRIBUTE = re.compile(r"\b(?P<name>align|start|vstart)\s*=\s*(?P<value>\w+)", re.IGNORECASE)
SUFFIXES = (".asm", ".nasm", ".s", ".S")


@record
class _Row:
    """A line of the listing, its ``at``-th. ``offset`` and ``size`` are of its bytes; None and 0 where it has none."""

    at: int
    number: int
    level: int
    offset: int | None
    size: int
    text: str


class _Section:
    """What is known of a section while the listing is read."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.size = 0
        self.nobits = name == ".bss"
        self.is_absolute = False
        """Its offsets are addresses."""
        self.numbers: dict[str, int] = {}
        """start, vstart and align, as it gives them."""
        self.labels: list[tuple[str, int]] = []
        self.rows: list[tuple[int, int, str, int]] = []
        """First offset, end, file and line."""


def _number(text: str) -> int | None:
    try:
        return int(text[:-1], 16) if text[-1] in "hH" else int(text, 0)
    except ValueError:
        return None


def _row(line: str, at: int = 0) -> _Row | None:
    match = ROW.match(line)
    if match is None:
        return None
    level = LEVEL.fullmatch(line[TEXT_AT - 5 : TEXT_AT].strip())
    size = 0
    if match["offset"] is not None:
        data = DATA.match(match["bytes"].strip())
        assert data is not None  # all of it is optional
        size = len(re.sub(r"[\[\]()]", "", data["hex"])) // 2
        if data["times"] is not None:
            size = max(size, 1) * int(data["times"], 16)
    offset = int(match["offset"], 16) if match["offset"] is not None else None
    return _Row(at, int(match["number"]), int(level[1]) if level else 0, offset, size, line[TEXT_AT:].rstrip())


@symbol_reader
class NasmListing:
    """``nasm -l``: a line's number, the offset and the bytes of its code, and its text."""

    name = "a listing of nasm"

    def recognise(self, data: bytes) -> bool:
        """True when all of the first lines are numbered as nasm does, and the first is 1."""
        lines = data[:0x2000].decode("utf-8", "replace").splitlines()[:20]
        rows = [_row(line) for line in lines[:-1] or lines if line.strip()]
        return bool(rows) and all(row is not None for row in rows) and rows[0] is not None and rows[0].number == 1

    def read(self, data: bytes, path: str, base: int) -> SymbolFile:
        """The labels, and the lines of the source beside the listing; of the listing itself where that is not."""
        texts = enumerate(data.decode("utf-8", "replace").splitlines(), 1)
        rows = [row for at, line in texts if line.strip() and (row := _row(line, at)) is not None]
        source = _source(path, rows)
        sections, origin = _read(rows, source or path, by_number=source is not None)
        symbols, lines = [], []
        for section, start in _placed(sections, origin + base):
            for name, offset in section.labels:
                symbols.append(Symbol(name, (start + offset) & LOW64, limit=start + section.size))
            for first, end, file, number in section.rows:
                lines.append(Line(start + first, start + end, file, number))
        return SymbolFile(symbols, tuple(sorted(lines)))


def _source(path: str, rows: list[_Row]) -> str | None:
    """The file beside the listing that it was made from: of the same name, and with the text that is listed."""
    stem = os.path.splitext(os.path.abspath(path))[0]
    for suffix in SUFFIXES:
        try:
            with open(stem + suffix, encoding="utf-8", errors="replace") as file:
                lines = file.read().splitlines()
        except OSError:
            continue
        own = [row for row in rows if not row.level and row.text]
        if all(row.number <= len(lines) and lines[row.number - 1].startswith(row.text.rstrip("-")) for row in own):
            return stem + suffix
    return None


def _read(rows: list[_Row], file: str, *, by_number: bool) -> tuple[list[_Section], int]:
    """The sections as they come, and the origin. ``by_number``: lines are the source's; else the listing's own."""
    sections = {".text": _Section(".text")}
    here = outside = sections[".text"]
    origin, parent = 0, ""
    waiting: list[str] = []
    places = [(file, 0)]  # of each level: the file and the line that its rows belong to; a macro's its use
    before = ""
    skipping = False
    for row in rows:
        del places[row.level + 1 :]
        if row.level >= len(places):  # a level deeper: an included file, or what a macro became
            found = INCLUDE.match(before)
            name = os.path.join(os.path.dirname(places[-1][0]), found["name"]) if found else ""
            places += [(name, 0) if os.path.isfile(name) else places[-1]] * (row.level + 1 - len(places))
        if not by_number:
            places[row.level] = (file, row.at)
        elif row.level == 0 or places[row.level][0] != places[row.level - 1][0]:
            places[row.level] = (places[row.level][0], row.number)
        before = row.text
        code = row.text.strip().partition(";")[0]
        if (match := BODY.match(code)) or skipping:  # what it becomes follows where it is used
            skipping = skipping if match is None else not match["end"]
            continue
        leaving = here
        if STRUCTURE.match(code):
            outside, here = here, _Section("")
        elif code.lower().startswith("endstruc"):
            here = outside
        elif match := ABSOLUTE.match(code):
            here = sections.setdefault(code, _Section(""))
            here.is_absolute = here.nobits = True
        elif match := ORG.match(code):
            origin = _number(match["value"]) or 0
        elif match := SECTION.match(code):
            here = sections.setdefault(match["name"], _Section(match["name"]))
            here.nobits = (here.nobits or "nobits" in match["rest"]) and "progbits" not in match["rest"]
            for one in ATTRIBUTE.finditer(match["rest"]):
                if (value := _number(one["value"])) is not None:
                    here.numbers[one["name"].lower()] = value
        if here is not leaving:
            leaving.labels += [(name, leaving.size) for name in waiting]
            waiting.clear()
        if (match := LABEL.match(code)) and not match["name"].startswith(".."):
            name = match["name"]
            if name.startswith("."):
                name = parent + name
            else:
                parent = name
            waiting.append(name)
        if row.offset is not None:
            here.labels += [(name, row.offset) for name in waiting]
            waiting.clear()
            end = row.offset + row.size
            here.size = max(here.size, end)
            if end > row.offset and not here.nobits:
                here.rows.append((row.offset, end, *places[row.level]))
    here.labels += [(name, here.size) for name in waiting]
    return list(sections.values()), origin


def _placed(sections: list[_Section], origin: int) -> list[tuple[_Section, int]]:
    """Each section, and the address of its first byte."""
    found: list[tuple[_Section, int]] = []
    at = origin
    placed = [one for one in sections if not one.is_absolute]
    for section in sorted(placed, key=lambda one: one.nobits):  # stable: as they come
        if section.nobits and found:
            at = max(at, found[-1][1] + found[-1][0].size)
        align = max(section.numbers.get("align", 4), 1) if section.name != ".text" else 1
        at = section.numbers.get("start", -(-at // align) * align)
        found.append((section, section.numbers.get("vstart", at)))
        at += section.size
    return found + [(one, 0) for one in sections if one.is_absolute]
