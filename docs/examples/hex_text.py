"""Guests as hexadecimal text."""

from __future__ import annotations

from kvmdbg.errors import LoadError
from kvmdbg.loaders.entry import chosen_entry
from kvmdbg.loaders.registry import loader
from kvmdbg.machine.image import Entry, Image, LoadOptions, Segment, Symbol

START = 0x8000


@loader
class HexText:
    """Lines of hexadecimal digits after the line "#hex"; a line that ends with ":" is a label."""

    name = "hex"
    looks_for = "line #hex at its start"
    priority = 50
    takes_cmdline = False

    def recognise(self, data: bytes) -> bool:
        return data.startswith(b"#hex\n")

    def load(self, data: bytes, path: str, options: LoadOptions) -> Image:
        start = START if options.load is None else options.load
        mode = options.mode or "real"
        code, symbols = bytearray(), list[Symbol]()
        for number, line in enumerate(data.decode("ascii", "replace").splitlines()[1:], 2):
            if line.endswith(":"):
                symbols.append(Symbol(line[:-1], start + len(code)))
                continue
            try:
                code += bytes.fromhex(line)
            except ValueError:
                raise LoadError(f"{path}: line {number} is neither hexadecimal digits nor a label") from None
        entry = chosen_entry(options, Entry(None, start), path, mode, symbols)
        segments = [Segment(start, bytes(code), name="text")]
        return Image(path, self.name, segments, mode, entry, symbols=symbols)
