"""How a step has ended."""

from __future__ import annotations

from enum import Enum


class StepEnd(Enum):
    """Where the last step has ended."""

    NOT_BEGUN = "ended from outside before it began"
    BEHIND = "behind the instruction"
    AT_HANDLER = "at the entry of the handler of an event that it delivered"
    HALTED = "behind a hlt, where the vCPU waits for an interrupt"


STANDSTILL = 3
"""After how many kicks of the watchdog that found the same registers a vCPU does not get on."""


class Standstill(Exception):
    """KVM neither runs nor leaves the instruction at pc."""
