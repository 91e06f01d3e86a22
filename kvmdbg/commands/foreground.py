"""Signals while the guest runs in the foreground."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kvmdbg.core.session import Session


ENDS = [number for number in signal.Signals if number.name in ("SIGTERM", "SIGHUP")]


@contextmanager
def sigint_stops(session: Session, told: Callable[[], None]) -> Iterator[None]:
    """While inside, on the main thread, SIGINT stops the guest, and no signal that ends kvmdbg comes while it starts.

    ``told`` is called at SIGINT.

    Python's own handler raises KeyboardInterrupt wherever the thread just is, and kvmdbg's raise Terminated: where the
    guest is half started that would leave one that runs for ever.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield
        return
    ends = {number: found for number in ENDS if callable(found := signal.getsignal(number))}

    def end(number: int, frame: FrameType | None) -> None:
        if not session.world.put_off(number):
            ends[signal.Signals(number)](number, frame)

    def stop(number: int, frame: FrameType | None) -> None:
        told()
        session.world.stop_by_signal()

    signal.signal(signal.SIGINT, stop)
    for number in ends:
        signal.signal(number, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number, before in ends.items():
            if signal.getsignal(number) is end:  # none is on its way
                signal.signal(number, before)
