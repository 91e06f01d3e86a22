"""Linux kernels as they are installed (bzImage), and what is made to look like one: entered as a boot loader does.

Source: the kernel's Documentation/arch/x86/boot.rst ("The Linux/x86 Boot Protocol", version 2.15): the setup header,
the 32-bit and the 64-bit boot protocol; zero-page.rst for ``boot_params``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from kvmdbg.errors import LoadError
from kvmdbg.loaders.entry import chosen_entry
from kvmdbg.loaders.handed_over import Module, read_initrd
from kvmdbg.loaders.linux_cmdline import command_line
from kvmdbg.loaders.linux_header import HEADER, SetupHeader, is_bzimage, read_header
from kvmdbg.loaders.memory_map import memory_map
from kvmdbg.loaders.registry import loader
from kvmdbg.machine.image import BootStructure, Entry, Image, LoadOptions, Segment, Symbol
from kvmdbg.machine.layout import ram_areas

if TYPE_CHECKING:
    from pathlib import Path

LOADED_HIGH = 1 << 0  # loadflags
HIGH = 0x100000
KERNEL_64 = 1 << 0  # xloadflags: there is a 64-bit entry
ENTRY_64 = 0x200  # bytes behind where the kernel is loaded
SELECTORS = (0x10, 0x18)  # __BOOT_CS, __BOOT_DS
UNKNOWN_LOADER = 0xFF
PAGE = 0x1000
LINKED_64, LINKED_32 = 0xFFFFFFFF80000000, 0xC0000000
"""What is linked here lies at physical address 0 (__START_KERNEL_map, PAGE_OFFSET)."""
PARAGRAPH = 16  # what the size of the protected-mode part is counted in
SECTOR = 512

SETUP = 0x10000
"""Where the real-mode part lies when it is to run."""
HEAP_END = 0xE000  # of its 64 KiB; the command line is behind it
CAN_USE_HEAP = 0x80  # loadflags

ZERO_PAGE_SIZE = 0x1000
E820_ENTRIES = 0x1E8
E820_TABLE = 0x2D0
TEXT_SCREEN = struct.pack("<BBHHBBBBHHBBH", 0, 0, 0, 0, 3, 80, 0, 0, 0, 0, 25, 1, 16)
"""screen_info of a VGA in text mode: column, row, memory, page, mode, columns, flags, -, EGA, -, rows, VGA, height."""


@loader
class BzImage:
    """The protected-mode part at 1 MiB, boot_params' address in RSI; in real mode the setup part."""

    name = "bzimage"
    looks_for = '"HdrS" at byte 0x202'
    priority = 40
    takes_cmdline = True
    takes_initrd = True

    def recognise(self, data: bytes) -> bool:
        """True for the magic of the setup header."""
        return is_bzimage(data)

    def load(self, data: bytes, path: str, options: LoadOptions) -> Image:
        """The kernel, the initrd, what the protocol hands over; by the highest entry there is, or ``mode``'s."""
        header = read_header(data, path)
        body = data[header.start :]
        if len(body) <= max(header.size - PARAGRAPH, 0):
            raise LoadError(
                f"{path} is a Linux kernel cut short: {len(data):#x} bytes of {header.start + header.size:#x}"
            )
        mode = _mode(header, options.mode, path)
        if options.load is not None:
            raise LoadError(f"{path} is a Linux kernel with addresses of its own; --load is for flat images")
        address = HIGH if header.loadflags & LOADED_HIGH else header.code32_start
        kernel = Segment(address, body, name="kernel")
        cmdline, notes = command_line(options.cmdline, moves=header.payload[1] > 0)
        command = cmdline.encode("utf-8", "surrogateescape")
        if len(command) > header.cmdline_size:
            raise LoadError(f"the command line has {len(command)} bytes; {path} takes at most {header.cmdline_size}")
        end = max(kernel.end, max(address, header.preferred) + header.init_size)
        if not any(start <= address and end <= start + size for start, size in ram_areas(options.memory)):
            raise LoadError(
                f"{path} needs memory up to {end:#x} while it unpacks itself: give more --memory, as {-(-end >> 20)}M"
            )
        initrd = read_initrd(options)
        disks = [] if initrd is None else [place_initrd(initrd, header, end, options.memory, path)]
        if mode == "real":
            return self._with_bios(header, data, [kernel, *disks], disks, command, notes, options, path)
        from kvmdbg.loaders.linux_beside import vmlinux_beside

        vmlinux = None if options.symbols else vmlinux_beside(path, data)
        debug_files = [] if vmlinux is None else [str(vmlinux)]
        notes += [f"The kernel's symbols are those of {one}." for one in debug_files]
        entry = chosen_entry(options, Entry(None, address + (ENTRY_64 if mode == "long" else 0)), path, mode)
        made = _boot_params(data, disks, command)
        return Image(
            path, self.name, [kernel, *disks], mode, entry, structures=[made], selectors=SELECTORS, notes=notes,
            interrupts=True, later_segments=_unpacked_at(header, address, cmdline),
            later_symbols=_symbols(data, header, vmlinux, path), debug_files=debug_files,
            function_bits=64 if header.xloadflags & KERNEL_64 else 32,
        )  # fmt: skip

    def _with_bios(
        self,
        header: SetupHeader,
        data: bytes,
        segments: list[Segment],
        initrd: list[Segment],
        command: bytes,
        notes: list[str],
        options: LoadOptions,
        path: str,
    ) -> Image:
        """Entered at its setup part, which asks the BIOS for what it wants to know."""
        setup = bytearray(data[: header.start]).ljust(HEAP_END, b"\0") + command + b"\0"
        setup[0x210] = UNKNOWN_LOADER
        setup[0x211] |= CAN_USE_HEAP
        struct.pack_into("<H", setup, 0x224, HEAP_END - SECTOR)
        struct.pack_into("<I", setup, 0x228, SETUP + HEAP_END)
        if initrd:
            struct.pack_into("<II", setup, 0x218, initrd[0].address, initrd[0].size)
        segment = SETUP >> 4
        entry = chosen_entry(options, Entry(segment + SECTOR // 16, 0), path, "real")
        setup_segment = Segment(SETUP, bytes(setup), name="setup")
        return Image(
            path, self.name, [setup_segment, *segments], "real", entry, {"rsp": HEAP_END}, notes=notes,
            real_data=segment, interrupts=True, later_symbols=_symbols(data, header, None, path),
            later_segments=_unpacked_at(header, segments[0].address, command.decode("utf-8", "replace")),
        )  # fmt: skip


def _mode(header: SetupHeader, wanted: str | None, path: str) -> str:
    """The mode that it is entered in: the user's, or the highest that it has an entry for.

    What only looks like Linux names a 32-bit entry, and need not have one: memdisk's code there is run by its setup.
    """
    if wanted == "long" and not header.xloadflags & KERNEL_64:
        raise LoadError(f"{path} is a Linux kernel without a 64-bit entry; it starts in prot mode")
    if wanted == "prot" and not header.code32_start:
        raise LoadError(f"{path} is a Linux kernel without a 32-bit entry; it starts in real mode")
    if wanted is not None:
        return wanted
    has_kernel = header.payload[1] > 0
    return "long" if header.xloadflags & KERNEL_64 else "prot" if header.code32_start and has_kernel else "real"


def _symbols(data: bytes, header: SetupHeader, vmlinux: Path | None, path: str) -> Callable[[], list[Symbol]]:
    """Finds the kernel's symbols: in its vmlinux, in its own table, packed in the image, or in a System.map."""

    def find() -> list[Symbol]:
        from kvmdbg.loaders.linux_beside import map_beside
        from kvmdbg.loaders.linux_symbols import of_payload  # unpacking it takes a while
        from kvmdbg.loaders.symbol_reading import read_symbol_file

        if vmlinux is not None:
            return read_symbol_file(vmlinux).symbols
        offset, length = header.payload
        found = of_payload(data[header.start + offset :][:length]) if length else []
        if not found and (beside := map_beside(path, data)) is not None:
            return read_symbol_file(beside).symbols
        return found

    return find


def _unpacked_at(header: SetupHeader, address: int, cmdline: str) -> list[Segment]:
    """Where the kernel unpacks itself to, and where it is linked; nothing where it chooses that by itself."""
    if not header.init_size or "nokaslr" not in cmdline.split():
        return []
    base = LINKED_64 if header.xloadflags & KERNEL_64 else LINKED_32
    start = max(header.preferred, address)
    return [Segment(start, b"", header.init_size, "unpacked kernel", base + start)]


def place_initrd(initrd: Module, header: SetupHeader, kernel_end: int, memory: int, path: str) -> Segment:
    """As high as the kernel takes it, as boot loaders do; LoadError where there is no room behind the kernel."""
    start, size = ram_areas(memory)[0]
    top = min(start + size, header.initrd_max + 1)
    address = (top - len(initrd.data)) & -PAGE
    if address < kernel_end:
        raise LoadError(
            f"the initrd {initrd.path} ({len(initrd.data)} bytes) does not fit between the end of {path} at "
            f"{kernel_end:#x} and {top:#x}: give more --memory"
        )
    return Segment(address, initrd.data, name="initrd")


def _boot_params(data: bytes, initrd: list[Segment], command: bytes) -> BootStructure:
    """The zero page with the command line behind it."""

    def build(address: int, memory: int) -> bytes:
        return zero_page(data, address + ZERO_PAGE_SIZE, memory, initrd) + command + b"\0"

    return BootStructure("boot parameters", ZERO_PAGE_SIZE + len(command) + 1, build, "rsi", PAGE)


def zero_page(data: bytes, cmdline_at: int, memory: int, initrd: list[Segment]) -> bytes:
    """``struct boot_params`` for the kernel file ``data``; ``initrd`` has one segment or none."""
    page = bytearray(ZERO_PAGE_SIZE)
    end = 0x202 + data[0x201]
    page[HEADER:end] = data[HEADER:end]
    page[: len(TEXT_SCREEN)] = TEXT_SCREEN
    page[0x210] = UNKNOWN_LOADER
    struct.pack_into("<I", page, 0x228, cmdline_at)
    if initrd:
        struct.pack_into("<II", page, 0x218, initrd[0].address, initrd[0].size)
    areas = memory_map(memory)
    page[E820_ENTRIES] = len(areas)
    for number, area in enumerate(areas):
        struct.pack_into("<QQI", page, E820_TABLE + 20 * number, *area)
    return bytes(page)
