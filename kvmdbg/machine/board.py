"""What a device may ask of the machine that it is on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from kvmdbg.machine.disk import Disks

if TYPE_CHECKING:
    from kvmdbg.machine.memory import GuestMemory


class DirectAccess(Protocol):
    """The guest's memory as a device sees it. MemoryFault for what is not there."""

    def read(self, address: int, size: int) -> bytes: ...

    def write(self, address: int, data: bytes) -> None: ...


class DmaChannels(Protocol):
    """The ISA bus's DMA controllers as a device sees them, by channel."""

    def left(self, number: int) -> int:
        """How many bytes it is still to move."""
        ...

    def put(self, number: int, data: bytes) -> bool:
        """Move data to memory; whether its count has ended."""
        ...

    def get(self, number: int, size: int) -> tuple[bytes, bool]:
        """Data from memory, and whether its count has ended."""
        ...


class Board:
    """``output`` takes bytes for the guest's console; ``memory`` is the RAM's size in bytes.

    ``changed`` is called by a device whose ``coalesced`` ports have changed.
    """

    def __init__(
        self,
        output: Callable[[bytes], None],
        *,
        irq: Callable[[int, int], None] | None = None,
        memory: int = 0,
    ) -> None:
        self.output = output
        self.memory = memory
        self.ram: GuestMemory | None = None
        """The guest's memory, for a device that writes there or lies over a part of it."""
        self.changed: Callable[[], None] = lambda: None
        self.arrived: Callable[[str, str, Any], None] = lambda device, how, data: None
        """Called by a device before something from outside comes in: its name, the method and what that is called with.
        UsageError where nothing may."""
        self.tell: Callable[[str], None] = lambda text: None
        """Called with a sentence for the user, about what the guest has met."""
        self.disks = Disks()
        self.cpus = 1
        self.firmware = False
        """Whether the machine starts in firmware."""
        self.fw_cfg: dict[str, bytes] = {}
        """Files for firmware, by name."""
        self.dma: DirectAccess
        """For devices that read and write memory by themselves."""
        self.isa_dma: DmaChannels | None = None
        """The DMA controllers, where there are any."""
        self.shadow: Callable[[list[tuple[int, int]]], None] = lambda writable: None
        """Called with the ranges below 1 MiB (first address, end) in which the guest may write over its firmware."""
        self._irq = irq

    @property
    def has_interrupts(self) -> bool:
        """Whether there are interrupt controllers."""
        return self._irq is not None

    def set_irq(self, line: int, level: bool) -> None:
        """Raise or lower an interrupt line (an ISA IRQ); without interrupt controllers nothing happens."""
        if self._irq is not None:
            self._irq(line, int(level))
