"""Rust's values and types in words: enumerations, tuples, slices, texts.

What each is shown as was compared with gdb 13; what types they are made of is the Rust compiler's habit.
"""

from __future__ import annotations

from collections.abc import Callable

from kvmdbg.errors import MemoryFault
from kvmdbg.language.ctype import CType, Member, Variants
from kvmdbg.language.formats import of_utf8, quoted

Show = Callable[[CType, bytes, int], str]
"""Shows bytes of a type at a depth."""


def is_slice(type: CType) -> bool:
    """Whether it is a pointer and a count: ``&[T]``, ``&str``."""
    return type.language == "rust" and [one.name for one in type.members] == ["data_ptr", "length"]


def is_tuple(type: CType) -> bool:
    """Whether its members have numbers for names."""
    return bool(type.members) and all(one.name == f"__{at}" for at, one in enumerate(type.members))


def present(variants: Variants, data: bytes) -> Member | None:
    """The member that is there in the bytes of an enumeration; None where they are none of its values."""
    tag = variants.tag
    if tag is None:
        return next(iter(variants.cases.values()), None)
    value = int.from_bytes(data[tag.offset : tag.offset + tag.type.size], "little")
    return variants.cases.get(value, variants.cases.get(None))


def shown(type: CType, data: bytes, depth: int, pretty: bool, show: Show) -> str:
    """A structure of Rust."""
    if type.variants is not None:
        return _enumeration(type, type.variants, data, depth, pretty, show)
    if is_tuple(type):
        name = "" if type.given[:1] == "(" else f"{type.given} "
        return name + _listed("(", _members(type, data, depth, show), ")", depth, pretty)
    if not type.members:
        return type.given
    return f"{type.given} " + _listed("{", _members(type, data, depth, show), "}", depth, pretty)


def _enumeration(type: CType, variants: Variants, data: bytes, depth: int, pretty: bool, show: Show) -> str:
    member = present(variants, data)
    if member is None:
        return f"{type.given} <no variant has this tag>"
    name, inner = f"{type.given}::{member.name}", member.type
    if not inner.members:
        return name
    part = data[member.offset : member.offset + inner.size]
    signs = ("(", ")") if is_tuple(inner) else ("{", "}")
    return name + _listed(signs[0], _members(inner, part, depth, show), signs[1], depth, pretty)


def _members(type: CType, data: bytes, depth: int, show: Show) -> list[str]:
    values = [(one.name, show(one.type, data[one.offset : one.offset + one.type.size], depth + 1))
              for one in type.members]  # fmt: skip
    return [value if is_tuple(type) else f"{name}: {value}" for name, value in values]


def _listed(first: str, parts: list[str], last: str, depth: int, pretty: bool) -> str:
    if not pretty:
        return first + ", ".join(parts) + last
    indent = "\n" + " " * (2 + 2 * depth)
    return first + indent + f",{indent}".join(parts) + "\n" + " " * (2 * depth) + last


def shown_slice(type: CType, data: bytes, read: Callable[[int, int], bytes], most: int, show: Show, depth: int) -> str:
    """What a slice points to: its elements, or a text."""
    place, count = (int.from_bytes(data[one.offset : one.offset + one.type.size], "little") for one in type.members)
    element = type.members[0].type.target
    size = element.size if element is not None else 0
    shown = min(count, most or count, 1 << 16)
    try:
        found = read(place, shown * size) if shown * size else b""
    except MemoryFault as fault:
        return f"{type.given} {{data_ptr: {place:#x}, length: {count}}} <{fault}>"
    more = "..." if shown < count else ""
    if type.given in ("&str", "&mut str"):
        return quoted(of_utf8(found), ended=True, most=most, wide=True) + more
    assert element is not None
    parts = [show(element, found[at * size : (at + 1) * size], depth + 1) for at in range(shown)]
    return f"{type.given} [{', '.join(parts)}{more}]"


def declaration(type: CType) -> str:
    """A type of Rust with its members written out."""
    full = type.resolved
    if full.given[:1] == "(":
        return full.given
    if full.kind == "enum":
        return _body(f"enum {full.given} {{", [one.rpartition("::")[2] for one in full.values.values()], "}")
    if full.variants is not None:
        cases = [_case(one) for one in full.variants.cases.values()]
        return _body(f"enum {full.given} {{", cases, "}")
    if not full.members:
        return f"{full.kind} {full.given}"
    signs = ("(", ")") if is_tuple(full) else ("{", "}")
    return _body(f"{full.kind} {full.given} {signs[0]}", _declared(full), signs[1])


def _body(head: str, parts: list[str], end: str) -> str:
    return "\n".join([head, *(f"  {one}," for one in parts), end])


def _declared(type: CType) -> list[str]:
    return [one.type.name if is_tuple(type) else f"{one.name}: {one.type.name}" for one in type.members]


def _case(member: Member) -> str:
    inner = member.type
    if not inner.members:
        return member.name
    signs = ("(", ")") if is_tuple(inner) else ("{", "}")
    return member.name + signs[0] + ", ".join(_declared(inner)) + signs[1]
