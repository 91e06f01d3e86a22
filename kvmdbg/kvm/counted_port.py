"""What an entry into the guest counts of the ports that the guest touches."""

from __future__ import annotations

from typing import Protocol


class CountedPort(Protocol):
    """One way to touch a port."""

    count: int

    @property
    def quiet(self) -> bool:
        """Nobody has to answer it, or wants to see it."""
        ...
