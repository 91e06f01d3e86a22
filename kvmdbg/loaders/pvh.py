"""Kernels with a PVH entry (Linux' vmlinux, unikernels): ELF files with the note XEN_ELFNOTE_PHYS32_ENTRY.

Source: Xen's docs/misc/pvh.pandoc (the state at the entry), xen/include/public/arch-x86/hvm/start_info.h (version 1)
and xen/include/public/elfnote.h.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

from kvmdbg.errors import LoadError
from kvmdbg.loaders import elf
from kvmdbg.loaders.entry import chosen_entry
from kvmdbg.loaders.handed_over import read_initrd, read_modules, upwards
from kvmdbg.loaders.linux_cmdline import command_line, is_linux
from kvmdbg.loaders.memory_map import MOST_AREAS, memory_map
from kvmdbg.loaders.registry import loader
from kvmdbg.machine.image import BootStructure, Entry, Image, LoadOptions, Segment, Symbol

PHYS32_ENTRY = 18
OWNER = b"Xen\0"
START_MAGIC = 0x336EC578
START_SIZE = 56  # struct hvm_start_info of version 1
MODULE_SIZE = 32
MAP_ENTRY_SIZE = 24
PT_NOTE = 4


def entry_of(data: bytes) -> int | None:
    """The physical address of the PVH entry that an ELF file's notes name, or None; of damaged files, too."""
    if data[:4] != elf.MAGIC or data[4:6] not in (b"\1\1", b"\2\1") or len(data) < 64:
        return None
    wide = data[4] == 2
    start = struct.unpack_from("<Q" if wide else "<I", data, 32 if wide else 28)[0]
    size, count = struct.unpack_from("<HH", data, 54 if wide else 42)
    layout = struct.Struct("<IIQQQQQQ" if wide else "<IIIIIIII")
    if size != layout.size:
        return None
    left = len(data)  # of notes: headers that share them are no linker's work
    for number in range(count):
        at = start + number * size
        if at + size > len(data):
            return None
        fields = layout.unpack_from(data, at)
        offset, length = (fields[2], fields[5]) if wide else (fields[1], fields[4])
        if fields[0] != PT_NOTE:
            continue
        left -= length
        if left < 0:
            return None
        if (found := _entry_note(data[offset : offset + length])) is not None:
            return found
    return None


def _entry_note(notes: bytes) -> int | None:
    at = 0
    while at + 12 <= len(notes):
        name_size, size, kind = struct.unpack_from("<III", notes, at)
        name_at = at + 12
        value_at = name_at + (name_size + 3 & -4)
        if kind == PHYS32_ENTRY and notes[name_at : name_at + name_size] == OWNER and size in (4, 8):
            value = notes[value_at : value_at + size]
            return int.from_bytes(value, "little") if len(value) == size else None
        at = value_at + (size + 3 & -4)
    return None


@loader
class Pvh:
    """Started in 32-bit protected mode without paging, with the address of hvm_start_info in EBX."""

    name = "pvh"
    looks_for = "ELF note of Xen's with a PVH entry (XEN_ELFNOTE_PHYS32_ENTRY)"
    priority = 25
    takes_cmdline = True
    takes_initrd = True
    takes_modules = True

    def recognise(self, data: bytes) -> bool:
        """True for an ELF file with such a note."""
        return entry_of(data) is not None

    def load(self, data: bytes, path: str, options: LoadOptions) -> Image:
        """The segments at their physical addresses; the initrd is the first module, as Linux wants it."""
        start = entry_of(data)
        assert start is not None  # recognise() said so
        if options.mode not in (None, "prot"):
            raise LoadError(f"{path} has a PVH entry, which starts in prot mode; use --format elf for {options.mode}")
        if options.load is not None:
            raise LoadError(f"{path} is a kernel with addresses of its own; --load is for flat images")
        with elf.opened(data, path, sections=False) as file:
            elf.mode_of(file, path)
            bits = file.elfclass
            found = elf.loadables(file, data, path)
        if not found:
            raise LoadError(f"{path} has no loadable segments")
        segments = elf.segments_of(found, data)
        symbols, remark = elf.symbols_if_readable(data, path)
        linux = is_linux(data)
        cmdline, notes = command_line(options.cmdline) if linux else (options.cmdline, [])
        entry = chosen_entry(
            options, Entry(None, start), path, "prot", symbols, lambda address: elf.to_physical(found, address)
        )
        initrd, modules = read_initrd(options), read_modules(options)
        given = upwards([*([initrd] if initrd else []), *modules], max(s.end for s in segments), options.memory, path)
        words = [*([""] if initrd else []), *(one.command for one in modules)]
        structure = _start_info(cmdline, list(zip(given, words, strict=True)))
        later = None if symbols else _own_table(data)
        return Image(
            path, self.name, [*segments, *given], "prot", entry, {}, symbols, [structure],
            remark=remark, function_bits=bits, notes=notes, interrupts=linux, later_symbols=later,
        )  # fmt: skip


def _own_table(data: bytes) -> Callable[[], list[Symbol]]:
    """Finds the symbols of a Linux kernel that was stripped."""

    def find() -> list[Symbol]:
        from kvmdbg.loaders.linux_symbols import kallsyms  # searching for it takes a while

        return list(kallsyms(data))

    return find


def _start_info(cmdline: str, modules: Sequence[tuple[Segment, str]]) -> BootStructure:
    """hvm_start_info with what it points to behind it."""
    command = _text(cmdline)
    words = [_text(text) for _, text in modules]
    size = START_SIZE + MOST_AREAS * MAP_ENTRY_SIZE + len(modules) * MODULE_SIZE + len(command) + sum(map(len, words))

    def build(address: int, memory: int) -> bytes:
        areas = memory_map(memory)
        map_at = address + START_SIZE
        list_at = map_at + MOST_AREAS * MAP_ENTRY_SIZE
        command_at = list_at + len(modules) * MODULE_SIZE
        words_at = command_at + len(command)
        listed = b""
        for (segment, _), text in zip(modules, words, strict=True):
            listed += struct.pack("<QQQQ", segment.address, segment.size, words_at if len(text) > 1 else 0, 0)
            words_at += len(text)
        info = struct.pack(
            "<IIIIQQQQII",
            *(START_MAGIC, 1, 0, len(modules)),
            *(list_at if modules else 0, command_at, 0),  # no RSDP
            *(map_at, len(areas), 0),
        )
        entries = b"".join(struct.pack("<QQII", *area, 0) for area in areas)
        return info + entries.ljust(MOST_AREAS * MAP_ENTRY_SIZE, b"\0") + listed + command + b"".join(words)

    return BootStructure("PVH start information", size, build, "rbx")


def _text(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape") + b"\0"
