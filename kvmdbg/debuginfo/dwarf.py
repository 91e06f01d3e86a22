"""The DWARF of ELF files: opened once a file, its units listed, everything else read when it is asked for.

A kernel's debug information takes minutes to read as a whole. So a unit (one compilation) is read when an address in
it, or a name that it mentions, is asked for; and the list of units of a large file is kept on disk under the file's
build-id.
"""

from __future__ import annotations

import os
import re
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import RLock
from typing import Any, TypeVar

from kvmdbg.debuginfo.cache import Cache
from kvmdbg.errors import LoadError
from kvmdbg.printable import printable_name
from kvmdbg.record import record

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
        RecursionError, UnicodeDecodeError, OverflowError, struct.error,
    ) as error:  # fmt: skip
        raise LoadError(f"{path}: its {what} is damaged ({type(error).__name__}: {error})") from None


class Dwarf:
    """The debug information of one file; ``info`` is pyelftools' DWARFInfo. Take ``lock`` to read from it."""

    def __init__(self, path: str, elf: Any) -> None:
        self.path = path
        self.lock = RLock()
        self.bits = int(elf.elfclass)
        self.info = elf.get_dwarf_info()
        self.cache = Cache(path, _build_id(elf))
        section = self.info.debug_info_sec
        self.size = int(section.size) if section is not None else 0
        self.progress: Progress | None = None
        """Who is told how far a reading is that may take long."""
        self._units: list[Unit] | None = None
        self._starts: list[int] = []
        self._places: list[tuple[int, int, Unit]] = []
        self.kept: dict[str, Any] = {}
        """What others make of this file, by a name of theirs."""

    @property
    def is_large(self) -> bool:
        return self.size >= LARGE

    @property
    def is_listed(self) -> bool:
        """Whether the units are known without reading through the file."""
        return self._units is not None or not self.is_large or self.cache.file("units").exists()

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

    def mentioning(self, name: str) -> list[Unit]:
        """The units that may have something of this name. In a large file only those where the name stands."""
        units = self.units()
        if not self.is_large or self.info.debug_str_offsets_sec is not None:
            return units
        offsets = [unit.offset for unit in units]
        data = self.info.debug_info_sec.stream.getvalue()
        wanted = [re.escape(name.encode() + b"\0")]
        strings = self.info.debug_str_sec
        if strings is not None:
            text = strings.stream.getvalue()
            at = text.find(wanted_bytes := name.encode() + b"\0")
            while at >= 0 and len(wanted) < 64:
                wanted.append(re.escape(at.to_bytes(4, "little")))
                at = text.find(wanted_bytes, at + 1)
        found = {bisect_right(offsets, one.start()) - 1 for one in re.finditer(b"|".join(wanted), data)}
        return [units[index] for index in sorted(found) if index >= 0]

    # --- the list of units -------------------------------------------------------------------------

    def _read_units(self) -> list[Unit]:
        found = []
        with damage(self.path, "debug information"):
            for unit in self.advancing("Reading the debug information", list(self.info.iter_CUs())):
                top = unit.get_top_DIE()
                base = top.attributes.get("DW_AT_low_pc")
                ranges = tuple(extent(self, top, int(base.value) if base is not None else 0))
                found.append(Unit(unit.cu_offset, text(top, "DW_AT_name"), text(top, "DW_AT_comp_dir"), ranges))
        if self.is_large:
            self._keep(found)
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

    def _keep(self, units: list[Unit]) -> None:
        import json

        rows = [(one.offset, one.name, one.folder, one.ranges) for one in units]
        self.cache.write("units", json.dumps(rows).encode())


def text(die: Any, name: str) -> str:
    """A string attribute, "" where there is none."""
    found = die.attributes.get(name)
    if found is None or not isinstance(found.value, bytes):
        return ""
    return printable_name(str(found.value, "utf-8", "replace"))


def extent(dwarf: Dwarf, die: Any, base: int) -> list[tuple[int, int]]:
    """The addresses of an entry's code: (first, end) of each range."""
    low, high = die.attributes.get("DW_AT_low_pc"), die.attributes.get("DW_AT_high_pc")
    if low is not None and high is not None:
        end = high.value if high.form == "DW_FORM_addr" else low.value + high.value
        return [(int(low.value), int(end))]
    ranges = die.attributes.get("DW_AT_ranges")
    lists = dwarf.info.range_lists() if ranges is not None else None
    if lists is None:
        return []
    found = []
    entry: Any
    for entry in lists.get_range_list_at_offset(ranges.value, die.cu):
        if hasattr(entry, "base_address"):
            base = entry.base_address
        elif hasattr(entry, "begin_offset"):
            start = 0 if getattr(entry, "is_absolute", False) else base
            found.append((start + entry.begin_offset, start + entry.end_offset))
    return found


def _build_id(elf: Any) -> str:
    with suppress(Exception):
        section = elf.get_section_by_name(".note.gnu.build-id")
        for note in section.iter_notes() if section is not None else ():
            if note["n_type"] == "NT_GNU_BUILD_ID":
                return str(note["n_desc"])
    return ""


_OPENED: dict[str, tuple[tuple[int, int], Dwarf | None]] = {}


def open_dwarf(path: str) -> Dwarf | None:
    """The debug information of a file, opened anew when the file has changed; None for a file without. LoadError."""
    try:
        state = os.stat(path)
        stamp = (state.st_mtime_ns, state.st_size)
        known = _OPENED.get(path)
        if known is not None and known[0] == stamp:
            return known[1]
        made: Dwarf | None = None
        with open(path, "rb") as file:
            if file.read(4) == b"\x7fELF":
                from elftools.elf.elffile import ELFFile

                with damage(path, "debug information"):
                    elf = ELFFile(file)
                    made = Dwarf(path, elf) if elf.has_dwarf_info() else None
    except OSError as error:
        raise LoadError(f"cannot read {path}: {error.strerror}") from None
    _OPENED[path] = (stamp, made)
    return made
