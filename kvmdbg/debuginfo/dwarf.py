"""The DWARF of ELF files: opened once a file, its units listed, everything else read when it is asked for.

A kernel's debug information takes minutes to read as a whole. So a unit (one compilation) is read when an address in
it, or a name that it mentions, is asked for; and the list of units of a large file is kept on disk under the file's
build-id.
"""

from __future__ import annotations

import os
import struct
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeVar

from kvmdbg.debuginfo.cache import Cache
from kvmdbg.errors import LoadError
from kvmdbg.printable import printable_name
from kvmdbg.record import record

if TYPE_CHECKING:
    from kvmdbg.debuginfo.mentions import Mentions

T = TypeVar("T")
LARGE = 4 << 20
"""Bytes of .debug_info from which on the list of units is kept on disk, and names are searched for before reading."""

ASSEMBLER = 0x8001
"""DW_LANG_Mips_Assembler, which all assemblers give."""

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done and how much there is; at its end, also by an exception, with
all of it done."""


@record
class Unit:
    """One compilation: its place in .debug_info, its source file, and the addresses of its code."""

    offset: int
    name: str
    folder: str
    ranges: tuple[tuple[int, int], ...]

    @property
    def path(self) -> str:
        """The source file."""
        return os.path.normpath(os.path.join(self.folder, self.name))


@contextmanager
def damage(path: str, what: str) -> Iterator[None]:
    """Whatever pyelftools trips over becomes a LoadError."""
    from elftools.common.exceptions import DWARFError, ELFError

    try:
        yield
    except (
        ELFError, DWARFError, KeyError, ValueError, IndexError, AttributeError, TypeError, AssertionError,
        RecursionError, UnicodeDecodeError, OverflowError, NotImplementedError, struct.error, zlib.error,
    ) as error:  # fmt: skip
        raise LoadError(f"{path}: its {what} is damaged ({type(error).__name__}: {error})") from None


PACKED_AT_MOST = 100
"""How many times larger than packed a section of more than ``MUCH`` bytes may be; debug information is 10 times."""
MUCH = 16 << 20


def check_packed(path: str, elf: Any) -> None:
    """LoadError where a section says that it unpacks to far more than any does, before memory is taken for that."""
    for section in elf.iter_sections():
        packed = section["sh_size"]
        if section.name.startswith(".zdebug_"):
            elf.stream.seek(section["sh_offset"] + 4)  # behind "ZLIB"
            size = int.from_bytes(elf.stream.read(8), "big")
        elif section.compressed:
            size = section.data_size
        elif section["sh_type"] == "SHT_NOBITS" and section.name.startswith((".debug", ".gnu_debug", ".eh_frame")):
            packed, size = 0, section["sh_size"]  # left out of the file: it reads as zeros
        else:
            continue
        if size > max(MUCH, PACKED_AT_MOST * packed):
            name = printable_name(section.name)
            raise LoadError(f"{path}: its section {name} is said to unpack to {size:,} bytes, which is too much")


class Dwarf:
    """The debug information of one file; ``info`` is pyelftools' DWARFInfo. Take ``lock`` to read from it."""

    def __init__(self, path: str, elf: Any, info: Any = None, skeleton: Unit | None = None) -> None:
        from kvmdbg.debuginfo.elf_dwarf import Info

        if info is None:
            check_packed(path, elf)
        self.path = path
        self.lock = RLock()
        self.elf = elf
        self.bits = int(elf.elfclass)
        self.info: Any = info or Info.of(elf)
        self.skeleton = skeleton
        """The unit of the program that these were split from."""
        self.shared = ""
        """The file with what this one has in common with others."""
        self.cache = Cache(path, build_id(elf) if info is None else "")
        section = self.info.debug_info_sec
        self.size = int(section.size) if section is not None else 0
        self.progress: Progress | None = None
        """Who is told how far a reading is that may take long."""
        self._units: list[Unit] | None = None
        self._starts: list[int] = []
        self._places: list[tuple[int, int, Unit]] = []
        self.kept: dict[str, Any] = {}
        """What others make of this file, by a name of theirs."""

    def split(self, path: str, sections: dict[str, bytes], unit: Unit, skeleton: Any) -> Dwarf:
        """What was split from one of these units: the sections of its file by name."""
        from kvmdbg.debuginfo.elf_dwarf import Info, section

        parts: dict[str, Any] = {name: section(name, data) for name, data in sections.items()}
        parts["debug_addr"] = self.info.debug_addr_sec
        if skeleton["version"] < 5:
            parts["debug_ranges"] = self.info.debug_ranges_sec
        return Dwarf(path, self.elf, Info(self.info.config, parts, skeleton), unit)

    @property
    def is_large(self) -> bool:
        return self.size >= LARGE

    @property
    def is_listed(self) -> bool:
        """Whether the units are known without reading through the file."""
        return self._units is not None or not self.is_large or self.cache.has("units")

    def advancing(self, what: str, items: Sequence[T]) -> Iterator[T]:
        """The items one by one, and ``progress`` told of it."""
        tell = self.progress or (lambda *facts: None)
        try:
            for number, item in enumerate(items):
                tell(f"{what} of {os.path.basename(self.path)}", number, len(items))
                yield item
        finally:
            tell(what, 1, 1)

    def units(self) -> list[Unit]:
        """All units. LoadError."""
        with self.lock:
            if self._units is None:
                self._units = (self._cached() if self.is_large else None) or self._read_units()
                places = [(start, end, unit) for unit in self._units for start, end in unit.ranges]
                self._places = sorted(places, key=lambda place: place[0])
                self._starts = [start for start, _, _ in self._places]
            return self._units

    def units_at(self, address: int) -> list[Unit]:
        """The units that the code at an address may belong to; some assemblers' tell no addresses."""
        units = self.units()
        unplaced = [] if self.is_large else [unit for unit in units if not unit.ranges]
        at = bisect_right(self._starts, address) - 1
        near = [self._places[index] for index in range(at, max(at - 4, -1), -1)]
        return [unit for start, end, unit in near if start <= address < end] + unplaced

    def die(self, unit: Unit) -> tuple[Any, Any]:
        """pyelftools' unit and its top entry."""
        found = self.info.get_CU_at(unit.offset)
        return found, found.get_top_DIE()

    def is_assembly(self, unit: Unit) -> bool:
        """Whether an assembler made it. LoadError."""
        with self.lock, damage(self.path, "debug information"):
            language = self.die(unit)[1].attributes.get("DW_AT_language")
            return language is not None and language.value == ASSEMBLER

    def producer(self, unit: Unit) -> str:
        """What made a unit, as in "GNU C17 12.2.0 -g" or "clang LLVM (rustc version 1.63.0)". LoadError."""
        with self.lock, damage(self.path, "debug information"):
            return text(self.die(unit)[1], "DW_AT_producer")

    def mentioning(self, name: str) -> list[Unit]:
        """The units that may have something of this name: those where it stands, and those that refer to others.

        Of a large file the latter are left out, though they may have copies of it.
        """
        units = self.units()
        if self.info.supplementary_dwarfinfo is not None:
            return units
        with self.lock, damage(self.path, "debug information"):
            found = self.mentions.units(name.encode(), [unit.offset for unit in units])
            if found and not self.is_large:
                found |= self.mentions.referring([unit.offset for unit in units])
        return [unit for unit in units if unit.offset in found]

    @cached_property
    def mentions(self) -> Mentions:
        from kvmdbg.debuginfo.mentions import Mentions

        return Mentions(self.info)

    # --- the list of units -------------------------------------------------------------------------

    def _read_units(self) -> list[Unit]:
        found = []
        with damage(self.path, "debug information"):
            for unit in self.advancing("Reading the debug information", list(self.info.iter_CUs())):
                top = unit.get_top_DIE()
                ranges = (
                    self.skeleton.ranges if self.skeleton is not None else tuple(extent(self, top, base_of(self, top)))
                )
                folder = text(top, "DW_AT_comp_dir") or (self.skeleton.folder if self.skeleton is not None else "")
                found.append(Unit(unit.cu_offset, text(top, "DW_AT_name"), folder, ranges))
        if self.is_large:
            self._cache_units(found)
        return found

    def _cached(self) -> list[Unit] | None:
        """The list kept on disk; None where there is none."""
        import json

        kept = self.cache.read("units")
        if kept is None:
            return None
        return [
            Unit(offset, name, folder, tuple((start, end) for start, end in ranges))
            for offset, name, folder, ranges in json.loads(kept)
        ]

    def _cache_units(self, units: list[Unit]) -> None:
        import json

        rows = [(one.offset, one.name, one.folder, one.ranges) for one in units]
        self.cache.write("units", json.dumps(rows).encode())


def text(die: Any, name: str) -> str:
    """A string attribute, "" where there is none."""
    found = die.attributes.get(name)
    if found is None:
        return ""
    value = die.dwarfinfo.string_at(found.value) if found.form == "DW_FORM_GNU_str_index" else found.value
    return printable_name(str(value, "utf-8", "replace")) if isinstance(value, bytes) else ""


def address(die: Any, name: str) -> int | None:
    """An attribute that is an address, None where there is none."""
    found = die.attributes.get(name)
    if found is None:
        return None
    if found.form == "DW_FORM_GNU_addr_index":
        return int(die.dwarfinfo.get_addr(die.cu, found.value))
    return int(found.value)


def place_of(dwarf: Dwarf, die: Any) -> int:
    """Where an entry stands in .debug_info; one that is in .debug_types or in a supplementary file is beyond it."""
    place = int(die.offset)
    if die.dwarfinfo is not dwarf.info:
        place += 1 << 48
    return place + (1 << 49) if hasattr(die.cu, "tu_offset") else place


def base_of(dwarf: Dwarf, top: Any) -> int:
    """What the addresses of a unit's range and location lists are counted from."""
    found = address(top, "DW_AT_low_pc")
    if found is None and dwarf.skeleton is not None:
        found = address(dwarf.info.skeleton.get_top_DIE(), "DW_AT_low_pc")
    return found or 0


def extent(dwarf: Dwarf, die: Any, base: int) -> list[tuple[int, int]]:
    """The addresses of an entry's code: (first, end) of each range."""
    low, high = address(die, "DW_AT_low_pc"), die.attributes.get("DW_AT_high_pc")
    if low is not None and high is not None:
        end = address(die, "DW_AT_high_pc") if "addr" in high.form else low + high.value
        return [(low, int(end or 0))]
    ranges = die.attributes.get("DW_AT_ranges")
    lists = dwarf.info.range_lists() if ranges is not None else None
    if lists is None:
        return []
    found = []
    entry: Any
    for entry in lists.get_range_list_at_offset(ranges.value + _ranges_base(dwarf, die), die.cu):
        if hasattr(entry, "base_address"):
            base = entry.base_address
        elif hasattr(entry, "begin_offset"):
            start = 0 if getattr(entry, "is_absolute", False) else base
            found.append((start + entry.begin_offset, start + entry.end_offset))
    return found


def _ranges_base(dwarf: Dwarf, die: Any) -> int:
    """What is added to the place of a range list of a unit that was split before DWARF 5."""
    if dwarf.skeleton is None or die.cu["version"] >= 5:
        return 0
    found = dwarf.info.skeleton.get_top_DIE().attributes.get("DW_AT_GNU_ranges_base")
    return int(found.value) if found is not None else 0


def build_id(elf: Any) -> str:
    """The build-id of an ELF file, "" where it has none."""
    with suppress(Exception):
        section = elf.get_section_by_name(".note.gnu.build-id")
        for note in section.iter_notes() if section is not None else ():
            if note["n_type"] == "NT_GNU_BUILD_ID":
                return str(note["n_desc"])
    return ""


def open_dwarf(path: str) -> Dwarf | None:
    """The debug information in a file itself; None for a file without. LoadError. See also ``linked``."""
    from kvmdbg.debuginfo.linked import linked

    found = linked(path).parts
    return found[0] if found else None
