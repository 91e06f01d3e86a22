"""Functions, variables and types from an ELF file's DWARF (versions 4 and 5), as plain values.

Source: DWARF 5, sections 3 (program scope), 4 (data objects), 5 (types); location lists 2.6.2.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from kvmdbg.errors import LoadError
from kvmdbg.record import record


@record
class Member:
    """A field of a structure or union: ``offset`` bytes, and for a bitfield its first bit and bits."""

    name: str
    type: CType
    offset: int
    bit: int = 0
    bits: int = 0


class CType:
    """A C type. ``kind``: "int", "uint", "bool", "char", "float", "pointer", "struct", "union", "array", "enum",
    "function" or "void"; ``size`` in bytes."""

    def __init__(self, kind: str, name: str, size: int) -> None:
        self.kind = kind
        self.name = name
        self.size = size
        self.target: CType | None = None
        """What a pointer points to, an array consists of, a typedef or an enum stands for."""
        self.members: list[Member] = []
        self.count: int | None = None
        self.values: dict[int, str] = {}

    def __repr__(self) -> str:
        return f"<CType {self.name}>"


VOID = CType("void", "void", 0)


@record
class Variable:
    """A parameter or a variable: ``location`` is a DWARF expression, or (start, end, expression) by address."""

    name: str
    type: CType
    location: bytes | tuple[tuple[int, int, bytes], ...]
    is_parameter: bool
    line: int


@record
class Function:
    """Code from ``start`` up to ``end``; ``variables`` with the ranges of the blocks that they live in."""

    name: str
    start: int
    end: int
    frame_base: bytes
    variables: tuple[tuple[Variable, tuple[tuple[int, int], ...]], ...]


@record
class DebugInfo:
    functions: tuple[Function, ...]
    globals: tuple[Variable, ...]
    types: dict[str, CType]
    address_size: int


NOTHING = DebugInfo((), (), {}, 8)


@lru_cache(maxsize=16)
def read_debug_info(path: str) -> DebugInfo:
    """Everything in an ELF file; nothing for other files. LoadError when it is damaged."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        with open(path, "rb") as file:
            if file.read(4) != b"\x7fELF":
                return NOTHING
            file.seek(0)
            elf = ELFFile(file)
            return _Reader(elf).read() if elf.has_dwarf_info() else NOTHING
    except OSError as error:
        raise LoadError(f"cannot read {path}: {error.strerror}") from None
    except (ELFError, KeyError, ValueError, IndexError, AttributeError, TypeError, RecursionError) as error:
        raise LoadError(f"{path}: its debug information is damaged ({error})") from None


def _text(die: Any, name: str) -> str:
    found = die.attributes.get(name)
    return found.value.decode("utf-8", "replace") if found is not None else ""


class _Reader:
    def __init__(self, elf: Any) -> None:
        from elftools.dwarf.locationlists import LocationParser

        self._elf = elf
        self._dwarf = elf.get_dwarf_info()
        self._types: dict[int, CType] = {}
        self._named: dict[str, CType] = {}
        self._lists = self._dwarf.location_lists()
        self._parser = LocationParser(self._lists)
        self._ranges = self._dwarf.range_lists()

    def read(self) -> DebugInfo:
        functions: list[Function] = []
        variables: list[Variable] = []
        for unit in self._dwarf.iter_CUs():
            top = unit.get_top_DIE()
            base = self._base(top)
            for die in top.iter_children():
                if die.tag == "DW_TAG_subprogram":
                    made = self._function(unit, die, base)
                    if made is not None:
                        functions.append(made)
                elif die.tag == "DW_TAG_variable":
                    found = self._variable(unit, die, base)
                    if found is not None and found.location:
                        variables.append(found)
                elif die.tag in (
                    "DW_TAG_structure_type",
                    "DW_TAG_union_type",
                    "DW_TAG_enumeration_type",
                    "DW_TAG_typedef",
                ):
                    made_type = self._type_of(die)
                    if _text(die, "DW_AT_name"):
                        self._named.setdefault(made_type.name, made_type)
        return DebugInfo(
            tuple(sorted(functions, key=lambda one: one.start)), tuple(variables), self._named, self._elf.elfclass // 8
        )

    @staticmethod
    def _base(top: Any) -> int:
        low = top.attributes.get("DW_AT_low_pc")
        return int(low.value) if low is not None else 0

    def _extent(self, die: Any, base: int) -> tuple[tuple[int, int], ...]:
        low, high = die.attributes.get("DW_AT_low_pc"), die.attributes.get("DW_AT_high_pc")
        if low is not None and high is not None:
            end = high.value if high.form == "DW_FORM_addr" else low.value + high.value
            return ((int(low.value), int(end)),)
        ranges = die.attributes.get("DW_AT_ranges")
        if ranges is None or self._ranges is None:
            return ()
        found = []
        entry: Any
        for entry in self._ranges.get_range_list_at_offset(ranges.value, die.cu):
            if hasattr(entry, "base_address"):
                base = entry.base_address
            elif hasattr(entry, "begin_offset"):
                start = 0 if getattr(entry, "is_absolute", False) else base
                found.append((start + entry.begin_offset, start + entry.end_offset))
        return tuple(found)

    def _function(self, unit: Any, die: Any, base: int) -> Function | None:
        extent = self._extent(die, base)
        if not extent:
            return None
        origin = die
        if "DW_AT_abstract_origin" in die.attributes:
            origin = die.get_DIE_from_attribute("DW_AT_abstract_origin")
        frame = die.attributes.get("DW_AT_frame_base")
        variables: list[tuple[Variable, tuple[tuple[int, int], ...]]] = []
        self._block(unit, die, base, extent, variables)
        frame_base = bytes(frame.value) if frame is not None and isinstance(frame.value, list) else b""
        start, end = min(a for a, _ in extent), max(b for _, b in extent)
        return Function(_text(origin, "DW_AT_name"), start, end, frame_base, tuple(variables))

    def _block(self, unit: Any, die: Any, base: int, extent: Any, found: list[Any]) -> None:
        for child in die.iter_children():
            if child.tag in ("DW_TAG_variable", "DW_TAG_formal_parameter"):
                one = self._variable(unit, child, base)
                if one is not None and one.name:
                    found.append((one, extent))
            elif child.tag == "DW_TAG_lexical_block":
                self._block(unit, child, base, self._extent(child, base) or extent, found)

    def _variable(self, unit: Any, die: Any, base: int) -> Variable | None:
        origin = die
        for link in ("DW_AT_abstract_origin", "DW_AT_specification"):
            if link in die.attributes:
                origin = die.get_DIE_from_attribute(link)
        location = die.attributes.get("DW_AT_location")
        if "DW_AT_type" not in origin.attributes:
            return None
        line = origin.attributes.get("DW_AT_decl_line")
        return Variable(
            _text(origin, "DW_AT_name"), self._type_at(origin), self._location(unit, location, die, base),
            die.tag == "DW_TAG_formal_parameter", int(line.value) if line is not None else 0,
        )  # fmt: skip

    def _location(self, unit: Any, attribute: Any, die: Any, base: int) -> bytes | tuple[tuple[int, int, bytes], ...]:
        if attribute is None:
            return b""
        version = unit["version"]
        if not self._parser.attribute_has_location(attribute, version):
            return b""
        parsed = self._parser.parse_from_attribute(attribute, version, die)
        if not isinstance(parsed, list):
            return bytes(parsed.loc_expr)
        found = []
        entry: Any
        for entry in parsed:
            if hasattr(entry, "base_address"):
                base = entry.base_address
            elif hasattr(entry, "begin_offset"):
                start = 0 if getattr(entry, "is_absolute", False) else base
                found.append((start + entry.begin_offset, start + entry.end_offset, bytes(entry.loc_expr)))
        return tuple(found)

    # --- types -------------------------------------------------------------------------------------

    def _type_at(self, die: Any) -> CType:
        if "DW_AT_type" not in die.attributes:
            return VOID
        return self._type_of(die.get_DIE_from_attribute("DW_AT_type"))

    def _type_of(self, die: Any) -> CType:
        known = self._types.get(die.offset)
        if known is not None:
            return known
        size = die.attributes.get("DW_AT_byte_size")
        made = self._types[die.offset] = CType(
            "void", _text(die, "DW_AT_name"), int(size.value) if size is not None else 0
        )
        getattr(self, f"_{die.tag.removeprefix('DW_TAG_')}", self._other)(die, made)
        return made

    def _other(self, die: Any, made: CType) -> None:
        made.name = made.name or die.tag.removeprefix("DW_TAG_").replace("_", " ")

    def _base_type(self, die: Any, made: CType) -> None:
        encoding = die.attributes["DW_AT_encoding"].value
        made.kind = {2: "bool", 4: "float", 5: "int", 6: "char", 7: "uint", 8: "char", 0x10: "char"}.get(
            encoding, "uint"
        )

    def _pointer_type(self, die: Any, made: CType) -> None:
        made.kind = "pointer"
        made.size = made.size or self._elf.elfclass // 8
        made.target = self._type_at(die)
        made.name = f"{made.target.name} *"

    def _same(self, die: Any, made: CType, before: str = "") -> None:
        target = self._type_at(die)
        made.kind, made.size, made.target = target.kind, target.size, target.target
        made.members, made.count, made.values = target.members, target.count, target.values
        made.name = before + target.name if not made.name else made.name

    def _typedef(self, die: Any, made: CType) -> None:
        self._same(die, made)

    def _const_type(self, die: Any, made: CType) -> None:
        self._same(die, made, "const ")

    def _volatile_type(self, die: Any, made: CType) -> None:
        self._same(die, made, "volatile ")

    def _restrict_type(self, die: Any, made: CType) -> None:
        self._same(die, made)

    def _atomic_type(self, die: Any, made: CType) -> None:
        self._same(die, made, "_Atomic ")

    def _structure_type(self, die: Any, made: CType, kind: str = "struct") -> None:
        made.kind = kind
        made.name = f"{kind} {made.name}" if made.name else f"{kind} {{...}}"
        for child in die.iter_children():
            if child.tag != "DW_TAG_member":
                continue
            attributes = child.attributes
            place = attributes.get("DW_AT_data_member_location")
            bits = attributes.get("DW_AT_bit_size")
            offset = int(place.value) if place is not None and isinstance(place.value, int) else 0
            type_ = self._type_at(child)
            first = attributes.get("DW_AT_data_bit_offset")
            bit = 0
            if bits is not None and first is not None:
                offset, bit = first.value // 8, first.value % 8
            elif bits is not None and "DW_AT_bit_offset" in attributes:  # DWARF 3: counted from the other end
                bit = type_.size * 8 - attributes["DW_AT_bit_offset"].value - bits.value
            wide = int(bits.value) if bits is not None else 0
            made.members.append(Member(_text(child, "DW_AT_name"), type_, offset, bit, wide))

    def _union_type(self, die: Any, made: CType) -> None:
        self._structure_type(die, made, "union")

    def _enumeration_type(self, die: Any, made: CType) -> None:
        made.kind = "enum"
        made.name = f"enum {made.name}" if made.name else "enum {...}"
        for child in die.iter_children():
            if child.tag == "DW_TAG_enumerator":
                made.values[child.attributes["DW_AT_const_value"].value] = _text(child, "DW_AT_name")

    def _array_type(self, die: Any, made: CType) -> None:
        counts: list[int | None] = []
        for child in die.iter_children():
            if child.tag == "DW_TAG_subrange_type":
                upper, count = child.attributes.get("DW_AT_upper_bound"), child.attributes.get("DW_AT_count")
                if count is not None and isinstance(count.value, int):
                    counts.append(count.value)
                elif upper is not None and isinstance(upper.value, int):
                    counts.append(upper.value + 1)
                else:
                    counts.append(None)
        inner = self._type_at(die)
        for count in reversed(counts[1:]):
            outer = CType("array", f"{inner.name}[{'' if count is None else count}]", inner.size * (count or 0))
            outer.target, outer.count = inner, count
            inner = outer
        made.kind, made.target, made.count = "array", inner, counts[0] if counts else None
        made.size = inner.size * (made.count or 0)
        made.name = f"{inner.name}[{'' if made.count is None else made.count}]"

    def _subroutine_type(self, die: Any, made: CType) -> None:
        made.kind = "function"
        made.name = f"{self._type_at(die).name} (...)"
