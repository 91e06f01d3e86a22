"""The definitions of macros, as texts, of a program that was compiled with -g3.

Source: DWARF 5, section 6.3; version 4 is GNU's, and the same. Which of several holds at a place is not told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress

from kvmdbg.debuginfo.dwarf import damage
from kvmdbg.errors import LoadError

MOST = 3
"""So many different definitions are told."""
LONGEST = 4 << 20
"""Bytes of macro information that are looked through."""
END, DEFINE, UNDEF, START_FILE, END_FILE, DEFINE_STRP, UNDEF_STRP, IMPORT = range(8)


def definitions(path: str, name: str) -> list[str]:
    """What a file's debug information has macros of this name defined as: "LIMIT 42", "SQ(x) ((x) * (x))"."""
    from elftools.elf.elffile import ELFFile

    found: dict[str, None] = {}
    with suppress(OSError, LoadError), damage(path, "macro information"), open(path, "rb") as file:
        elf = ELFFile(file)
        section, strings = (elf.get_section_by_name(one) for one in (".debug_macro", ".debug_str"))
        if section is None or section.data_size > LONGEST:
            return []
        wanted = re.compile(re.escape(name) + r"(\([^()]*\))?( |$)")
        texts = _defined(section.data(), strings.data() if strings is not None else b"")
        found |= dict.fromkeys(one.strip() for one in texts if wanted.match(one))
    return list(found)[:MOST]


def _defined(data: bytes, strings: bytes) -> Iterator[str]:
    """Every definition; IndexError where the data end in the middle of one."""
    at = 0
    while at < len(data):
        version, flags = int.from_bytes(data[at : at + 2], "little"), data[at + 2]
        if version not in (4, 5) or flags & 4:  # a table of further operations, which none makes
            return
        size = 8 if flags & 1 else 4
        at += 3 + (size if flags & 2 else 0)
        while (operation := data[at]) != END:
            at += 1
            if operation not in (END_FILE, IMPORT):
                at = _behind_number(data, at)
            if operation == START_FILE:
                at = _behind_number(data, at)
            elif operation in (DEFINE, UNDEF):
                end = data.find(b"\0", at)
                if end < 0:
                    return
                if operation == DEFINE:
                    yield data[at:end].decode("utf-8", "replace")
                at = end + 1
            elif operation in (DEFINE_STRP, UNDEF_STRP, IMPORT):
                place = int.from_bytes(data[at : at + size], "little")
                if operation == DEFINE_STRP:
                    yield strings[place : max(strings.find(b"\0", place), place)].decode("utf-8", "replace")
                at += size
            elif operation != END_FILE:
                return
        at += 1


def _behind_number(data: bytes, at: int) -> int:
    """Behind an unsigned LEB128 number."""
    while data[at] & 0x80:
        at += 1
    return at + 1
