"""What the guest's source defines, all of it: functions, variables and types with where they stand."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from kvmdbg.debuginfo.attribute_values import LANGUAGES
from kvmdbg.debuginfo.declarations import DebugInfo
from kvmdbg.debuginfo.dwarf import Dwarf, Unit, damage, text
from kvmdbg.debuginfo.files import DebugFiles
from kvmdbg.debuginfo.functions import Functions
from kvmdbg.debuginfo.lines import unit_file
from kvmdbg.debuginfo.template_names import as_gdb_writes
from kvmdbg.errors import LoadError
from kvmdbg.record import record


@record
class Definition:
    """One: its ``name``, as C declares it, file and line; ``address`` is where it is in the guest, None for a type;
    ``type`` is what a function or a variable is called to be."""

    name: str
    declared: str
    file: str
    line: int
    address: int | None = None
    type: str = ""


@record
class Defined:
    """What was found, and a sentence on each file that is damaged, whose rest was read, or not there."""

    found: list[Definition]
    damaged: list[str]


def functions(files: DebugFiles) -> Defined:
    """The functions with code."""
    return _read(files, "functions", _functions)


def variables(files: DebugFiles) -> Defined:
    """The variables outside of functions."""
    return _read(files, "variables", _variables)


def types(files: DebugFiles) -> Defined:
    """The types that have names; those of the language have no line."""
    return _read(files, "types", _types)


def _read(files: DebugFiles, what: str, of_unit: Callable[[Dwarf, Unit, int], Iterable[Definition]]) -> Defined:
    found: list[Definition] = []
    damaged: dict[str, str] = {}
    for dwarf, base in files.dwarf():
        try:
            units = dwarf.units()
        except LoadError as error:
            damaged[dwarf.path] = str(error)
            continue
        for unit in dwarf.advancing(f"Reading the {what}", units):
            try:
                with dwarf.lock, damage(dwarf.path, "debug information"):
                    found += of_unit(dwarf, unit, base)
            except LoadError as error:
                damaged.setdefault(dwarf.path, str(error))
    return Defined(found, list(dict.fromkeys([*damaged.values(), *files.missing])))


def _functions(dwarf: Dwarf, unit: Unit, base: int) -> Iterator[Definition]:
    known, info = Functions.of(dwarf), DebugInfo.of(dwarf)
    for block in known.of_unit(unit):
        origin = block.origin
        if origin is None or not origin.name:
            continue
        type = info.function_type(block.entry)
        name = as_gdb_writes(known.shown(origin)) if "<" in origin.name else known.shown(origin)
        declared = type.declaring(origin.name) if type is not None and name == origin.name else name
        if name != origin.name and type is not None:
            if type.target is not None and not _is_untyped(origin.name):
                declared = type.target.declaring(name)
            declared += " const" if origin.linkage.startswith("_ZNK") else ""
        static = "" if known.is_external(origin) else "static "
        entry = block.entry + base
        yield Definition(origin.name, f"{static}{declared};", origin.file, origin.line, entry, str(type or ""))


def _each_once(entries: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The entries by their longest names."""
    seen: set[int] = set()
    for name, die in sorted(entries.items(), key=lambda one: -len(one[0])):
        if die.offset not in seen:
            seen.add(die.offset)
            yield name, die


def _variables(dwarf: Dwarf, unit: Unit, base: int) -> Iterator[Definition]:
    info = DebugInfo.of(dwarf)
    known = info.reader.unit(unit)
    for name, die in (*_each_once(known.variables), *_each_once(known.lost)):
        found = info.reader.variable(unit, die)
        if found is None:
            continue
        top = _declaration(die)
        static = "" if "DW_AT_external" in top.attributes else "static "
        place = found.location
        is_placed = isinstance(place, bytes) and place[:1] == b"\x03"  # DW_OP_addr
        address = int.from_bytes(place[1:], "little") + base if isinstance(place, bytes) and is_placed else None
        file, line = _where(dwarf, unit, die, top)
        yield Definition(name, f"{static}{found.type.declaring(name)};", file, line, address, str(found.type))


def _types(dwarf: Dwarf, unit: Unit, base: int) -> Iterator[Definition]:
    info = DebugInfo.of(dwarf)
    for name, die in _each_once(info.reader.unit(unit).types):
        file, line = _where(dwarf, unit, die)
        if die.tag == "DW_TAG_typedef":
            target = info.reader.type_of(die.get_DIE_from_attribute("DW_AT_type")) if _has_type(die) else None
            yield Definition(name, f"typedef {target.declaring(name) if target else f'void {name}'};", file, line)
        elif die.tag == "DW_TAG_base_type":
            shown = info.reader.type_of(die).name
            yield Definition(shown, shown, unit.path, 0)
        else:
            plain = re.sub("^(struct|class|union|enum) ", "", name)
            if info.reader.language(die) == "c++":
                plain = name = as_gdb_writes(plain)
            yield Definition(plain, f"{name};", file, line)


def _is_untyped(name: str) -> bool:
    """Whether a function of C++ has no type that it returns written before it: constructors and the like."""
    scope, _, own = name.rpartition("::")
    within = scope.partition("<")[0].rpartition("::")[2]
    return own in (within, f"~{within}") or bool(re.match(r"operator (?!new|delete)\w", own))


def _has_type(die: Any) -> bool:
    return "DW_AT_type" in die.attributes


def _declaration(die: Any) -> Any:
    for link in ("DW_AT_specification", "DW_AT_abstract_origin"):
        if link in die.attributes:
            return die.get_DIE_from_attribute(link)
    return die


def where_declared(files: DebugFiles, name: str, near: int) -> tuple[str, int] | None:
    """File and line that declare the variable outside of functions that a name means to the code at ``near``."""
    for dwarf, base in files.dwarf():
        with suppress(LoadError), dwarf.lock, damage(dwarf.path, "debug information"):
            for unit in [*dwarf.units_at(near - base), *dwarf.mentioning(name.rpartition("::")[2])]:
                known = DebugInfo.of(dwarf).reader.unit(unit)
                if (die := known.variables.get(known.imports.meant(name))) is not None:
                    file, line = _where(dwarf, unit, die, _declaration(die))
                    if line:
                        return file, line
    return None


def _where(dwarf: Dwarf, unit: Unit, *dies: Any) -> tuple[str, int]:
    """File and line of a definition; of its declaration, behind it, what is the same there."""
    file, line = (
        next((one.attributes[name] for one in dies if name in one.attributes), None)
        for name in ("DW_AT_decl_file", "DW_AT_decl_line")
    )
    name = unit_file(dwarf, unit, int(file.value)) if file is not None else unit.path
    return name or unit.path, int(line.value) if line is not None else 0


def units(files: DebugFiles) -> list[tuple[str, Unit, dict[str, str]]]:
    """The program's units: in which file's debug information, and what made each, its language and DWARF version."""
    found = []
    for dwarf, _ in files.dwarf():
        with suppress(LoadError):
            for unit in dwarf.units():
                with dwarf.lock, damage(dwarf.path, "debug information"):
                    cu, top = dwarf.die(unit)
                    language = top.attributes.get("DW_AT_language")
                    about = {
                        "language": LANGUAGES.get(int(language.value), "unknown")
                        if language is not None
                        else "unknown",
                        "producer": text(top, "DW_AT_producer"),
                        "version": str(cu["version"]),
                    }
                    found.append((dwarf.path, unit, about))
    return found
