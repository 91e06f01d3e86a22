"""Line information of ELF files: which source line each address belongs to (DWARF's line programs)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from kvmdbg.debuginfo.dwarf import Dwarf, Unit, damage
from kvmdbg.loaders.symbol_files import Line


def line_program(dwarf: Dwarf, unit: Unit) -> Any:
    """pyelftools' line program of a unit, None where it has none; that of a split unit only tells files."""
    cu = dwarf.die(unit)[0]
    if dwarf.skeleton is not None and dwarf.info.debug_line_sec is not None:
        return dwarf.info._parse_line_program_at_offset(0, cu.structs)
    return dwarf.info.line_program_for_CU(cu)


def unit_lines(dwarf: Dwarf, unit: Unit) -> tuple[Line, ...]:
    """The lines of one unit, by address. LoadError."""
    known: dict[int, tuple[Line, ...]] = dwarf.kept.setdefault("lines", {})
    if unit.offset not in known:
        with dwarf.lock, damage(dwarf.path, "line information"):
            known[unit.offset] = tuple(sorted(_lines(dwarf, unit), key=lambda one: one.address))
    return known[unit.offset]


def unit_files(dwarf: Dwarf) -> dict[int, frozenset[str]]:
    """The source files that each unit, by its offset, may have code from. LoadError."""
    with dwarf.lock, damage(dwarf.path, "line information"):
        if "files" not in dwarf.kept:
            kept = dwarf.cache.read("files") if dwarf.is_large else None
            found = _unpacked(kept) if kept is not None else _all_files(dwarf)
            if dwarf.is_large and kept is None:
                dwarf.cache.write("files", _packed(found))
            dwarf.kept["files"] = found
        files: dict[int, frozenset[str]] = dwarf.kept["files"]
        return files


def unit_file(dwarf: Dwarf, unit: Unit, number: int) -> str:
    """The path of the file that a unit's entries call by this number, "" for none. LoadError."""
    known: dict[tuple[int, int], str] = dwarf.kept.setdefault("numbers", {})
    if (unit.offset, number) not in known:
        with dwarf.lock, damage(dwarf.path, "line information"):
            program: Any = line_program(dwarf, unit)
            first = 0 if program is not None and program.header.version >= 5 else 1
            there = program is not None and first <= number < first + len(program.header.file_entry)
            known[unit.offset, number] = _name(program, number, unit.folder) if there else ""
    return known[unit.offset, number]


def _all_files(dwarf: Dwarf) -> dict[int, frozenset[str]]:
    found = {}
    for unit in dwarf.advancing("Reading the source files' names", dwarf.units()):
        program = line_program(dwarf, unit)
        entries = program.header.file_entry if program is not None else ()
        first = 0 if program is not None and program.header.version >= 5 else 1
        names = (_name(program, number, unit.folder) for number in range(first, first + len(entries)))
        found[unit.offset] = frozenset(names)
    return found


def _packed(found: dict[int, frozenset[str]]) -> bytes:
    import json

    numbers = {name: number for number, name in enumerate(sorted(set().union(*found.values())))}
    units = [(offset, sorted(numbers[name] for name in names)) for offset, names in found.items()]
    return json.dumps([list(numbers), units]).encode()


def _unpacked(kept: bytes) -> dict[int, frozenset[str]]:
    import json

    names, units = json.loads(kept)
    return {offset: frozenset(names[number] for number in numbers) for offset, numbers in units}


def _lines(dwarf: Dwarf, unit: Unit) -> Iterator[Line]:
    from elftools.dwarf.lineprogram import LineProgram

    program: Any = line_program(dwarf, unit)
    if program is None:
        return
    names: dict[int, str] = {}
    before = None
    in_blocks = False
    """Whether the line is of several blocks of code (DW_LNE_set_discriminator)."""
    places = program.program_start_offset, program.program_end_offset
    fresh = LineProgram(program.header, program.stream, program.structs, *places)  # the other is kept with its entries
    for entry in fresh.get_entries():
        state = entry.state
        if state is None:
            continue
        if state.file not in names and not state.end_sequence:
            names[state.file] = _name(program, state.file, unit.folder)
        now = None if state.end_sequence else (state.address, names[state.file], state.line, bool(state.is_stmt))
        if before is not None and now is not None and now[:3] == before[:3]:
            before = (*now[:3], now[3] or before[3])  # of another view of the same place
            continue
        if before is not None and now is not None and now[0] == before[0] and before[3] and not now[3]:
            continue  # the line that begins here is meant, as gdb has it
        same = before is not None and now is not None and now[1:3] == before[1:3]
        in_blocks = bool(state.discriminator) or (same and in_blocks)
        if same and in_blocks:  # other parts of one line, as the head of a loop has them: one line, as gdb has it
            continue
        if before is not None and (state.address > before[0] or before[3]):
            yield Line(before[0], state.address, *before[1:])
        before = now


def _name(program: Any, number: int, root: str) -> str:
    """The path of file ``number``; DWARF 5 counts files and folders from 0, earlier versions from 1."""
    header = program.header
    five = header.version >= 5
    entry = header.file_entry[number if five else number - 1]
    name = entry.name.decode("utf-8", "replace")
    folders = [str(one, "utf-8", "replace") if isinstance(one, bytes) else str(one) for one in header.include_directory]
    index = entry.dir_index - (not five)
    folder = folders[index] if 0 <= index < len(folders) else ""
    return os.path.normpath(os.path.join(root, folder, name))
