"""What devices read and write of the guest's memory by themselves (DMA)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kvmdbg.engine.guest import Guest


class DeviceMemory:
    """Of ``guest``, on the thread of the vCPU whose access has brought the device to it.

    Reads see the guest's bytes and not the debugger's traps, writes go under them, and those to ROM change nothing.
    """

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def read(self, address: int, size: int) -> bytes:
        """MemoryFault."""
        return self._guest.physical.read(address, size)

    def write(self, address: int, data: bytes) -> None:
        """All of it, or nothing: MemoryFault."""
        guest = self._guest
        if guest.machine.memory.is_read_only(address):
            return
        guest.physical.write(address, data)
        if guest.vectors.covers(address, len(data)):
            for runner in guest.world.runners:
                runner.tables_touched = True
