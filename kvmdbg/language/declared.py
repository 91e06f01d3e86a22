"""Types as gdb's ptype shows them, with ``/o`` the places of their members.

Source: gdb manual, "Symbols" (ptype); the columns were compared with gdb 13.
"""

from __future__ import annotations

import re

from kvmdbg.language import rust
from kvmdbg.language.ctype import CType, Member, Static

NAMELESS = ("struct {...}", "union {...}", "class {...}")
NAMES_BELOW = 24
"""Columns that ``/o`` has before a declaration."""


def declaration(type: CType, *, methods: bool = True, typedefs: bool = True) -> str:
    """A type without the names that typedefs give to it, its members written out."""
    if type.language == "rust" and (type.resolved.is_structure or type.resolved.kind == "enum"):
        return rust.declaration(type)
    return "\n".join(_written(type, "", 0, methods, typedefs))


def _core(type: CType) -> tuple[CType, CType]:
    """A type, and what it is made of by pointers, arrays and functions."""
    inner = type
    while inner.kind in ("pointer", "array", "function", "member") and not inner.given and inner.target is not None:
        inner = inner.target
    return type, inner


def made_of(type: CType) -> CType:
    """What an array or a function consists of, or a pointer leads to; of other types that type."""
    return _core(type.bare)[1].resolved


def _written(type: CType, what: str, depth: int, methods: bool = True, typedefs: bool = True) -> list[str]:
    """The lines that declare ``what`` to be of a type."""
    type, core = _core(type if depth else type.bare)
    full = core.resolved
    nameless = core is full and full.given in (*NAMELESS, "enum {...}")
    if full.kind == "enum" and (not depth or nameless):
        return [_around(type, core, _enumeration(full), what)]
    if not full.is_structure or (depth and not nameless) or depth > 1:
        if not depth and full is not core:
            inner = type.declaring(what).removeprefix(core.given).strip() if type is not core else what
            bound = inner.startswith("*") and not full.given and full.kind in ("array", "function")
            return [_qualified(core, full.declaring(f"({inner})" if bound else inner))]
        return [type.declaring(what)]
    lines = [_head(full, core)]
    section, labelled = "", _has_labels(full)
    for at, one in enumerate(full.members):
        for static in (each for each in full.statics if each.before == at):
            section = _label(lines, static.access if labelled else "", section, depth)
            lines += _static(static, depth)
        if one.name[:1] == "<" or _is_of_table(one):
            continue
        section = _label(lines, one.access if labelled else "", section, depth)
        lines += _member(one, depth)
    for static in (each for each in full.statics if each.before >= len(full.members)):
        section = _label(lines, static.access if labelled else "", section, depth)
        lines += _static(static, depth)
    shown = _methods(full) if methods and not depth else []
    if shown and section and len(lines) > 1:
        lines.append("")
    for access, text in shown:
        section = _label(lines, access, section, depth)
        lines.append("    " * (depth + 1) + text)
    lines[1:] = _with_own_names(full, lines[1:])
    own = full.typedefs if typedefs and not depth else []
    if own and len(lines) > 1:
        lines.append("")
    for each in own:
        section = _label(lines, each.access if labelled else "", section, depth)
        lines.append("    " * (depth + 1) + f"typedef {each.type.declaring(each.name)};")
    if not full.members and not full.statics and not full.methods and not own:
        lines.append("    " * (depth + 1) + ("<no data fields>" if full.size or full.is_empty else "<incomplete type>"))
    lines.append("    " * depth + _around(type, core, "}", what))
    return lines


def _with_own_names(full: CType, lines: list[str]) -> list[str]:
    """Lines in which the names that a class and its bases give to types stand without the class."""
    names = [f"{one.given}::{each.name}" for one in (full, *all_bases(full)) for each in one.typedefs]
    if not names:
        return lines
    pattern = re.compile(rf"(?<![\w:])(?:{'|'.join(map(re.escape, names))})\b")
    return [pattern.sub(lambda found: found[0].rpartition("::")[2], line) for line in lines]


def all_bases(full: CType) -> list[CType]:
    """The base classes of a class, and theirs."""
    found = [one.type.resolved for one in full.bases]
    return [each for one in found for each in (one, *all_bases(one))]


def _head(full: CType, core: CType) -> str:
    bases = ", ".join(
        f"{one.access}{' virtual' if one.virtual is not None else ''} {one.name[1:-1]}" for one in full.bases
    )
    head = _qualified(core, full.head)
    return f"{head} : {bases} {{" if bases else f"{head} {{"


def _is_of_table(one: Member) -> bool:
    """Whether a member is the compiler's pointer to the table of virtual functions."""
    return one.made and one.name.startswith("_vptr")


def _has_labels(type: CType) -> bool:
    """Whether gdb says who may use the members: where it is not what the keyword says, for all of them."""
    members = [one.access for one in type.members if one.name[:1] != "<"]
    every = [*members, *(one.access for one in type.statics)]
    every += [one.access for one in type.methods if not one.made]
    every += [one.access for one in type.typedefs]
    if type.kind == "class":
        return any(one != "private" for one in every)
    return any(one != "public" for one in every)


def _label(lines: list[str], access: str, section: str, depth: int) -> str:
    """Begin a section of members that others may use as much as ``access`` says; it is the current one then."""
    if access and access != section:
        lines.append("    " * depth + f"  {access}:")
    return access or section


def _static(one: Static, depth: int) -> list[str]:
    return [f"{'    ' * (depth + 1)}static {one.type.declaring(one.name)};"]


def _methods(type: CType) -> list[tuple[str, str]]:
    """The member functions, those of one name together, as gdb declares them: who may use each, and its text."""
    shown = [one for one in type.methods if not one.made]
    names = list(dict.fromkeys(one.name for one in type.methods))
    own = type.given.partition("<")[0].rpartition("::")[2]
    found = []
    for one in (method for name in names for method in shown if method.name == name):
        result = one.type.target
        takes = list(one.type.parameters or ())
        this = takes.pop(0) if takes and not one.static else None
        begin = "static " if one.static else "virtual " if one.virtual and one.name[0] != "~" else ""
        makes = one.name in (own, f"~{own}") or re.match(r"operator [A-Za-z_]", one.name) is not None
        text = begin + ("" if makes or result is None else f"{result.name} ") + one.name
        listed = [each.name for each in takes] + (["..."] if one.type.takes_more else [])
        text += f"({', '.join(listed) or 'void'})"
        object = this.resolved.target if this is not None else None
        if object is not None and object.qualifiers:
            text += f" {object.qualifiers}"
        found.append((one.access, f"{text}{f' {one.ending}' if one.ending == '= delete' else ''};"))
    return found


def _qualified(core: CType, name: str) -> str:
    return f"{core.qualifiers} {name}" if core.qualifiers else name


def _member(one: Member, depth: int) -> list[str]:
    lines = _written(one.type, one.name, depth + 1)
    lines[0] = "    " * (depth + 1) + lines[0]
    lines[-1] += (f" : {one.bits}" if one.bits else "") + ";"
    return lines


def _enumeration(type: CType) -> str:
    """With those values that do not follow from the one before."""
    shown, following = [], 0
    for value, name in type.values.items():
        shown.append(name if value == following else f"{name} = {value}")
        following = value + 1
    head = type.head + (f" : {type.underlying.name}" if type.underlying is not None else "")
    return f"{head} {{{', '.join(shown)}}}"


def _around(type: CType, core: CType, text: str, what: str) -> str:
    """``type`` declared with ``text`` in the place of the structure that it is made of."""
    if type is core:
        return text + (f" {what}" if what else "")
    rest = type.declaring(what).removeprefix(core.given)
    return text + rest


def layout(type: CType, hexadecimal: bool = False) -> str:
    """The same with the offset and the size of each member, and the holes between them.

    Of arrays of structures, and pointers to them, gdb leaves the line above the columns out.
    """
    outer, core = _core(type.bare)
    full = core.resolved
    lines = _lines(full, 0, 0, "")
    lines[0] = _head(full, core)
    if hexadecimal:
        lines = [_NUMBERS_BESIDE.sub(_in_hexadecimal, line) for line in lines]
    lines[0] = f"{'/* offset      |    size */  ' if core is outer else ''}type = {lines[0]}"
    lines[-1] = _around(outer, core, lines[-1], "")
    return "\n".join(lines)


_NUMBERS_BESIDE = re.compile(r"^/\*(?: +(\d+)(?:: *(\d+) +|     ) \| | {15})( +\d+) \*/")
"""What stands beside a member: its offset, its bit, its size. Of a union the size alone."""


def _in_hexadecimal(beside: re.Match[str]) -> str:
    offset, bit, size = beside.groups()
    place = f"{int(offset):#06x}{f': {int(bit):#x}' if bit else '     '}" if offset else ""
    return f"/* {place:<11} {'|' if offset else ' '}  {int(size):#06x} */"


def _lines(full: CType, start: int, depth: int, what: str, element_of: bool = False) -> list[str]:
    """``element_of``: it is what an array consists of or a pointer points to, or a part of that: gdb counts from 0
    there, and says no more of it than its members."""
    lines = [_head(full, full)]
    end, bit_end = 0, 0
    section, labelled, margin = "", _has_labels(full), " " * (NAMES_BELOW + 3 + 4 * depth)
    indent = "    " * (depth + 1)
    is_union = full.kind == "union"
    for index, one in enumerate(full.members):
        for static in (each for each in full.statics if each.before == index):
            section = _label_beside(lines, static.access if labelled else "", section, margin)
            lines.append(f"{margin}    static {static.type.declaring(static.name)};")
        if one.name[:1] == "<" or _is_of_table(one):
            continue
        section = _label_beside(lines, one.access if labelled else "", section, margin)
        at = one.offset + one.bit // 8
        if not is_union:
            lines += _hole(end, bit_end, at, one.bit % 8 if one.bits else 0, bool(one.bits))
        inner = one.type.resolved
        place = start + at
        if is_union:
            left = f"/*{inner.size:>22} */"
        elif one.bits:
            left = f"/* {place:>6}:{one.bit % 8:>2}   | {inner.size:>7} */"
        else:
            left = f"/* {place:>6}      | {inner.size:>7} */"
        element = _core(one.type)[1]
        if inner.is_structure and inner is one.type and inner.members:
            below = _lines(inner, start if is_union else place, depth + 1, one.name, element_of)
            lines += [f"{left}{indent}{below[0]}", *below[1:]]
        elif element is not one.type and element.is_structure and element.given in NAMELESS:
            rest = one.type.declaring(one.name).removeprefix(element.given).strip()
            below = [f"{element.given} {rest};"] if element_of else _lines(element, 0, depth + 1, rest, True)
            lines += [f"{left}{indent}{below[0]}", *below[1:]]
        else:
            bits = f" : {one.bits}" if one.bits else ""
            lines.append(f"{left}{indent}{_written(one.type, one.name, 1)[0]}{bits};")
        if one.bits:
            total = at * 8 + one.bit % 8 + one.bits
            end, bit_end = total // 8, total % 8
        else:
            end, bit_end = one.offset + inner.size, 0
    for static in (each for each in full.statics if each.before >= len(full.members)):
        section = _label_beside(lines, static.access if labelled else "", section, margin)
        lines.append(f"{margin}    static {static.type.declaring(static.name)};")
    lines[1:] = _with_own_names(full, lines[1:])
    if not full.members and not full.statics and full.is_empty:
        lines.append(f"{margin}    <no data fields>")
    blank = " " * (NAMES_BELOW + 7 + 4 * depth)
    if not element_of:
        lines += [] if is_union else _hole(end, bit_end, full.size, 0, False, padding=True)
        lines += ["", f"{blank}/* total size (bytes): {full.size:>4} */"]
    lines.append(f"{blank[: -4 if depth else -2]}}}" + (f" {what}".rstrip() + ";" if depth else ""))
    return lines


def _label_beside(lines: list[str], access: str, section: str, margin: str) -> str:
    if access and access != section:
        lines.append(f"{margin}  {access}:")
    return access or section


def _hole(end: int, bit_end: int, at: int, bit: int, bits: bool, *, padding: bool = False) -> list[str]:
    """What is said of the room between two members; nothing of that before the first one."""
    gap = (at * 8 + bit) - (end * 8 + bit_end)
    if gap <= 0 or (end, bit_end) == (0, 0):
        return []
    what = "padding" if padding else "hole"
    whole, left = divmod(gap, 8)
    found = []
    if left:
        found.append(f"/* XXX {left:>2}-bit {what:<11}*/")
    if whole:
        found.append(f"/* XXX {whole:>2}-byte {what:<10}*/")
    return found
