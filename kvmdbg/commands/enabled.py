"""Which breakpoints are enabled for some stops only."""

from __future__ import annotations

from kvmdbg.engine.breakpoints import Point
from kvmdbg.engine.stops import Stop


class Enabled:
    """The breakpoints that are enabled for so many stops more."""

    def __init__(self) -> None:
        self.left: dict[Point, int] = {}
        self.listening = False

    def stopped(self, stop: Stop) -> None:
        """Disable those that have had their stops."""
        for point in stop.breakpoints:
            if point in self.left:
                self.left[point] -= 1
                point.enabled = self.left[point] > 0

    def disposition(self, point: Point) -> str:
        """What info breakpoints says becomes of it at a stop; enabled again it is for one stop, as in gdb."""
        return "del" if point.temporary else "dis" if point in self.left else "keep"
