"""Handler entries of the interrupt descriptor table.

Source: Intel SDM volume 3A, sections 6.11 and 6.14.1 (gates), 20.1.4 (real-mode interrupt table).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from kvmdbg.errors import MemoryFault
from kvmdbg.x86.modes import Mode


def gate_size(mode: Mode) -> int:
    """Bytes of an entry of the table in this mode."""
    return 4 if mode.segmented else 16 if mode.bits == 64 or mode.name.startswith("compat") else 8


def handlers(read: Callable[[int, int], bytes], base: int, limit: int, mode: Mode) -> dict[int, int]:
    """Linear address of the handler of each vector whose gate is a present interrupt or trap gate.

    ``read(linear, size)`` may raise MemoryFault; what cannot be read is left out.
    Protected-mode gates are taken to lead to a code segment with base 0.
    """
    size = gate_size(mode)
    try:
        table = read(base, min(limit + 1, 256 * size) // size * size)
    except MemoryFault:
        return {}
    return _handlers(bytes(table), size)


def handler_entries(read: Callable[[int, int], bytes], base: int, limit: int, mode: Mode) -> tuple[int, ...]:
    """The same addresses, without repeats."""
    return tuple(dict.fromkeys(handlers(read, base, limit, mode).values()))


@lru_cache(maxsize=16)  # asked at each step, and the table hardly ever changes
def _handlers(table: bytes, size: int) -> dict[int, int]:
    found: dict[int, int] = {}
    for at in range(0, len(table), size):
        gate = table[at : at + size]
        if size == 4:
            offset = int.from_bytes(gate[0:2], "little")
            found[at // size] = int.from_bytes(gate[2:4], "little") * 16 + offset
        elif gate[5] & 0x80 and gate[5] & 0x0E == 0x0E:
            offset = int.from_bytes(gate[0:2], "little") | int.from_bytes(gate[6:8], "little") << 16
            if size == 16:
                offset |= int.from_bytes(gate[8:12], "little") << 32
            found[at // size] = offset
    return found
