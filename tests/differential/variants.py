"""The ways to run a program. Each runs it to its end and raises Wrong when a stop was lost, made up, or told wrong."""

from __future__ import annotations

from tests.differential import break_variants, state_variants, watch_variants  # noqa: F401  each enters its own
from tests.differential.trial import ONLY_STEPS, VARIANTS, Trial

__all__ = ["ONLY_STEPS", "VARIANTS", "Trial"]
