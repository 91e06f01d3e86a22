"""Numbers and addresses as commands show them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvmdbg.language.formats import format_scalar

if TYPE_CHECKING:
    from kvmdbg.commands.interpreter import Interpreter


def format_value(dbg: Interpreter, value: int, letter: str, size: int, *, pad: bool = False) -> str:
    """One number of ``size`` bytes in the format ``letter``. ``pad``: hexadecimal with all its digits, as ``x`` shows.

    Raises UsageError for a letter that shows no single number (s, i).
    """
    return format_scalar(value, letter, size, dbg.session.c_variables.label, padded=pad)


def address_label(dbg: Interpreter, address: int) -> str:
    """``<loop+3>`` or ""."""
    name = dbg.session.symbols.format(address)
    return f"<{name}>" if name else ""
