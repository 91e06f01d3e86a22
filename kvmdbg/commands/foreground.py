"""Ctrl-C while the guest runs in the foreground."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kvmdbg.core.session import Session


@contextmanager
def sigint_stops(session: Session) -> Iterator[None]:
    """While inside, on the main thread, SIGINT stops the guest.

    Python's own handler raises KeyboardInterrupt wherever the thread just is: where the guest is half started that
    would leave one that runs for ever.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield
        return
    signal.signal(signal.SIGINT, lambda number, frame: session.world.stop_by_signal())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
