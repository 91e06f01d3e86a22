"""RAM of a guest, or ROM, in one piece: a memory file with two mappings, the guest's and the debugger's.

Where there are no memory files (macOS, Windows) one mapping is for both.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from ctypes import addressof, c_char

PAGE = 4096
LARGE = 1 << 20
"""So much is written at once where a stretch is cleared by writing."""
MAP_NORESERVE = 0x4000
HAS_MEMORY_FILES = hasattr(os, "memfd_create")


class Region:
    """RAM at ``address``, ``size`` bytes, both multiples of the page size.

    ``view`` is the debugger's mapping; ``host_address`` is where the guest's own begins. With ``rom`` or ``of_device``
    it is not the guest's RAM, but firmware or what a device has.
    """

    def __init__(self, address: int, size: int, rom: bool = False, of_device: bool = False) -> None:
        self.address = address
        self.size = size
        self.rom = rom
        self.is_ram = not rom and not of_device
        if HAS_MEMORY_FILES:
            self._map_file(size)
        else:
            self.fd = -1
            self.mapping = self._shown = mmap.mmap(-1, size)
        self.view = memoryview(self.mapping)
        anchor = c_char.from_buffer(self._shown)
        self.host_address = addressof(anchor)
        del anchor

    def _map_file(self, size: int) -> None:
        self.fd = os.memfd_create("kvmdbg-guest")
        try:
            os.ftruncate(self.fd, size)
            flags = mmap.MAP_SHARED | MAP_NORESERVE
            self.mapping = mmap.mmap(self.fd, size, flags, mmap.PROT_READ | mmap.PROT_WRITE)
            self._shown = mmap.mmap(self.fd, size, flags, mmap.PROT_READ | mmap.PROT_WRITE)
        except BaseException:
            os.close(self.fd)
            raise

    @property
    def end(self) -> int:
        return self.address + self.size

    def clear(self) -> None:
        """All to zero, without touching pages that never were, where the host can do that."""
        if self.fd >= 0:
            self.mapping.madvise(mmap.MADV_REMOVE)
        else:
            for at in range(0, self.size, LARGE):
                self.view[at : at + LARGE] = bytes(min(LARGE, self.size - at))

    def populated(self) -> Iterator[tuple[int, int]]:
        """Stretches of pages that were touched, begin and end by their offset; all else is zero."""
        if self.fd < 0:
            empty = bytes(PAGE)
            for at in range(0, self.size, PAGE):
                if self.view[at : at + PAGE] != empty:
                    yield at, at + PAGE
            return
        at = 0
        while at < self.size:
            try:
                at = os.lseek(self.fd, at, os.SEEK_DATA)
            except OSError:  # nothing but holes from here on
                break
            end = os.lseek(self.fd, at, os.SEEK_HOLE)
            yield at, end
            at = end

    def close(self) -> None:
        self.view.release()
        self.mapping.close()
        self._shown.close()
        if self.fd >= 0:
            os.close(self.fd)
