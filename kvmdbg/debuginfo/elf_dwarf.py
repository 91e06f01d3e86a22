"""pyelftools' DWARFInfo with what it lacks: type units of DWARF 5, split units, line programs of another format.

Source: DWARF 5, sections 7.3.2 (split units), 7.3.5 (package files), 7.5.1 (unit headers), 7.26 (string offsets).
"""

from __future__ import annotations

import zlib
from io import BytesIO
from typing import Any

from elftools.dwarf.compileunit import CompileUnit
from elftools.dwarf.die import AttributeValue
from elftools.dwarf.dwarfinfo import DebugSectionDescriptor, DwarfConfig, DWARFInfo
from elftools.dwarf.structs import DWARFStructs

SECTIONS = (
    "debug_info", "debug_aranges", "debug_abbrev", "debug_frame", "debug_str", "debug_loc", "debug_ranges",
    "debug_line", "debug_pubtypes", "debug_pubnames", "debug_addr", "debug_str_offsets", "debug_line_str",
    "debug_loclists", "debug_rnglists", "debug_sup", "debug_types",
)  # fmt: skip
GNU_INDEXED = ("DW_FORM_GNU_addr_index", "DW_FORM_GNU_str_index")
"""How split units of gcc before DWARF 5 refer to addresses and strings."""


class Info(DWARFInfo):
    """``skeleton`` is the unit that stands for these in the program, where these are split from it."""

    def __init__(self, config: Any, sections: dict[str, Any], skeleton: CompileUnit | None = None) -> None:
        super().__init__(
            config,
            **{f"{name}_sec": sections.get(name) for name in SECTIONS},
            eh_frame_sec=sections.get("eh_frame"),
            gnu_debugaltlink_sec=sections.get("gnu_debugaltlink"),
        )
        self.skeleton = skeleton
        self._signed: dict[int, Any] | None = None
        self.altlink_name: str = ""

    @classmethod
    def of(cls, elf: Any) -> Info:
        """That of a file; where sections are packed in the older way (.zdebug_*), others may be there as they are."""
        names = (*SECTIONS, "eh_frame", "gnu_debugaltlink")
        if any(one.name.startswith(".zdebug_") for one in elf.iter_sections()):
            config = DwarfConfig(elf.little_endian, elf.get_machine_arch(), elf.elfclass // 8)
            return cls(config, {name: _packed_or_not(elf, name) for name in names})
        plain = elf.get_dwarf_info()
        return cls(plain.config, {name: getattr(plain, f"{name}_sec") for name in names})

    def get_DIE_by_sig8(self, sig8: int) -> Any:
        """Type units are in .debug_types up to DWARF 4, in .debug_info since."""
        if self._signed is None:
            kinds = ("DW_UT_type", "DW_UT_split_type")
            units = [cu for cu in self.iter_CUs() if cu.header.get("unit_type") in kinds]
            self._signed = {cu.header.type_signature: cu for cu in units}
        unit = self._signed.get(sig8)
        if unit is None:
            return super().get_DIE_by_sig8(sig8)
        return unit.get_DIE_from_refaddr(unit.cu_offset + unit.header.type_offset)

    def get_addr(self, cu: Any, addr_index: int) -> int:
        if self.skeleton is None or self.debug_addr_sec is None:
            return super().get_addr(cu, addr_index)
        top = self.skeleton.get_top_DIE().attributes
        base = top.get("DW_AT_addr_base") or top.get("DW_AT_GNU_addr_base")
        at = (base.value if base is not None else 0) + addr_index * cu.header.address_size
        data = self.debug_addr_sec.stream.getvalue()[at : at + cu.header.address_size]  # type: ignore[attr-defined]
        return int.from_bytes(data, "little")

    def string_at(self, index: int) -> bytes:
        """A string by its index in the offsets of a unit that was split before DWARF 5."""
        offsets = self.debug_str_offsets_sec
        assert offsets is not None
        data = offsets.stream.getvalue()[4 * index : 4 * index + 4]  # type: ignore[attr-defined]
        return self.get_string_from_table(int.from_bytes(data, "little")) or b""

    def _parse_line_program_at_offset(self, offset: int, structs: Any) -> Any:
        """A line program tells its own format: assemblers write 32-bit ones beside units of 64."""
        assert self.debug_line_sec is not None
        first = self.debug_line_sec.stream.getvalue()[offset : offset + 4]  # type: ignore[attr-defined]
        wanted = 64 if first == b"\xff\xff\xff\xff" else 32
        if structs.dwarf_format != wanted:
            structs = DWARFStructs(
                little_endian=True, dwarf_format=wanted, address_size=structs.address_size,
                dwarf_version=structs.dwarf_version,
            )  # fmt: skip
        return super()._parse_line_program_at_offset(offset, structs)

    def _parse_CU_at_offset(self, offset: int) -> CompileUnit:
        cu = super()._parse_CU_at_offset(offset)
        for form in GNU_INDEXED:
            cu.structs.Dwarf_dw_form.setdefault(form, cu.structs.the_Dwarf_uleb128)
        if self.skeleton is None:
            return cu
        return SplitUnit(cu.header, self, cu.structs, cu.cu_offset, cu.cu_die_offset)


class SplitUnit(CompileUnit):
    """A unit whose bases are those of its sections' first tables, and whose addresses are its skeleton's."""

    def get_top_DIE(self) -> Any:
        if not self._diemap:
            wide = self.structs.dwarf_format == 64
            bases = {"str_offsets": 16 if wide else 8, "rnglists": 20 if wide else 12, "loclists": 20 if wide else 12}
            _ = self._abbrev_table
            top = _TopEntry.read(self)
            if self["version"] >= 5:
                for name, value in bases.items():
                    top.attributes.setdefault(f"DW_AT_{name}_base", attribute(f"DW_AT_{name}_base", value))
            self._dielist.insert(0, top)
            self._diemap.insert(0, self.cu_die_offset)
            top._translate_indirect_attributes()
        return self._dielist[0]


class _TopEntry:
    @staticmethod
    def read(cu: CompileUnit) -> Any:
        from elftools.dwarf.die import DIE

        assert cu.dwarfinfo.debug_info_sec is not None
        return DIE(cu=cu, stream=cu.dwarfinfo.debug_info_sec.stream, offset=cu.cu_die_offset)


def attribute(name: str, value: int) -> AttributeValue:
    """An attribute that is not in the file."""
    return AttributeValue(name, "DW_FORM_sec_offset", value, value, 0, 0)


def section(name: str, data: bytes) -> DebugSectionDescriptor:
    """Data as pyelftools wants it."""
    return DebugSectionDescriptor(BytesIO(data), name, 0, len(data), 0)


def _packed_or_not(elf: Any, name: str) -> DebugSectionDescriptor | None:
    """A section; it unpacks to no more bytes than it says. ValueError where it has fewer."""
    found, packed = (elf.get_section_by_name(f".{z}{name}") for z in ("", "z"))
    if found is not None:
        return section(name, found.data())._replace(address=found["sh_addr"])
    if packed is None:
        return None
    data = packed.data()
    size = int.from_bytes(data[4:12], "big")
    unpacked = zlib.decompressobj().decompress(data[12:], size) if size else b""
    if data[:4] != b"ZLIB" or len(unpacked) < size:
        raise ValueError(f".z{name} does not unpack to {size} bytes")
    return section(name, unpacked)


def split_sections(elf: Any) -> dict[str, bytes]:
    """The data of the sections of a split file: .debug_info.dwo as "debug_info", and so on."""
    found: dict[str, bytes] = {}
    for one in elf.iter_sections():
        if one.name.startswith(".debug_") and one.name.endswith(".dwo"):
            name = one.name.removeprefix(".").removesuffix(".dwo")
            found[name] = found.get(name, b"") + one.data()  # type units are in sections of their own
    return found


def split_locations(cu: Any, offset: int) -> list[tuple[int, int, bytes]]:
    """A location list of a unit that was split before DWARF 5: start, end and expression of each place.

    Source: "DWARF Extensions for separate debug information files" (GCC wiki, DebugFission), "Location lists".
    """
    info = cu.dwarfinfo
    assert info.debug_loc_sec is not None
    data: bytes = info.debug_loc_sec.stream.getvalue()
    at = offset
    word = cu.header.address_size
    found = []

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            value |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                return value

    while at < len(data):
        kind, at = data[at], at + 1
        if kind == 0:  # the end
            break
        if kind == 1:  # another base; nobody writes entries that are counted from it
            number()
            continue
        start = info.get_addr(cu, number())
        if kind == 2:
            end = info.get_addr(cu, number())
        else:
            end = start + int.from_bytes(data[at : at + 4], "little")
            at += 4
        size = int.from_bytes(data[at : at + 2], "little")
        found.append((start, end & (1 << 8 * word) - 1, data[at + 2 : at + 2 + size]))
        at += 2 + size
    return found


PACKED = {
    2: {1: "debug_info", 2: "debug_types", 3: "debug_abbrev", 4: "debug_line", 5: "debug_loc", 6: "debug_str_offsets"},
    5: {1: "debug_info", 3: "debug_abbrev", 4: "debug_line", 5: "debug_loclists", 6: "debug_str_offsets",
        8: "debug_rnglists"},
}  # fmt: skip
"""The numbers of sections in the index of a package, by its version."""


class Package:
    """The units that were split from a program, together in one file (.dwp)."""

    def __init__(self, path: str, elf: Any) -> None:
        """ValueError where it is damaged."""
        self.path = path
        self._whole = split_sections(elf)
        index = elf.get_section_by_name(".debug_cu_index")
        self._index: bytes = index.data() if index is not None else b""
        self._version = self._number(0) & 0xFFFF
        self._columns, self._units, self._slots = self._number(4), self._number(8), self._number(12)
        self._table = 16 + 12 * self._slots
        if len(self._index) < self._table + 4 * self._columns * (2 * self._units + 1):
            raise ValueError(f"its index is said to have {self._slots:,} places and {self._units:,} units")

    def _number(self, at: int) -> int:
        return int.from_bytes(self._index[at : at + 4], "little")

    def _cell(self, number: int) -> int:
        return self._number(self._table + 4 * number)

    def sections(self, signature: int) -> dict[str, bytes] | None:
        """The sections of one unit, None where it has none with this signature."""
        names = PACKED.get(self._version)
        row = self._row(signature)
        if names is None or not row:
            return None
        found = {"debug_str": self._whole.get("debug_str", b"")}
        for column in range(self._columns):
            name = names.get(self._cell(column))
            if name is not None:
                start = self._cell(self._columns * row + column)
                size = self._cell(self._columns * (self._units + row) + column)
                found[name] = self._whole.get(name, b"")[start : start + size]
        return found

    def _row(self, signature: int) -> int:
        """A unit's row in the tables of places and sizes; 0 for none."""
        wanted = signature.to_bytes(8, "little")
        for slot in range(self._slots):
            row = self._number(16 + 8 * self._slots + 4 * slot)
            if row and self._index[16 + 8 * slot : 24 + 8 * slot] == wanted:
                return row
        return 0
