"""What names mean to code in C++: by the scopes that it is in, and by ``using`` and other names of namespaces.

Source: ISO C++, 6.5 (name lookup); DWARF 5, sections 3.2.3 (imported declarations) and 3.2.4 (imported modules).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

from kvmdbg.debuginfo.attribute_values import without_scopes
from kvmdbg.debuginfo.declarations import DebugInfo
from kvmdbg.debuginfo.files import DebugFiles
from kvmdbg.debuginfo.functions import Functions
from kvmdbg.debuginfo.imports import Imports
from kvmdbg.errors import LoadError


def meanings(files: DebugFiles, here: int, name: str) -> list[str]:
    """What a name may be called with all its scopes, seen from the code at ``here``: what is meant first stands first.

    ``::name`` means one outside of all scopes.
    """
    is_outer, name = name.startswith("::"), name.removeprefix("::")
    own, of_units = _imports(files, here, "::" in name)
    found: dict[str, None] = {}
    for scope, one in own.others("", name) if not is_outer else ():
        found.update(dict.fromkeys(_all(scope, one, [own, *of_units])))
    for scope in [*scopes(files, here), ""] if not is_outer else [""]:
        found.update(dict.fromkeys(_all(scope, name, of_units)))
    return list(found)


def scopes(files: DebugFiles, here: int) -> list[str]:
    """The classes and namespaces that the code is in, the innermost first: "kern::Heap::", "kern::"."""
    for dwarf, base in files.dwarf():
        with suppress(LoadError):
            chain = Functions.of(dwarf).chain(here - base)
            name = next((one.origin.name for one in reversed(chain) if one.origin is not None), "")
            found = []
            while own := without_scopes(name):
                name = name[: -len(own)].removesuffix("::")
                found += [f"{name}::"] if name else []
            if chain:
                return [one for one in found if "(" not in one]
    return []


def _imports(files: DebugFiles, here: int, anywhere: bool) -> tuple[Imports, list[Imports]]:
    """Those of the function that the code is in, and of its unit; else, ``anywhere``, those of all units."""
    found: list[Imports] = []
    for dwarf, base in files.dwarf():
        with suppress(LoadError):
            info = DebugInfo.of(dwarf)
            own, of_unit = info.imports_at(here - base)
            if own or of_unit:
                return own, [of_unit]
            found += info.imports() if anywhere else []
    return Imports(), found


def _all(scope: str, name: str, tables: Iterable[Imports]) -> Iterator[str]:
    """What a name in a scope may be called."""
    known = {(scope, name)}
    waiting, tables = [(scope, name)], list(tables)
    for one in waiting:
        yield "".join(one)
        for other in (each for table in tables for each in table.others(*one)):
            if other not in known:
                known.add(other)
                waiting.append(other)
