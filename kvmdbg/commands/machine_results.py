"""Results that show the machine: memory, code, registers, stack. See results.py, which exports them."""

from __future__ import annotations

from typing import Any, ClassVar

from kvmdbg.record import record

Json = dict[str, Any]


@record
class HexDump:
    """Bytes from ``address`` on, sixteen a line with their ASCII. ``changed`` holds offsets that differ since the
    last stop; ``space`` is "linear" or "phys"."""

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

    def lines(self) -> list[tuple[int, bytes]]:
        """(address, up to 16 bytes) of each line."""
        return [(self.address + at, self.data[at : at + 16]) for at in range(0, len(self.data), 16)]

    def plain(self, width: int = 80) -> str:
        lines = []
        for address, data in self.lines():
            cells = " ".join(f"{byte:02x}" for byte in data)
            text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in data)
            lines.append(f"{address:08x}  {cells:<47}  {text}")
        return "\n".join(lines)


@record
class MemoryRow:
    """One line of ``x``: linear ``address``, its ``label`` ("<loop+3>" or ""), and the cells as text."""

    address: int
    label: str
    cells: tuple[str, ...]


@record
class Memory:
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

    def plain(self, width: int = 80) -> str:
        wide = max((len(cell) for row in self.rows for cell in row.cells), default=0)
        prefix = "phys:" if self.space == "phys" else ""
        lines = []
        for row in self.rows:
            head = f"{prefix}{row.address:#x}" + (f" {row.label}" if row.label else "")
            lines.append(f"{head}:  " + "  ".join(f"{cell:>{wide}}" for cell in row.cells))
        return "\n".join(lines)


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
        if self.breakpoints:
            found["breakpoints"] = list(self.breakpoints)
        return found


@record
class Disassembly:
    """Instructions in order. ``raw`` asks for their bytes to be shown; ``syntax`` is "intel" or "att"."""

    kind: ClassVar[str] = "disassembly"
    lines: tuple[CodeLine, ...]
    raw: bool = False
    syntax: str = "intel"
    title: str = ""

    def to_json(self) -> Json:
        return {"type": self.kind, "syntax": self.syntax, "lines": [line.to_json() for line in self.lines]}

    def plain(self, width: int = 80) -> str:
        out = [self.title] if self.title else []
        wide_label = max((len(line.label) for line in self.lines), default=0)
        wide_bytes = max((len(line.data) * 3 for line in self.lines), default=0)
        for line in self.lines:
            mark = "=>" if line.current else (" b" if line.breakpoints else "  ")
            place = f"{line.seg_off}  {line.address:#08x}" if line.seg_off else f"{line.address:#010x}"
            label = f"  {line.label:<{wide_label}}" if wide_label else ""
            raw = f"  {line.data.hex(' '):<{wide_bytes}}" if self.raw else ""
            code = f"{line.mnemonic:<7} {line.operands}" if line.operands else line.mnemonic
            note = ""
            if line.target_label:
                note += f"  {line.target_label}"
            if line.branch:
                note += f"  ({line.branch})"
            out.append(f"{mark} {place}{label}{raw}  {code}{note}")
        return "\n".join(out)


@record
class RegisterValue:
    """One register: its ``value`` and width in bits, whether it ``changed`` since the guest was last resumed,
    and what its bits mean (``decoded``: "ZF PF", "PE PG", or "" when nothing is known)."""

    name: str
    value: int
    bits: int
    changed: bool = False
    decoded: str = ""

    @property
    def text(self) -> str:
        """The value in hexadecimal at the register's full width, without 0x."""
        return f"{self.value & ((1 << self.bits) - 1):0{max(1, self.bits // 4)}x}"


@record
class Registers:
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

    def plain(self, width: int = 80) -> str:
        if self.layout == "grid":
            return "\n".join(
                "  ".join(
                    f"{one.name:<{self.name_width}}{'*' if one.changed else ' '}{one.text}"
                    + (f"  {one.decoded}" if one.decoded else "")
                    for one in line
                ).rstrip()
                for line in self.grid(width)
            )
        wide = max((len(one.name) for one in self.values), default=0)
        number = max((len(f"{one.value:#x}") for one in self.values), default=0)
        lines = []
        for one in self.values:
            mark = "*" if one.changed else " "
            meaning = one.decoded and f"[ {one.decoded} ]"
            lines.append(f"{one.name:<{wide}} {mark} {one.value:<#{number}x}  {meaning or one.value}".rstrip())
        return "\n".join(lines)


@record
class StackSlot:
    """One slot of the stack: linear ``address``, ``offset`` from $sp in bytes, ``value``, ``label`` of what the
    value points to ("<main+4>" or "")."""

    address: int
    offset: int
    value: int
    label: str = ""


@record
class Stack:
    """The top of the stack, ``bits`` wide slots, lowest address first."""

    kind: ClassVar[str] = "stack"
    slots: tuple[StackSlot, ...]
    bits: int
    note: str = ""

    def to_json(self) -> Json:
        slots = [
            {"address": s.address, "value": s.value, **({"label": s.label} if s.label else {})} for s in self.slots
        ]
        return {"type": self.kind, "bits": self.bits, "slots": slots}

    def plain(self, width: int = 80) -> str:
        lines = [
            f"{slot.address:#010x} sp+{slot.offset:<#4x} {slot.value:0{self.bits // 4}x} {slot.label}".rstrip()
            for slot in self.slots
        ]
        return "\n".join(lines + ([self.note] if self.note else []))
