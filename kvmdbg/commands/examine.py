"""Looking at memory: x, hexdump, disassemble."""

from __future__ import annotations

import re
from typing import Annotated

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import AddressArg, FlagsType, Format, FormatArg, NumberType, RestType
from kvmdbg.commands.places import Place, location_place
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import (
    CodeLine,
    Disassembly,
    HexDump,
    Memory,
    MemoryRow,
    Result,
)
from kvmdbg.commands.values import address_label, format_value
from kvmdbg.commands.views import code_lines
from kvmdbg.errors import MemoryFault, UsageError
from kvmdbg.language.ctype import VOID, integer, pointer
from kvmdbg.language.formats import number_of, of_utf8, quoted, signed
from kvmdbg.masks import LOW64
from kvmdbg.record import record, replace

SHOWN_RANGES = 64
"""Ranges of memory whose bytes are kept to tell what changed."""


@record
class ShownMemory:
    """What a range of memory held at a stop, counted, and at an earlier stop when it was shown ``before``."""

    stop: int
    data: bytes
    before: bytes


class Examined:
    """What was looked at last, and where the next line goes on; the guest's next stop ends that."""

    def __init__(self) -> None:
        self.letter, self.unit = "x", 4
        """The last format, also that of a print, and the last size (0: that of addresses)."""
        self.count: int | None = None
        self.ranges: dict[tuple[str, int, int], ShownMemory] = {}  # by space, address and length
        self.go_on(0)

    def go_on(self, stop: int) -> None:
        """Nothing was looked at yet since this stop."""
        self.stop = stop
        self.memory: tuple[int, str] | None = None  # address and space
        self.code: int | None = None
        self.source: tuple[str, int, int] | None = None  # file, first and last line
        self.found = False  # that is one line, which was searched for


def examined(dbg: Interpreter) -> Examined:
    found = dbg.kept(Examined)
    if found.stop != dbg.runs.stops:
        found.go_on(dbg.runs.stops)
    return found


LengthArg = Annotated[int, NumberType("LENGTH", least=1)]

#: How many cells of each unit size fit one line of `x`, as gdb has it.
PER_LINE = {1: 8, 2: 8, 4: 4, 8: 2}
UNIT_LETTERS = {0: "", 1: "b", 2: "h", 4: "w", 8: "g"}


def within(place: Place, moved: int = 0) -> Place:
    """A place, or one so many bytes further on, with an address of 64 bits: behind the last one comes 0."""
    return replace(place, address=place.address + moved & LOW64)


def read(dbg: Interpreter, place: Place, size: int, offset: int = 0) -> bytes:
    """Memory of the current vCPU at ``place`` plus ``offset``. MemoryFault; UsageError when that is to end."""
    if dbg.user.cancelled:
        raise UsageError("interrupted")
    memory = dbg.session.physical if place.space == "phys" else dbg.session.memory
    return memory.read(place.address + offset, size)


def examine(dbg: Interpreter, form: Format, place: Place) -> Memory | Disassembly:
    """What ``x`` shows; sets where the next ``x`` goes on."""
    letter, count, place = form.letter or "x", 1 if form.count is None else form.count, within(place)
    if abs(count) > MOST_SHOWN:
        raise UsageError(f"x shows {MOST_SHOWN:#x} of them at most")
    if count < 0 and letter in ("i", "s"):
        raise UsageError(f"x counts instructions and texts forwards only, as in x/{-count}{letter} ADDRESS-8")
    if letter == "i":
        lines = code_lines(dbg, place.address, count, space=place.space)
        end = lines[-1].address + len(lines[-1].data) if lines else place.address
        examined(dbg).memory = (end, place.space)
        if lines:
            _remember(dbg, lines[-1].address, None)
        return Disassembly(lines, syntax=dbg.settings["disassembly-flavor"])
    if letter == "s":
        return _strings(dbg, place, count, form.unit or 1)
    unit = form.unit or _unit(letter, 8 if letter == "f" else 4) or dbg.pointer_size()
    before, count = count < 0, abs(count)
    if before:
        place = within(place, -unit * count)
    data = read(dbg, place, unit * count)
    raws = [int.from_bytes(data[at : at + unit], "little") for at in range(0, len(data), unit)]
    per_line = PER_LINE[unit]
    rows = []
    for at in range(0, count, per_line):
        address = place.address + at * unit
        cells = tuple(format_value(dbg, raw, letter, unit, pad=True) for raw in raws[at : at + per_line])
        label = address_label(dbg, address) if place.space == "linear" else ""
        rows.append(MemoryRow(address, label, cells))
    values: tuple[int | float, ...] = tuple(raws)
    if letter == "d":
        values = tuple(signed(raw, unit) for raw in raws)
    elif letter == "f" and unit in (2, 4, 8):
        values = tuple(number_of(raw, unit) for raw in raws)
    if raws:
        _remember(dbg, place.address + unit * (count - 1), signed(raws[-1], unit), unit)
    examined(dbg).memory = (place.address + (0 if before else unit * count), place.space)
    return Memory(place.address, letter, unit, tuple(rows), values, data, place.space)


def _unit(letter: str, last: int) -> int:
    """The size that a format without one has, where the ``last`` one was this; 0 for that of addresses."""
    if letter == "f":
        return last if last in (4, 8) else 8
    return {"a": 0, "c": 1, "s": 1}.get(letter, last)


def _remember(dbg: Interpreter, address: int, value: int | None, unit: int = 1) -> None:
    """The last address that was looked at is ``$_``, what was there ``$__``, both with types, as in gdb."""
    kept, type = dbg.session.convenience, integer(f"int{8 * unit}_t", unit, signed=True)
    kept.values["_"], kept.types["_"] = address, pointer(type)
    kept.values["__"], kept.types["__"] = value or 0, type if value is not None else VOID


def go_on_at(dbg: Interpreter, address: int, space: str = "linear") -> None:
    """Another command has shown this place: it is ``$_``, and where the next ``x`` without an address begins."""
    dbg.session.convenience.remember_place(address)
    examined(dbg).memory = (address, space)


MOST_CHARACTERS = 1 << 16
"""Of a text without an end, where set print elements has none."""
ENCODINGS = {1: "utf-8", 2: "utf-16-le", 4: "utf-32-le"}
"""Of texts, by the bytes of a unit (gdb: char, char16_t, char32_t)."""


def _strings(dbg: Interpreter, place: Place, count: int, unit: int) -> Memory:
    if unit not in ENCODINGS:
        raise UsageError("x/s shows texts of 1, 2 or 4 bytes a character: x/s, x/hs, x/ws")
    from kvmdbg.commands.print_settings import style_of

    style = style_of(dbg)
    most = unit * (style.elements or MOST_CHARACTERS)
    rows, texts, data = [], [], bytearray()
    at = 0
    for _ in range(count):
        found, ended = bytearray(), False
        while len(found) < most and not ended:
            try:
                one = read(dbg, place, unit, at + len(found))
            except MemoryFault:
                if not found:
                    raise
                break
            found += one
            ended = not any(one)
        body = bytes(found[:-unit] if ended else found)
        prefix = {1: "", 2: "u", 4: "U"}[unit]
        shown = quoted(
            _codes(body, unit), ended=True, most=style.elements, alike=style.repeats, prefix=prefix, wide=True
        )
        shown += "" if ended else "..."
        rows.append(MemoryRow(place.address + at, address_label(dbg, place.address + at), (shown,)))
        texts.append(body.decode(ENCODINGS[unit], "replace"))
        data += found
        at += len(found)
    _remember(dbg, rows[-1].address if rows else place.address, None)
    examined(dbg).memory = (place.address + at, place.space)
    return Memory(place.address, "s", unit, tuple(rows), tuple(texts), bytes(data), place.space)


def _codes(body: bytes, unit: int) -> list[int]:
    """The characters of a text as Unicode has them; bytes that are no UTF-8 are below 0."""
    if unit == 4:
        return [int.from_bytes(body[at : at + 4], "little") for at in range(0, len(body), 4)]
    if unit == 2:
        return [ord(char) for char in body.decode("utf-16-le", "surrogatepass")]
    return of_utf8(body)


@command(
    "x",
    group="data",
    example=("x/4xw 0x1000", "x/3i $pc", "x/8xb phys:0x1000", 'patch 0x2000 "text"', "x/s 0x2000"),
    repeat=True,
    py="dbg.memory[address:address + size]",
)
def x(dbg: Interpreter, form: FormatArg | None = None, address: AddressArg | None = None) -> Result:
    """Show memory at an address: x/NFU ADDRESS.

    N is how many, F the format (x hexadecimal, d signed, u unsigned, o octal, t binary, a address, c character,
    f floating point, s string, i instruction, z padded hexadecimal), U the unit (b 1 byte, h 2, w 4, g 8; of strings:
    s is UTF-8, hs UTF-16, ws UTF-32). The last format holds until another is given, also by a print, and the last unit
    (a has that of pointers, c 1 byte, f 4 or 8); without an address it goes on where the last one ended, with as many
    if no format is given, and so does an empty line. A negative N shows what lies before the address.
    """
    form = form or Format()
    known = examined(dbg)
    letter = form.letter or known.letter
    unit = form.unit or (_unit(letter, known.unit) if form.letter else known.unit)
    if address is None:
        if known.memory is None:
            raise UsageError("x needs an ADDRESS the first time, as in x/4xw 0x1000")
        address = Place("", *known.memory)
        if form == Format():
            form = replace(form, count=known.count)
    result = examine(dbg, Format(form.count, letter, unit or dbg.pointer_size()), address)
    known.letter, known.unit = letter, 1 if letter == "s" else unit
    known.count = form.count if form.count is None or form.count > 0 else 1  # as in gdb
    dbg.repeat_line = f"x/{form.count if form.count is not None else ''}{letter}{UNIT_LETTERS[unit]}"
    return result


@command(
    "hexdump",
    aliases=("hd",),
    group="data",
    example="hexdump 0x1000 32",
    repeat=True,
    py="dbg.memory[address:address + length]",
)
def hexdump(dbg: Interpreter, address: AddressArg | None = None, length: LengthArg = 128) -> Result:
    """Show LENGTH bytes (128 without it) at an address as hexadecimal and ASCII, sixteen a line.

    Bytes that are not what they were when they were last shown, at an earlier stop, have a * behind them.
    """
    known = examined(dbg)
    if address is None:
        if known.memory is None:
            raise UsageError("hexdump needs an ADDRESS the first time")
        address = Place("", *known.memory)
    if length > MOST_SHOWN:
        raise UsageError(f"hexdump shows {MOST_SHOWN:#x} bytes at most")
    address = within(address)
    data = read(dbg, address, length)
    known.memory = (address.address + length, address.space)
    dbg.repeat_line = f"hexdump {'phys:' if address.space == 'phys' else ''}{address.address + length:#x} {length}"
    return hex_dump(dbg, address.address, data, address.space)


def hex_dump(dbg: Interpreter, address: int, data: bytes, space: str = "linear") -> HexDump:
    """Bytes with those marked that differ from what was shown of the same range at an earlier stop."""
    key, now, ranges = (space, address, len(data)), dbg.runs.stops, examined(dbg).ranges
    known = ranges.pop(key, None)
    before = data if known is None else known.before if known.stop == now else known.data
    ranges[key] = ShownMemory(now, data, before)
    if len(ranges) > SHOWN_RANGES:
        del ranges[next(iter(ranges))]
    changed = frozenset(at for at, (old, new) in enumerate(zip(before, data, strict=True)) if old != new)
    return HexDump(address, data, changed, space)


@command(
    "disassemble",
    aliases=("disas", "disass"),
    group="data",
    example=("disassemble func", "disassemble /r again,+6"),
    guest="--symbols guests/boot16.elf guests/boot16.bin",
    repeat=True,
    py="dbg.disassemble(address, count)",
)
def disassemble(
    dbg: Interpreter,
    flags: Annotated[str, FlagsType("rms", "/rs")] = "",
    text: Annotated[str, RestType("ADDRESS | START,END | START,+LENGTH", "expression")] = "",
) -> Result:
    """Show the instructions of the function around an address ($pc without one), or of a range.

    START,END or START,+LENGTH give a range in linear addresses. Where there is no symbol, some instructions from the
    address on are shown, and an empty line goes on after them. /r shows the instructions' bytes, /s the lines of the
    source between them.
    """
    text, flags = _flags(text, flags)
    raw = "r" in flags
    syntax = dbg.settings["disassembly-flavor"]
    if "," in text:
        first, _, second = text.partition(",")
        start = dbg.place(first.strip())
        relative = second.strip().startswith("+")
        end = dbg.number(second.strip().lstrip("+")) + (start.address if relative else 0)
        if end <= start.address:
            raise UsageError(f"disassemble: the range ends at {end:#x}, before its start {start.address:#x}")
        if end - start.address > MOST_OF_A_RANGE:
            raise UsageError(
                f"disassemble: the range has {end - start.address:#x} bytes, more than {MOST_OF_A_RANGE:#x}"
            )
        lines = code_lines(dbg, start.address, end=end, space=start.space)
        return Disassembly(_explained(dbg, lines, flags), raw, syntax, wanted=raw)
    known = examined(dbg)
    if text:
        place = (
            dbg.place(text)
            if text.isdigit()
            else location_place(dbg.session.locations.find(text, entry=True, data=True))
        )
    elif known.code is not None:
        place = Place("", known.code)
    else:
        place = Place("$pc", dbg.session.vcpu.pc)
    near = dbg.session.symbols.nearest(place.address) if place.space == "linear" else None
    if near is not None and 0 < near[0].size <= MOST_OF_A_FUNCTION:
        symbol = near[0]
        lines = code_lines(dbg, symbol.address, end=symbol.address + symbol.size)
        return Disassembly(_explained(dbg, lines, flags), raw, syntax, f"Function {symbol.name}:", wanted=raw)
    lines = code_lines(dbg, place.address, 10, space=place.space)
    known.code = lines[-1].address + len(lines[-1].data) if lines else None
    dbg.repeat_line = f"disassemble /{flags}" if flags else "disassemble"
    return Disassembly(_explained(dbg, lines, flags), raw, syntax, wanted=raw)


def _flags(text: str, flags: str) -> tuple[str, str]:
    """gdb also takes the modifiers apart from the word: ``disassemble /r ADDRESS``."""
    match = re.match(r"/([rms]+)(\s+|$)", text)
    return (text[match.end() :], flags + match[1]) if match else (text, flags)


MOST_SHOWN = MOST_OF_A_RANGE = 1 << 20
MOST_OF_A_FUNCTION = 1 << 16
"""A function that is said to have more bytes is not disassembled as a whole."""
MOST_BETWEEN = 10
"""Lines without code of their own that are shown before one that has some."""


def _explained(dbg: Interpreter, lines: tuple[CodeLine, ...], flags: str) -> tuple[CodeLine, ...]:
    """The instructions with their source lines above them, if /s or /m asks for it, as gdb has them.

    Before a line come those above it that have not been shown; a line whose code is in several places is shown again.
    """
    if not set(flags) & {"s", "m"}:
        return lines
    source = dbg.session.source
    found, here, shown = [], ("", 0), dict[str, int]()
    for one in lines:
        place = source.at(one.address)
        if place is None or (place.file, place.line) == here:
            found.append(one)
            continue
        above = [] if place.file == here[0] else [f"{place.file}:"]
        here = (place.file, place.line)
        last = shown.get(place.file, 0)
        first = max(last + 1, place.line - MOST_BETWEEN) if 0 < last < place.line else place.line
        text = dbg.source_lines(place.file)
        for number in range(first, place.line + 1):
            above.append(f"{number}\t{text[number - 1]}".expandtabs(4) if number <= len(text) else str(number))
        shown[place.file] = max(last, place.line)
        found.append(replace(one, source=tuple(above)))
    return tuple(found)
