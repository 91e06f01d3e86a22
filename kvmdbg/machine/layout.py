"""Where a guest's RAM lies in guest-physical addresses."""

from __future__ import annotations

LOW_END = 0xC0000000
"""RAM below this lies from 0 on; the rest from 4 GiB on, as on a PC: between them are APIC and KVM's own pages."""
HIGH = 1 << 32


def ram_areas(memory: int) -> list[tuple[int, int]]:
    """(address, size) of each piece of ``memory`` bytes of RAM, by address."""
    if memory <= LOW_END:
        return [(0, memory)]
    return [(0, LOW_END), (HIGH, memory - LOW_END)]


def ram_end(memory: int) -> int:
    """The first address after all RAM."""
    address, size = ram_areas(memory)[-1]
    return address + size
