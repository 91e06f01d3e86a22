"""The map of a PC's memory, as every boot protocol hands it over in a form of its own."""

from __future__ import annotations

from kvmdbg.machine.layout import ram_areas

EBDA = 0x9FC00  # conventional memory of a PC ends where the extended BIOS data area starts
HIGH_START = 0x100000
AVAILABLE, RESERVED = 1, 2
MOST_AREAS = 4


def memory_map(memory: int) -> list[tuple[int, int, int]]:
    """(base, length, type) of a PC's memory of ``memory`` bytes, at most four; type 1 is RAM, 2 reserved."""
    areas = []
    for start, size in ram_areas(memory):
        if start > 0 or size <= EBDA:
            areas.append((start, size, AVAILABLE))
            continue
        areas += [(0, EBDA, AVAILABLE), (EBDA, HIGH_START - EBDA, RESERVED)]
        if size > HIGH_START:
            areas.append((HIGH_START, size - HIGH_START, AVAILABLE))
    return areas
