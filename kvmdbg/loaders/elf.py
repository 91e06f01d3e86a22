"""ELF executables: their loadable segments, entry and symbols, for a guest with no operating system below it.

Source: System V gABI, chapters 4 (object files, symbol table) and 5 (program header); i386 and x86-64 psABI for the
machine numbers. pyelftools reads the headers; the symbol table is unpacked here, since kernels have 100,000s of them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import islice
from typing import TYPE_CHECKING, Any

from kvmdbg.errors import LoadError
from kvmdbg.loaders.entry import chosen_entry
from kvmdbg.loaders.registry import loader
from kvmdbg.loaders.symbol_files import SymbolFile, symbol_reader
from kvmdbg.machine.image import Entry, Image, LoadOptions, Segment, Symbol
from kvmdbg.masks import LOW64
from kvmdbg.printable import printable_name
from kvmdbg.record import record

if TYPE_CHECKING:
    from elftools.elf.elffile import ELFFile

MAGIC = b"\x7fELF"
DEFAULT_BIAS = 0x100000  # where a position-independent image goes: 1 MiB
MODE_OF = {("EM_386", 32): "prot", ("EM_X86_64", 64): "long", ("EM_X86_64", 32): "long"}
MOST_PROGRAM_HEADERS = 0x10000 * 56
MOST_LIBRARIES, LONGEST_NAME = 50, 100  # that a sentence tells
HEADER_SIZES = {32: (52, 32, 40), 64: (64, 56, 64)}  # Ehdr, Phdr, Shdr

SHT_SYMTAB, SHT_STRTAB, SHT_DYNSYM = 2, 3, 11
SHN_UNDEF = 0
SHN_ABS = 0xFFF1
SHN_COMMON = 0xFFF2
KIND_OF = {0: "notype", 1: "object", 2: "function", 10: "function"}  # STT_*; 10 is STT_GNU_IFUNC
BINDING_OF = {0: "local", 1: "global", 2: "weak", 10: "global"}  # STB_*; 10 is STB_GNU_UNIQUE


@record
class Loadable:
    """A PT_LOAD program header: linked at ``virtual``, loaded at ``physical``."""

    virtual: int
    physical: int
    offset: int
    file_size: int
    memory_size: int


@record
class _Section:
    """A section header, as far as it matters here."""

    kind: int
    address: int
    offset: int
    size: int
    link: int


@contextmanager
def opened(data: bytes, path: str, *, sections: bool = True) -> Iterator[ELFFile]:
    """The ELF file in ``data`` with its two header tables checked to lie within it.

    Without ``sections`` the section headers are not looked at: a program is loaded by its program headers alone.
    Whatever pyelftools trips over inside the block becomes a LoadError that names ``path``.
    """
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    if data[:4] != MAGIC:
        raise LoadError(f"{path} is not an ELF file")
    try:
        file = ELFFile(BytesIO(data if sections else _without_sections(data)))
        _check_tables(file, len(data), path)
        yield file
    except LoadError:
        raise
    except ELFError as error:
        raise LoadError(f"{path} is a truncated or damaged ELF file: {error or 'unreadable header'}") from None
    except Exception as error:  # pyelftools lets what damaged headers provoke through as it comes
        raise LoadError(f"{path} is a damaged ELF file: {type(error).__name__}: {error}") from None


def _without_sections(data: bytes) -> bytes:
    """The start of the file, as far as the program headers, with a header that tells of no sections."""
    wide = data[4:5] == b"\2"
    program_field, shoff, width, phnum, shnum = (32, 40, 8, 56, 60) if wide else (28, 32, 4, 44, 48)
    programs = int.from_bytes(data[program_field : program_field + width], "little")
    if data[phnum : phnum + 2] == b"\xff\xff":  # PN_XNUM: section 0 has the number
        return data
    head = bytearray(data[: programs + MOST_PROGRAM_HEADERS])
    if len(head) >= HEADER_SIZES[64 if wide else 32][0]:
        head[shoff : shoff + width] = bytes(width)
        head[shnum : shnum + 4] = bytes(4)  # and e_shstrndx
    return bytes(head)


def _check_tables(file: ELFFile, size: int, path: str) -> None:
    if not file.little_endian:
        raise LoadError(f"{path} is an ELF file for a big-endian machine, not for x86")
    header, program, section = HEADER_SIZES[file.elfclass]
    if size < header:
        raise LoadError(f"{path} is a truncated ELF file: {size} bytes, shorter than its header")
    tables = (
        ("program", "e_phoff", "e_phentsize", program, file.num_segments),
        ("section", "e_shoff", "e_shentsize", section, file.num_sections),
    )
    for name, offset_field, entry_field, entry_size, count in tables:
        offset = file.header[offset_field]
        if offset == 0 or (number := count()) == 0:
            continue
        if file.header[entry_field] != entry_size:
            raise LoadError(f"{path} is a damaged ELF file: its {name} headers are not {entry_size} bytes each")
        if offset + number * entry_size > size:
            raise LoadError(f"{path} is a truncated ELF file: its {name} headers end after the file does")


def mode_of(file: ELFFile, path: str) -> str:
    """The mode that the file is made for: "prot" for i386, "long" for x86-64; LoadError for another machine."""
    machine = file.header["e_machine"]
    mode = MODE_OF.get((machine, file.elfclass))
    if mode is None:
        name = machine.removeprefix("EM_") if isinstance(machine, str) else f"number {machine}"
        raise LoadError(f"{path} is a {file.elfclass}-bit ELF file for the machine {name}, not for x86")
    return mode


def loadables(file: ELFFile, data: bytes, path: str) -> list[Loadable]:
    """The PT_LOAD headers that occupy memory, checked against the file's size.

    Where no header has a physical address the virtual ones are taken (linkers that leave p_paddr 0).
    """
    found: list[Loadable] = []
    if not file.header["e_phoff"]:
        return found
    for number, segment in enumerate(file.iter_segments("PT_LOAD")):
        if not segment["p_memsz"]:
            continue
        one = Loadable(
            segment["p_vaddr"], segment["p_paddr"], segment["p_offset"], segment["p_filesz"], segment["p_memsz"]
        )
        if one.file_size > one.memory_size:
            raise LoadError(f"{path} is a damaged ELF file: segment {number} is larger in the file than in memory")
        if one.offset + one.file_size > len(data):
            end = one.offset + one.file_size
            raise LoadError(f"{path} is truncated: segment {number} ends at byte {end:#x} of {len(data):#x}")
        found.append(one)
    if sum(one.file_size for one in found) > 2 * len(data):
        raise LoadError(f"{path} is a damaged ELF file: its segments share most of their bytes")
    if not any(one.physical for one in found):
        found = [Loadable(s.virtual, s.virtual, s.offset, s.file_size, s.memory_size) for s in found]
    return found


def to_physical(found: list[Loadable], address: int) -> int:
    """Where the byte linked at ``address`` is loaded; ``address`` itself when no segment is linked there."""
    for one in found:
        if one.virtual <= address < one.virtual + one.memory_size:
            return address - one.virtual + one.physical
    return address


def read_symbols(file: ELFFile, data: bytes, path: str, base: int = 0) -> list[Symbol]:
    """The symbols of .symtab, or of .dynsym where the file is stripped, ``base`` added to each address.

    Left out: undefined ones, sections, source files, thread-local ones. LoadError for a table outside the file.
    """
    sections = _sections(file, data)
    ends = [one.address + one.size for one in sections]
    for wanted in (SHT_SYMTAB, SHT_DYNSYM):
        for one in sections:
            if one.kind == wanted and one.link < len(sections) and sections[one.link].kind == SHT_STRTAB:
                table, names = _contents(data, one, path), _contents(data, sections[one.link], path)
                return list(_unpack(table, names, file.elfclass, ends, base, path))
    return []


def symbols_if_readable(data: bytes, path: str, base: int = 0) -> tuple[list[Symbol], str]:
    """The symbols of a program that is to be loaded, and a remark: none, where odd section headers tell of none."""
    try:
        with opened(data, path) as file:
            return read_symbols(file, data, path, base), ""
    except LoadError as error:
        return [], f"{error}; it is loaded without its symbols"


def _libraries(data: bytes, path: str) -> str:
    """The shared libraries that a program needs, which nobody gives it here; of a damaged list none."""
    try:
        with opened(data, path, sections=False) as file:
            dynamic: Any = next(file.iter_segments("PT_DYNAMIC"), None)
            tags = dynamic.iter_tags("DT_NEEDED") if dynamic is not None else ()
            found = [one.needed[:LONGEST_NAME] for one in islice(tags, MOST_LIBRARIES)]
    except LoadError:
        return ""
    return ", ".join(printable_name(one) for one in found)


def _sections(file: ELFFile, data: bytes) -> list[_Section]:
    """The section headers, unpacked here: pyelftools refuses a file for one that nobody needs."""
    start = file.header["e_shoff"]
    if not start:
        return []
    layout = struct.Struct("<10I" if file.elfclass == 32 else "<IIQQQQIIQQ")
    rows = layout.iter_unpack(data[start : start + layout.size * file.num_sections()])
    return [_Section(kind, address, at, size, link) for _, kind, _, address, at, size, link, _, _, _ in rows]


def _contents(data: bytes, section: _Section, path: str) -> bytes:
    if section.offset + section.size > len(data):
        raise LoadError(f"{path} is a truncated ELF file: its symbols end after the file does")
    return data[section.offset : section.offset + section.size]


_PLAIN = bytes(range(0x20, 0x7F)) + b"\0"
"""What names consist of that can be shown as they are."""


def _unpack(table: bytes, names: bytes, bits: int, ends: list[int], base: int, path: str) -> Iterator[Symbol]:
    layout = struct.Struct("<IIIBBH" if bits == 32 else "<IBBHQQ")
    budget = 16 * len(names) + 0x10000  # linkers share the tails of names; more than this is no linker's work
    plain = names.decode("ascii") if not names.translate(None, _PLAIN) else ""
    for fields in layout.iter_unpack(table[: len(table) - len(table) % layout.size]):
        if bits == 32:
            at, value, size, info, _, section = fields
        else:
            at, info, _, section, value, size = fields
        kind = KIND_OF.get(info & 15)
        if not at or kind is None or section in (SHN_UNDEF, SHN_COMMON):
            continue
        end = names.find(b"\0", at)
        if end <= at:
            continue
        budget -= end - at
        if budget < 0:
            raise LoadError(f"{path} is a damaged ELF file: its symbols' names share most of their bytes")
        binding = BINDING_OF.get(info >> 4, "local")
        name = plain[at:end] if plain else printable_name(names[at:end].decode("utf-8", "replace"))
        if section == SHN_ABS:
            yield Symbol(name, value, size, "absolute", binding)
        else:
            limit = (ends[section] + base) & LOW64 if section < len(ends) else 0
            yield Symbol(name, (value + base) & LOW64, size, kind, binding, limit)


@loader
class Elf:
    """Segments at their physical addresses; ELF32 starts in flat protected mode, ELF64 in long mode.

    A position-independent image goes to ``--load``, or to 1 MiB.
    """

    name = "elf"
    looks_for = '"\\x7fELF" at its start'
    priority = 20
    takes_cmdline = False

    def recognise(self, data: bytes) -> bool:
        """True for the ELF magic."""
        return data[:4] == MAGIC

    def load(self, data: bytes, path: str, options: LoadOptions) -> Image:
        """The segments, the entry as loaded, and the symbols as linked."""
        with opened(data, path, sections=False) as file:
            native = mode_of(file, path)
            mode = options.mode or native
            found = loadables(file, data, path)
            if not found:
                why = " (an object file: link it first)" if file.header["e_type"] == "ET_REL" else ""
                raise LoadError(f"{path} has no loadable segments{why}")
            bias = 0
            if file.header["e_type"] == "ET_DYN":
                bias = DEFAULT_BIAS if options.load is None else options.load
            elif options.load is not None:
                raise LoadError(f"{path} is linked for fixed addresses; --load is for flat images")
            symbols, remark = symbols_if_readable(data, path, bias)
            if needed := _libraries(data, path):
                remark = f"{path} is a program for an operating system: it needs {needed}; it is loaded all the same"
            default = Entry(None, to_physical(found, file.header["e_entry"]) + bias)
        segments = segments_of(found, data, bias)
        entry = chosen_entry(options, default, path, mode, symbols, lambda at: to_physical(found, at - bias) + bias)
        return Image(
            path, self.name, segments, mode, entry,
            symbols=symbols, bias=bias, remark=remark, function_bits=file.elfclass,
        )  # fmt: skip


def segments_of(found: list[Loadable], data: bytes, bias: int = 0) -> list[Segment]:
    """The memory that the program headers describe, ``bias`` added to each address."""
    made = []
    for number, one in enumerate(found):
        content = data[one.offset : one.offset + one.file_size]
        made.append(
            Segment(one.physical + bias, content, one.memory_size, f"LOAD segment {number}", one.virtual + bias)
        )
    return made


@symbol_reader
class ElfSymbols:
    """The symbols of an ELF file of any machine; its lines are DWARF's, which are read when they are asked for."""

    name = "an ELF file"

    def recognise(self, data: bytes) -> bool:
        """True for the ELF magic."""
        return data[:4] == MAGIC

    def read(self, data: bytes, path: str, base: int) -> SymbolFile:
        """The symbols, as ``read_symbols`` has them."""
        with opened(data, path) as file:
            return SymbolFile(read_symbols(file, data, path, base))
