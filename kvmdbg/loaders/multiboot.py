"""Multiboot 1 kernels: ELF, or any format with the header's own load addresses (the "a.out kludge").

Source: Multiboot Specification version 0.6.96, sections 3.1 (header), 3.2 (machine state), 3.3 (information).
"""

from __future__ import annotations

import struct

from kvmdbg.errors import LoadError
from kvmdbg.loaders import elf
from kvmdbg.loaders.entry import chosen_entry
from kvmdbg.loaders.memory_map import EBDA, HIGH_START, MOST_AREAS, memory_map
from kvmdbg.loaders.registry import loader
from kvmdbg.machine.image import BootStructure, Entry, Image, LoadOptions, Segment, Symbol
from kvmdbg.machine.layout import ram_areas
from kvmdbg.record import record

HEADER_MAGIC = 0x1BADB002
LOADER_MAGIC = 0x2BADB002
SEARCH = 8192  # the header lies within the first 8 KiB, aligned to 4
ADDRESSES_VALID = 1 << 16
KNOWN_REQUIREMENTS = 0b111  # page-aligned modules, memory information, video mode (asked for, but never given)

INFO_SIZE = 120  # 116 bytes to the end of framebuffer_type's union, padded
INFO_MEMORY = 1 << 0
INFO_CMDLINE = 1 << 2
INFO_MMAP = 1 << 6
INFO_LOADER_NAME = 1 << 9
LOADER_NAME = b"kvmdbg\0"


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
        if options.mode not in (None, "prot"):
            other = "--format elf" if data[:4] == elf.MAGIC else "--format flat"
            raise LoadError(f"{path} is a multiboot kernel, which starts in prot mode; use {other} for {options.mode}")
        if options.load is not None:
            raise LoadError(f"{path} is a multiboot kernel with addresses of its own; --load is for flat images")
        symbols: list[Symbol] = []
        found: list[elf.Loadable] = []
        remark = ""
        bits = 0
        start = header.entry
        if data[:4] == elf.MAGIC:
            with elf.opened(data, path, sections=False) as file:
                elf.mode_of(file, path)
                bits = file.elfclass
                symbols, remark = elf.symbols_if_readable(data, path)
                if not header.flags & ADDRESSES_VALID:
                    found = elf.loadables(file, data, path)
                    start = elf.to_physical(found, file.header["e_entry"])
        if header.flags & ADDRESSES_VALID:
            segments = [_by_addresses(header, data, path)]
        else:
            segments = elf.segments_of(found, data)
            if not segments:
                raise LoadError(f"{path} has no loadable segments")
        entry = chosen_entry(
            options, Entry(None, start), path, "prot", symbols, lambda address: elf.to_physical(found, address)
        )
        structure = _information(options.cmdline)
        registers = {"rax": LOADER_MAGIC}
        return Image(
            path, self.name, segments, "prot", entry, registers, symbols, [structure],
            remark=remark, function_bits=bits,
        )  # fmt: skip


def _by_addresses(header: Header, data: bytes, path: str) -> Segment:
    """The one segment that the header's address fields describe (section 3.1.3 of the specification)."""
    start = header.offset - (header.header_address - header.load_address)
    size = header.load_end - header.load_address if header.load_end else len(data) - start
    memory = header.bss_end - header.load_address if header.bss_end else size
    if start < 0 or header.load_address > header.header_address:
        raise LoadError(f"{path} has a multiboot header that loads from before the file's start")
    if size <= 0 or start >= len(data) or (header.bss_end and memory < size):
        raise LoadError(f"{path} has a multiboot header whose load addresses are out of order")
    if start + size > len(data):
        raise LoadError(f"{path} is truncated: its multiboot header loads to byte {start + size:#x} of {len(data):#x}")
    return Segment(header.load_address, data[start : start + size], memory, "multiboot segment")


def _information(cmdline: str) -> BootStructure:
    command = cmdline.encode("utf-8", "surrogateescape") + b"\0"
    size = INFO_SIZE + MOST_AREAS * 24 + len(LOADER_NAME) + len(command)
    return BootStructure(
        "multiboot information",
        size,
        lambda address, memory: information(address, memory, command).ljust(size, b"\0"),
        "rbx",
    )


def information(address: int, memory: int, command: bytes) -> bytes:
    """The multiboot information structure for ``address``, with what it points to behind it.

    ``memory`` is the RAM in bytes, ``command`` the command line with its NUL, given exactly as ``--cmdline`` has it.
    """
    entries = b"".join(struct.pack("<IQQI", 20, *area) for area in memory_map(memory))
    map_at = address + INFO_SIZE
    name_at = map_at + len(entries)
    command_at = name_at + len(LOADER_NAME)
    low = ram_areas(memory)[0][1]
    lower = min(low, EBDA) >> 10  # KiB; at most 640
    upper = max(low - HIGH_START, 0) >> 10  # KiB above 1 MiB, up to the first hole
    flags = INFO_MEMORY | INFO_CMDLINE | INFO_MMAP | INFO_LOADER_NAME
    fields = struct.pack(
        "<17I",
        *(flags, lower, upper),
        *(0, command_at, 0, 0),  # boot_device, cmdline, mods_count, mods_addr
        *(0, 0, 0, 0),  # syms
        *(len(entries), map_at),
        *(0, 0, 0, name_at),  # drives_length, drives_addr, config_table, boot_loader_name
    )
    return fields.ljust(INFO_SIZE, b"\0") + entries + LOADER_NAME + command
