"""In which units of a file's DWARF a name stands, found in the bytes of its sections: no entry is read for it.

Source: DWARF 5, sections 7.5.1 (unit headers), 7.5.3 (abbreviations), 7.5.5 and 7.5.6 (forms), 7.26 (string offsets).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from functools import cached_property
from typing import Any

REFERRING = frozenset((0x10, 0x20, 0x1F20))
"""DW_FORM_ref_addr, DW_FORM_ref_sig8, DW_FORM_GNU_ref_alt: entries of other units, which have their names there."""
IMPLICIT_CONST = 0x21
MOST_PLACES = 64
"""So many places of a name among the strings are looked for in the units."""


class Mentions:
    """Those of pyelftools' DWARFInfo."""

    def __init__(self, info: Any) -> None:
        self._info = info
        self._bytes: bytes = info.debug_info_sec.stream.getvalue()
        self._known_bases: list[int | None] = []

    def units(self, name: bytes, offsets: list[int]) -> set[int]:
        """At which of these offsets, in order, units begin where a name stands, alone or with arguments."""
        places = [*self._places(name + b"\0"), *self._places(name + b"<")]
        wanted = [name + b"\0", name + b"<", *(place.to_bytes(4, "little") for place in places)]
        pattern = re.compile(b"|".join(map(re.escape, wanted)))
        at = {bisect_right(offsets, one.start()) - 1 for one in pattern.finditer(self._bytes)}
        found = {offsets[index] for index in at if index >= 0}
        return found | self._by_index(places, offsets) if places else found

    def _places(self, text: bytes) -> list[int]:
        """Where it stands in .debug_str, also at the end of longer strings."""
        section = self._info.debug_str_sec
        found: list[int] = []
        data = section.stream.getvalue() if section is not None else b""
        at = data.find(text)
        while at >= 0 and len(found) < MOST_PLACES:
            found.append(at)
            at = data.find(text, at + 1)
        return found

    def _by_index(self, places: list[int], offsets: list[int]) -> set[int]:
        """Those of the units that number their strings, and have one of these places among them."""
        section = self._info.debug_str_offsets_sec
        if section is None:
            return set()
        if all(base is None for base in self._bases(offsets)):
            return set(offsets)
        pattern = re.compile(b"|".join(re.escape(place.to_bytes(4, "little")) for place in places))
        bases = sorted({base for base in self._bases(offsets) if base is not None})
        at = {bisect_right(bases, one.start()) - 1 for one in pattern.finditer(section.stream.getvalue())}
        used = {bases[index] for index in at if index >= 0}
        return {offset for offset, base in zip(offsets, self._bases(offsets), strict=True) if base in used}

    def _bases(self, offsets: list[int]) -> list[int | None]:
        """Where the strings of each unit begin in .debug_str_offsets; None: it has no numbers, or its file one list."""
        if len(self._known_bases) != len(offsets):
            tops = (self._info.get_CU_at(offset).get_top_DIE() for offset in offsets)
            found = [one.attributes.get("DW_AT_str_offsets_base") for one in tops]
            self._known_bases = [None if one is None else int(one.value) for one in found]
        return self._known_bases

    def referring(self, offsets: list[int]) -> set[int]:
        """At which of these offsets units begin that may take names from other units."""
        return {offset for offset in offsets if self._abbreviations(offset) in self._referring_tables}

    def _abbreviations(self, offset: int) -> int:
        """Where the abbreviations of a unit are."""
        data = self._bytes
        wide = data[offset : offset + 4] == b"\xff\xff\xff\xff"
        at, size = offset + (12 if wide else 4), 8 if wide else 4
        version = int.from_bytes(data[at : at + 2], "little")
        at += 4 if version >= 5 else 2
        return int.from_bytes(data[at : at + size], "little")

    @cached_property
    def _referring_tables(self) -> set[int]:
        """The tables of abbreviations with one of the forms that refer to other units."""
        data = self._info.debug_abbrev_sec.stream.getvalue()
        found: set[int] = set()
        at = 0
        while at < len(data):
            start, has = at, False
            while at < len(data):
                code, at = _uleb(data, at)
                if not code:
                    break
                _, at = _uleb(data, at)
                at += 1  # whether it has children
                name = form = 1
                while name or form:
                    name, at = _uleb(data, at)
                    form, at = _uleb(data, at)
                    has = has or form in REFERRING
                    if form == IMPLICIT_CONST:
                        _, at = _uleb(data, at)
            if has:
                found.add(start)
        return found


def _uleb(data: bytes, at: int) -> tuple[int, int]:
    """A number of variable length, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
