"""The state in which a guest starts: what lies in memory besides its image, and every register. Pure data, no KVM.

Sources: Intel SDM volume 3A, sections 9.1.1 (state after reset), 9.8.4 and 9.8.5 (switching to protected and IA-32e
mode), 3.4.5 (segment descriptors), 4.5 (4-level paging).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from kvmdbg.errors import LoadError
from kvmdbg.machine.image import BootStructure, Image, LoadOptions, Segment
from kvmdbg.machine.layout import ram_areas, ram_end
from kvmdbg.record import record
from kvmdbg.x86.modes import CR0_PE, CR0_PG, CR4_PAE, EFER_LMA, EFER_LME

PAGE = 0x1000
TABLES_END = 0x9F000  # below the EBDA and the video memory of a PC
STACK_SIZE = 0x1000
GIB = 1 << 30
LARGEST_IDENTITY_MAP = 128 * GIB  # its tables still fit below 1 MiB
LEAST_FOR_FIRMWARE = 1 << 20
REAL_MODE_END = 0x10FFF0  # FFFF:FFFF is the last byte that real mode reaches

CR0_RESET = 0x60000010  # CD, NW, ET
CR0_ET = 1 << 4
CR4_OSFXSR = 1 << 9
CR4_OSXMMEXCPT = 1 << 10
RFLAGS_RESERVED = 1 << 1  # always 1
RESET_LIMIT = 0xFFFF

DATA = 3  # segment types: read/write, accessed
CODE = 11  # execute/read, accessed
LDT = 2
BUSY_TSS = 11

GENERAL = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp", *(f"r{n}" for n in range(8, 16)), "rip", "rflags")


@record
class SegmentState:
    """A segment register with its hidden part; ``limit`` is in bytes, whatever ``g`` says."""

    selector: int
    base: int
    limit: int
    type: int
    present: int = 1
    dpl: int = 0
    db: int = 0
    s: int = 1
    l: int = 0  # noqa: E741 - the architecture's name
    g: int = 0


class DescriptorTable(NamedTuple):
    """GDTR or IDTR."""

    base: int
    limit: int


@record
class BootState:
    """Everything that a vCPU and its memory start with, besides the image's own segments.

    ``writes`` are the structures made for the mode and the boot protocol (GDT, page tables, stack, multiboot
    information), each clear of the image; the image's segments are not among them. ``general`` has all of rax … r15,
    rip and rflags; ``segments`` has cs ds es fs gs ss tr ldtr.
    """

    writes: list[Segment]
    general: dict[str, int]
    segments: dict[str, SegmentState]
    cr0: int
    cr3: int
    cr4: int
    efer: int
    gdt: DescriptorTable
    idt: DescriptorTable


def boot_state(image: Image, options: LoadOptions, memory_size: int) -> BootState:
    """The start state of the first vCPU for ``image`` in ``memory_size`` bytes of RAM (see ``layout.ram_areas``).

    Real mode: as after reset, but entered at the image's entry. All of ds es ss fs gs follow cs, unless the image says
    otherwise. The stack grows down from the image's first byte (0:7C00 for a boot sector), or, where the entry has a
    selector or the image starts its segment, from offset 0xffff.
    Firmware: the state after reset, at F000:FFF0 with the base 0xffff0000 in cs.
    Protected mode: flat 4 GiB segments (cs 0x08, the others 0x10, or the image's selectors), a GDT and a stack of 4 KiB
    below 1 MiB, no IDT.
    Long mode: the same with a 64-bit cs, and 2 MiB pages that map at least 4 GiB to themselves.

    LoadError when a segment does not fit the memory, two overlap, the entry lies outside the image, or no room is left
    for the structures.
    """
    check_placement(image, memory_size)
    if image.firmware:
        return _reset(image)
    if image.mode == "real":
        return _real(image, memory_size)
    if image.entry.cs is not None:
        raise LoadError(f"{image.path} starts in {image.mode} mode, where the entry is an address and not SEG:OFF")
    if not any(one.contains(image.entry.ip) for one in image.segments):
        raise LoadError(_outside(image, image.entry.ip))
    if image.mode == "prot" and image.entry.ip > 0xFFFFFFFF:
        raise LoadError(f"the entry {image.entry.ip:#x} of {image.path} is above 4 GiB, out of reach in prot mode")
    return _flat(image, memory_size)


def check_placement(image: Image, memory_size: int) -> None:
    """LoadError, naming the segments, when one of the image's lies outside the memory or two overlap."""
    areas = ram_areas(memory_size)
    if image.firmware:
        if memory_size < LEAST_FOR_FIRMWARE:
            raise LoadError(f"firmware needs memory of 1 MiB or more, not of {_amount(memory_size)}: {image.path}")
        return
    for one in image.segments:
        if not any(address <= one.address and one.end <= address + size for address, size in areas):
            raise LoadError(
                f"{one.name} of {image.path} ({one.address:#x} to {one.end:#x}) does not fit the memory of "
                f"{_amount(memory_size)}"
            )
    ordered = sorted(image.segments, key=lambda one: one.address)
    for before, after in pairwise(ordered):
        if after.address < before.end:
            raise LoadError(
                f"{before.name} of {image.path} ({before.address:#x} to {before.end:#x}) overlaps {after.name} "
                f"({after.address:#x} to {after.end:#x})"
            )


def _amount(size: int) -> str:
    for unit, name in ((GIB, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} bytes"


def _outside(image: Image, address: int) -> str:
    parts = ", ".join(f"{one.address:#x} to {one.end:#x}" for one in image.segments[:4])
    return f"the entry {address:#x} of {image.path} lies outside what was loaded ({parts}); see --load and --entry"


class _Arena:
    """Places structures below 1 MiB, from the top down, clear of the image and of each other."""

    def __init__(self, image: Image, memory_size: int) -> None:
        self.path = image.path
        self.memory_size = memory_size
        self.taken = list(image.segments)
        self.writes: list[Segment] = []

    def room(self, name: str, size: int, align: int) -> int:
        """The highest free address for ``size`` bytes, or LoadError. The first page stays free: it is null's."""
        address = (min(TABLES_END, self.memory_size) - size) & -align
        for one in sorted(self.taken, key=lambda one: one.end, reverse=True):
            if address < one.end and one.address < address + size:
                address = (one.address - size) & -align
        if address < PAGE:
            raise LoadError(
                f"no room for the {name} ({size} bytes) below {min(TABLES_END, self.memory_size):#x} beside "
                f"{self.path}; load it elsewhere or give more --memory"
            )
        return address

    def add(self, name: str, address: int, data: bytes, size: int = 0) -> None:
        """Take the bytes at ``address``."""
        made = Segment(address, data, size, name)
        self.taken.append(made)
        self.writes.append(made)

    def place(self, name: str, data: bytes, align: int = 16) -> int:
        """Room for ``data``, taken; its address."""
        address = self.room(name, len(data), align)
        self.add(name, address, data)
        return address

    def structures(self, wanted: Iterable[BootStructure]) -> dict[str, int]:
        """Place what the boot protocol asks for; the registers that carry the addresses."""
        registers = {}
        for one in wanted:
            address = self.room(one.name, one.size, one.align)
            self.add(one.name, address, one.build(address, self.memory_size), one.size)
            if one.register is not None:
                registers[one.register] = address
        return registers


def _real_entry(image: Image) -> tuple[int, int]:
    """cs and ip for the image's entry: its own cs, or the selector of the segment it lies in."""
    if image.entry.cs is not None:
        return image.entry.cs, image.entry.ip
    address = image.entry.ip
    if address < 0x10000:
        return 0, address
    if address >= REAL_MODE_END:
        raise LoadError(f"the entry {address:#x} of {image.path} is out of reach in real mode; use --mode prot or long")
    start = next((one.address for one in image.segments if one.contains(address)), address) & ~0xF
    if address - start > 0xFFFF:
        start = address & ~0xF
    selector = min(start >> 4, 0xFFFF)
    return selector, address - (selector << 4)


def _real(image: Image, memory_size: int) -> BootState:
    cs, ip = _real_entry(image)
    linear = (cs << 4) + ip
    home = next((one for one in image.segments if one.contains(linear)), None)
    if home is None:
        raise LoadError(_outside(image, linear))
    arena = _Arena(image, memory_size)
    registers = arena.structures(image.structures)
    is_below = image.entry.cs is None and not cs and home.address
    stack = home.address & ~1 if is_below else 0xFFFF
    data = cs if image.real_data is None else image.real_data
    segments = {name: SegmentState(data, data << 4, RESET_LIMIT, DATA) for name in ("ds", "es", "fs", "gs", "ss")}
    segments["cs"] = SegmentState(cs, cs << 4, RESET_LIMIT, CODE)
    return BootState(
        writes=arena.writes,
        general=_general(image, ip, stack, registers),
        segments={**segments, **_system_segments()},
        cr0=CR0_RESET,
        cr3=0,
        cr4=0,
        efer=0,
        gdt=DescriptorTable(0, RESET_LIMIT),
        idt=DescriptorTable(0, RESET_LIMIT),
    )


def _reset(image: Image) -> BootState:
    """SDM volume 3A, table 10-1, and section 10.1.4 for cs."""
    segments = {name: SegmentState(0, 0, RESET_LIMIT, DATA) for name in ("ds", "es", "fs", "gs", "ss")}
    segments["cs"] = SegmentState(0xF000, 0xFFFF0000, RESET_LIMIT, CODE)
    return BootState(
        writes=[],
        general=_general(image, image.entry.ip, 0, {}),
        segments={**segments, **_system_segments()},
        cr0=CR0_RESET,
        cr3=0,
        cr4=0,
        efer=0,
        gdt=DescriptorTable(0, RESET_LIMIT),
        idt=DescriptorTable(0, RESET_LIMIT),
    )


def _flat(image: Image, memory_size: int) -> BootState:
    long = image.mode == "long"
    arena = _Arena(image, memory_size)
    registers = arena.structures(image.structures)
    code_selector, data_selector = image.selectors
    code = SegmentState(code_selector, 0, 0xFFFFFFFF, CODE, db=int(not long), l=int(long), g=1)
    data = SegmentState(data_selector, 0, 0xFFFFFFFF, DATA, db=1, g=1)
    table = bytes(code_selector) + descriptor(code) + descriptor(data)
    gdt = arena.place("GDT", table, align=16)
    cr3 = 0
    if long:
        count = identity_pages(memory_size)
        if ram_end(memory_size) > LARGEST_IDENTITY_MAP:
            raise LoadError(f"long mode starts with RAM below {_amount(LARGEST_IDENTITY_MAP)} only; give less --memory")
        cr3 = arena.room("page tables", count * PAGE, PAGE)
        arena.add("page tables", cr3, identity_map(cr3, memory_size))
    stack = arena.room("stack", STACK_SIZE, PAGE)
    arena.add("stack", stack, b"", STACK_SIZE)
    segments = dict.fromkeys(("ds", "es", "fs", "gs", "ss"), data)
    segments["cs"] = code
    return BootState(
        writes=arena.writes,
        general=_general(image, image.entry.ip, stack + STACK_SIZE, registers),
        segments={**segments, **_system_segments()},
        cr0=CR0_PE | CR0_ET | (CR0_PG if long else 0),
        cr3=cr3,
        cr4=CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT if long else 0,  # compiled 64-bit code takes SSE2 as given
        efer=EFER_LME | EFER_LMA if long else 0,
        gdt=DescriptorTable(gdt, len(table) - 1),
        idt=DescriptorTable(0, 0),
    )


def _general(image: Image, ip: int, stack: int, registers: dict[str, int]) -> dict[str, int]:
    values = dict.fromkeys(GENERAL, 0)
    return {**values, "rip": ip, "rsp": stack, "rflags": RFLAGS_RESERVED, **image.registers, **registers}


def _system_segments() -> dict[str, SegmentState]:
    """TR and LDTR as after reset; VT-x refuses entry without a busy TSS in TR (SDM volume 3C, section 27.3.1.2)."""
    return {
        "tr": SegmentState(0, 0, RESET_LIMIT, BUSY_TSS, s=0),
        "ldtr": SegmentState(0, 0, RESET_LIMIT, LDT, s=0),
    }


def descriptor(segment: SegmentState) -> bytes:
    """The 8 bytes of a GDT entry for a code or data segment (SDM volume 3A, figure 3-8)."""
    limit = segment.limit >> 12 if segment.g else segment.limit
    access = segment.type | segment.s << 4 | segment.dpl << 5 | segment.present << 7
    flags = segment.l << 1 | segment.db << 2 | segment.g << 3
    value = limit & 0xFFFF | (segment.base & 0xFFFFFF) << 16 | access << 40
    value |= (limit >> 16 & 0xF) << 48 | flags << 52 | (segment.base >> 24 & 0xFF) << 56
    return struct.pack("<Q", value)


def identity_pages(memory_size: int) -> int:
    """Pages that the identity map's tables take: a PML4, a PDPT, and a page directory for each GiB (at least 4)."""
    return 2 + _gibibytes(memory_size)


def _gibibytes(memory_size: int) -> int:
    return max(4, -(-ram_end(memory_size) // GIB))


def identity_map(address: int, memory_size: int) -> bytes:
    """Page tables for ``address`` that map the memory, and at least 4 GiB, to themselves: 2 MiB pages, writable.

    The PML4 comes first, then the PDPT, then the page directories. Entries: SDM volume 3A, tables 4-15 to 4-18.
    """
    gibibytes = _gibibytes(memory_size)
    present_writable, large = 0b11, 1 << 7
    directories = address + 2 * PAGE
    pml4 = [address + PAGE | present_writable]
    pdpt = [directories + n * PAGE | present_writable for n in range(gibibytes)]
    pages = range(large | present_writable, gibibytes * GIB, 2 << 20)
    tables = [*pml4, *[0] * 511, *pdpt, *[0] * (512 - gibibytes), *pages]
    return struct.pack(f"<{len(tables)}Q", *tables)
