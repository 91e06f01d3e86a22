from __future__ import annotations

import pytest

from kvmdbg.machine.layout import ram_areas, ram_end

GIB = 1 << 30


@pytest.mark.parametrize(
    ("memory", "areas", "end"),
    [
        (4096, [(0, 4096)], 4096),
        (3 * GIB, [(0, 3 * GIB)], 3 * GIB),
        (3 * GIB + 4096, [(0, 3 * GIB), (4 * GIB, 4096)], 4 * GIB + 4096),
        (8 * GIB, [(0, 3 * GIB), (4 * GIB, 5 * GIB)], 9 * GIB),
    ],
)
def test_ram(memory: int, areas: list[tuple[int, int]], end: int) -> None:
    assert ram_areas(memory) == areas
    assert ram_end(memory) == end
