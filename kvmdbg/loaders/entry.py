"""``--entry``: SEG:OFF, a linear address, or a symbol."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kvmdbg.errors import LoadError
from kvmdbg.machine.image import Entry, LoadOptions, Symbol


def number(text: str) -> int | None:
    """An unsigned number in C notation (also 0b, 0o and ``_``), or None when ``text`` is none."""
    text = text.strip()
    if not text[:1].isdigit():
        return None
    try:
        return int(text, 0)
    except ValueError:
        return None


def chosen_entry(
    options: LoadOptions,
    default: Entry,
    path: str,
    mode: str,
    symbols: Sequence[Symbol] = (),
    physical: Callable[[int], int] = lambda address: address,
) -> Entry:
    """The entry that the options ask for, else ``default``.

    ``physical`` translates a symbol's linked address to where it was loaded. LoadError for a symbol that is not there,
    an address out of range, and SEG:OFF outside real mode.
    """
    if options.entry is None:
        return default
    text = options.entry.strip()
    segment, colon, offset = text.partition(":")
    if colon:
        cs, ip = number(segment), number(offset)
        if cs is None or ip is None or cs > 0xFFFF or ip > 0xFFFF:
            raise LoadError(f"the entry {text!r} of {path} is not SEG:OFF with two numbers of 16 bits, as in 0x1000:0")
        if mode != "real":
            raise LoadError(f"the entry {text} of {path} is SEG:OFF, which needs --mode real; {path} starts in {mode}")
        return Entry(cs, ip)
    address = number(text)
    if address is not None:
        if address >= 1 << 64:
            raise LoadError(f"the entry {text} of {path} is no address: it has more than 64 bits")
        return Entry(None, address)
    for symbol in sorted((*symbols, *options.symbols), key=lambda one: one.binding == "local"):
        if symbol.name == text:
            return Entry(None, physical(symbol.address))
    if text[:1].isdigit() or not text:
        raise LoadError(f"the entry {text!r} of {path} is neither an address nor SEG:OFF nor a symbol")
    raise LoadError(f"there is no symbol {text!r} in {path} to enter at")
