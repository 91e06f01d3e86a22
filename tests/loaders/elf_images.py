"""ELF files made byte by byte, so that a test can say exactly what is in them."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

EM_386, EM_X86_64, EM_AARCH64 = 3, 62, 183
ET_REL, ET_EXEC, ET_DYN = 1, 2, 3
FUNC, OBJECT, NOTYPE, SECTION = 2, 1, 0, 3
GLOBAL, LOCAL, WEAK = 1, 0, 2
SHN_ABS = 0xFFF1


@dataclass
class Load:
    """A PT_LOAD segment; ``physical`` None is the same as ``virtual``."""

    virtual: int
    data: bytes
    memory_size: int = 0
    physical: int | None = None


@dataclass
class ElfImage:
    """``symbols`` are (name, value, size, type, binding, section index); section 1 is .text, over the first segment."""

    bits: int = 32
    machine: int = EM_386
    kind: int = ET_EXEC
    entry: int = 0x100000
    loads: list[Load] = field(default_factory=lambda: [Load(0x100000, b"\x90\xf4")])
    symbols: list[tuple[str, int, int, int, int, int]] = field(default_factory=list)
    prefix: bytes = b""  # right behind the program headers, as a multiboot header would be
    big_endian: bool = False

    def build(self) -> bytes:
        """The file."""
        wide = self.bits == 64
        header_size, program_size, section_size = (64, 56, 64) if wide else (52, 32, 40)
        offset = header_size + program_size * len(self.loads) + len(self.prefix)
        programs, contents, offsets = b"", b"", []
        for one in self.loads:
            at = offset + len(contents)
            offsets.append(at)
            physical = one.virtual if one.physical is None else one.physical
            memory_size = one.memory_size or len(one.data)
            if wide:
                programs += struct.pack(
                    "<IIQQQQQQ", 1, 7, at, one.virtual, physical, len(one.data), memory_size, 0x1000
                )
            else:
                programs += struct.pack(
                    "<IIIIIIII", 1, at, one.virtual, physical, len(one.data), memory_size, 7, 0x1000
                )
            contents += one.data
        names, table = b"\0", bytes(24 if wide else 16)
        for name, value, size, kind, binding, section in self.symbols:
            info = binding << 4 | kind
            if wide:
                table += struct.pack("<IBBHQQ", len(names), info, 0, section, value, size)
            else:
                table += struct.pack("<IIIBBH", len(names), value, size, info, 0, section)
            names += name.encode() + b"\0"
        section_names = b"\0.text\0.symtab\0.strtab\0"
        tables_at = offset + len(contents)
        sections = [(0,) * 10]
        if self.symbols:
            text = self.loads[0]
            sections += [
                (1, 1, 6, text.virtual, offsets[0], len(text.data), 0, 0, 1, 0),
                (7, 2, 0, 0, tables_at, len(table), 3, 1, 8, 24 if wide else 16),
                (15, 3, 0, 0, tables_at + len(table), len(names), 0, 0, 1, 0),
                (15, 3, 0, 0, tables_at + len(table) + len(names), len(section_names), 0, 0, 1, 0),
            ]
        sections_at = tables_at + len(table) + len(names) + len(section_names)
        section_layout = "<IIQQQQIIQQ" if wide else "<10I"
        ident = b"\x7fELF" + bytes([2 if wide else 1, 2 if self.big_endian else 1, 1]) + bytes(9)
        header = ident + struct.pack(
            ">HHIQQQIHHHHHH" if wide and self.big_endian else "<HHIQQQIHHHHHH" if wide else "<HHIIIIIHHHHHH",
            *(self.kind, self.machine, 1, self.entry, header_size, sections_at if self.symbols else 0, 0),
            *(header_size, program_size, len(self.loads)),
            *((section_size, len(sections), 4) if self.symbols else (section_size, 0, 0)),
        )
        if not self.symbols:
            return header + programs + self.prefix + contents
        packed = b"".join(struct.pack(section_layout, *one) for one in sections)
        return header + programs + self.prefix + contents + table + names + section_names + packed
