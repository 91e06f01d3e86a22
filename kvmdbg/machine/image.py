"""What a loader hands to the machine: plain data, no format and no KVM in it.

Addresses are guest-physical unless said otherwise, sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from kvmdbg.record import field, record

if TYPE_CHECKING:
    from kvmdbg.machine.manifest import Declared

MODES = ("real", "prot", "long")
DEFAULT_MEMORY = 128 << 20


class Symbol(NamedTuple):
    """One name of the guest's; a tuple, since kernels have 100,000s of them.

    ``address`` is linear, as linked plus the base it was loaded at; ``size`` is 0 where the file gives none (labels in
    assembly). ``kind`` is "function", "object", "notype" or "absolute" (a number rather than a place), ``binding``
    "global", "weak" or "local". ``limit`` is the first address after the section that holds it, 0 when not known.
    """

    name: str
    address: int
    size: int = 0
    kind: str = "notype"
    binding: str = "global"
    limit: int = 0


@record
class Segment:
    """``size`` bytes of guest-physical memory at ``address``: ``data``, then zeros up to ``size``.

    A ``size`` left at 0 means exactly the data. ``linked`` is the linear address that its code is linked for, None for
    the same address. ``rom``: the guest cannot write there, and memory is made for it where there is none.
    """

    address: int
    data: bytes
    size: int = 0
    name: str = ""
    linked: int | None = None
    rom: bool = False

    def __post_init__(self) -> None:
        if self.size == 0:
            object.__setattr__(self, "size", len(self.data))
        if self.address < 0 or self.size < len(self.data):
            raise ValueError(f"segment {self.name!r}: address {self.address:#x}, size {self.size:#x}")

    @property
    def end(self) -> int:
        """The first address after it."""
        return self.address + self.size

    @property
    def linear(self) -> int:
        """The linear address of its first byte, as the guest's symbols have it."""
        return self.address if self.linked is None else self.linked

    def contains(self, address: int) -> bool:
        """True when ``address`` is one of its bytes."""
        return self.address <= address < self.end


@record
class Entry:
    """Where the guest starts: ``cs``:``ip`` as given, or, with ``cs`` None, the linear address ``ip``."""

    cs: int | None
    ip: int


@record
class BootStructure:
    """Something that a boot protocol puts in memory for the guest, placed below 1 MiB by ``machine.boot``.

    ``build(address, memory_size)`` gives its bytes, ``size`` of them; ``register`` (a storage register such as
    "rbx") is where the protocol hands over its address, None for none.
    """

    name: str
    size: int
    build: Callable[[int, int], bytes]
    register: str | None = None
    align: int = 16


@record
class Screen:
    """A picture that a boot loader has set up: pixels, and the bits of each."""

    width: int
    height: int
    bits: int


@record
class Image:
    """A guest as read from its file, ready to be placed.

    ``mode`` is "real", "prot" or "long"; ``registers`` are start values by storage register name besides those that
    follow from mode and entry. ``bias`` is what a position-independent image's addresses were moved by. ``remark`` is a
    sentence for the user about the file, when it hardly is what was meant. ``function_bits`` is the width of the
    code of its functions where the file says so, which need not be that of its entry; 0 elsewhere. ``selectors`` are
    those of code and data in flat modes, whose descriptors the GDT has. ``notes`` are sentences on what was decided for
    the user. ``interrupts`` says that the guest makes no sense without interrupt controllers and a timer.
    """

    path: str
    format: str
    segments: list[Segment]
    mode: str
    entry: Entry
    registers: dict[str, int] = field(default_factory=dict)
    symbols: list[Symbol] = field(default_factory=list)
    structures: list[BootStructure] = field(default_factory=list)
    bias: int = 0
    remark: str = ""
    function_bits: int = 0
    selectors: tuple[int, int] = (0x08, 0x10)
    real_data: int | None = None
    """What ds, es, ss, fs and gs have in real mode; None is what cs has."""
    notes: Sequence[str] = ()
    interrupts: bool = False
    later_segments: Sequence[Segment] = ()
    """Where the guest puts more of its code by itself, as a kernel that unpacks itself does; the data is not known."""
    later_symbols: Callable[[], list[Symbol]] | None = None
    """More symbols, which take a while to find: made when a name or an address is first looked up."""
    debug_files: Sequence[str] = ()
    """ELF files of the same program that may have debug information."""
    screen: Screen | None = None
    """What is shown when the guest starts, where that is no text."""
    drive: str = ""
    """The drive that its file is in, where a BIOS boots it: "floppy", "disk", "both" or "cdrom"."""
    start: Callable[[Any], Any] | None = None
    """Given the ``Machine``, the ``BootState`` that it starts in, where that is none of ``boot_state``'s."""
    declared: Sequence[Declared] = ()
    """The devices that a Solo5 unikernel asks for; the place is the handle."""

    @property
    def firmware(self) -> bool:
        """True when it is the machine's firmware, which starts at the CPU's reset vector."""
        return self.format == "rom"

    def loaded_at(self, linear: int) -> int | None:
        """Where the image's byte that is linked at this linear address was loaded, or is going to be."""
        for segment in (*self.segments, *self.later_segments):
            if segment.linear <= linear < segment.linear + segment.size:
                return segment.address + linear - segment.linear
        return None

    @property
    def multiboot(self) -> bool:
        """True when the guest is started by the multiboot protocol, 1 or 2."""
        return self.format in ("multiboot", "multiboot2")


@record
class LoadOptions:
    """What the user said about loading; None is "as the image says".

    ``load`` is the guest-physical address for formats that carry none, ``entry`` "SEG:OFF", a number or a symbol,
    ``memory`` the guest's RAM in bytes, ``cmdline`` the kernel command line, ``initrd`` the file of an initial RAM
    disk, ``modules`` files that the boot loader hands over, each with the words that go with it ("FILE ARGS"),
    ``by_bios`` that a BIOS boots disks, which reads more of them, ``symbols`` names known besides the image's own (from
    ``--symbols``), for ``entry``.
    """

    format: str | None = None
    mode: str | None = None
    load: int | None = None
    entry: str | None = None
    memory: int = DEFAULT_MEMORY
    cmdline: str = ""
    initrd: str | None = None
    modules: Sequence[str] = ()
    by_bios: bool = False
    symbols: Sequence[Symbol] = ()
