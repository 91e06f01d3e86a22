"""Kicks the vCPUs out of the guest now and then, so that one that does not get on is noticed (Progress.look_up)."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kvmdbg.engine.world import World

PERIOD = 0.25
"""Seconds between two kicks."""


class Watchdog(threading.Thread):
    """Sleeps while nothing runs."""

    def __init__(self, world: World) -> None:
        super().__init__(name="kvmdbg-watchdog", daemon=True)
        self._world = world
        self._awake = threading.Event()
        self._ended = threading.Event()

    def wake(self) -> None:
        """vCPUs have begun to run."""
        if not self._awake.is_set():
            self._awake.set()

    def end(self) -> None:
        self._ended.set()
        self._awake.set()

    def run(self) -> None:
        while self._awake.wait() and not self._ended.wait(PERIOD):
            self._awake.clear()
            if self._world.running:
                self._awake.set()
                self._world.kick_running()
