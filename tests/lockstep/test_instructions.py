"""The programs of random instructions."""

from __future__ import annotations

from tests.differential.program import MODES
from tests.lockstep.instructions import KINDS, generate


def test_programs_are_of_all_kinds() -> None:
    """Each mode's programs have instructions of each kind that can be assembled there."""
    for mode in MODES:
        words = {line.split()[0] for seed in range(12) for block in generate(seed, mode, 400).blocks for line in block}
        assert len(words) > 150 and len(KINDS[mode]) > 25, (mode, len(words))
