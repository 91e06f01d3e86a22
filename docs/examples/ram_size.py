"""`qorg.example.RamSize`: how much memory the guest has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gdbstub.registry import Reply, packet
from gdbstub.target import HasMemoryMap

if TYPE_CHECKING:
    from gdbstub.client import Client


@packet("qorg.example.RamSize", needs=HasMemoryMap, offers="qorg.example.RamSize+")
def ram_size(client: Client, rest: bytes) -> Reply:
    """How many bytes of RAM there are, in hexadecimal."""
    target = client.target
    assert isinstance(target, HasMemoryMap)
    return f"{sum(length for kind, _, length in target.memory_map() if kind == 'ram'):x}"
