"""Memory as a whole: pointer chains, comparing, filling, sums, texts."""

from __future__ import annotations

import operator
import re
import zlib
from collections.abc import Iterator
from itertools import islice
from typing import Annotated

from kvmdbg.commands.examine import read
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import AddressArg, NumberType, RestType
from kvmdbg.commands.places import Place
from kvmdbg.commands.pointers import chain, joined
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Fields, Message, Result, Table
from kvmdbg.commands.searching import MOST_FOUND
from kvmdbg.errors import MemoryFault, UsageError

CountArg = Annotated[int, NumberType("COUNT", least=1)]
LengthArg = Annotated[int, NumberType("LENGTH", least=1)]
LeastArg = Annotated[int, NumberType("LEAST", least=1)]
BytesArg = Annotated[str, RestType("BYTE...")]
MOST_SLOTS = 1 << 16


@command(
    "telescope",
    aliases=("tele",),
    group="data",
    example=("break divide", "run", "telescope $sp 6"),
    guest="guests/kernel-O0.elf",
    py="dbg.memory[address:address + size]",
)
def telescope(dbg: Interpreter, address: AddressArg | None = None, count: CountArg = 8) -> Result:
    """Show pointer-sized slots from an address ($sp without one), and where each leads if it is an address.

    A chain goes on while what it leads to is an address again, up to one of code; its end is shown as a text where it
    looks like one. Addresses of code, of the stack and of data have colours of their own.
    """
    if count > MOST_SLOTS:
        raise UsageError(f"telescope shows {MOST_SLOTS} slots at most")
    start = address or Place("$sp", dbg.session.vcpu.stack)
    size = dbg.pointer_size()
    rows, data, looks = [], [], []
    for number in range(count):
        at = start.address + number * size
        try:
            raw = read(dbg, Place("", at, start.space), size)
        except MemoryFault as fault:
            rows.append((f"{at:#x}", f"+{number * size:#x}", str(fault)))
            break
        pieces = chain(dbg, int.from_bytes(raw, "little"))
        texts = [text for _, text in pieces]
        rows.append((f"{at:#x}", f"+{number * size:#x}", " -> ".join(texts)))
        looks.append(joined(pieces))
        data.append({"address": at, "value": int.from_bytes(raw, "little"), "chain": texts})
    return Table("telescope", ("Address", "Offset", "Value"), tuple(rows), data=tuple(data), looks=tuple(looks))


@command(
    "compare", group="data", example="compare 0x1000 0x1004 8", py="dbg.memory[a:a + size] == dbg.memory[b:b + size]"
)
def compare(dbg: Interpreter, first: AddressArg, second: AddressArg, length: LengthArg) -> Iterator[Result]:
    """Compare two stretches of memory; lists what differs, of much the beginning."""
    one, two = read(dbg, first, length), read(dbg, second, length)
    if one == two:
        yield Message(f"{length} bytes are the same.", data={"differences": 0})
        return
    places = list(islice((at for at in range(length) if one[at] != two[at]), MOST_FOUND))
    rows = tuple(
        (f"+{at:#x}", f"{first.address + at:#x}", f"{one[at]:02x}", f"{second.address + at:#x}", f"{two[at]:02x}")
        for at in places[:256]
    )
    count = sum(map(operator.ne, one, two))
    data = tuple({"offset": at, "first": one[at], "second": two[at]} for at in places)
    yield Table("differences", ("Offset", "First", "", "Second", ""), rows, data=data)
    yield Message(f"{count} of {length} bytes differ.", data={"differences": count})


@command(
    "fill",
    group="data",
    example=("fill 0x5000 16 0xde 0xad", "hexdump 0x5000 16"),
    py="dbg.memory.write({address}, data)",
)
def fill(dbg: Interpreter, address: AddressArg, length: LengthArg, pattern: BytesArg) -> Result:
    """Fill LENGTH bytes of memory with bytes, repeated."""
    values = [dbg.number(word) for word in pattern.replace(",", " ").split()]
    if not values or any(not 0 <= value <= 0xFF for value in values):
        raise UsageError(f"fill: '{pattern}' are no bytes, as in fill 0x5000 16 0xde 0xad")
    read(dbg, address, length)  # whether it is there, before as many bytes are made
    data = (bytes(values) * (length // len(values) + 1))[:length]
    memory = dbg.session.physical if address.space == "phys" else dbg.session.memory
    memory.write(address.address, data)
    return Message(
        f"Filled {length} bytes from {address.address:#x}.", data={"address": address.address, "length": length}
    )


@command("checksum", group="data", example="checksum 0x1000 12", py="zlib.crc32(dbg.memory[address:address + length])")
def checksum(dbg: Interpreter, address: AddressArg, length: LengthArg) -> Result:
    """Show sums of a stretch of memory: CRC-32, SHA-256, and the byte sum that boot structures use."""
    import hashlib

    data = read(dbg, address, length)
    crc, total = zlib.crc32(data), sum(data) & 0xFF
    values = {"crc32": f"{crc:#010x}", "sha256": hashlib.sha256(data).hexdigest(), "sum of bytes": f"{total:#04x}"}
    return Fields("", values, {"crc": crc, "sum": total})


@command(
    "strings",
    group="data",
    example=('patch 0x2000 "hello, guest"', "strings 0x2000 0x100"),
    py="re.findall(rb'[ -~]+', dbg.memory[a:b])",
)
def strings(dbg: Interpreter, address: AddressArg, length: LengthArg, least: LeastArg = 4) -> Result:
    """List the texts in a stretch of memory: LEAST printable characters or more (ASCII, and UTF-16 little-endian)."""
    data = read(dbg, address, length)
    least = min(least, length + 1)
    pattern = b"(?:[\x20-\x7e]{%d,})|(?:(?:[\x20-\x7e]\x00){%d,})" % (least, least)
    rows, found = [], []
    for match in re.finditer(pattern, data):
        wide = b"\0" in match[0]
        text = match[0].decode("utf-16-le" if wide else "ascii")
        at = address.address + match.start()
        rows.append((f"{at:#x}", "UTF-16" if wide else "", text))
        found.append({"address": at, "text": text})
    return Table("strings", ("Address", "", "Text"), tuple(rows), "No texts there.", tuple(found))
