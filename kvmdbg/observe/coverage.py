"""Coverage and profile from an instruction trace, and the files other tools read.

Formats: lcov's tracefile (geninfo(1), "FILES"), drcov version 2 (DynamoRIO's drcov, read by Lighthouse, Cartographer
and others), and folded stacks (Brendan Gregg's flamegraph.pl).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Protocol

from kvmdbg.debuginfo.source import Source
from kvmdbg.debuginfo.symbols import SymbolTable
from kvmdbg.errors import LoadError, UsageError
from kvmdbg.machine.image import Image
from kvmdbg.observe.trace import InsnTrace
from kvmdbg.record import record
from kvmdbg.x86.disasm import Insn


class FilesRead(Protocol):
    """Those that symbols and lines come from."""

    @property
    def missing(self) -> list[str]:
        """Sentences on what could not be read of them."""


class Guest(Protocol):
    """The guest whose instructions were traced."""

    image: Image
    symbols: SymbolTable

    @property
    def source(self) -> Source: ...

    @property
    def files(self) -> FilesRead: ...

    def disassemble(self, address: int, count: int) -> list[Insn]:
        """``count`` instructions from a linear address."""


@record
class FunctionCoverage:
    """A symbol: instructions that ran of those it has (0 where its extent is not known), and how often in all."""

    name: str
    address: int
    ran: int
    of: int
    executed: int


def by_function(guest: Guest, trace: InsnTrace) -> list[FunctionCoverage]:
    """Each symbol with code that ran, by address; what lies at no symbol is counted under its page."""
    found: dict[str, list[int]] = {}
    for pc in trace.counts:
        found.setdefault(trace.places[pc].function, []).append(pc)
    rows = []
    for name, places in found.items():
        symbol = guest.symbols.lookup(name)
        address = symbol.address if symbol is not None else min(places)
        size = symbol.size if symbol is not None else 0
        code = guest.disassemble(address, size) if size else []
        whole = sum(1 for one in code if one.address < address + size)
        rows.append(FunctionCoverage(name, address, len(places), whole, sum(trace.counts[pc] for pc in places)))
    return sorted(rows, key=lambda row: row.address)


def blocks(trace: InsnTrace) -> Iterator[tuple[int, int]]:
    """(address, bytes) of each basic block that ran."""
    start = end = None
    for pc in sorted(trace.counts):
        if start is None or pc != end:
            if start is not None and end is not None:
                yield start, end - start
            start = pc
        end = pc + trace.places[pc].size
        if trace.places[pc].ends_block:
            yield start, end - start
            start = None
    if start is not None and end is not None:
        yield start, end - start


def write(guest: Guest, trace: InsnTrace, path: str) -> str:
    """Write coverage, or the profile, in the format that the name's ending says; a sentence about what was written.

    ``.info`` is lcov, ``.drcov`` drcov, ``.folded`` folded stacks. UsageError for others, LoadError where it fails.
    """
    if path.endswith(".info"):
        data, about = _lcov(guest, trace)
    elif path.endswith(".drcov"):
        data, about = _drcov(guest, trace)
    elif path.endswith(".folded"):
        lines = [f"{';'.join(stack)} {count}\n" for stack, count in sorted(trace.folded.items())]
        data, about = "".join(lines).encode(), f"{len(lines)} stacks"
    else:
        raise UsageError(f"{path}: the name has to end in .info (lcov), .drcov or .folded, which says the format")
    try:
        with open(path, "wb") as file:
            file.write(data)
    except OSError as error:
        raise LoadError(f"cannot write {path}: {error.strerror}") from None
    return about


def _lcov(guest: Guest, trace: InsnTrace) -> tuple[bytes, str]:
    lines: dict[str, dict[int, int]] = {}
    for row in guest.source.lines():
        counts = lines.setdefault(row.file, {})
        ran = max((trace.counts.get(at, 0) for at in range(row.address, row.end)), default=0)
        counts[row.line] = max(counts.get(row.line, 0), ran)
    if not lines:
        missing = guest.files.missing
        told = "no line information is known: lcov needs an ELF file with it"
        raise UsageError("; ".join((told, *missing)) if missing else f"{told} (compile or assemble with -g)")
    text = []
    for file, counts in sorted(lines.items()):
        text += ["TN:", f"SF:{file}", *(f"DA:{line},{count}" for line, count in sorted(counts.items()))]
        text += [f"LF:{len(counts)}", f"LH:{sum(1 for count in counts.values() if count)}", "end_of_record"]
    hit = sum(1 for counts in lines.values() for count in counts.values() if count)
    return ("\n".join(text) + "\n").encode(), f"{hit} of {sum(map(len, lines.values()))} lines"


def _drcov(guest: Guest, trace: InsnTrace) -> tuple[bytes, str]:
    segments = guest.image.segments
    base = min((segment.address for segment in segments), default=0)
    end = max((segment.address + max(segment.size, len(segment.data)) for segment in segments), default=base)
    found = [(at, size) for at, size in blocks(trace) if base <= at < end]
    head = (
        "DRCOV VERSION: 2\nDRCOV FLAVOR: kvmdbg\nModule Table: version 2, count 1\n"
        "Columns: id, base, end, entry, checksum, timestamp, path\n"
        f" 0, {base:#x}, {end:#x}, {base:#x}, 0x0, 0x0, {guest.image.path}\n"
        f"BB Table: {len(found)} bbs\n"
    )
    table = b"".join(struct.pack("<IHH", at - base, size, 0) for at, size in found)
    return head.encode() + table, f"{len(found)} basic blocks"
