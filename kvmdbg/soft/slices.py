"""How many instructions unicorn runs between two looks for a kick."""

from __future__ import annotations

FIRST_SLICE, SHORTEST_SLICE, LONGEST_SLICE = 20_000, 1_000, 2_000_000
SLICE_SECONDS = 0.001
"""How long a slice is to take: so late a kick may be noticed."""
WINDOW_STEPS, WINDOW_SLICE = 2_000, 16
"""So many instructions are stepped while an interrupt waits to come in; then that many run between two looks, and
twice as many after each sixteen looks in vain."""


class Slices:
    def __init__(self) -> None:
        self.count = FIRST_SLICE

    def took(self, count: int, seconds: float) -> None:
        """So many instructions have taken so long."""
        longer = SLICE_SECONDS / max(seconds, 1e-9)
        self.count = min(max(int(count * min(2.0, max(0.5, longer))), SHORTEST_SLICE), LONGEST_SLICE)
