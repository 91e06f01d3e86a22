"""Multiboot 2 kernels.

Source: Multiboot2 Specification version 2.0, sections 3.1 (header and its tags), 3.3 (machine state), 3.6 (boot
information); the sizes of numbers in the ELF tag are those of its multiboot2.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from kvmdbg.errors import LoadError
from kvmdbg.loaders import elf
from kvmdbg.loaders.entry import chosen_entry
from kvmdbg.loaders.memory_map import EBDA, HIGH_START, MOST_AREAS, memory_map
from kvmdbg.loaders.multiboot_kernel import (
    LOADER_NAME,
    Addresses,
    Given,
    Kernel,
    check_options,
    moved,
    put_behind,
    read_kernel,
    text,
)
from kvmdbg.loaders.multiboot_screen import colours, described, picture
from kvmdbg.loaders.registry import loader
from kvmdbg.machine.image import BootStructure, Entry, Image, LoadOptions, Screen
from kvmdbg.machine.layout import ram_areas
from kvmdbg.record import field, record

HEADER_MAGIC = 0xE85250D6
LOADER_MAGIC = 0x36D76289
SEARCH = 32768  # the header lies within the first 32 KiB, aligned to 8
HEADER_SIZE = 16
I386 = 0
OPTIONAL = 1 << 0

END, REQUEST, ADDRESS, ENTRY, CONSOLE, FRAMEBUFFER, ALIGNED_MODULES, EFI, EFI_ENTRY_32, EFI_ENTRY_64, RELOCATABLE = (
    range(11)
)
SIZES = {ADDRESS: 24, ENTRY: 12, CONSOLE: 12, FRAMEBUFFER: 20, RELOCATABLE: 24}
LAST_INFORMATION = 21  # the highest type that boot information has
LOWEST, HIGHEST = 1, 2  # where a relocatable kernel prefers to be


@record
class Header:
    """A header ``offset`` bytes into the file, with what its tags say."""

    offset: int
    architecture: int
    tags: list[tuple[int, int, bytes]] = field(default_factory=list)
    """Type, flags, and the bytes behind type, flags and size."""

    def tag(self, kind: int) -> tuple[int, ...] | None:
        """The 32-bit numbers of the first tag of this type."""
        for found, _, content in self.tags:
            if found == kind:
                return struct.unpack_from(f"<{len(content) // 4}I", content)
        return None


def find_header(data: bytes) -> tuple[int, int, int] | None:
    """Offset, architecture and length of the first header with a right checksum in the first 32 KiB, or None."""
    window = data[:SEARCH]
    magic = struct.pack("<I", HEADER_MAGIC)
    at = window.find(magic)
    while at >= 0:
        if at % 8 == 0 and at + HEADER_SIZE <= len(window):
            architecture, length, checksum = struct.unpack_from("<III", window, at + 4)
            if (HEADER_MAGIC + architecture + length + checksum) & 0xFFFFFFFF == 0:
                return at, architecture, length
        at = window.find(magic, at + 1)
    return None


def read_header(data: bytes, path: str) -> Header:
    """The header with its tags; LoadError where they are damaged."""
    found = find_header(data)
    assert found is not None
    offset, architecture, length = found
    if architecture != I386:
        raise LoadError(f"{path} is a multiboot2 kernel for another machine (architecture {architecture})")
    if offset + length > len(data):
        raise LoadError(f"{path} is truncated: its multiboot2 header ends at byte {offset + length:#x}")
    return Header(offset, architecture, list(_tags(data[offset + HEADER_SIZE : offset + length], path)))


def _tags(content: bytes, path: str) -> Iterator[tuple[int, int, bytes]]:
    at = 0
    while at + 8 <= len(content):
        kind, flags, size = struct.unpack_from("<HHI", content, at)
        if kind == END:
            return
        if size < SIZES.get(kind, 8) or at + size > len(content):
            raise LoadError(f"{path} has a damaged multiboot2 header: its tag of type {kind} has {size} bytes")
        yield kind, flags, content[at + 8 : at + size]
        at += -(-size // 8) * 8
    raise LoadError(f"{path} has a damaged multiboot2 header: no tag ends it")


def _check(header: Header, path: str) -> None:
    """LoadError for what the kernel insists on and does not get."""
    for kind, flags, content in header.tags:
        if flags & OPTIONAL:
            continue
        if kind > RELOCATABLE:
            raise LoadError(f"{path} insists on a multiboot2 feature that kvmdbg does not have (header tag {kind})")
        if kind == REQUEST:
            wanted = struct.unpack_from(f"<{len(content) // 4}I", content)
            if unknown := [one for one in wanted if one > LAST_INFORMATION]:
                raise LoadError(f"{path} insists on boot information that multiboot2 does not know (type {unknown[0]})")


@loader
class Multiboot2:
    """Started in 32-bit protected mode with 0x36d76289 in EAX and the boot information's address in EBX."""

    name = "multiboot2"
    looks_for = "multiboot2 header with a right checksum in its first 32 KiB, in an ELF file or with load addresses"
    priority = 29
    takes_cmdline = True
    takes_modules = True
    yields_to_disks = True
    """Of a disk on which GRUB is installed: its core, behind the boot sector, has such a header."""

    def recognise(self, data: bytes) -> bool:
        """True for a header in an ELF file, or one with an address tag in any file."""
        found = find_header(data)
        if found is None:
            return False
        offset, _, length = found
        if data[:4] == elf.MAGIC:
            return True
        try:
            return any(kind == ADDRESS for kind, _, _ in _tags(data[offset + HEADER_SIZE : offset + length], ""))
        except LoadError:
            return False

    def load(self, data: bytes, path: str, options: LoadOptions) -> Image:
        """The kernel where its address tag says, else where its ELF headers do; a relocatable one where it fits."""
        header = read_header(data, path)
        _check(header, path)
        check_options(options, data, path)
        tag, start = header.tag(ADDRESS), header.tag(ENTRY)
        addresses = _addresses(tag, header.offset) if tag else None
        kernel = read_kernel(data, path, header.offset, addresses, start[0] if start else None)
        if tag and start is None and data[:4] != elf.MAGIC:
            raise LoadError(f"{path} has a multiboot2 header with load addresses and no entry")
        kernel = _relocated(kernel, header, path, options.memory)
        given = put_behind(kernel, data, path, options)
        entry = chosen_entry(options, Entry(None, kernel.start), path, "prot", kernel.symbols, kernel.physical)
        relocatable = header.tag(RELOCATABLE) is not None
        screen = wanted_screen(header)
        base = min(one.address for one in kernel.segments) if relocatable else None
        return Image(
            path, self.name, [*kernel.segments, *given.segments], "prot", entry, {"rax": LOADER_MAGIC},
            kernel.symbols, [_information(text(options.cmdline), given, base, screen)], bias=kernel.bias,
            remark=kernel.remark, function_bits=kernel.bits, screen=screen,
        )  # fmt: skip


def _addresses(tag: tuple[int, ...], offset: int) -> Addresses:
    """Those of an address tag; load_addr -1 means from the file's start on."""
    header_address, load_address, load_end, bss_end = tag[:4]
    if load_address == 0xFFFFFFFF:
        load_address = header_address - offset
    return Addresses(header_address, load_address, load_end, bss_end)


def wanted_screen(header: Header) -> Screen | None:
    """The picture that the kernel asks for; without a number of bits text will do."""
    wanted = header.tag(FRAMEBUFFER)
    return picture(*wanted[:3]) if wanted is not None and wanted[2] else None


def _relocated(kernel: Kernel, header: Header, path: str, memory: int) -> Kernel:
    """Where the kernel is to lie: as linked, if it may; else, if it is relocatable, in the range that it names."""
    tag = header.tag(RELOCATABLE)
    if tag is None:
        return kernel
    lowest, highest, align, preference = tag[:4]
    start, end = min(one.address for one in kernel.segments), max(one.end for one in kernel.segments)
    bottom, top = max(lowest, HIGH_START), min(highest + 1, sum(ram_areas(memory)[0]))
    if bottom <= start and end <= top:
        return kernel
    align = max(align, 1)
    base = (top - (end - start)) // align * align if preference == HIGHEST else -(-bottom // align) * align
    if base < bottom or base + end - start > top:
        raise LoadError(
            f"{path} is relocatable between {lowest:#x} and {highest:#x}, where its {end - start:#x} bytes have no "
            "room; give more --memory"
        )
    return moved(kernel, base - start)


def _information(command: bytes, given: Given, base: int | None, screen: Screen | None) -> BootStructure:
    size = len(information(0, command, given, base, screen)) + MOST_AREAS * 24
    return BootStructure(
        "multiboot2 information",
        size,
        lambda address, memory: information(memory, command, given, base, screen).ljust(size, b"\0"),
        "rbx",
    )


def information(
    memory: int, command: bytes, given: Given, base: int | None = None, screen: Screen | None = None
) -> bytes:
    """The boot information; it has no addresses of its own. ``base`` is where a relocatable kernel was loaded."""
    low = ram_areas(memory)[0][1]
    lower, upper = min(low, EBDA) >> 10, max(low - HIGH_START, 0) >> 10  # KiB
    areas = b"".join(struct.pack("<QQII", *area, 0) for area in memory_map(memory))
    tags = [(1, command), (2, LOADER_NAME)]
    tags += [(3, struct.pack("<II", segment.address, segment.end) + words) for segment, words in given.modules]
    tags += [
        (4, struct.pack("<II", lower, upper)),
        (6, struct.pack("<II", 24, 0) + areas),
        (8, described(screen) + bytes(2) + colours(screen)),
    ]
    if (one := given.sections) is not None:
        tags.append((9, struct.pack("<III", one.number, one.entry_size, one.names) + one.headers))
    if base is not None:
        tags.append((21, struct.pack("<I", base)))
    content = b"".join(_padded(struct.pack("<II", kind, 8 + len(data)) + data) for kind, data in [*tags, (0, b"")])
    return struct.pack("<II", 8 + len(content), 0) + content


def _padded(tag: bytes) -> bytes:
    return tag + bytes(-len(tag) % 8)
