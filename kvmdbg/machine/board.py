"""What a device may ask of the machine that it is on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from kvmdbg.machine.disk import Disks
from kvmdbg.machine.guest_time import GuestTime

if TYPE_CHECKING:
    from kvmdbg.machine.manifest import Declared
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


class InterruptController(Protocol):
    """The pair of 8259s, where it is the machine's own and not KVM's (devices/pic.py), or the local APIC before it
    (devices/lapic.py)."""

    @property
    def pending(self) -> bool:
        """Whether it asks the CPU for an interrupt."""
        ...

    @property
    def counts(self) -> bool:
        """Whether a timer of its own is going to ask for one."""
        ...

    @property
    def vectors(self) -> Collection[int]:
        """Those of its interrupts; before it is initialised those that a BIOS gives it."""
        ...

    def set_line(self, line: int, level: bool) -> None:
        """Raise or lower one of 16 lines; from any thread."""
        ...

    def acknowledge(self) -> int:
        """The CPU takes the interrupt: its vector."""
        ...

    def waits(self, line: int) -> bool:
        """Whether an interrupt of this line has yet to be taken."""
        ...

    def passes(self, line: int) -> bool:
        """Whether interrupts of this line are let through, as far as masks are concerned."""
        ...

    def set_up(self, first: int, second: int, unmasked: Collection[int]) -> None:
        """As firmware does: the vectors of IRQ 0 and of IRQ 8, edge-triggered, and the lines that are let through."""
        ...


class Timer(Protocol):
    """The 8254, where it is the machine's own (devices/pit.py)."""

    def set_up(self) -> None:
        """As firmware does: channel 0 ticks 18.2 times a second."""
        ...


class Board:
    """``output`` takes bytes for the guest's console; ``memory`` is the RAM's size in bytes.

    ``irq`` raises and lowers the lines of interrupt controllers in the kernel, if there are any. ``changed`` is called
    by a device whose ``coalesced`` ports have changed.
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
        self.time = GuestTime()
        self.time.changed = self.call_attention
        self.pic: InterruptController | None = None
        """The machine's own interrupt controllers; None where there are none, or KVM has them."""
        self.pit: Timer | None = None
        """The timer that belongs to them."""
        self.attention = False
        """An interrupt may have to be handed in, or there is another first deadline: the vCPU looks before it runs."""
        self.kick: Callable[[], None] = lambda: None
        """Has the vCPU look up where it runs guest code now; called on any thread."""
        self.at_taken: dict[int, Callable[[], None]] = {}
        """By interrupt line what is called, on the vCPU's thread, when the CPU has taken an interrupt of it."""
        self.clocked = {0, 2, 8, 13}
        """Lines that nothing raises but what has a deadline for it."""
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
        self.manifest: Sequence[Declared] = ()
        """The devices that a Solo5 unikernel has declared."""
        self.stopping: Callable[[], bool] = lambda: False
        """Whether the guest is to stop: for a device that has it wait."""
        self.isa_dma: DmaChannels | None = None
        """The DMA controllers, where there are any."""
        self.pci: dict[tuple[int, int], Any] = {}
        """What of its devices is seen in PCI configuration space, by device and function (devices/pci.py)."""
        self.shadow: Callable[[list[tuple[int, int]]], None] = lambda writable: None
        """Called with the ranges below 1 MiB (first address, end) in which the guest may write over its firmware."""
        self.set_up_chips: Callable[[int, int, Collection[int]], None] = lambda first, second, unmasked: None
        """Leaves interrupt controllers and timer in the kernel, where they are there, as firmware does: the vectors of
        IRQ 0 and 8, the lines that are let through."""
        self.a20 = True
        """Whether address line 20 works, as whoever switches it has set it last."""
        self._irq = irq

    def set_a20(self, on: bool) -> None:
        """Switch the CPU's address line 20 on, or hold it low."""
        self.a20 = on
        if self.ram is not None:
            self.ram.set_a20(on)

    @property
    def has_interrupts(self) -> bool:
        """Whether there are interrupt controllers."""
        return self._irq is not None or self.pic is not None

    @property
    def has_apics(self) -> bool:
        """Whether IOAPIC and local APIC are there, in the kernel."""
        return self._irq is not None

    def set_irq(self, line: int, level: bool) -> None:
        """Raise or lower an interrupt line (an ISA IRQ); without interrupt controllers nothing happens."""
        if self.pic is not None:
            self.pic.set_line(line, bool(level))
        elif self._irq is not None:
            self._irq(line, int(level))

    def pulse_irq(self, line: int) -> None:
        """An edge, for a line that is triggered by edges."""
        self.set_irq(line, False)
        self.set_irq(line, True)

    def call_attention(self) -> None:
        self.attention = True

    def call_vcpu(self) -> None:
        """The interrupt controllers ask for the CPU."""
        self.attention = True
        self.kick()

    @property
    def may_be_interrupted(self) -> bool:
        """Whether an interrupt waits, or any may come as devices and masks are now."""
        pic = self.pic
        if pic is None:
            return False
        if pic.pending or pic.counts:
            return True
        lines = [line for line in range(16) if line != 2 and pic.passes(line)]
        return any(line not in self.clocked for line in lines) or (bool(lines) and self.time.next is not None)
