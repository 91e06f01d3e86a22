"""Memory."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32 as zlib_crc32

from gdbstub.errors import BadPacket, TargetError
from gdbstub.registry import PACKET_SIZE, Reply, packet
from gdbstub.target import HasPhysicalMemory, HasSearch
from gdbstub.wire import escape, hexadecimal, unescape

if TYPE_CHECKING:
    from gdbstub.client import Client, Job

LARGEST_READ = PIECE = 1 << 20


def span(text: bytes) -> tuple[int, int]:
    """ADDRESS,LENGTH in hexadecimal."""
    address, comma, length = text.partition(b",")
    if not comma:
        raise BadPacket("an address and a length are needed")
    return hexadecimal(address), hexadecimal(length)


def read(client: Client, address: int, length: int) -> bytes:
    if length > LARGEST_READ:
        length = min(length, PACKET_SIZE)
    return client.target.read_memory(client.thread, address, length) if length else b""


@packet("m")
def read_hex(client: Client, rest: bytes) -> Reply:
    """Memory in hexadecimal; less than was asked for where the rest cannot be read."""
    return read(client, *span(rest)).hex()


@packet("x", offers="binary-upload+")
def read_binary(client: Client, rest: bytes) -> Reply:
    """Memory in binary, behind a ``b`` as binary-upload has it. An lldb before 20 does not know that: it asks ``x0,0``
    first, expects OK, and then the bare data."""
    address, length = span(rest)
    if client.binary_lead is None:
        client.binary_lead = b"" if client.thread_suffix and not length else b"b"
    if not length:
        return client.binary_lead or b"OK"
    return client.binary_lead + escape(read(client, address, length))


@packet("M")
def write_hex(client: Client, rest: bytes) -> Reply:
    """Write memory, given in hexadecimal."""
    where, _, text = rest.partition(b":")
    address, length = span(where)
    return write(client, address, length, bytes.fromhex(text.decode()))


@packet("X")
def write_binary(client: Client, rest: bytes) -> Reply:
    """Write memory, given in binary."""
    where, _, data = rest.partition(b":")
    address, length = span(where)
    return write(client, address, length, unescape(data))


def write(client: Client, address: int, length: int, data: bytes) -> Reply:
    if len(data) != length:
        raise BadPacket(f"the packet has {len(data)} bytes of data and says {length}")
    if data:
        client.target.write_memory(client.thread, address, data)
    return b"OK"


@packet("qSearch:memory:", needs=HasSearch, offers="qSearch:memory+")
def search(client: Client, rest: bytes) -> Reply:
    """Look for bytes: ADDRESS;LENGTH;PATTERN. 1,ADDRESS or 0."""
    assert isinstance(client.target, HasSearch)
    start, length, pattern = rest.split(b";", 2)
    client.in_pieces(_search(client, hexadecimal(start), hexadecimal(length), unescape(pattern)))
    return None


def _search(client: Client, start: int, length: int, pattern: bytes) -> Job:
    target, end = client.target, start + length
    assert isinstance(target, HasSearch)
    for at in range(start, end, PIECE):
        found = target.search(client.thread, at, min(PIECE + len(pattern) - 1, end - at), pattern)
        if found is not None:
            return b"1,%x" % found
        yield
    return b"0"


_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _reversed(value: int) -> int:
    return int(f"{value:032b}"[::-1], 2)


def crc32(data: bytes, value: int = 0xFFFFFFFF) -> int:
    """The checksum of `compare-sections`: polynomial 0x04C11DB7, most significant bit first, not inverted.

    zlib has the same polynomial least significant bit first and inverted, and is a hundred times faster than Python.
    """
    inverted = zlib_crc32(data.translate(_REVERSED), _reversed(value) ^ 0xFFFFFFFF)
    return _reversed(inverted ^ 0xFFFFFFFF)


@packet("qCRC:")
def checksum(client: Client, rest: bytes) -> Reply:
    """The checksum of memory, for `compare-sections`."""
    client.in_pieces(_checksum(client, *span(rest)))
    return None


def _checksum(client: Client, address: int, length: int) -> Job:
    value, at = 0xFFFFFFFF, address
    while at < address + length:
        data = client.target.read_memory(client.thread, at, min(PIECE, address + length - at))
        if not data:
            raise TargetError(f"the memory at {at:#x} cannot be read", 14)
        value, at = crc32(data, value), at + len(data)
        yield
    return b"C%x" % value


@packet("qqemu.PhyMemMode", needs=HasPhysicalMemory)
def physical_mode(client: Client, rest: bytes) -> Reply:
    """As in QEMU: whether memory packets take physical addresses."""
    assert isinstance(client.target, HasPhysicalMemory)
    return b"%d" % client.target.physical


@packet("Qqemu.PhyMemMode:", needs=HasPhysicalMemory, offers="PhyMemMode+")
def set_physical_mode(client: Client, rest: bytes) -> Reply:
    """As in QEMU: let memory packets take physical addresses (1) or virtual ones (0)."""
    assert isinstance(client.target, HasPhysicalMemory)
    if rest not in (b"0", b"1"):
        raise BadPacket("PhyMemMode is 0 or 1")
    client.target.physical = rest == b"1"
    return b"OK"
