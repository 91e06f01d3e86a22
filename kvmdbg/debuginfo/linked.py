"""The debug information that belongs to a file: in it, in a file that it names, split from it, shared by several.

Source: gdb manual, "Separate Debug Files"; DWARF 5, sections 3.1.2, 7.3.2 (split units), 7.3.6 (supplementary files).
"""

from __future__ import annotations

import os
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from kvmdbg.debuginfo.dwarf import Dwarf, Unit, build_id, check_packed, damage, text
from kvmdbg.errors import LoadError
from kvmdbg.record import record

if TYPE_CHECKING:
    from kvmdbg.debuginfo.elf_dwarf import Package

DEBUG_FOLDERS = ["/usr/lib/debug"]
"""Where the debug information of installed programs is."""


@record
class Linked:
    """What was read of a file: the file's own part first; ``missing`` says what it points to and is not there."""

    parts: tuple[Dwarf, ...]
    missing: tuple[str, ...]


_KNOWN: dict[str, tuple[tuple[Any, ...], Linked]] = {}


def linked(path: str) -> Linked:
    """All debug information of a file, read anew when a file of it has changed. LoadError."""
    known = _KNOWN.get(path)
    try:
        if known is not None and known[0] == _stamps(path, known[1]):
            return known[1]
        with open(path, "rb") as file:
            found = _read(path, file) if file.read(4) == b"\x7fELF" else Linked((), ())
    except OSError as error:
        raise LoadError(f"cannot read {path}: {error.strerror}") from None
    _KNOWN[path] = (_stamps(path, found), found)
    return found


def _stamps(path: str, found: Linked) -> tuple[Any, ...]:
    stamps: list[Any] = []
    folder = os.path.dirname(os.path.abspath(path))
    for one in (folder, os.path.join(folder, ".debug")) if found.missing else ():
        stamps.append(os.stat(one).st_mtime_ns if os.path.isdir(one) else 0)  # what is missing may have come
    shared = [part.shared for part in found.parts if part.shared]
    for one in dict.fromkeys((path, *(part.path for part in found.parts), *shared)):
        try:
            state = os.stat(one)
        except FileNotFoundError:
            stamps.append(one)
        else:
            stamps.append((one, state.st_mtime_ns, state.st_size))
    return tuple(stamps)


def _read(path: str, file: Any) -> Linked:
    from elftools.elf.elffile import ELFFile

    with damage(path, "debug information"):
        elf = ELFFile(file)
        missing: list[str] = []
        own = elf.has_dwarf_info()
        has_units = any(elf.get_section_by_name(name) for name in (".debug_info", ".zdebug_info"))
        if not has_units:
            other = _separate(path, elf, missing)
            if other is not None:
                return Linked(_with_parts(other, missing), tuple(missing))
        main = Dwarf(path, elf) if own else None
        if main is None:
            return Linked((), tuple(missing))
        _supplement(path, elf, main, missing)
        return Linked(_with_parts(main, missing), tuple(missing))


def section_addresses(path: str) -> dict[str, int]:
    """Where the sections of an ELF file are linked, by name; none for a file that is no ELF file. LoadError."""
    from elftools.elf.elffile import ELFFile

    try:
        with open(path, "rb") as file, damage(path, "list of sections"):
            if file.read(4) != b"\x7fELF":
                return {}
            return {one.name: int(one["sh_addr"]) for one in ELFFile(file).iter_sections() if one["sh_flags"] & 2}
    except OSError as error:
        raise LoadError(f"cannot read {path}: {error.strerror}") from None


def load_ranges(path: str) -> list[tuple[int, int]]:
    """Start and end of the linear addresses that an ELF file loads; none for a file that is no ELF file. LoadError."""
    from elftools.elf.elffile import ELFFile

    try:
        with open(path, "rb") as file, damage(path, "list of segments"):
            if file.read(4) != b"\x7fELF":
                return []
            found = [(int(one["p_vaddr"]), int(one["p_memsz"])) for one in ELFFile(file).iter_segments("PT_LOAD")]
            return [(start, start + size) for start, size in found if size]
    except OSError as error:
        raise LoadError(f"cannot read {path}: {error.strerror}") from None


def code_ranges(path: str) -> tuple[tuple[int, int], ...]:
    """Start and end of the linear addresses of an ELF file's sections of code; none of any other file. LoadError."""
    try:
        with open(path, "rb") as file, damage(path, "list of sections"):
            if file.read(4) != b"\x7fELF":
                return ()
            from elftools.elf.constants import SH_FLAGS
            from elftools.elf.elffile import ELFFile

            wanted = SH_FLAGS.SHF_ALLOC | SH_FLAGS.SHF_EXECINSTR
            found = [one for one in ELFFile(file).iter_sections() if one["sh_flags"] & wanted == wanted]
            return tuple((int(one["sh_addr"]), int(one["sh_addr"] + one["sh_size"])) for one in found)
    except OSError as error:
        raise LoadError(f"cannot read {path}: {error.strerror}") from None


def _separate(path: str, elf: Any, missing: list[str]) -> Dwarf | None:
    """The debug information that was taken out of a file, found by its build-id or the name in .gnu_debuglink."""
    from elftools.elf.elffile import ELFFile

    from kvmdbg.debuginfo.elf_dwarf import Info

    folder = os.path.dirname(os.path.abspath(path))
    wanted = build_id(elf)
    candidates = [os.path.join(one, ".build-id", wanted[:2], f"{wanted[2:]}.debug") for one in DEBUG_FOLDERS if wanted]
    link = elf.get_dwarf_link()
    name = os.fsdecode(link.filename) if link is not None else ""
    if name:
        beside = [folder, os.path.join(folder, ".debug"), *(one + folder for one in DEBUG_FOLDERS)]
        candidates += [os.path.join(one, name) for one in beside]
    for one in candidates:
        if not os.path.isfile(one) or os.path.samefile(one, path):
            continue
        with open(one, "rb") as file:
            data = file.read()
            fits = zlib.crc32(data) == link.checksum if link is not None else True
            if wanted and os.sep + ".build-id" + os.sep in one:
                fits = True
            if not fits:
                missing.append(f"{one} is not the debug information of {path}: its checksum differs")
                continue
            file.seek(0)
            with damage(one, "debug information"):
                found = Dwarf(one, other := ELFFile(file))
                check_packed(path, elf)
                found.info.eh_frame_sec = Info.of(elf).eh_frame_sec
                _supplement(one, other, found, missing)
                return found
    if name and not missing:
        missing.append(f"{path} says that its debug information is in {name}, which is not there")
    return None


def _supplement(path: str, elf: Any, dwarf: Dwarf, missing: list[str]) -> None:
    """Give a file that was made smaller by dwz the file that it shares with others."""
    from elftools.elf.elffile import ELFFile

    name, wanted = "", ""
    alternative = elf.get_section_by_name(".gnu_debugaltlink")
    if alternative is not None:
        data = alternative.data()
        name, wanted = os.fsdecode(data.partition(b"\0")[0]), data.partition(b"\0")[2].hex()
    elif dwarf.info.debug_sup_sec is not None:
        data = dwarf.info.debug_sup_sec.stream.getvalue()
        if len(data) > 3 and not data[2]:
            name = os.fsdecode(data[3:].partition(b"\0")[0])
    if not name:
        return
    candidates = [os.path.join(os.path.dirname(os.path.abspath(path)), name)]
    candidates += [os.path.join(one, ".build-id", wanted[:2], f"{wanted[2:]}.debug") for one in DEBUG_FOLDERS if wanted]
    for one in candidates:
        with suppress(OSError), open(one, "rb") as file:
            shared = ELFFile(file)
            if wanted and build_id(shared) != wanted:
                missing.append(f"{one} is not the file that {path} shares with others: its build-id differs")
                continue
            dwarf.info.supplementary_dwarfinfo, dwarf.shared = Dwarf(one, shared).info, one
            return
    if not missing:
        missing.append(f"{path} shares debug information with others in {name}, which is not there")


def _with_parts(main: Dwarf, missing: list[str]) -> tuple[Dwarf, ...]:
    """A file and those that were split from it (.dwo), or that are together in its package (.dwp)."""
    if main.info.debug_addr_sec is None:
        return (main,)
    parts = [main]
    with suppress(LoadError):
        package = _package(main, missing)
        for unit in main.units():
            top = main.die(unit)[1]
            name = text(top, "DW_AT_dwo_name") or text(top, "DW_AT_GNU_dwo_name")
            if not name:
                continue
            try:
                part = _split(main, unit, name, package)
            except LoadError as error:
                missing.append(str(error))
                continue
            if part is None:
                missing.append(
                    f"{main.path}: the debug information of {unit.name or name} is in {name}, which is not there"
                )
            else:
                parts.append(part)
    return tuple(parts)


def _package(main: Dwarf, missing: list[str]) -> Package | None:
    """The package beside a file, None where there is none, or a damaged one."""
    from elftools.elf.elffile import ELFFile

    from kvmdbg.debuginfo.elf_dwarf import Package

    path = f"{main.path}.dwp"
    with suppress(OSError), open(path, "rb") as file:
        try:
            with damage(path, "debug information"):
                check_packed(path, elf := ELFFile(file))
                return Package(path, elf)
        except LoadError as error:
            missing.append(str(error))
    return None


def _split(main: Dwarf, unit: Unit, name: str, package: Package | None) -> Dwarf | None:
    """What was split from a unit."""
    from elftools.elf.elffile import ELFFile

    from kvmdbg.debuginfo.elf_dwarf import split_sections

    cu, top = main.die(unit)
    identity = cu.header.get("dwo_id")
    if identity is None and "DW_AT_GNU_dwo_id" in top.attributes:
        identity = top.attributes["DW_AT_GNU_dwo_id"].value
    folder = os.path.dirname(os.path.abspath(main.path))
    sections = package.sections(identity or 0) if package is not None else None
    if package is not None and sections is not None:
        return main.split(package.path, sections, unit, cu)
    for path in (
        os.path.join(unit.folder, name),
        os.path.join(folder, name),
        os.path.join(folder, os.path.basename(name)),
    ):
        with suppress(OSError), open(path, "rb") as file:
            with damage(path, "debug information"):
                check_packed(path, elf := ELFFile(file))
                return main.split(path, split_sections(elf), unit, cu)
    return None
