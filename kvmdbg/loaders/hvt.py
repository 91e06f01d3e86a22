"""Solo5 unikernels for hvt: ELF64 files with its note, which start as its tender starts them.

Sources: Solo5, include/solo5/elf_abi.h (the notes), hvt_abi.h (boot information), tenders/hvt/hvt_cpu_x86_64.h and
hvt_kvm_x86_64.c (what lies where, and the registers). The page tables map the memory in pages of 2 MiB.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

from kvmdbg.errors import LoadError
from kvmdbg.loaders import elf
from kvmdbg.loaders.registry import loader
from kvmdbg.machine.boot import BootState, DescriptorTable, SegmentState, descriptor
from kvmdbg.machine.image import Entry, Image, LoadOptions, Segment
from kvmdbg.machine.manifest import Declared, attached, devices

if TYPE_CHECKING:
    from kvmdbg.machine.machine import Machine

OWNER = b"Solo5\0"
ABI_NOTE, MANIFEST_NOTE = 0x31494241, 0x3154464D
NOTE_HEADER = 20
"""Bytes of a note before its contents: the manifest is aligned to 8 behind that."""
HVT = 1
TARGETS = {1: "hvt", 2: "spt", 3: "virtio", 4: "muen", 5: "genode", 6: "xen"}
VERSIONS = (1, 2)
PT_NOTE = 4
GDT, PML4, PDPT, DIRECTORY, BOOT_INFO = 0x1000, 0x2000, 0x3000, 0x4000, 0x5000
LARGE_PAGE = 2 << 20
MOST_MEMORY = 512 * LARGE_PAGE
COMMAND_LINE = 8192
LEAST_ADDRESS = 0x100000
CODE_SELECTOR, DATA_SELECTOR = 0x08, 0x10
CR0 = 0x80000021  # PG, NE, PE
CR4 = 0x620  # OSXMMEXCPT, OSFXSR, PAE
EFER = 0x500  # LMA, LME


def notes_of(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and contents of each of Solo5's notes in an ELF64 file; of damaged ones what can be read."""
    if data[:6] != elf.MAGIC + b"\2\1" or len(data) < 64:
        return
    (start,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    if size != 56:
        return
    left = len(data)  # of notes: headers that share them are no linker's work
    for number in range(count):
        at = start + number * size
        if at + size > len(data):
            return
        kind, _, offset, _, _, length = struct.unpack_from("<IIQQQQ", data, at)
        if kind == PT_NOTE:
            left -= length
            if left < 0:
                return
            yield from _notes_in(data[offset : offset + length])


def _notes_in(area: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 12 <= len(area):
        name_size, size, kind = struct.unpack_from("<III", area, at)
        name_at = at + 12
        contents_at = name_at + (name_size + 3 & -4)
        if area[name_at : name_at + name_size] == OWNER:
            yield kind, area[contents_at : contents_at + size]
        at = contents_at + (size + 3 & -4)


@loader
class Hvt:
    """Entered in long mode with the address of its boot information in RDI."""

    name = "hvt"
    looks_for = "ELF note of Solo5's (ABI1)"
    priority = 26
    takes_cmdline = True

    def recognise(self, data: bytes) -> bool:
        """True for an ELF file with the note that says which of Solo5's targets it is for."""
        return any(kind == ABI_NOTE for kind, _ in notes_of(data))

    def load(self, data: bytes, path: str, options: LoadOptions) -> Image:
        """The segments, and how it starts. LoadError for other targets and versions."""
        notes = dict(notes_of(data))
        target, version = struct.unpack_from("<II", notes[ABI_NOTE].ljust(8, b"\0"))
        if target != HVT:
            raise LoadError(f"{path} is a Solo5 unikernel for {TARGETS.get(target, f'target {target}')}, not for hvt")
        if version not in VERSIONS:
            raise LoadError(
                f"{path} is for version {version} of hvt's interface, and there is only {VERSIONS[-1]} here"
            )
        if options.mode not in (None, "long") or options.entry is not None:
            raise LoadError(f"{path} is a Solo5 unikernel, which starts at its own entry in long mode")
        image = elf.Elf().load(data, path, options)
        if image.mode != "long" or min(one.address for one in image.segments) < LEAST_ADDRESS:
            raise LoadError(f"{path} is no unikernel for hvt: it is no 64-bit program above {LEAST_ADDRESS:#x}")
        line = options.cmdline.encode("utf-8", "surrogateescape")
        if len(line) >= COMMAND_LINE:
            raise LoadError(f"the command line of {path} is longer than hvt's {COMMAND_LINE - 1} bytes")
        manifest = notes.get(MANIFEST_NOTE)
        declared = devices(manifest[-NOTE_HEADER % 8 :], path) if manifest is not None else []

        def start(machine: Machine) -> BootState:
            return first_state(path, image.segments, image.entry, declared, line, machine)

        return Image(
            path, self.name, image.segments, "long", image.entry,
            symbols=image.symbols, remark=image.remark, function_bits=64, start=start, declared=declared,
        )  # fmt: skip


def first_state(
    path: str, segments: list[Segment], entry: Entry, declared: list[Declared], line: bytes, machine: Machine
) -> BootState:
    """What lies below 1 MiB, and the registers. LoadError where the memory does not suit hvt."""
    memory = machine.memory.size
    if memory % LARGE_PAGE or memory > MOST_MEMORY:
        raise LoadError(f"hvt takes memory of whole 2 MiB up to 1 GiB, not of {memory:#x} bytes")
    disks = [one.sectors * one.sector_size for one in machine.board.disks.hard_disks]
    manifest = attached(declared, disks, path)
    manifest_at = BOOT_INFO + 40
    line_at = manifest_at + len(manifest)
    end = max(one.end for one in segments)
    boot_info = struct.pack("<QQQQQ", memory, end, machine.tsc_hz, line_at, manifest_at) + manifest + line + b"\0"
    code = SegmentState(CODE_SELECTOR, 0, 0xFFFFFFFF, 9, l=1, g=1)  # execute only, accessed
    data = SegmentState(DATA_SELECTOR, 0, 0xFFFFFFFF, 3, db=1, g=1)
    present_writable, large = 0b11, 1 << 7
    pages = [page | large | present_writable for page in range(0, memory, LARGE_PAGE)]
    return BootState(
        writes=[
            Segment(GDT, bytes(8) + descriptor(code) + descriptor(data), name="GDT"),
            Segment(PML4, struct.pack("<Q", PDPT | present_writable), 0x1000, "page tables"),
            Segment(PDPT, struct.pack("<Q", DIRECTORY | present_writable), 0x1000, "page tables"),
            Segment(DIRECTORY, struct.pack(f"<{len(pages)}Q", *pages), 0x1000, "page tables"),
            Segment(BOOT_INFO, boot_info, name="boot information"),
        ],
        general={
            **dict.fromkeys(("rax", "rbx", "rcx", "rdx", "rsi", "rbp", *(f"r{n}" for n in range(8, 16))), 0),
            "rdi": BOOT_INFO, "rsp": memory - 8, "rip": entry.ip, "rflags": 2,
        },
        segments={
            "cs": code, **dict.fromkeys(("ds", "es", "fs", "gs", "ss"), data),
            "tr": SegmentState(0, 0, 0, 11, s=0), "ldtr": SegmentState(0, 0, 0, 2, present=0, s=0),
        },
        cr0=CR0, cr3=PML4, cr4=CR4, efer=EFER,
        gdt=DescriptorTable(GDT, 23), idt=DescriptorTable(0, 0),
    )  # fmt: skip
