"""Multiboot 1 kernels: ELF, or any format with the header's own load addresses (the "a.out kludge").

Source: Multiboot Specification version 0.6.96, sections 3.1 (header), 3.2 (machine state), 3.3 (information).
"""

from __future__ import annotations

import struct

from kvmdbg.errors import LoadError
from kvmdbg.loaders import elf
from kvmdbg.loaders.entry import chosen_entry
from kvmdbg.loaders.memory_map import EBDA, HIGH_START, MOST_AREAS, memory_map
from kvmdbg.loaders.multiboot_kernel import (
    LOADER_NAME,
    Addresses,
    Given,
    check_options,
    put_behind,
    read_kernel,
    text,
)
from kvmdbg.loaders.multiboot_screen import colours, described, picture, vesa
from kvmdbg.loaders.registry import loader
from kvmdbg.machine.image import BootStructure, Entry, Image, LoadOptions, Screen
from kvmdbg.machine.layout import ram_areas
from kvmdbg.record import record

HEADER_MAGIC = 0x1BADB002
LOADER_MAGIC = 0x2BADB002
SEARCH = 8192  # the header lies within the first 8 KiB, aligned to 4
ADDRESSES_VALID = 1 << 16
VIDEO_WANTED = 1 << 2
KNOWN_REQUIREMENTS = 0b111  # page-aligned modules, memory information, video mode

VESA_AT, SCREEN_AT = 72, 88
INFO_SIZE = 120  # 116 bytes to the end of framebuffer_type's union, padded
INFO_MEMORY = 1 << 0
INFO_CMDLINE = 1 << 2
INFO_MODULES = 1 << 3
INFO_SECTIONS = 1 << 5
INFO_MMAP = 1 << 6
INFO_LOADER_NAME = 1 << 9
INFO_VESA = 1 << 11
INFO_FRAMEBUFFER = 1 << 12
MODULE_SIZE = 16
VIDEO_AT, LINEAR_PICTURE = 32, 0
"""Where a header has the kind of screen that is wanted, its width, height and bits."""


@record
class Header:
    """A multiboot header ``offset`` bytes into the file; the addresses are 0 unless ``flags`` has bit 16."""

    offset: int
    flags: int
    header_address: int = 0
    load_address: int = 0
    load_end: int = 0
    bss_end: int = 0
    entry: int = 0

    @property
    def wants_screen(self) -> bool:
        """Whether it asks to be told of the screen."""
        return bool(self.flags & VIDEO_WANTED)


def wanted_screen(data: bytes, header: Header) -> Screen | None:
    """The picture that the kernel asks for; None where text will do."""
    fields = data[header.offset + VIDEO_AT : header.offset + VIDEO_AT + 16]
    if not header.wants_screen or len(fields) < 16:
        return None
    kind, width, height, bits = struct.unpack("<4I", fields)
    return picture(width, height, bits) if kind == LINEAR_PICTURE else None


def find_header(data: bytes) -> Header | None:
    """The first header with a right checksum in the first 8 KiB, or None."""
    window = data[:SEARCH]
    magic = struct.pack("<I", HEADER_MAGIC)
    at = window.find(magic)
    while at >= 0:
        if at % 4 == 0 and at + 12 <= len(window):
            flags, checksum = struct.unpack_from("<II", window, at + 4)
            if (HEADER_MAGIC + flags + checksum) & 0xFFFFFFFF == 0:
                if not flags & ADDRESSES_VALID:
                    return Header(at, flags)
                if at + 32 <= len(window):
                    return Header(at, flags, *struct.unpack_from("<5I", window, at + 12))
        at = window.find(magic, at + 1)
    return None


@loader
class Multiboot:
    """Started in 32-bit protected mode with 0x2BADB002 in EAX and the information structure's address in EBX."""

    name = "multiboot"
    looks_for = "multiboot header with a right checksum in its first 8 KiB, in an ELF file or with load addresses"
    priority = 30
    takes_cmdline = True
    takes_modules = True
    yields_to_disks = True
    """Of a disk on which GRUB is installed: its core, behind the boot sector, has such a header."""

    def recognise(self, data: bytes) -> bool:
        """True for a header in an ELF file, or one with load addresses (bit 16) in any file."""
        header = find_header(data)
        return header is not None and (data[:4] == elf.MAGIC or bool(header.flags & ADDRESSES_VALID))

    def load(self, data: bytes, path: str, options: LoadOptions) -> Image:
        """The kernel's segments, by its header's addresses if they are valid, else by its ELF headers."""
        header = find_header(data)
        assert header is not None  # recognise() said so
        if unknown := header.flags & 0xFFFF & ~KNOWN_REQUIREMENTS:
            raise LoadError(f"{path} requires multiboot features that kvmdbg does not have (header flags {unknown:#x})")
        check_options(options, data, path)
        addresses, start = None, None
        if header.flags & ADDRESSES_VALID:
            addresses = Addresses(header.header_address, header.load_address, header.load_end, header.bss_end)
            start = header.entry
        kernel = read_kernel(data, path, header.offset, addresses, start)
        given = put_behind(kernel, data, path, options)
        entry = chosen_entry(options, Entry(None, kernel.start), path, "prot", kernel.symbols, kernel.physical)
        screen = wanted_screen(data, header)
        told = described(screen) + colours(screen) if header.wants_screen else b""
        made = _information(options.cmdline, given, told, screen)
        return Image(
            path, self.name, [*kernel.segments, *given.segments], "prot", entry, {"rax": LOADER_MAGIC},
            kernel.symbols, [made], remark=kernel.remark, function_bits=kernel.bits, screen=screen,
        )  # fmt: skip


def _information(cmdline: str, given: Given, told: bytes, screen: Screen | None) -> BootStructure:
    command = text(cmdline)
    size = len(information(0, 0, command, given, told, screen)) + MOST_AREAS * 24
    return BootStructure(
        "multiboot information",
        size,
        lambda address, memory: information(address, memory, command, given, told, screen).ljust(size, b"\0"),
        "rbx",
    )


NOTHING = Given(None, [], [])


def information(
    address: int, memory: int, command: bytes, given: Given = NOTHING, told: bytes = b"", screen: Screen | None = None
) -> bytes:
    """The multiboot information structure for ``address``, with what it points to behind it.

    ``memory`` is the RAM in bytes, ``command`` the command line with its NUL, given exactly as ``--cmdline`` has it;
    ``told`` is what it tells of the screen, from framebuffer_addr on; ``screen`` is that, where it is a picture.
    """
    entries = b"".join(struct.pack("<IQQI", 20, *area) for area in memory_map(memory))
    map_at = address + INFO_SIZE
    sections_at = map_at + len(entries)
    headers = given.sections.headers if given.sections else b""
    modules_at = sections_at + len(headers)
    words_at = modules_at + MODULE_SIZE * len(given.modules)
    modules, words = b"", b""
    for segment, line in given.modules:
        modules += struct.pack("<IIII", segment.address, segment.end, words_at + len(words), 0)
        words += line
    name_at = words_at + len(words)
    command_at = name_at + len(LOADER_NAME)
    low = ram_areas(memory)[0][1]
    lower = min(low, EBDA) >> 10  # KiB; at most 640
    upper = max(low - HIGH_START, 0) >> 10  # KiB above 1 MiB, up to the first hole
    flags = INFO_MEMORY | INFO_CMDLINE | INFO_MMAP | INFO_LOADER_NAME
    flags |= INFO_MODULES if given.modules else 0
    flags |= INFO_SECTIONS if given.sections else 0
    flags |= INFO_FRAMEBUFFER if told else 0
    flags |= INFO_VESA if screen else 0
    one = given.sections
    fields = struct.pack(
        "<17I",
        *(flags, lower, upper),
        *(0, command_at, len(given.modules), modules_at if given.modules else 0),  # 0: boot_device
        *((one.number, one.entry_size, sections_at, one.names) if one else (0, 0, 0, 0)),  # syms
        *(len(entries), map_at),
        *(0, 0, 0, name_at),  # drives_length, drives_addr, config_table, boot_loader_name
    )
    of_vesa, blocks = vesa(screen, command_at + len(command)) if screen else (b"", b"")
    fields = (fields.ljust(VESA_AT, b"\0") + of_vesa).ljust(SCREEN_AT, b"\0") + told
    return fields.ljust(INFO_SIZE, b"\0") + entries + headers + modules + words + LOADER_NAME + command + blocks
