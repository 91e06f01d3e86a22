"""A flat binary: any bytes, placed as they are."""

from __future__ import annotations

from kvmdbg.loaders.entry import chosen_entry
from kvmdbg.loaders.registry import loader
from kvmdbg.machine.image import Entry, Image, LoadOptions, Segment

DEFAULT_LOAD = 0x1000


@loader
class Flat:
    """Loaded at ``--load`` (0x1000 when not given) and entered at its first byte, in real mode when not told otherwise.

    In real mode an image at or above 0x10000 is entered as SEG:0 (``machine.boot`` chooses the selector).
    """

    name = "flat"
    looks_for = "bytes"
    priority = 0
    takes_cmdline = False

    def recognise(self, data: bytes) -> bool:
        """Anything is a flat binary."""
        return True

    def load(self, data: bytes, path: str, options: LoadOptions) -> Image:
        """One segment with all of the file."""
        address = DEFAULT_LOAD if options.load is None else options.load
        mode = options.mode or "real"
        entry = chosen_entry(options, Entry(None, address), path, mode)
        return Image(path, self.name, [Segment(address, data, name="image")], mode, entry)
