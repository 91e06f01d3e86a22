"""Registers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gdbstub.errors import BadPacket, TargetError
from gdbstub.registry import Reply, packet
from gdbstub.wire import hexadecimal

if TYPE_CHECKING:
    from gdbstub.client import Client


def thread_of(client: Client, rest: bytes) -> tuple[bytes, int]:
    """What is left of a packet without lldb's ``;thread:ID;`` at its end, and the thread that it is about."""
    if client.thread_suffix:
        rest, _, suffix = rest.partition(b";thread:")
        if suffix:
            thread = client.parse_thread(suffix.rstrip(b";"))
            return rest, thread if thread > 0 else client.thread
        rest = rest.rstrip(b";")
    return rest, client.thread


def number_of(client: Client, text: bytes) -> int:
    number = hexadecimal(text)
    if number >= len(client.layout.registers):
        raise TargetError(f"there is no register {number}")
    return number


@packet("g")
def read_all(client: Client, rest: bytes) -> Reply:
    """All registers of the thread, as target.xml orders them."""
    _, thread = thread_of(client, rest)
    return client.target.read_registers(thread, client.layout).hex()


@packet("G")
def write_all(client: Client, rest: bytes) -> Reply:
    """Write all registers of the thread."""
    text, thread = thread_of(client, rest)
    data = bytes.fromhex(text.decode())
    if len(data) != client.layout.size:
        raise BadPacket(f"G has {len(data)} bytes of registers, {client.layout.size} are needed")
    client.target.write_registers(thread, client.layout, data)
    return b"OK"


@packet("p")
def read_one(client: Client, rest: bytes) -> Reply:
    """One register, by its number."""
    text, thread = thread_of(client, rest)
    return client.target.read_register(thread, client.layout, number_of(client, text)).hex()


@packet("P")
def write_one(client: Client, rest: bytes) -> Reply:
    """Write one register."""
    text, thread = thread_of(client, rest)
    which, _, value = text.partition(b"=")
    number, data = number_of(client, which), bytes.fromhex(value.decode())
    register = client.layout.registers[number]
    if len(data) != register.size:
        raise BadPacket(f"P has {len(data)} bytes for {register.name}, which has {register.size}")
    client.target.write_register(thread, client.layout, number, data)
    return b"OK"
