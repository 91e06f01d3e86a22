"""Line information of ELF files: which source line each address belongs to (DWARF's line programs)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, BinaryIO

from kvmdbg.errors import LoadError
from kvmdbg.record import record


@record
class Line:
    """Instructions from ``address`` up to ``end`` come from ``line`` of ``file``."""

    address: int
    end: int
    file: str
    line: int


@lru_cache(maxsize=16)
def read_lines(path: str) -> tuple[Line, ...]:
    """The lines of an ELF file, by address; none for other files and for files without line information. LoadError."""
    try:
        with open(path, "rb") as file:
            if file.read(4) != b"\x7fELF":
                return ()
            file.seek(0)
            return tuple(sorted(_lines(file), key=lambda one: one.address))
    except OSError as error:
        raise LoadError(f"cannot read {path}: {error.strerror}") from None


@lru_cache(maxsize=64)
def lines_size(path: str) -> int:
    """Bytes of line programs in a file (.debug_line), 0 where there are none."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        with open(path, "rb") as file:
            if file.read(4) != b"\x7fELF":
                return 0
            file.seek(0)
            section = ELFFile(file).get_section_by_name(".debug_line")
            return int(section["sh_size"]) if section is not None else 0
    except (OSError, ELFError, KeyError, ValueError):
        return 0


def _lines(file: BinaryIO) -> Iterator[Line]:
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        elf = ELFFile(file)
        if not elf.has_dwarf_info():
            return
        dwarf = elf.get_dwarf_info()
        for unit in dwarf.iter_CUs():
            program = dwarf.line_program_for_CU(unit)
            if program is None:
                continue
            folder = unit.get_top_DIE().attributes.get("DW_AT_comp_dir")
            root = folder.value.decode("utf-8", "replace") if folder is not None else ""
            before = None
            for entry in program.get_entries():
                state = entry.state
                if state is None:
                    continue
                if before is not None and state.address > before[0]:
                    yield Line(before[0], state.address, before[1], before[2])
                before = None if state.end_sequence else (state.address, _name(program, state.file, root), state.line)
    except (ELFError, KeyError, ValueError, IndexError, AttributeError, UnicodeDecodeError) as error:
        raise LoadError(f"{file.name}: its line information is damaged ({error})") from None


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
