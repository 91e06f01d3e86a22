"""What an access did to a watchpoint: the range, and the values before and after."""

from __future__ import annotations

from kvmdbg.engine.breakpoints import Watchpoint

SHOWN_WHOLE = 8
"""Up to this many bytes the whole watched value is reported, else only what was accessed."""


class Touch:
    """One access to a watch: ``kind`` "read" or "write", linear ``address``, and bytes before and after."""

    __slots__ = ("accessed", "address", "kind", "new", "old", "size", "watch")

    def __init__(self, watch: Watchpoint, kind: str, address: int, size: int, old: bytes, new: bytes) -> None:
        self.watch, self.kind, self.address, self.size, self.old, self.new = watch, kind, address, size, old, new
        self.accessed = (0, 0)
        """Address and size of the whole access; size 0 where only the watched part is known."""

    def adjoins(self, other: Touch) -> bool:
        """Whether the two are of one kind and one watch, and overlap or lie side by side."""
        if (self.watch, self.kind) != (other.watch, other.kind):
            return False
        return self.address <= other.address + other.size and other.address <= self.address + self.size

    def take_in(self, other: Touch) -> None:
        """Be one access with another, made by the same instruction."""
        end = max(self.address + self.size, other.address + other.size)
        self.address = min(self.address, other.address)
        self.size = end - self.address

    def tell(self, old: bytes, new: bytes) -> None:
        """Choose the range that is told of, and its values of the watch's value before and after.

        That is the watched part of an access that goes beyond the watch; else the watched value, if it is short.
        """
        watch = self.watch
        self.accessed = self.address, self.size
        first, last = self.address - watch.address, self.address + self.size - watch.address
        if first >= 0 and last <= watch.length <= SHOWN_WHOLE:
            first, last = 0, watch.length
        first, last = max(first, 0), min(last, watch.length)
        self.old, self.new = old[first:last], new[first:last]
        self.address, self.size = watch.address + first, last - first


def change(watch: Watchpoint, old: bytes, new: bytes) -> Touch:
    """The write that made ``new`` of a watched value."""
    if watch.length <= SHOWN_WHOLE:
        return Touch(watch, "write", watch.address, watch.length, old, new)
    changed = [i for i in range(min(len(old), len(new))) if old[i] != new[i]] or [0]
    first, last = changed[0], changed[-1] + 1
    return Touch(watch, "write", watch.address + first, last - first, old[first:last], new[first:last])
