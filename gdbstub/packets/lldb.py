"""What lldb asks beyond gdb's packets (lldb/docs/lldb-gdb-remote.txt in its sources)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from gdbstub.registers import Register
from gdbstub.registry import Reply, packet
from gdbstub.target import HasMemoryRegions, Stopped
from gdbstub.wire import escape, hexadecimal

if TYPE_CHECKING:
    from gdbstub.client import Client

NAME = "kvmdbg-gdbstub"
LAST_BYTE = (1 << 64) - 1


@packet("qGDBServerVersion")
def version(client: Client, rest: bytes) -> Reply:
    """Who this is."""
    return f"name:{NAME};version:1;"


@packet("QThreadSuffixSupported")
def thread_suffix(client: Client, rest: bytes) -> Reply:
    """Register packets end with the thread that they are about."""
    client.thread_suffix = True
    return b"OK"


@packet("QListThreadsInStopReply")
def list_threads(client: Client, rest: bytes) -> Reply:
    """Stop replies list the threads and their program counters."""
    client.thread_list = True
    return b"OK"


@packet("QEnableErrorStrings")
def error_strings(client: Client, rest: bytes) -> Reply:
    """Errors come with their text."""
    client.lldb_error_text = True
    return b"OK"


@packet("qHostInfo")
def host(client: Client, rest: bytes) -> Reply:
    """The machine: its architecture as LLVM names it, byte order, width of an address."""
    layout = client.layout
    triple = layout.triple.encode().hex()
    return f"triple:{triple};endian:little;ptrsize:{layout.pointer_size};"


@packet("qProcessInfo")
def process(client: Client, rest: bytes) -> Reply:
    """The one process."""
    layout = client.layout
    return f"pid:1;triple:{layout.triple.encode().hex()};ostype:unknown;endian:little;ptrsize:{layout.pointer_size};"


@packet("qLaunchSuccess")
def launched(client: Client, rest: bytes) -> Reply:
    """The guest is there."""
    return b"OK"


_SETS = {
    "general": "General Purpose Registers",
    "float": "Floating Point Registers",
    "vector": "Vector Registers",
    "system": "System Registers",
}


def _encoding(register: Register) -> tuple[str, str]:
    if register.type in ("i387_ext",):
        return "ieee754", "float"
    if register.bits > 64:
        return "vector", "vector-uint8"
    return "uint", "hex"


@packet("qRegisterInfo")
def register(client: Client, rest: bytes) -> Reply:
    """One register's description; E45 behind the last."""
    number = hexadecimal(rest)
    if number >= len(client.layout.registers):
        return b"E45"
    one = client.layout.registers[number]
    encoding, shown = _encoding(one)
    group = _SETS.get(one.group or "general", "System Registers")
    parts = [
        f"name:{one.name};bitsize:{one.bits};offset:{client.layout.offsets[number]};encoding:{encoding};"
        f"format:{shown};set:{group};"
    ]
    if one.dwarf is not None:
        parts.append(f"gcc:{one.dwarf};dwarf:{one.dwarf};")
    if one.generic:
        parts.append(f"generic:{one.generic};")
    return "".join(parts)


@packet("qMemoryRegionInfo:", needs=HasMemoryRegions)
def region(client: Client, rest: bytes) -> Reply:
    """The region of memory around an address. The last one ends at 2^64 - 1, as lldb-server has it: lldb asks for the
    next until it reads that, and 2^64 would be 0 to it. The one byte that is left is a region of its own."""
    assert isinstance(client.target, HasMemoryRegions)
    address = hexadecimal(rest)
    start, length, permissions = client.target.memory_region(client.thread, address)
    if start + length > LAST_BYTE:
        start, length = (start, LAST_BYTE - start) if address < LAST_BYTE else (LAST_BYTE, 1)
    allowed = f"permissions:{permissions};" if permissions else ""
    return f"start:{start:x};size:{length:x};{allowed}"


@packet("jThreadsInfo")
def threads(client: Client, rest: bytes) -> Reply:
    """All threads with their program counters, as JSON."""
    stop = client.target.last_stop()
    found = []
    for thread in client.target.threads():
        one: dict[str, object] = {"tid": thread, "name": client.target.thread_name(thread)}
        one["registers"] = {
            str(number): client.target.read_register(thread, client.layout, number).hex()
            for name in ("pc", "sp", "fp")
            if (number := client.layout.named(name)) is not None
        }
        if isinstance(stop, Stopped) and thread == stop.thread:
            reason, description = client.lldb_reason(stop)
            one |= {"signal": stop.signal, "reason": reason, "description": description}
        found.append(one)
    return escape(json.dumps(found, separators=(",", ":")).encode())
