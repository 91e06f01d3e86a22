"""Searching memory: find, and the values that it and patches are given."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from typing import Annotated

from kvmdbg.commands.examine import read
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import RestType, split_arguments
from kvmdbg.commands.places import Place
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Message, Result, Table
from kvmdbg.commands.values import address_label
from kvmdbg.errors import MemoryFault, UsageError
from kvmdbg.language.ctype import VOID, pointer
from kvmdbg.numbers import counted

MOST_FOUND = 1 << 17
"""Matches that are kept where the user does not say how many."""


@command(
    "find",
    group="data",
    example=(
        "find 0x1000, +12, 0xee",
        "find /b 0x1000, 0x1100, 0xf8, 0x03",
        "find /x 0x1000, +0x100, ba ?? 03",
        'find 0x1000, +64, "text"',
        "find 0x1000, +0x100, 0xd8 mask 0xf8",
    ),
    py="dbg.memory[start:end].find(pattern)",
)
def find(
    dbg: Interpreter, text: Annotated[str, RestType("[/UN] START, +LENGTH|END, VALUE[, VALUE]...", "expression")]
) -> Iterator[Result]:
    """Search memory for a sequence of values.

    /b /h /w /g give the values' size (1, 2, 4, 8 bytes; without it as small as the value fits), a number the most
    matches; texts stand in double quotes (u"…" is UTF-16, U"…" UTF-32). VALUE mask BITS compares these bits only; with
    /x the value is bytes in hexadecimal, ?? any byte. The last match is kept in $_, the number of matches in $numfound.
    """
    size, most, raw = None, 0, False
    if match := re.match(r"/([bhwgx]?)(\d*)([bhwgx]?)\s+", text):
        letter = match[1] or match[3]
        size, raw = {"b": 1, "h": 2, "w": 4, "g": 8}.get(letter), letter == "x"
        most, text = counted(match[2] or "0"), text[match.end() :]
    parts = split_arguments(text)
    if len(parts) < 3:
        raise UsageError("find needs START, END or +LENGTH, and a VALUE, separated by commas")
    start = dbg.place(parts[0])
    counted_from_start = parts[1].startswith("+")
    length = dbg.number(parts[1][1:]) if counted_from_start else dbg.place(parts[1]).address - start.address + 1
    if length <= 0:
        raise UsageError(f"find: the range ends before its start {start.address:#x}")
    pattern = _Pattern()
    for part in parts[2:]:
        pattern += _wildcards(part) if raw else _pattern(dbg, part, size)
    if not len(pattern):
        raise UsageError("find: there is nothing to search for")
    found, fault = _search(dbg, start, length, pattern, most or MOST_FOUND + 1)
    has_more = not most and len(found) > MOST_FOUND
    if has_more:
        del found[MOST_FOUND:]
    dbg.session.variables["numfound"] = len(found)
    if found:
        dbg.session.convenience.values["_"], dbg.session.convenience.types["_"] = found[-1], pointer(VOID)
    rows = tuple((f"{at:#x}", address_label(dbg, at)) for at in found)
    yield Table("matches", ("Address", "Symbol"), rows, "Pattern not found.", tuple({"address": at} for at in found))
    if fault is not None:
        yield Message(f"The search ended early: {fault}.", "warning", {"fault": fault.address})
    if has_more:
        yield Message(f"The search ended after {MOST_FOUND} matches; find /{2 * MOST_FOUND} finds more.", "warning")
    if found:
        yield Message(f"{len(found)} pattern{'s' if len(found) > 1 else ''} found.", data={"count": len(found)})


def byte_values(text: str) -> bytes:
    """Bytes typed as "90 90", "9090", "0x90, 0x90" or '"text"' (with C's escapes). UsageError."""
    text = text.strip()
    if text.startswith('"'):
        return _quoted(text)
    found = bytearray()
    for word in text.replace(",", " ").split():
        digits = word.lower().removeprefix("0x")
        try:
            found += bytes.fromhex(digits if len(digits) > 1 else "0" + digits)
        except ValueError:
            raise UsageError(f"'{word}' are no hexadecimal digits of bytes, as in 90 90 or 0x90, 0x90") from None
    return bytes(found)


def _quoted(text: str) -> bytes:
    if len(text) < 2 or not text.endswith('"'):
        raise UsageError(f"{text} lacks its closing quote")
    try:
        return text[1:-1].encode().decode("unicode_escape").encode("latin-1")
    except (UnicodeError, ValueError):
        raise UsageError(f"{text} has an escape that is none, or characters that are no bytes") from None


class _Pattern:
    """Bytes to look for; ``masks`` are the bits of each that count."""

    def __init__(self, data: bytes = b"", masks: bytes | None = None) -> None:
        self.data = data
        self.masks = masks if masks is not None else b"\xff" * len(data)

    def __len__(self) -> int:
        return len(self.data)

    def __add__(self, other: _Pattern) -> _Pattern:
        return _Pattern(self.data + other.data, self.masks + other.masks)

    def places(self, memory: bytes) -> Iterator[int]:
        """Where it is, also where one lies over another."""
        if self.masks.strip(b"\xff"):
            for match in self._regex.finditer(memory):
                yield match.start()
            return
        spot = memory.find(self.data)
        while spot >= 0:
            yield spot
            spot = memory.find(self.data, spot + 1)

    @cached_property
    def _regex(self) -> re.Pattern[bytes]:
        parts = []
        for byte, mask in zip(self.data, self.masks, strict=True):
            fitting = bytes(one for one in range(256) if one & mask == byte & mask)
            choices = b"".join(re.escape(fitting[at : at + 1]) for at in range(len(fitting)))
            parts.append(b"[" + choices + b"]" if mask else b".")
        return re.compile(b"(?s:(?=" + b"".join(parts) + b"))")


def _wildcards(text: str) -> _Pattern:
    """Bytes in hexadecimal with ?? for any, and ? for any digit."""
    digits = re.sub(r"\s+", "", text).lower()
    if len(digits) % 2 or not re.fullmatch(r"[0-9a-f?]*", digits):
        raise UsageError(f"'{text}' are no bytes in hexadecimal, as in b8 ?? ?? 00")
    data = bytes.fromhex(digits.replace("?", "0"))
    return _Pattern(data, bytes.fromhex(re.sub("[0-9a-f]", "f", digits).replace("?", "0")))


WIDE = {"u": "utf-16-le", "U": "utf-32-le"}


def _pattern(dbg: Interpreter, part: str, size: int | None) -> _Pattern:
    if part.startswith('"'):
        return _Pattern(_quoted(part))
    if part[:2] in ('u"', 'U"'):
        if len(part) < 3 or not part.endswith('"'):
            raise UsageError(f"{part} lacks its closing quote")
        return _Pattern(part[2:-1].encode(WIDE[part[0]], "surrogatepass"))
    value, _, mask = part.partition(" mask ")
    found = dbg.session.evaluate(value)
    number, width = found.value, size
    if width is None and found.data:  # a floating point number, a structure, an array
        number, width = int.from_bytes(found.data, "little"), len(found.data)
    elif width is None:
        width = found.type.size if found.lvalue is not None or part.startswith("(") else _fits(number)
    everything = (1 << 8 * width) - 1
    bits = dbg.number(mask) if mask else everything
    return _Pattern(*(one.to_bytes(width, "little") for one in (number & everything, bits & everything)))


def _fits(value: int) -> int:
    return next((size for size in (1, 2, 4, 8) if -(1 << (8 * size - 1)) <= value < 1 << 8 * size), 8)


def _search(
    dbg: Interpreter, start: Place, length: int, pattern: _Pattern, most: int
) -> tuple[list[int], MemoryFault | None]:
    """Addresses of the matches, and the fault where memory ended before the range did."""
    found: list[int] = []
    fault: MemoryFault | None = None
    overlap = len(pattern) - 1
    carry = b""
    at = 0
    while at < length:
        size = min(0x10000, length - at)
        try:
            carry += read(dbg, start, size, at)
        except MemoryFault as error:
            fault = error
            size = max(0, error.address - start.address - at)
            length = at + size
            carry += read(dbg, start, size, at) if size else b""
        base = start.address + at + size - len(carry)
        for spot in pattern.places(carry):
            found.append(base + spot)
            if len(found) >= most:
                return found, None
        carry = carry[-overlap:] if overlap else b""
        at += size
    return found, fault
