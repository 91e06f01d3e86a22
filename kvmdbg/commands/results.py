"""What commands return: data that a terminal, a pipe or a JSON reader renders. No command prints.

Every result is a frozen value (record.py) with two faces:

``to_json()``
    one dict of plain JSON types; its first key ``"type"`` says which result it is
    (the class attribute ``kind``). Addresses and values are numbers, bytes are hex strings.
``plain(width=80)``
    text without colour and without a final newline, at most about ``width`` columns wide
    where the data allows it. It is joined from ``pieces(width)``, which say of each part of the
    text what it is; the shell shows the same pieces in colour.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol

from kvmdbg.commands.machine_results import (
    CodeLine,
    Disassembly,
    HexDump,
    Json,
    Memory,
    MemoryRow,
    Piece,
    Registers,
    RegisterValue,
    Shown,
    Stack,
    StackSlot,
)
from kvmdbg.commands.screen_results import Screen
from kvmdbg.printable import printable, printable_name
from kvmdbg.record import field, record

__all__ = [
    "BarPlot", "CodeLine", "Disassembly", "Error", "ExitLine", "Fields", "Group", "GuestOutput", "HelpPage", "HexDump",
    "Json", "Memory", "MemoryRow", "Message", "Part", "Piece", "RegisterValue", "Registers", "Result", "Screen",
    "Shown", "SourceText", "Stack", "StackSlot", "StopReport", "StopValue", "Table", "Text", "Value",
]  # fmt: skip


class Result(Protocol):
    """What every class below offers. ``kind`` is the ``"type"`` of its JSON object."""

    kind: ClassVar[str]

    def to_json(self) -> Json: ...

    def plain(self, width: int = 80) -> str: ...

    def pieces(self, width: int) -> Iterator[Piece]: ...


class StopValue(Protocol):
    """The part of a ``engine.stops.Stop`` that a report shows."""

    @property
    def reason(self) -> str: ...

    @property
    def vcpu(self) -> int: ...

    @property
    def pc(self) -> int: ...

    @property
    def is_error(self) -> bool: ...

    def describe(self) -> str: ...

    def to_json(self) -> Json: ...


@record
class Message(Shown):
    """A sentence: what was done, or what should be known.

    ``level`` is "info", "warning" or "error"; ``data`` carries the facts of the sentence for JSON readers.
    """

    kind: ClassVar[str] = "message"
    text: str
    level: str = "info"
    data: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> Json:
        found: Json = {"type": self.kind, "level": self.level, "text": self.text}
        return {**found, **self.data}

    def pieces(self, width: int) -> Iterator[Piece]:
        yield "" if self.level == "info" else self.level, self.text


@record
class Text(Shown):
    """Text without a newline of its own; ``raw`` is shown exactly as it is (``echo``, what a shell command wrote)."""

    kind: ClassVar[str] = "text"
    text: str
    raw: bool = False

    def plain(self, width: int = 80) -> str:
        return self.text if self.raw else printable(self.text)

    def to_json(self) -> Json:
        return {"type": self.kind, "text": self.text}

    def pieces(self, width: int) -> Iterator[Piece]:
        yield "", self.text


@record
class GuestOutput(Shown):
    """Bytes that the guest wrote to its serial port; only seen in ``--json`` mode and by listeners."""

    kind: ClassVar[str] = "output"
    data: bytes

    def to_json(self) -> Json:
        return {"type": self.kind, "text": self.data.decode("utf-8", "replace"), "data": self.data.hex()}

    def pieces(self, width: int) -> Iterator[Piece]:
        yield "", self.data.decode("utf-8", "replace")


@record
class Error(Shown):
    """A mistake, as ``--json`` shows it: the sentence and the class of the exception (``errors.py``)."""

    kind: ClassVar[str] = "error"
    text: str
    error: str = "KvmdbgError"

    def to_json(self) -> Json:
        return {"type": self.kind, "error": self.error, "text": self.text}

    def pieces(self, width: int) -> Iterator[Piece]:
        yield "error", self.text


@record
class Fields(Shown):
    """Named facts about one thing. ``values`` maps a field's name to its text, in the order shown."""

    kind: ClassVar[str] = "fields"
    title: str
    values: Mapping[str, str]
    data: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> Json:
        return {"type": self.kind, "title": self.title, "fields": {**self.values, **self.data}}

    def pieces(self, width: int) -> Iterator[Piece]:
        wide = max((len(name) for name in self.values), default=0)
        indent = "  " if self.title else ""
        yield "heading", self.title
        for number, (name, text) in enumerate(self.values.items()):
            yield "", "\n" if self.title or number else ""
            yield "name", f"{indent}{name:<{wide}}" if text else f"{indent}{name}"
            yield "value", f"  {text}".rstrip()


@record
class Table(Shown):
    """Rows under ``columns``. ``empty`` is the sentence shown when there are none.

    ``data`` has one dict a row with typed values for JSON; without it the texts of the row are used.
    ``notes`` has the lines shown (indented) below row number n. ``prose``: the last column is sentences, to be wrapped.
    """

    kind: ClassVar[str] = "table"
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    empty: str = "Nothing to show."
    data: tuple[Mapping[str, Any], ...] = ()
    notes: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    prose: bool = False
    looks: tuple[tuple[Piece, ...], ...] = ()
    """What the last cell of each row is made of, for those who show it in colour."""

    def to_json(self) -> Json:
        rows = [dict(row) for row in self.data] or [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        return {"type": self.kind, "title": self.title, "rows": rows}

    def widths(self) -> list[int]:
        """Columns needed by each column: the widest of its heading and its cells."""
        wide = [len(name) for name in self.columns]
        for row in self.rows:
            wide = [max(w, len(printable_name(cell))) for w, cell in zip(wide, row, strict=True)]
        return wide

    def pieces(self, width: int) -> Iterator[Piece]:
        if not self.rows:
            yield "", self.empty
            return
        wide = self.widths()
        margin = sum(wide[:-1]) + 2 * (len(wide) - 1)

        def line(cells: Sequence[str]) -> str:
            cells = [printable_name(cell) for cell in cells]
            text = "  ".join(f"{cell:<{w}}" for cell, w in zip(cells, wide, strict=True)).rstrip()
            if not self.prose or len(text) <= width:
                return text
            import textwrap

            if width - margin < 30:  # below instead of beside
                wrapped = textwrap.wrap(cells[-1], max(width - 4, 20))
                return "\n    ".join(["  ".join(cells[:-1]), *wrapped])
            wrapped = textwrap.wrap(cells[-1], width - margin)
            return f"\n{' ' * margin}".join([text[:margin] + wrapped[0], *wrapped[1:]])

        yield "heading", line(self.columns)
        for number, row in enumerate(self.rows):
            text = line(row)
            name = printable_name(row[0])
            first = len(name) if len(row) > 1 and text.startswith(name) else 0
            yield "name", "\n" + text[:first]
            if number < len(self.looks):
                yield "", text[first:margin].ljust(margin - first)
                yield from ((role, printable_name(part)) for role, part in self.looks[number])
            else:
                yield "", text[first:]
            yield "note", "".join(f"\n    {note}" for note in self.notes.get(number, ()))


@record
class Value(Shown):
    """A printed value: ``name`` is "$1" (or the expression of a display), ``text`` its formatted form and
    ``value`` the number (a list of numbers for several units, a string for text formats)."""

    kind: ClassVar[str] = "value"
    name: str
    text: str
    value: int | str | float | tuple[int, ...]
    number: int = 0
    format: str = ""
    """Of a display: "/x"."""

    def to_json(self) -> Json:
        value = list(self.value) if isinstance(self.value, tuple) else self.value
        return {"type": self.kind, "name": self.name, "text": self.text, "value": value}

    def pieces(self, width: int) -> Iterator[Piece]:
        yield "note", f"{self.number}: " if self.number else ""
        yield "note", f"{self.format} " if self.format else ""
        yield "name", self.name
        yield "", " = "
        yield "value", self.text


@record
class ExitLine(Shown):
    """One VM exit in one line (``trace exits on``): ``text`` as in "0x1003: out port 0x10, 2 bytes, data 0x0003";
    ``data`` is the exit's own fields; ``pc``, ``symbol`` and ``time`` (seconds of the trace) are a trace's."""

    kind: ClassVar[str] = "exit"
    text: str
    vcpu: int = 0
    data: Mapping[str, Any] = field(default_factory=dict)
    pc: int | None = None
    symbol: str = ""
    time: float = 0.0

    def to_json(self) -> Json:
        found: Json = {"type": self.kind, "text": self.text, "vcpu": self.vcpu, "exit": dict(self.data)}
        traced = {"pc": self.pc, "symbol": self.symbol, "time": self.time}
        return found | traced if self.pc is not None else found

    def pieces(self, width: int) -> Iterator[Piece]:
        yield "note", self.text


@record
class SourceText(Shown):
    """Lines of a source file: (number, text, whether it is the line at pc)."""

    kind: ClassVar[str] = "source"
    file: str
    lines: tuple[tuple[int, str, bool], ...]

    def to_json(self) -> Json:
        lines = [{"line": number, "text": text, "current": current} for number, text, current in self.lines]
        return {"type": self.kind, "file": self.file, "lines": lines}

    def pieces(self, width: int) -> Iterator[Piece]:
        yield "heading", self.file
        wide = len(str(self.lines[-1][0])) if self.lines else 1
        for number, text, current in self.lines:
            yield "mark" if current else "", f"\n{'=>' if current else '  '} "
            yield "address", f"{number:>{wide}}"
            yield "", f"  {text.expandtabs(4)}".rstrip()


@record
class BarPlot(Shown):
    """Bars, one a row: its label and how much it is."""

    kind: ClassVar[str] = "plot"
    title: str
    rows: tuple[tuple[str, int], ...]

    def to_json(self) -> Json:
        return {
            "type": self.kind,
            "title": self.title,
            "rows": [{"label": label, "value": n} for label, n in self.rows],
        }

    def pieces(self, width: int) -> Iterator[Piece]:
        yield "heading", self.title
        most = max((value for _, value in self.rows), default=0)
        wide = max((len(label) for label, _ in self.rows), default=0)
        room = max(width - wide - len(str(most)) - 4, 10)
        for label, value in self.rows:
            yield "name", f"\n{label:<{wide}}"
            yield "value", f"  {value:>{len(str(most))}}"
            yield "", f"  {'#' * -(-value * room // most if most else 0)}".rstrip()


@record
class Part:
    """A titled part of a stop report: ``name`` is one of "regs", "code", "stack", "stop"."""

    name: str
    content: Result


@record
class StopReport(Shown):
    """Why the guest stopped and what it looks like now.

    ``sentence`` is the stop in one sentence ("Breakpoint 1, 0x7c00"); ``parts`` the context view as `set context`
    chose it (may be empty); ``displays`` the values of the display list; ``symbol`` ("name+0x10" or "") and ``source``
    (file and line) are of its pc.
    """

    kind: ClassVar[str] = "stop"
    stop: StopValue
    sentence: str
    parts: tuple[Part, ...] = ()
    displays: tuple[Result, ...] = ()
    symbol: str = ""
    source: tuple[str, int] | None = None

    def to_json(self) -> Json:
        found: Json = {"type": self.kind, **self.stop.to_json()}
        found["text"] = self.sentence
        if self.symbol:
            found["symbol"] = self.symbol
        if self.source is not None:
            found["source"] = {"file": self.source[0], "line": self.source[1]}
        if self.parts:
            found["context"] = {part.name: part.content.to_json() for part in self.parts}
        if self.displays:
            found["displays"] = [one.to_json() for one in self.displays]
        return found

    def pieces(self, width: int) -> Iterator[Piece]:
        for part in self.parts:
            yield "title", f"-- {part.name} ".ljust(min(width, 60), "-")
            yield "", "\n"
            yield from part.content.pieces(width)
            yield "", "\n"
        if self.parts:
            yield "title", "-" * min(width, 60) + "\n"
        yield "stop", self.sentence
        for one in self.displays:
            yield "", "\n"
            yield from one.pieces(width)


@record
class HelpPage(Shown):
    """One command, explained: ``usage`` lines, ``text`` (paragraphs), ``examples``, other ``names`` it answers to."""

    kind: ClassVar[str] = "help"
    name: str
    usage: str
    text: str
    examples: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    group: str = ""
    python: str = ""

    def to_json(self) -> Json:
        return {
            "type": self.kind,
            "name": self.name,
            "usage": self.usage,
            "text": self.text,
            "examples": list(self.examples),
            "aliases": list(self.names),
            "group": self.group,
            "python": self.python,
        }

    def pieces(self, width: int) -> Iterator[Piece]:
        yield "heading", self.usage
        yield "", f"\n\n{self.text}"
        if self.names:
            yield "", "\n\nAlso: " + ", ".join(self.names)
        if self.python:
            yield "", "\n\nIn Python: "
            yield "code", self.python
        if self.examples:
            yield "", "\n\nExample:"
            for line in "\n".join(self.examples).split("\n"):
                yield "name", f"\n  {line}"


@record
class Group(Shown):
    """Several results of one command, shown one below the other."""

    kind: ClassVar[str] = "group"
    results: tuple[Result, ...]
    between: str = "\n"

    def to_json(self) -> Json:
        return {"type": self.kind, "results": [one.to_json() for one in self.results]}

    def pieces(self, width: int) -> Iterator[Piece]:
        for number, one in enumerate(self.results):
            yield "", self.between if number else ""
            yield from one.pieces(width)
