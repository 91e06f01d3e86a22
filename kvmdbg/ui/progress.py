"""How far the reading of a large file is."""

from __future__ import annotations

import time
from collections.abc import Callable

from kvmdbg.printable import printable

PATIENCE = 0.5
"""Seconds that pass before anything is said."""
INTERVAL = 0.1


class ProgressLine:
    """Says it on the terminal's last line, and leaves that line empty at the end.

    ``write`` is given text with ANSI control sequences for the terminal.
    """

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._due: float | None = None
        self._shown = False

    def __call__(self, what: str, done: int, total: int) -> None:
        """``done`` of ``total`` is done of ``what``."""
        now = self._clock()
        if done >= total:
            if self._shown:
                self._write("\r\x1b[K")
            self._due, self._shown = None, False
        elif self._due is None:
            self._due = now + PATIENCE
        elif now >= self._due:
            import shutil  # takes a while, and most sessions show no progress

            text = f"{printable(what)}: {done * 100 // total}%"[: shutil.get_terminal_size().columns - 1]
            self._write(f"\r\x1b[K{text}")
            self._due, self._shown = now + INTERVAL, True
