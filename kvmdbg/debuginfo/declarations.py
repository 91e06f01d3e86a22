"""Functions, variables and types from an ELF file's DWARF (versions 4 and 5), as plain values.

Source: DWARF 5, sections 3 (program scope), 4 (data objects), 5 (types); location lists 2.6.2.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from kvmdbg.debuginfo import call_sites
from kvmdbg.debuginfo.attribute_values import SCOPED, SCOPES, implicit_value, left_out, scope_of, without_scopes
from kvmdbg.debuginfo.dwarf import Dwarf, Unit, base_of, damage, extent, text
from kvmdbg.debuginfo.imports import TAGS, Imports
from kvmdbg.debuginfo.scoped_names import Names
from kvmdbg.debuginfo.type_reader import TypeReader
from kvmdbg.language.ctype import CType
from kvmdbg.record import record, replace


@record
class Variable:
    """A parameter or a variable: ``location`` is a DWARF expression, or (start, end, expression) by address.

    ``owner`` is where the function that it is in, or the inlined copy of one, stands in .debug_info; ``depth`` how many
    blocks are around it there.
    """

    name: str
    type: CType
    location: bytes | tuple[tuple[int, int, bytes], ...]
    is_parameter: bool
    line: int
    owner: int = 0
    depth: int = 0

    @property
    def is_static(self) -> bool:
        """Whether it is at one address (DW_OP_addr)."""
        return isinstance(self.location, bytes) and self.location[:1] == b"\x03"


@record
class Function:
    """Code from ``start`` up to ``end``; ``variables`` with the ranges of the blocks that they live in.

    ``unit`` and ``offset`` are where its unit and its entry stand in .debug_info.
    """

    name: str
    start: int
    end: int
    frame_base: bytes | tuple[tuple[int, int, bytes], ...]
    variables: tuple[tuple[Variable, tuple[tuple[int, int], ...]], ...]
    unit: int
    offset: int


class _UnitInfo:
    """What a unit has, by name and by address: pyelftools' entries, not yet read any further."""

    def __init__(self) -> None:
        self.functions: list[tuple[int, int, Any]] = []
        self.variables: Names[Any] = Names()
        self.lost: Names[Any] = Names()
        """Variables that were optimized away; of those that LTO has copied the first copy, which is nowhere."""
        self.types: Names[Any] = Names()
        self.constants: Names[tuple[int, Any]] = Names()
        self.is_deep = False
        self.imports = Imports()


class DebugInfo:
    """Functions, variables and types of one file. Every method raises LoadError where it is damaged."""

    def __init__(self, dwarf: Dwarf) -> None:
        self.dwarf = dwarf
        self.reader = self._reader = _Reader(dwarf)

    @classmethod
    def of(cls, dwarf: Dwarf) -> DebugInfo:
        """The one of this file."""
        if "info" not in dwarf.kept:
            dwarf.kept["info"] = cls(dwarf)
        found: DebugInfo = dwarf.kept["info"]
        return found

    def function_at(self, address: int) -> Function | None:
        """The function that an address lies in."""
        with self.dwarf.lock, damage(self.dwarf.path, "debug information"):
            for unit in self.dwarf.units_at(address):
                found = self._function_at(unit, address)
                if found is None and self._reader.deepened(unit):
                    found = self._function_at(unit, address)
                if found is not None:
                    return found
        return None

    def _function_at(self, unit: Unit, address: int) -> Function | None:
        functions = self._reader.unit(unit).functions
        at = bisect_right(functions, address, key=lambda one: one[0]) - 1
        while at >= 0 and functions[at][0] > address - 0x100000:
            start, end, die = functions[at]
            if start <= address < end:
                return self._reader.function(unit, die)
            at -= 1
        return None

    def language(self, address: int) -> str:
        """What the code at an address is written in; "" where that is not known."""
        with self.dwarf.lock, damage(self.dwarf.path, "debug information"):
            return next((self._reader.language(self.dwarf.die(unit)[1]) for unit in self.dwarf.units_at(address)), "")

    def main_language(self) -> str:
        """What the first unit is written in that is not in assembly; "" for none, and of a large file."""
        with self.dwarf.lock, damage(self.dwarf.path, "debug information"):
            units = [] if self.dwarf.is_large else self.dwarf.units()
            found = (self._reader.language(self.dwarf.die(unit)[1]) for unit in units)
            return next((one for one in found if one not in ("", "asm")), "")

    def _units(self, name: str, near: int | None) -> Iterator[Unit]:
        """The units to look for a name in: those at the address ``near`` first."""
        first = self.dwarf.units_at(near) if near is not None else []
        yield from first
        others = [unit for unit in self.dwarf.mentioning(without_scopes(name)) if unit not in first]
        yield from self.dwarf.advancing(f"Looking for {name} in the debug information", others)

    def variable(
        self, name: str, near: int | None = None, *, whole: bool = False, lost: bool = False
    ) -> Variable | None:
        """The variable outside of functions with that name (``whole``: all of it); that of ``near``'s unit first.

        ``lost``: of those that were optimized away.
        """
        inner: Variable | None = None
        with self.dwarf.lock, damage(self.dwarf.path, "debug information"):
            for unit in self._units(name, near):
                known = self._reader.unit(unit)
                meant = known.imports.meant(name)
                names = known.lost if lost else known.variables
                die = names.get(meant)
                one = self._reader.variable(unit, die) if die is not None else None
                if one is None or not (one.location or lost):
                    continue
                if meant in names.whole:
                    return one
                inner = inner or one
        return inner if not whole else None

    def type(self, name: str, near: int | None = None, *, whole: bool = False) -> CType | None:
        """The type of that name as in "struct point" or "u32"; ``whole``: it is called all of that."""
        keyword, _, rest = name.partition(" ")
        plain = without_scopes(rest if keyword in ("struct", "class", "union", "enum") else name)
        with self.dwarf.lock, damage(self.dwarf.path, "debug information"):
            for unit in self._units(plain, near):
                known = self._reader.unit(unit)
                die = known.types.get(known.imports.meant(name))
                if die is not None and (not whole or name in known.types.whole):
                    return self._reader.type_of(die)
            die = self._reader.type_units.types.get(name)
            return self._reader.type_of(die) if die is not None and not whole else None

    def imports_at(self, address: int) -> tuple[Imports, Imports]:
        """What the function at an address has of ``using`` and the like, and its unit."""
        with self.dwarf.lock, damage(self.dwarf.path, "debug information"):
            for unit in self.dwarf.units_at(address):
                found = self._function_at(unit, address)
                die = self.dwarf.info.get_DIE_from_refaddr(found.offset) if found is not None else None
                own = Imports.of_function(die) if die is not None else Imports()
                return own, self._reader.unit(unit).imports
        return Imports(), Imports()

    def imports(self) -> list[Imports]:
        """Those of all units; of none of a large file."""
        with self.dwarf.lock, damage(self.dwarf.path, "debug information"):
            return [self._reader.unit(unit).imports for unit in ([] if self.dwarf.is_large else self.dwarf.units())]

    def type_names(self, near: int) -> list[str]:
        """The names of all types, of a large file those of the unit at the address ``near``."""
        return [name for unit in self._near(near) for name in unit.types]

    def variable_names(self, near: int) -> list[str]:
        """The same of variables outside of functions, and of enumerators."""
        return [name for unit in self._near(near) for name in (*unit.variables, *unit.constants)]

    def _near(self, address: int) -> list[_UnitInfo]:
        with self.dwarf.lock, damage(self.dwarf.path, "debug information"):
            units = self.dwarf.units_at(address) if self.dwarf.is_large else self.dwarf.units()
            return [self._reader.unit(unit) for unit in units]

    def type_at(self, offset: int) -> CType:
        """The type whose entry stands at this offset of .debug_info."""
        with self.dwarf.lock, damage(self.dwarf.path, "debug information"):
            return self._reader.type_of(self.dwarf.info.get_DIE_from_refaddr(offset))

    def type_of_entry(self, die: Any) -> CType:
        """The type that an entry (pyelftools' DIE) describes."""
        with self.dwarf.lock, damage(self.dwarf.path, "debug information"):
            return self._reader.type_of(die)

    def argument(self, caller: Function, back: int, callee: str, code: bytes) -> bytes | None:
        """What the call that returns to ``back`` handed over in the place that ``code`` describes, as an expression.

        None where ``caller`` does not say, or does not call ``callee`` there.
        """
        with self.dwarf.lock, damage(self.dwarf.path, "debug information"):
            return call_sites.argument(self.dwarf.info.get_DIE_from_refaddr(caller.offset), back, callee, code)

    def called(self, caller: Function, back: int) -> str:
        """The symbol of the function that the call which returns to ``back`` names; "" where it names none."""
        with self.dwarf.lock, damage(self.dwarf.path, "debug information"):
            return call_sites.called(self.dwarf.info.get_DIE_from_refaddr(caller.offset), back)

    def result_type(self, function: Function) -> CType | None:
        """The type of what a function returns, None where it returns nothing."""
        with self.dwarf.lock, damage(self.dwarf.path, "debug information"):
            die = self.dwarf.info.get_DIE_from_refaddr(function.offset)
            for link in ("DW_AT_abstract_origin", "DW_AT_specification"):
                if link in die.attributes:
                    die = die.get_DIE_from_attribute(link)
            if "DW_AT_type" not in die.attributes:
                return None
            return self._reader.type_of(die.get_DIE_from_attribute("DW_AT_type"))

    def function_type(self, address: int) -> CType | None:
        """What the function at an address takes and returns."""
        found = self.function_at(address)
        if found is None or found.start != address:
            return None
        with self.dwarf.lock, damage(self.dwarf.path, "debug information"):
            die = definition = self.dwarf.info.get_DIE_from_refaddr(found.offset)
            for link in ("DW_AT_abstract_origin", "DW_AT_specification"):
                if link in die.attributes:
                    definition, die = die, die.get_DIE_from_attribute(link)
            made = CType("function", "", 1)
            self._reader.signature(die, made, definition)
            return made

    def inside(self, function: Function, name: str) -> Variable | None:
        """The variable of a function; of several one that stays where it is when the function is not running."""
        found = [one for one, _ in function.variables if one.name == name]
        static = [one for one in found if one.is_static]
        return next(iter(static or found), None)

    def variable_of_file(self, file: str, name: str) -> Variable | None:
        """The variable outside of functions with that name in a source file."""
        with self.dwarf.lock, damage(self.dwarf.path, "debug information"):
            for unit in self.dwarf.units():
                if unit.path != file and not unit.path.endswith(f"/{file}"):
                    continue
                known = self._reader.unit(unit)
                die = known.variables.get(known.imports.meant(name))
                if die is not None:
                    return self._reader.variable(unit, die)
        return None

    def constant(self, name: str, near: int | None = None) -> tuple[int, CType] | None:
        """The enumerator of that name and its enumeration."""
        with self.dwarf.lock, damage(self.dwarf.path, "debug information"):
            for unit in self._units(name, near):
                known = self._reader.unit(unit)
                found = known.constants.get(known.imports.meant(name))
                if found is not None:
                    return found[0], self._reader.type_of(found[1])
            found = self._reader.type_units.constants.get(name)
            return (found[0], self._reader.type_of(found[1])) if found is not None else None


_TYPES = {
    "DW_TAG_structure_type": "struct ", "DW_TAG_class_type": "class ", "DW_TAG_union_type": "union ",
    "DW_TAG_enumeration_type": "enum ", "DW_TAG_typedef": "", "DW_TAG_base_type": "",
}  # fmt: skip


class _Reader(TypeReader):
    def __init__(self, dwarf: Dwarf) -> None:
        from elftools.dwarf.locationlists import LocationParser

        super().__init__(dwarf)
        self._dwarf = dwarf.info
        self._units: dict[int, _UnitInfo] = {}
        self._functions: dict[int, Function | None] = {}
        self._parser = LocationParser(self._dwarf.location_lists())

    def unit(self, unit: Unit) -> _UnitInfo:
        known = self._units.get(unit.offset)
        if known is None:
            known = _UnitInfo()
            top = self._file.die(unit)[1]
            self._index(known, top, self._base(top), "")
            known.functions.sort(key=lambda one: one[0])
            self._units[unit.offset] = known  # none of a damaged unit: it is told of each time
        return known

    @cached_property
    def type_units(self) -> _UnitInfo:
        """What the type units have that are in .debug_types, as DWARF 4 has them."""
        found = _UnitInfo()
        for one in self._dwarf.iter_TUs():
            self._index(found, one.get_top_DIE(), 0, "")
        return found

    def deepened(self, unit: Unit) -> bool:
        """List the functions inside of functions, too (lambdas, members of local classes, gcc's nested functions);
        whether there are any."""
        known = self.unit(unit)
        if known.is_deep:
            return False
        known.is_deep = True
        top, before = self._file.die(unit)[1], len(known.functions)
        self._functions_inside(known, top, self._base(top), inside=False)
        known.functions.sort(key=lambda one: one[0])
        return len(known.functions) > before

    def _functions_inside(self, known: _UnitInfo, parent: Any, base: int, *, inside: bool) -> None:
        for die in parent.iter_children():
            is_code = die.tag in ("DW_TAG_subprogram", "DW_TAG_lexical_block", "DW_TAG_inlined_subroutine")
            if inside and die.tag == "DW_TAG_subprogram":
                self._code(known, die, base)
            if die.has_children and (is_code or die.tag in SCOPES):
                self._functions_inside(known, die, base, inside=inside or is_code)

    def _index(self, found: _UnitInfo, parent: Any, base: int, scope: str) -> None:
        """List what a unit or a namespace has; inside a namespace also as ``space::name``."""
        for die in parent.iter_children():
            tag, name = die.tag, text(die, "DW_AT_name")
            if tag == "DW_TAG_subprogram":
                self._code(found, die, base)
            elif tag == "DW_TAG_variable" and "DW_AT_declaration" not in die.attributes:
                declared = die  # a C++ member; a copy made by LTO
                for link in ("DW_AT_specification", "DW_AT_abstract_origin"):
                    if link in declared.attributes:
                        declared = declared.get_DIE_from_attribute(link)
                within = scope if declared is die else scope_of(declared)
                is_kept = "DW_AT_location" in die.attributes or "DW_AT_const_value" in die.attributes
                (found.variables if is_kept else found.lost).enter("", within, text(declared, "DW_AT_name"), die)
            elif tag in _TYPES and "DW_AT_declaration" not in die.attributes:
                within = scope_of(die) if "DW_AT_specification" in die.attributes else scope  # of a type unit
                if name:
                    found.types.enter(_TYPES[tag], within, name, die)
                if tag == "DW_TAG_enumeration_type":
                    self._enumerators(found, die, within, name)
                elif die.has_children and tag in SCOPES and self.language(die) in SCOPED:
                    self._nested(found, die, base, f"{within}{name}::")
            elif tag in ("DW_TAG_namespace", "DW_TAG_module"):
                if "DW_AT_export_symbols" in die.attributes and name:
                    found.imports.enter_inline(scope, name)
                self._index(found, die, base, f"{scope}{name}::" if name else scope)
            elif tag in TAGS:
                found.imports.enter(die, scope)

    def _code(self, found: _UnitInfo, die: Any, base: int) -> None:
        places = extent(self._file, die, base)
        if places:
            found.functions.append((min(a for a, _ in places), max(b for _, b in places), die))

    def _nested(self, found: _UnitInfo, parent: Any, base: int, scope: str) -> None:
        """List the types and functions that are declared inside of a type."""
        for die in parent.iter_children():
            name = text(die, "DW_AT_name")
            if die.tag == "DW_TAG_subprogram":
                self._code(found, die, base)
            if die.tag in ("DW_TAG_member", "DW_TAG_variable") and "DW_AT_const_value" in die.attributes:
                found.variables.enter("", scope, name, die)
            if die.tag in _TYPES and "DW_AT_declaration" not in die.attributes:
                if name:
                    found.types.enter(_TYPES[die.tag], scope, name, die)
                if die.tag == "DW_TAG_enumeration_type":
                    self._enumerators(found, die, scope, name)
                elif name and die.has_children:
                    self._nested(found, die, base, f"{scope}{name}::")

    @staticmethod
    def _enumerators(found: _UnitInfo, die: Any, scope: str, enumeration: str) -> None:
        for child in die.iter_children():
            if child.tag == "DW_TAG_enumerator":
                value, name = int(child.attributes["DW_AT_const_value"].value), text(child, "DW_AT_name")
                found.constants.enter("", scope, name, (value, die))
                found.constants.enter("", f"{scope}{enumeration}::", name, (value, die))

    def function(self, unit: Unit, die: Any) -> Function | None:
        if die.offset not in self._functions:
            self._functions[die.offset] = self._function(die.cu, die, self._base(self._file.die(unit)[1]))
        return self._functions[die.offset]

    def variable(self, unit: Unit, die: Any) -> Variable | None:
        return self._variable(die.cu, die, self._base(self._file.die(unit)[1]))

    def _base(self, top: Any) -> int:
        return base_of(self._file, top)

    def _extent(self, die: Any, base: int) -> tuple[tuple[int, int], ...]:
        return tuple(extent(self._file, die, base))

    def _function(self, unit: Any, die: Any, base: int) -> Function | None:
        extent = self._extent(die, base)
        if not extent:
            return None
        origin = die
        if "DW_AT_abstract_origin" in die.attributes:
            origin = die.get_DIE_from_attribute("DW_AT_abstract_origin")
        frame = die.attributes.get("DW_AT_frame_base")
        variables: list[tuple[Variable, tuple[tuple[int, int], ...]]] = []
        self._block(unit, die, base, extent, variables, die.offset)
        frame_base = self._location(unit, frame, die, base)
        start, end = min(a for a, _ in extent), max(b for _, b in extent)
        name = text(origin, "DW_AT_name")
        return Function(name, start, end, frame_base, tuple(variables), unit.cu_offset, die.offset)

    def _block(self, unit: Any, die: Any, base: int, extent: Any, found: list[Any], owner: int, depth: int = 0) -> None:
        for child in (*die.iter_children(), *left_out(die)):
            if child.tag in ("DW_TAG_variable", "DW_TAG_formal_parameter"):
                one = self._variable(unit, child, base, owner)
                if one is not None and one.name:
                    found.append((replace(one, depth=depth), extent))
            elif child.tag in ("DW_TAG_lexical_block", "DW_TAG_inlined_subroutine"):
                inner = owner if child.tag == "DW_TAG_lexical_block" else child.offset
                self._block(unit, child, base, self._extent(child, base) or extent, found, inner, depth + 1)

    def _variable(self, unit: Any, die: Any, base: int, owner: int = 0) -> Variable | None:
        origin = die
        for link in ("DW_AT_abstract_origin", "DW_AT_specification"):
            if link in die.attributes:
                origin = die.get_DIE_from_attribute(link)
        location = die.attributes.get("DW_AT_location")
        if "DW_AT_type" not in origin.attributes:
            return None
        line = origin.attributes.get("DW_AT_decl_line")
        type_ = self._type_at(origin)
        constant = die.attributes.get("DW_AT_const_value")
        if location is None and constant is not None and not type_.size:
            return None
        if location is None and constant is not None:
            place: bytes | tuple[tuple[int, int, bytes], ...] = implicit_value(constant.value, type_.size)
        else:
            place = self._location(unit, location, die, base)
        return Variable(
            text(origin, "DW_AT_name"), type_, place,
            die.tag == "DW_TAG_formal_parameter", int(line.value) if line is not None else 0, owner,
        )  # fmt: skip

    def location_of(self, die: Any, attribute: str) -> bytes | tuple[tuple[int, int, bytes], ...]:
        return self._location(die.cu, die.attributes.get(attribute), die, self._base(die.cu.get_top_DIE()))

    def _location(self, unit: Any, attribute: Any, die: Any, base: int) -> bytes | tuple[tuple[int, int, bytes], ...]:
        if attribute is None:
            return b""
        version = unit["version"]
        if not self._parser.attribute_has_location(attribute, version):
            return b""
        if version < 5 and isinstance(attribute.value, int) and self._dwarf.skeleton is not None:
            from kvmdbg.debuginfo.elf_dwarf import split_locations

            return tuple((a, b, self._direct(die, code)) for a, b, code in split_locations(die.cu, attribute.value))
        parsed = self._parser.parse_from_attribute(attribute, version, die)
        if not isinstance(parsed, list):
            return self._direct(die, bytes(parsed.loc_expr))
        found = []
        entry: Any
        for entry in parsed:
            if hasattr(entry, "base_address"):
                base = entry.base_address
            elif hasattr(entry, "begin_offset"):
                start = 0 if getattr(entry, "is_absolute", False) else base
                found.append((start + entry.begin_offset, start + entry.end_offset, bytes(entry.loc_expr)))
        return tuple(found)

    @staticmethod
    def _direct(die: Any, code: bytes) -> bytes:
        """An expression that begins with an address by its index (a split unit's) with the address itself."""
        if code[:1] not in (b"\xa1", b"\xfb"):  # DW_OP_addrx, DW_OP_GNU_addr_index
            return code
        index = at = 0
        for at, byte in enumerate(code[1:]):
            index |= (byte & 0x7F) << 7 * at
            if byte < 0x80:
                break
        size = die.cu.header.address_size
        address = int(die.cu.dwarfinfo.get_addr(die.cu, index))
        return b"\x03" + address.to_bytes(size, "little") + code[at + 2 :]
