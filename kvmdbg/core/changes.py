"""What expressions change while a command runs, so that a line that is refused has done nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kvmdbg.errors import KvmdbgError


class Changes:
    """How to take back what expressions have assigned, newest last, while somebody wants to know."""

    def __init__(self) -> None:
        self._kept: list[Callable[[], None]] | None = None
        self._thread = 0

    def note(self, take_back: Callable[[], None]) -> None:
        """An expression is about to change something; ``take_back`` makes it what it was."""
        if self._kept is not None and threading.get_ident() == self._thread:
            self._kept.append(take_back)

    def make_final(self) -> None:
        """What was changed stays: the guest goes on from it, or has another state now."""
        if self._kept is not None:
            self._kept.clear()

    @contextmanager
    def taken_back_on_error(self) -> Iterator[None]:
        """While inside, a KvmdbgError takes back what expressions have assigned on this thread.

        What was changed before a command within the command stays, as does what was changed before the guest ran.
        """
        self.make_final()
        outer, self._kept, self._thread = (self._kept, self._thread), [], threading.get_ident()
        kept = self._kept
        try:
            yield
        except KvmdbgError:
            self._kept = None
            for take_back in reversed(kept):
                take_back()
            raise
        finally:
            self._kept, self._thread = outer
