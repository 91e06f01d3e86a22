"""What has happened to the guest: its stops, and where it was loaded or put back."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from kvmdbg.record import record

if TYPE_CHECKING:
    from kvmdbg.core.snapshots import Snapshot
    from kvmdbg.engine.control import Control
    from kvmdbg.engine.listeners import Listeners
    from kvmdbg.engine.stops import Stop

KEPT = 1000
"""So many of the last ones are known."""


@record
class Happening:
    """One of them, in words; ``seconds`` that the vCPUs had run until then. ``pc`` is None where it was no stop."""

    seconds: float
    text: str
    pc: int | None = None
    vcpu: int = 0


class Happened:
    """The last ones, oldest first."""

    def __init__(self, control: Control, listeners: Listeners) -> None:
        self._control = control
        self._all: deque[tuple[float, Stop | str]] = deque(maxlen=KEPT)
        listeners.on_stop(self._stopped)
        control.at_load.append(self._loaded)

    def __iter__(self) -> Iterator[Happening]:
        for seconds, what in list(self._all):
            if isinstance(what, str):
                yield Happening(seconds, what)
            else:
                yield Happening(seconds, what.describe(), what.pc, what.vcpu)

    def __len__(self) -> int:
        return len(self._all)

    def _stopped(self, stop: Stop) -> None:
        self._all.append((self._control.world.seconds, stop))

    def _loaded(self) -> None:
        self._all.append((self._control.world.seconds, "the guest was loaded anew"))

    def restored(self, one: Snapshot) -> None:
        self._all.append((self._control.world.seconds, f"went back to snapshot {one.name}"))
