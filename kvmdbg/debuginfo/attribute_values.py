"""What attributes of DWARF entries mean, taken by themselves.

Source: DWARF 5, sections 2.14 (where declarations are), 5.7.6 (members), 7.7.3 (expressions).
"""

from __future__ import annotations

from typing import Any

from kvmdbg.debuginfo.dwarf import text

SCOPES = ("DW_TAG_namespace", "DW_TAG_module", "DW_TAG_structure_type", "DW_TAG_class_type", "DW_TAG_union_type")
LANGUAGES = {
    1: "c", 2: "c", 0xC: "c", 0x1D: "c", 0x2C: "c", 4: "c++", 0x1A: "c++", 0x21: "c++", 0x2B: "c++", 0x1C: "rust",
    0x8001: "asm", 0x16: "go", 0x13: "d", 3: "ada", 0xD: "ada",
}  # fmt: skip
"""DW_LANG_*, as gdb calls them."""
SCOPED = frozenset(["c++", "rust", "d", "go", "ada"])
"""Those in which names have scopes."""


def member_offset(value: int | list[int]) -> int:
    """Where a member is, which DWARF 2 tells as an expression: DW_OP_plus_uconst and a number."""
    if isinstance(value, int):
        return value
    number = 0
    for at, byte in enumerate(value[1:] if value[:1] == [0x23] else []):
        number |= (byte & 0x7F) << 7 * at
    return number


def constant_bytes(value: int | bytes | list[int], size: int) -> bytes:
    """A constant as it is in memory; a text may be given without the zeros behind it."""
    if isinstance(value, bytes | list):
        return bytes(value).ljust(size, b"\0")
    return (value & (1 << 8 * size) - 1).to_bytes(size, "little")


def implicit_value(value: int | bytes | list[int], size: int) -> bytes:
    """The expression of a place that is nowhere, with this value: DW_OP_implicit_value, its length and its bytes."""
    data = constant_bytes(value, size)
    return bytes((0x9E, len(data) & 0x7F)) + data if len(data) < 0x80 else b""


def scope_of(die: Any) -> str:
    """The scopes that an entry is in, as in "kern::Heap::"; "" outside of any."""
    found = ""
    parent = _declared(die).get_parent()
    while parent is not None and parent.tag in SCOPES:
        name = text(parent, "DW_AT_name") or ("(anonymous namespace)" if parent.tag == "DW_TAG_namespace" else "{...}")
        found = f"{name}::{found}"
        parent = _declared(parent).get_parent()
    return found


def _declared(die: Any) -> Any:
    """Of a type in a type unit its declaration, which is in the scopes; other entries as they are."""
    return die.get_DIE_from_attribute("DW_AT_specification") if "DW_AT_specification" in die.attributes else die


def without_scopes(name: str) -> str:
    """A name without its scopes: "Option<&mem::Frame>" of "core::option::Option<&mem::Frame>"."""
    depth = start = 0
    for at, letter in enumerate(name):
        depth += (letter in "<(") - (letter in ">)")
        if not depth and name.startswith("::", at):
            start = at + 2
    return name[start:]


def left_out(die: Any) -> list[Any]:
    """The variables at one address that a copy of a function, or a block of one, has from its origin alone."""
    if "DW_AT_abstract_origin" not in die.attributes:
        return []
    statics = [
        one
        for one in die.get_DIE_from_attribute("DW_AT_abstract_origin").iter_children()
        if one.tag == "DW_TAG_variable" and "DW_AT_location" in one.attributes
    ]
    own = {
        one.get_DIE_from_attribute("DW_AT_abstract_origin").offset
        for one in (die.iter_children() if statics else ())
        if "DW_AT_abstract_origin" in one.attributes
    }
    return [one for one in statics if one.offset not in own]
