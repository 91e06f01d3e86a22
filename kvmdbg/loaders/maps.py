"""Map files: lists of names and addresses, for guests that are not ELF files.

Read are what ``nm`` prints (System.map and Bochs' symbol files look like it), what GNU ld writes with ``-Map`` and
what nasm writes with ``[map symbols]``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from kvmdbg.loaders.symbol_files import SymbolFile, symbol_reader
from kvmdbg.machine.image import Symbol
from kvmdbg.masks import LOW64

NM = re.compile(
    r"(?:0x)?(?P<address>[0-9a-f]+)(?:\s+(?P<size>[0-9a-f]{8,16}))?(?:\s+(?P<letter>[a-z?-]))?\s+(?P<name>[a-z_.$?@]\S*)"
    r"(?:\s+\[\S+\])?\s*",
    re.IGNORECASE,
)
UNDEFINED = re.compile(r"\s+[Uwv] \S+")
NM_KINDS = {"t": "function", "w": "function", "i": "function", "a": "absolute"} | dict.fromkeys("bdrgscvu", "object")
"""What a letter of nm's says, in lower case."""


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


@symbol_reader
class Nm:
    """``ADDRESS [SIZE] [LETTER] NAME`` a line."""

    name = "nm's output"

    def recognise(self, data: bytes) -> bool:
        """True when each of the first lines is one of them, or of an undefined name."""
        lines = [line for line in _text(data[:0x1000]).splitlines()[:8] if line.strip()]
        return bool(lines) and all(NM.fullmatch(line) or UNDEFINED.fullmatch(line) for line in lines[:-1] or lines)

    def read(self, data: bytes, path: str, base: int) -> SymbolFile:
        """A capital letter is a global name."""
        found = []
        for line in _text(data).splitlines():
            match = NM.fullmatch(line)
            if match is None:
                continue
            letter = match["letter"] or "T"
            kind = NM_KINDS.get(letter.lower(), "notype") if match["letter"] else "notype"
            binding = "weak" if letter in "wWvV" else "global" if letter.isupper() else "local"
            address = int(match["address"], 16) + (0 if kind == "absolute" else base)
            found.append(Symbol(match["name"], address & LOW64, int(match["size"] or "0", 16), kind, binding))
        return SymbolFile(found)


LD_HEAD = b"Linker script and memory map"
LD_SECTION = re.compile(r"(?P<name>[^\s*(]\S*)?\s+0x(?P<address>[0-9a-f]+)\s+0x(?P<size>[0-9a-f]+)(?:\s.*)?")
LD_NAME = re.compile(r"\s{8,}0x(?P<address>[0-9a-f]+)\s+(?:PROVIDE \()?(?P<name>[A-Za-z_$][\w.$@]*)(?:\s*=[^=].*)?")


@symbol_reader
class LinkerMap:
    """The memory map of ``ld -Map``: sections, and the global names in each."""

    name = "a map of GNU ld"

    def recognise(self, data: bytes) -> bool:
        """True where the heading of the memory map is."""
        return LD_HEAD in data

    def read(self, data: bytes, path: str, base: int) -> SymbolFile:
        """The names, each bounded by the output section around it."""
        return SymbolFile(list(self._symbols(_text(data.partition(LD_HEAD)[2]), base)))

    def _symbols(self, text: str, base: int) -> Iterator[Symbol]:
        start = end = 0
        wrapped = False
        for line in text.splitlines():
            if line.startswith("OUTPUT("):
                return
            is_output = bool(line) and not line[0].isspace()
            section = LD_SECTION.fullmatch(line)
            if section is not None and (is_output or wrapped):
                start = int(section["address"], 16)
                end = start + int(section["size"], 16)
            elif (match := LD_NAME.fullmatch(line)) is not None and section is None:
                address = int(match["address"], 16)
                limit = (end + base) & LOW64 if start <= address < end else 0
                yield Symbol(match["name"], (address + base) & LOW64, limit=limit)
            wrapped = is_output and " " not in line.strip()


NASM_PLACE = re.compile(r"\s*[0-9A-F]+\s+(?P<value>[0-9A-F]+)\s+(?P<name>\S+)")
NASM_NUMBER = re.compile(r"(?P<value>[0-9A-F]{8,16})\s+(?P<name>\S+)")


@symbol_reader
class NasmMap:
    """The map of nasm's ``[map symbols]`` or ``[map all]``."""

    name = "a map of nasm"

    def recognise(self, data: bytes) -> bool:
        """True for its first line."""
        return data.lstrip().startswith(b"- NASM Map file")

    def read(self, data: bytes, path: str, base: int) -> SymbolFile:
        """The names at the addresses that the code uses (Virtual); those of no section are numbers."""
        found: list[Symbol] = []
        placed = False
        for line in _text(data.partition(b"-- Symbols --")[2]).splitlines():
            if line.startswith("----"):
                placed = "No Section" not in line
                continue
            match = (NASM_PLACE if placed else NASM_NUMBER).fullmatch(line)
            if match is not None and placed:
                found.append(Symbol(match["name"], (int(match["value"], 16) + base) & LOW64))
            elif match is not None:
                found.append(Symbol(match["name"], int(match["value"], 16) & LOW64, kind="absolute"))
        return SymbolFile(found)
