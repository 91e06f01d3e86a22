"""qXfer: documents about the target, read in pieces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from gdbstub.errors import TargetError
from gdbstub.registry import Reply, packet
from gdbstub.target import HasFiles, HasMemoryMap
from gdbstub.wire import escape, hexadecimal

if TYPE_CHECKING:
    from gdbstub.client import Client


def piece(document: bytes, span: bytes) -> bytes:
    """OFFSET,LENGTH of the document: behind ``m`` when there is more of it, else behind ``l``."""
    offset, length = (hexadecimal(number) for number in span.split(b","))
    part = document[offset : offset + length]
    return (b"m" if offset + length < len(document) else b"l") + escape(part)


@packet("qXfer:features:read:", offers="qXfer:features:read+")
def features(client: Client, rest: bytes) -> Reply:
    """target.xml: the architecture and the registers in the CPU's mode."""
    name, _, span = rest.rpartition(b":")
    if name != b"target.xml":
        raise TargetError(f"there is no {name.decode('latin-1')}", 2)
    if span.startswith(b"0,"):
        client.refresh()
    return piece(client.layout.xml, span)


@packet("qXfer:threads:read::", offers="qXfer:threads:read+")
def threads(client: Client, rest: bytes) -> Reply:
    """The threads and their names."""
    rows = []
    for thread in client.threads():
        name = client.target.thread_name(thread).encode("ascii", "replace")
        name = name.replace(b"&", b"&amp;").replace(b"<", b"&lt;").replace(b'"', b"&quot;")
        rows.append(b'<thread id="%b" core="%d">%b</thread>' % (client.thread_id(thread), thread - 1, name))
    return piece(b'<?xml version="1.0"?>\n<threads>\n' + b"\n".join(rows) + b"\n</threads>\n", rest)


@packet("qXfer:memory-map:read::", needs=HasMemoryMap, offers="qXfer:memory-map:read+")
def memory_map(client: Client, rest: bytes) -> Reply:
    """Where there is memory. All else is RAM as well: the addresses that are asked for are linear."""
    assert isinstance(client.target, HasMemoryMap)
    rows = [
        b'<memory type="%b" start="0x%x" length="0x%x"/>' % (kind.encode(), start, length)
        for kind, start, length in _without_gaps(client.target.memory_map())
    ]
    head = (
        b'<?xml version="1.0"?>\n<!DOCTYPE memory-map PUBLIC "+//IDN gnu.org//DTD GDB Memory Map V1.0//EN" '
        b'"http://sourceware.org/gdb/gdb-memory-map.dtd">\n'
    )
    return piece(head + b"<memory-map>\n" + b"\n".join(rows) + b"\n</memory-map>\n", rest)


def _without_gaps(known: Sequence[tuple[str, int, int]]) -> Iterator[tuple[str, int, int]]:
    """gdb neither reads nor writes what is in no region, as a kernel that is mapped at the end of the address space."""
    at = 0
    for kind, start, length in sorted(known, key=lambda one: one[1]):
        if at < start:
            yield "ram", at, start - at
        yield kind, start, length
        at = start + length
    half = 1 << 63  # a length has 64 bits
    if at < half:
        yield "ram", at, half - at
        at = half
    if at < 2 * half:
        yield "ram", at, 2 * half - at


@packet("qXfer:exec-file:read:", needs=HasFiles, offers="qXfer:exec-file:read+")
def exec_file(client: Client, rest: bytes) -> Reply:
    """The name of the guest's file."""
    assert isinstance(client.target, HasFiles)
    name = client.target.exec_file()
    if not name:
        raise TargetError("the guest has no file that a debugger can read", 2)
    return piece(name.encode("utf-8", "surrogateescape"), rest.rpartition(b":")[2])
