"""What attributes of DWARF entries mean, taken by themselves.

Source: DWARF 5, sections 2.14 (where declarations are), 5.7.6 (members), 7.7.3 (expressions).
"""

from __future__ import annotations

from typing import Any

from kvmdbg.debuginfo.dwarf import text

SCOPES = ("DW_TAG_namespace", "DW_TAG_module", "DW_TAG_structure_type", "DW_TAG_class_type", "DW_TAG_union_type")


def member_offset(value: int | list[int]) -> int:
    """Where a member is, which DWARF 2 tells as an expression: DW_OP_plus_uconst and a number."""
    if isinstance(value, int):
        return value
    number = 0
    for at, byte in enumerate(value[1:] if value[:1] == [0x23] else []):
        number |= (byte & 0x7F) << 7 * at
    return number


def implicit_value(value: int | bytes | list[int], size: int) -> bytes:
    """The expression of a place that is nowhere, with this value: DW_OP_implicit_value, its length and its bytes."""
    data = bytes(value) if isinstance(value, bytes | list) else (value & (1 << 8 * size) - 1).to_bytes(size, "little")
    return bytes((0x9E, len(data) & 0x7F)) + data if len(data) < 0x80 else b""


def scope_of(die: Any) -> str:
    """The scopes that an entry is in, as in "kern::Heap::"; "" outside of any."""
    found = ""
    parent = die.get_parent()
    while parent is not None and parent.tag in SCOPES:
        found = f"{text(parent, 'DW_AT_name') or '(anonymous namespace)'}::{found}"
        parent = parent.get_parent()
    return found
