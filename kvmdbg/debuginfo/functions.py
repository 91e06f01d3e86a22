"""The functions of a file by name and by address, with their blocks and the copies of them that were inlined (DWARF).

Source: DWARF 5, section 3.3 (subroutines, concrete instances of inlined ones), 3.5 (blocks), 3.6 (labels).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any

from kvmdbg.debuginfo.attribute_values import without_scopes
from kvmdbg.debuginfo.demangled import in_two
from kvmdbg.debuginfo.dwarf import Dwarf, Unit, address, base_of, damage, extent, place_of, text
from kvmdbg.debuginfo.itanium import ANONYMOUS
from kvmdbg.debuginfo.lines import unit_file
from kvmdbg.record import field, record

PLAIN_C = frozenset((0x1, 0x2, 0xC, 0x1D, 0x2C, 0x8001))
"""Languages whose types have no functions in them: C, and what assemblers give."""
LIVING = {
    "DW_TAG_subprogram": "function",
    "DW_TAG_inlined_subroutine": "inlined",
    "DW_TAG_lexical_block": "block",
}
SCOPES = frozenset(
    ("DW_TAG_namespace", "DW_TAG_module", "DW_TAG_structure_type", "DW_TAG_class_type", "DW_TAG_union_type",
     "DW_TAG_enumeration_type")
)  # fmt: skip


@record
class Origin:
    """What the source says of a function: its name with its scopes ("kern::Heap::alloc"), and where it is defined.

    ``offset`` is where its declaration is in .debug_info, ``declared_in`` the file of that; ``linkage`` is the symbol's
    name, "" where it is the name.
    """

    name: str
    linkage: str
    file: str
    line: int
    offset: int
    declared_in: str = ""


@record
class Block:
    """Code that belongs together: a "function", an "inlined" copy of one, or a "block" in one.

    ``extent`` are its addresses, ``entry`` the first that runs; ``file`` and ``line`` are the call's of an inlined
    one. ``labels`` are addresses by name, ``offset`` is where its entry is in .debug_info.
    """

    kind: str
    origin: Origin | None
    extent: tuple[tuple[int, int], ...]
    entry: int
    offset: int
    file: str = ""
    line: int = 0
    inner: list[Block] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)

    def holds(self, address: int) -> bool:
        return any(start <= address < end for start, end in self.extent)

    def all_inner(self) -> Iterator[Block]:
        """Those inside, at any depth, outer ones first."""
        for one in self.inner:
            yield one
            yield from one.all_inner()


class _Unit:
    """What a unit has: its functions with code by address, and in what scope each declaration is."""

    def __init__(self, base: int) -> None:
        self.base = base
        self.functions: list[tuple[tuple[tuple[int, int], ...], Any]] = []
        self.starts: list[int] = []
        self.scopes: dict[int, str] = {}
        self.is_deep = False

    def sort(self) -> None:
        self.functions.sort(key=lambda one: min(start for start, _ in one[0]))
        self.starts = [min(start for start, _ in places) for places, _ in self.functions]


class Functions:
    """Those of one file. Every method raises LoadError where it is damaged."""

    def __init__(self, dwarf: Dwarf) -> None:
        self._dwarf = dwarf
        self._units: dict[int, _Unit] = {}
        self._blocks: dict[int, Block] = {}
        self._origins: dict[int, Origin] = {}
        self._unit_at: dict[int | None, Unit | None] = {}
        self._dies: dict[int, Any] = {}

    @classmethod
    def of(cls, dwarf: Dwarf) -> Functions:
        """The ones of this file."""
        if "functions" not in dwarf.kept:
            dwarf.kept["functions"] = cls(dwarf)
        found: Functions = dwarf.kept["functions"]
        return found

    # --- what is asked -----------------------------------------------------------------------------

    def chain(self, address: int) -> list[Block]:
        """The function around an address and the blocks in it, the innermost last; none where there is none."""
        with self._dwarf.lock, damage(self._dwarf.path, "debug information"):
            for unit in self._dwarf.units_at(address):
                found = self._chain(unit, address)
                if not found and self._deepened(unit):
                    found = self._chain(unit, address)
                if found:
                    return found
        return []

    def _chain(self, unit: Unit, address: int) -> list[Block]:
        known = self._unit(unit)
        at = bisect_right(known.starts, address) - 1
        while at >= 0 and known.starts[at] > address - 0x100000:
            places, die = known.functions[at]
            if any(start <= address < end for start, end in places):
                found = [self._block(unit, known, die)]
                while inner := next((one for one in found[-1].inner if one.holds(address)), None):
                    found.append(inner)
                return found
            at -= 1
        return []

    def _deepened(self, unit: Unit) -> bool:
        """Read what is declared inside of functions, too (lambdas, local classes, gcc's nested functions); whether
        there is any more than before."""
        known = self._unit(unit)
        if known.is_deep:
            return False
        known.is_deep = True
        top, before = self._dwarf.die(unit)[1], len(known.functions)
        self._walk(known, top, "", deep=True, inside=True)
        known.sort()
        return len(known.functions) > before

    def named(self, name: str) -> list[Block]:
        """The functions of that name that have code, and the inlined copies of such; see ``is_called``."""
        own = in_two(name)[0]
        plain = without_scopes(own)
        plain = plain if plain.startswith("operator") else plain.partition("<")[0] or name
        with self._dwarf.lock, damage(self._dwarf.path, "debug information"):
            units = self._dwarf.mentioning(plain)
            advancing = self._dwarf.advancing(f"Looking for {plain} in the debug information", units)
            found = [block for unit in advancing for block in self._called(unit, name)]
            if not found:  # one inside of a function
                found = [block for unit in units if self._deepened(unit) for block in self._called(unit, name)]
            return found

    def _called(self, unit: Unit, name: str) -> list[Block]:
        return [
            block
            for block in self._with_inner(unit)
            if block.origin is not None and is_called(block.origin, name) and self.takes(block.origin, name)
        ]

    def of_unit(self, unit: Unit) -> list[Block]:
        """A unit's functions with code."""
        with self._dwarf.lock, damage(self._dwarf.path, "debug information"):
            known = self._unit(unit)
            return [self._block(unit, known, die) for _, die in known.functions]

    def _with_inner(self, unit: Unit) -> Iterator[Block]:
        known = self._unit(unit)
        for _, die in known.functions:
            block = self._block(unit, known, die)
            yield block
            yield from block.all_inner()

    def takes(self, origin: Origin, name: str) -> bool:
        """Whether a function has the parameters that a name tells in parentheses, if it does."""
        wanted = in_two(name)[1]
        if not wanted:
            return True
        return _plain_types(wanted[1:].rpartition(")")[0]) == _plain_types(self.parameters(origin))

    def parameters(self, origin: Origin) -> str:
        """The types that a function takes, as in "int, char *"."""
        from kvmdbg.debuginfo.declarations import DebugInfo

        info = DebugInfo.of(self._dwarf)
        with self._dwarf.lock, damage(self._dwarf.path, "debug information"):
            taken = []
            for child in self._dies[origin.offset].iter_children():
                if child.tag == "DW_TAG_formal_parameter" and "DW_AT_artificial" not in child.attributes:
                    taken.append(info.type_of_entry(child.get_DIE_from_attribute("DW_AT_type")).name)
            return ", ".join(taken)

    def shown(self, origin: Origin) -> str:
        """Its name, with what it takes where several functions may have one name (C++)."""
        if not origin.linkage.startswith("_Z") or "::{" in origin.name or self._is_rust(origin):
            return origin.name
        return f"{origin.name}({_short_types(self.parameters(origin))})"

    def is_external(self, origin: Origin) -> bool:
        """Whether other units may call it: it is not static."""
        return "DW_AT_external" in self._dies[origin.offset].attributes

    def _is_rust(self, origin: Origin) -> bool:
        return bool(re.search(r"17h[0-9a-f]{16}E", origin.linkage))

    # --- reading -----------------------------------------------------------------------------------

    def _unit(self, unit: Unit) -> _Unit:
        known = self._units.get(unit.offset)
        if known is None:
            top = self._dwarf.die(unit)[1]
            known = _Unit(base_of(self._dwarf, top))
            language = top.attributes.get("DW_AT_language")
            self._walk(known, top, "", deep=language is None or language.value not in PLAIN_C)
            known.sort()
            self._units[unit.offset] = known  # none of a damaged unit: it is told of each time
        return known

    def _walk(self, known: _Unit, parent: Any, scope: str, *, deep: bool, inside: bool = False) -> None:
        """``inside``: only what is inside of functions, which has not been listed."""
        for die in parent.iter_children():
            if die.tag == "DW_TAG_subprogram":
                if die.offset not in known.scopes:
                    known.scopes[die.offset] = scope
                    places = tuple(one for one in extent(self._dwarf, die, known.base) if one[0] < one[1])
                    if places:
                        known.functions.append((places, die))
                if inside and die.has_children:
                    self._walk(known, die, f"{scope}{text(self._named(die), 'DW_AT_name')}::", deep=True, inside=True)
            elif inside and die.tag in LIVING and die.has_children:
                self._walk(known, die, scope, deep=True, inside=True)
            elif die.tag in SCOPES and (deep or die.tag in ("DW_TAG_namespace", "DW_TAG_module")):
                name = text(die, "DW_AT_name")
                if not name:
                    name = "(anonymous namespace)" if die.tag == "DW_TAG_namespace" else "{...}"
                self._walk(known, die, f"{scope}{name}::", deep=deep, inside=inside)

    def _block(self, unit: Unit, known: _Unit, die: Any) -> Block:
        found = self._blocks.get(die.offset)
        if found is None:
            found = self._blocks[die.offset] = self._made(unit, known, die, "function")
        return found

    def _made(self, unit: Unit, known: _Unit, die: Any, kind: str) -> Block:
        places = tuple(one for one in extent(self._dwarf, die, known.base) if one[0] < one[1])
        entry = die.attributes.get("DW_AT_entry_pc")
        first = places[0][0] if places else 0
        if entry is not None and places:
            pc = address(die, "DW_AT_entry_pc") or 0
            pc = pc if "addr" in entry.form else first + pc
            if any(start <= pc < end for start, end in places):  # gcc also gives one that lies before them all
                first = pc
        if kind == "function" and (low := address(die, "DW_AT_low_pc")) is not None:
            first = low
        origin = self._origin(die) if kind != "block" else None
        block = Block(kind, origin, places, first, die.offset)
        if kind == "inlined" and "DW_AT_call_line" in die.attributes:
            number = die.attributes.get("DW_AT_call_file")
            file = unit_file(self._dwarf, unit, int(number.value)) if number is not None else ""
            block = Block(kind, origin, places, first, die.offset, file, int(die.attributes["DW_AT_call_line"].value))
        for child in die.iter_children():
            place = address(child, "DW_AT_low_pc")
            if child.tag == "DW_TAG_label" and place is not None:
                block.labels[text(self._named(child), "DW_AT_name")] = place
            elif child.tag in LIVING and child.tag != "DW_TAG_subprogram":
                inner = self._made(unit, known, child, LIVING[child.tag])
                if inner.extent:
                    block.inner.append(inner)
                else:
                    block.inner.extend(inner.inner)
        return block

    @staticmethod
    def _way_to_name(die: Any) -> list[Any]:
        """The entries up to the one that has the name: of a copy the original, of a definition outside of its class the
        declaration."""
        way = [die]
        for _ in range(8):
            link = next(
                (one for one in ("DW_AT_abstract_origin", "DW_AT_specification") if one in die.attributes), None
            )
            if link is None:
                break
            die = die.get_DIE_from_attribute(link)
            way.append(die)
        return way

    def _named(self, die: Any) -> Any:
        return self._way_to_name(die)[-1]

    def _unit_of(self, die: Any) -> Unit | None:
        if die.dwarfinfo is not self._dwarf.info:
            return None
        offset = getattr(die.cu, "cu_offset", None)
        if offset not in self._unit_at:
            self._unit_at[offset] = next((one for one in self._dwarf.units() if one.offset == offset), None)
        return self._unit_at[offset]

    def _where(self, way: list[Any]) -> tuple[str, int]:
        """File and line of a definition; of the declaration what is the same there."""
        of_file, of_line = (
            next((one for one in way if name in one.attributes), None)
            for name in ("DW_AT_decl_file", "DW_AT_decl_line")
        )
        file = ""
        if of_file is not None and (unit := self._unit_of(of_file)) is not None:
            file = unit_file(self._dwarf, unit, int(of_file.attributes["DW_AT_decl_file"].value))
        return file, int(of_line.attributes["DW_AT_decl_line"].value) if of_line is not None else 0

    def _origin(self, die: Any) -> Origin:
        way = self._way_to_name(die)
        top = way[-1]
        place = place_of(self._dwarf, top)
        known = self._origins.get(place)
        if known is None:
            self._dies[place] = top
            unit = self._unit_of(top)
            scope = self._unit(unit).scopes.get(top.offset, "") if unit is not None else ""
            linkage = text(top, "DW_AT_linkage_name") or text(top, "DW_AT_MIPS_linkage_name")
            file, line = self._where(way)
            known = self._origins[place] = Origin(
                f"{scope}{text(top, 'DW_AT_name')}",
                linkage,
                file,
                line,
                place,
                file if len(way) == 1 else self._where(way[-1:])[0],
            )
        return known


def is_called(origin: Origin, name: str, *, whole: bool = False) -> bool:
    """Whether a user may mean it by this name: its own, also without outer scopes, template arguments, parameters.

    A symbol's own (mangled) name is one, too. ``whole``: with all scopes that have a name.
    """
    if name == origin.linkage:
        return True
    wanted = in_two(name)[0]
    known = origin.name
    if "<" not in wanted:
        known = _without_arguments(known)
    if whole:
        return known.replace(f"{ANONYMOUS}::", "") == wanted.replace(f"{ANONYMOUS}::", "")
    return known == wanted or known.endswith(f"::{wanted}")


def _without_arguments(name: str) -> str:
    """A name without the arguments of templates: "max<int>" is "max"."""
    if name.startswith("operator") or "::operator" in name:
        return name
    while (shorter := re.sub(r"<[^<>]*>", "", name)) != name:
        name = shorter
    return name


def _short_types(text: str) -> str:
    """A list of types as C++ is read: "long int" is "long", "struct s *" is "s *"."""
    text = re.sub(r"\b(struct|class|union|enum)\s+", "", text)
    text = re.sub(r"\b(long long|long|short) unsigned( int)?\b", r"unsigned \1", text)
    return re.sub(r"\b(long|short)\s+int\b", r"\1", text)


def _plain_types(text: str) -> str:
    """A list of types in one spelling."""
    text = re.sub(r"\bunsigned int\b", "unsigned", _short_types(text))
    text = re.sub(r"\bvoid\b$", "", text) if text.strip() == "void" else text
    return re.sub(r"\s*([*&,<>])\s*", r"\1", " ".join(text.split()))
