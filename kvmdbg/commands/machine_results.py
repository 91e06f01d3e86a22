"""Results that show the machine: memory, code, registers, stack. See results.py, which exports them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from kvmdbg.printable import printable
from kvmdbg.record import record

Json = dict[str, Any]
Piece = tuple[str, str]
"""A role and a text. Roles say what a text is, for those who show it in colour: "address", "label", "code" (Intel
syntax; "code-att" for AT&T), "bytes", "mark" (the arrow at pc), "breakpoint", "note", "register", "value", "changed",
"flags", "heading", "title", "stop", "name", "warning", "error", or "" for the rest."""


class Shown:
    """A result that says of each piece of its text what it is."""

    def pieces(self, width: int) -> Iterator[Piece]:
        """The text in order, without a final newline."""
        raise NotImplementedError

    def plain(self, width: int = 80) -> str:
        """The text without colour, control characters escaped."""
        return printable("".join(text for _, text in self.pieces(width)))


@record
class HexDump(Shown):
    """Bytes from ``address`` on, sixteen a line (eight where there is no room) with their ASCII.

    ``changed`` holds offsets that differ since an earlier stop, which a ``*`` marks; ``space`` is "linear" or "phys".
    """

    kind: ClassVar[str] = "hexdump"
    address: int
    data: bytes
    changed: frozenset[int] = frozenset()
    space: str = "linear"

    def to_json(self) -> Json:
        return {
            "type": self.kind,
            "address": self.address,
            "space": self.space,
            "data": self.data.hex(),
            "changed": sorted(self.changed),
        }

    def lines(self, each: int = 16) -> list[tuple[int, bytes]]:
        """(address, up to so many bytes) of each line."""
        return [(self.address + at, self.data[at : at + each]) for at in range(0, len(self.data), each)]

    def pieces(self, width: int) -> Iterator[Piece]:
        each = 16 if width >= len(f"{self.address + len(self.data):08x}") + 3 + 4 * 16 else 8
        for number, (address, data) in enumerate(self.lines(each)):
            changed = [number * each + at in self.changed for at in range(len(data))]
            yield "", "\n" if number else ""
            yield "address", f"{address:08x}"
            yield "", "  "
            for at, byte in enumerate(data):
                yield "changed" if changed[at] else "bytes" if byte else "note", f"{byte:02x}"
                yield ("changed", "*") if changed[at] else ("", " ")
            yield "", " " + "   " * (each - len(data))
            for at, byte in enumerate(data):
                shown = 0x20 <= byte < 0x7F
                yield "changed" if changed[at] else "" if shown else "note", chr(byte) if shown else "."


@record
class MemoryRow:
    """One line of ``x``: linear ``address``, its ``label`` ("<loop+3>" or ""), and the cells as text."""

    address: int
    label: str
    cells: tuple[str, ...]


@record
class Memory(Shown):
    """What ``x`` shows: ``rows`` of formatted units. ``letter`` and ``unit`` (bytes) are gdb's format and size;
    ``values`` are the same units as numbers (or strings for ``x/s``); ``space`` is "linear" or "phys"."""

    kind: ClassVar[str] = "memory"
    address: int
    letter: str
    unit: int
    rows: tuple[MemoryRow, ...]
    values: tuple[int | str | float, ...]
    data: bytes = b""
    space: str = "linear"

    def to_json(self) -> Json:
        return {
            "type": self.kind,
            "address": self.address,
            "space": self.space,
            "format": self.letter,
            "unit": self.unit,
            "values": list(self.values),
            "data": self.data.hex(),
        }

    def pieces(self, width: int) -> Iterator[Piece]:
        wide = max((len(cell) for row in self.rows for cell in row.cells), default=0)
        prefix = "phys:" if self.space == "phys" else ""
        for number, row in enumerate(self.rows):
            yield "address", "\n" * bool(number) + f"{prefix}{row.address:#x}"
            yield "label", f" {row.label}" if row.label else ""
            yield "", ":  "
            yield "value", "  ".join(f"{cell:>{wide}}" for cell in row.cells)


@record
class CodeLine:
    """One instruction.

    ``seg_off`` is "0100:0003" in real mode, else "". ``branch`` is "taken", "not taken" or "" (not the current
    instruction, or not a conditional branch); ``target`` is a direct branch's linear target.
    ``breakpoints`` are the numbers of the enabled breakpoints here.
    """

    address: int
    data: bytes
    mnemonic: str
    operands: str
    label: str = ""
    seg_off: str = ""
    current: bool = False
    branch: str = ""
    target: int | None = None
    target_label: str = ""
    breakpoints: tuple[int, ...] = ()
    values: tuple[tuple[str, int | None, str], ...] = ()
    """Of the current instruction's operands: name, value before it runs (None: unreadable), the value's label."""
    source: tuple[str, ...] = ()
    """Lines of the source that its code begins here, to be shown above it."""

    def to_json(self) -> Json:
        found: Json = {
            "address": self.address,
            "data": self.data.hex(),
            "mnemonic": self.mnemonic,
            "operands": self.operands,
            "current": self.current,
        }
        for name in ("label", "seg_off", "branch", "target"):
            if (value := getattr(self, name)) not in ("", None):
                found[name] = value
        if self.source:
            found["source"] = list(self.source)
        if self.values:
            found["values"] = {name: value for name, value, _ in self.values}
        if self.breakpoints:
            found["breakpoints"] = list(self.breakpoints)
        return found


@record
class Disassembly(Shown):
    """Instructions in order. ``raw`` asks for their bytes to be shown, where all lines fit, or in any case where they
    are ``wanted``; ``syntax`` is "intel" or "att"."""

    kind: ClassVar[str] = "disassembly"
    lines: tuple[CodeLine, ...]
    raw: bool = False
    syntax: str = "intel"
    title: str = ""
    wanted: bool = False

    def to_json(self) -> Json:
        return {"type": self.kind, "syntax": self.syntax, "lines": [line.to_json() for line in self.lines]}

    def pieces(self, width: int) -> Iterator[Piece]:
        if self.title:
            yield "heading", self.title
            yield "", "\n" if self.lines else ""
        names, lines, bytes_below = self._fitted(width)
        above = ""
        for number, pieces in enumerate(lines):
            yield "", "\n" if number else ""
            if names[number] not in ("", above):
                above = names[number]
                yield "label", f"{above[: width - 1]}:\n"
            for text in self.lines[number].source:
                yield "heading", text[:width] + "\n"
            long = sum(len(text) for _, text in pieces) > width
            left = _whole_words("".join(text for _, text in pieces), width - 1) if long else width
            for role, text in pieces:
                yield role, text[:left]
                left -= len(text[:left])
            yield "note", "…" if long else ""
            if bytes_below:
                for text in _lines(self.lines[number].data.hex(" "), max(width - 6, 20)):
                    yield "bytes", f"\n      {text}"
            if values := self.values_of(self.lines[number]):
                used = sum(len(text) for _, text in pieces)
                if used + 2 + len(values) <= width:
                    yield "note", f"  {values}"
                else:
                    before = min(sum(len(text) for role, text in pieces if not role.startswith("code")), 32)
                    for text in _lines(values, max(width - before, 20)):
                        yield "note", f"\n{'':{before}}{text}"

    def _fitted(self, width: int) -> tuple[Sequence[str], list[list[Piece]], bool]:
        """The functions' names that stand above lines, the lines, and whether their bytes have lines of their own.

        Where all does not fit, bytes are left out, or those that are wanted stand below; then names stand above.
        """
        labels, none = [line.label for line in self.lines], [""] * len(self.lines)
        functions, offsets = zip(*(_name_and_offset(label) for label in labels), strict=True) if labels else ((), ())
        ways = [(none, labels, False), (functions, offsets, False)]
        if self.wanted:
            ways = [(none, labels, True), (functions, offsets, True), *ways]
        elif self.raw:
            ways = [(none, labels, True), *ways]
        for names, shown, raw in ways:
            lines = self._laid_out(shown, raw)
            if not _too_wide(lines, width):
                return names, lines, self.wanted and not raw
        return none, self._laid_out(labels, False), self.wanted

    def _laid_out(self, labels: Sequence[str], raw: bool) -> list[list[Piece]]:
        """The lines with these labels, all alike; ``raw`` with their bytes."""
        wide = max(map(len, labels), default=0)
        wide_bytes = max((len(line.data) * 3 for line in self.lines), default=0) if raw else 0
        return [
            list(self._pieces(line, label, wide, wide_bytes)) for line, label in zip(self.lines, labels, strict=True)
        ]

    def _pieces(self, line: CodeLine, label: str, wide_label: int, wide_bytes: int) -> Iterator[Piece]:
        """One line, with columns so wide for labels and bytes; 0 for no bytes."""
        point = bool(line.breakpoints)
        yield ("mark", "=>") if line.current else ("breakpoint", " b" if point else "  ")
        place = f"{line.seg_off}  {line.address:#08x}" if line.seg_off else f"{line.address:#010x}"
        yield "breakpoint" if point else "mark" if line.current else "address", f" {place}"
        yield "label", f"  {label:<{wide_label}}" if wide_label else ""
        yield "bytes", f"  {line.data.hex(' '):<{wide_bytes}}" if wide_bytes else ""
        yield "", "  "
        code = f"{line.mnemonic:<7} {line.operands}" if line.operands else line.mnemonic
        yield "code-att" if self.syntax == "att" else "code", code
        yield "label", f"  {line.target_label}" if line.target_label else ""
        yield "stop", f"  ({line.branch})" if line.branch else ""

    @staticmethod
    def values_of(line: CodeLine) -> str:
        """What is shown behind an instruction of its operands' values."""
        shown = []
        for name, value, label in line.values:
            shown.append(f"{name}={'?' if value is None else f'{value:#x}'}" + (f" {label}" if label else ""))
        return f"; {', '.join(shown)}" if shown else ""


def _too_wide(lines: list[list[Piece]], width: int) -> bool:
    return any(sum(len(text) for _, text in line) > width for line in lines)


def _name_and_offset(label: str) -> tuple[str, str]:
    """``<divide+0x8>`` as ``<divide>`` and ``<+0x8>``."""
    name, _, offset = label.strip("<>").rpartition("+0x")
    if not name:
        return label, "<+0x0>" if label else ""
    return f"<{name}>", f"<+0x{offset}>"


def _whole_words(text: str, width: int) -> int:
    """Where to cut a text that takes more than ``width`` columns: behind a word, if there is one."""
    cut = text.rfind(" ", 0, width + 1)
    return len(text[:cut].rstrip()) if text[:cut].strip() else width


def _lines(text: str, width: int) -> list[str]:
    """A text in lines of at most ``width`` columns, broken between words."""
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append(f"  {word}")
        else:
            lines[-1] += f" {word}" if lines[-1] else word
    return lines


@record
class RegisterValue:
    """One register: its ``value`` and width in bits, whether it ``changed`` since the guest was last resumed,
    and what its bits mean (``decoded``: "ZF PF", "PE PG", or "" when nothing is known)."""

    name: str
    value: int
    bits: int
    changed: bool = False
    decoded: str = ""
    memory: str = ""
    """The role of an address, by what lies there: "code-pointer", "stack-pointer", "data-pointer"; "" for none."""
    address: str = ""
    """Of a register that always holds one: it, and what is there, as a list shows it beside the value."""

    @property
    def text(self) -> str:
        """The value in hexadecimal at the register's full width, without 0x."""
        return f"{self.value & ((1 << self.bits) - 1):0{max(1, self.bits // 4)}x}"

    def value_pieces(self) -> Iterator[Piece]:
        """The value in the grid, with the mark of what changed before it."""
        if self.changed and not self.memory:
            yield "changed", f"*{self.text}"
        else:
            yield ("changed", "*") if self.changed else ("", " ")
            yield self.memory or "value", self.text


@record
class Registers(Shown):
    """Registers in the order to be shown. ``layout`` is "grid" (the context view) or "list" (``info registers``)."""

    kind: ClassVar[str] = "registers"
    values: tuple[RegisterValue, ...]
    layout: str = "list"

    def to_json(self) -> Json:
        return {
            "type": self.kind,
            "values": {one.name: one.value for one in self.values},
            "changed": [one.name for one in self.values if one.changed],
            "decoded": {one.name: one.decoded for one in self.values if one.decoded},
        }

    @property
    def name_width(self) -> int:
        """Columns that every name takes in the grid."""
        return max((len(one.name) for one in self.values if not one.decoded), default=0)

    def grid(self, width: int) -> list[list[RegisterValue]]:
        """The values as lines of cells that fit ``width`` columns; a decoded one stands on a line of its own."""
        wide = self.name_width
        lines: list[list[RegisterValue]] = [[]]
        used = 0
        for one in self.values:
            need = wide + len(one.text) + 3
            if one.decoded:
                lines += [[one], []]
                used = 0
                continue
            if lines[-1] and used + need - 2 > width:
                lines.append([])
                used = 0
            lines[-1].append(one)
            used += need
        return [line for line in lines if line]

    def pieces(self, width: int) -> Iterator[Piece]:
        if self.layout == "grid":
            for number, line in enumerate(self.grid(width)):
                for at, one in enumerate(line):
                    yield "", "  " if at else "\n" if number else ""
                    yield "register", f"{one.name:<{self.name_width}}"
                    yield from one.value_pieces()
                    yield "flags", f"  {one.decoded}" if one.decoded else ""
            return
        wide = max((len(one.name) for one in self.values), default=0)
        number_wide = max((len(f"{one.value:#x}") for one in self.values), default=0)
        for number, one in enumerate(self.values):
            yield "", "\n" if number else ""
            yield "register", f"{one.name:<{wide}}"
            value = f"{one.value:<#{number_wide}x}"
            yield ("changed", f" * {value}") if one.changed else ("value", f"   {value}")
            yield (
                "flags" if one.decoded else "",
                f"  [ {one.decoded} ]" if one.decoded else f"  {one.address or one.value}",
            )


@record
class StackSlot:
    """One slot of the stack: linear ``address``, ``offset`` from $sp in bytes, ``value``, ``label`` of what the
    value points to ("<main+4>" or ""), the role of an address (``RegisterValue.memory``), and where it leads on."""

    address: int
    offset: int
    value: int
    label: str = ""
    memory: str = ""
    leads_to: tuple[Piece, ...] = ()

    def to_json(self) -> Json:
        found: Json = {"address": self.address, "value": self.value}
        if self.label:
            found["label"] = self.label
        if self.memory:
            found["memory"] = self.memory.removesuffix("-pointer")
        if self.leads_to:
            found["leads_to"] = [text for _, text in self.leads_to]
        return found

    def pieces(self, bits: int, width: int) -> Iterator[Piece]:
        """Its value, and where that leads, as far as ``width`` columns go."""
        yield self.memory or "value", f"{self.value:0{bits // 4}x}"
        yield "label", f" {self.label}" if self.label else ""
        used = bits // 4 + (len(self.label) + 1 if self.label else 0)
        for role, text in self.leads_to:
            used += 4 + len(text)
            if used > width:
                yield "note", " …"[: width - used + 4 + len(text)]
                return
            yield "note", " -> "
            yield role, text


@record
class Stack(Shown):
    """The top of the stack, ``bits`` wide slots, lowest address first."""

    kind: ClassVar[str] = "stack"
    slots: tuple[StackSlot, ...]
    bits: int
    note: str = ""

    def to_json(self) -> Json:
        return {"type": self.kind, "bits": self.bits, "slots": [one.to_json() for one in self.slots]}

    def pieces(self, width: int) -> Iterator[Piece]:
        for number, slot in enumerate(self.slots):
            yield "", "\n" if number else ""
            yield "address", f"{slot.address:#010x}"
            offset = f" sp+{slot.offset:<#4x} "
            yield "note", offset
            yield from slot.pieces(self.bits, width - len(f"{slot.address:#010x}") - len(offset))
        if self.note:
            yield "note", "\n" * bool(self.slots) + self.note
