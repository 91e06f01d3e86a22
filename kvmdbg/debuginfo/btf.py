"""BTF: the types that a Linux kernel carries with it, without any file of debug information.

Source: the kernel's Documentation/bpf/btf.rst (the header, and the encoding of each kind).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from kvmdbg.debuginfo.structures import Member
from kvmdbg.errors import LoadError

MAGIC = 0xEB9F
HEADER = struct.Struct("<HBBIIIII")
INT, PTR, ARRAY, STRUCT, UNION, ENUM, FUNC_PROTO, VAR, DATASEC, DECL_TAG, ENUM64 = 1, 2, 3, 4, 5, 6, 13, 14, 15, 17, 19
TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG = 8, 9, 10, 11, 18
NAMES_ANOTHER = (TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG)
LAST_KIND = 19
POINTER_SIZE = 8
DEEPEST = 16
"""Structures within structures; a damaged table has circles."""


class Btf:
    """The types in a kernel's .BTF section; LoadError where it is damaged."""

    def __init__(self, data: bytes) -> None:
        if len(data) < HEADER.size:
            raise LoadError("the kernel's types (BTF) are cut short")
        magic, _, _, header, types, types_size, strings, strings_size = HEADER.unpack_from(data)
        if magic != MAGIC or header < HEADER.size:
            raise LoadError("the kernel's types (BTF) are damaged")
        self._types = data[header + types : header + types + types_size]
        self._strings = data[header + strings : header + strings + strings_size]
        self._at = [0]
        """Where the type of each number begins."""
        self._structs: dict[str, int] = {}
        for number, at in enumerate(self._walk(), 1):
            self._at.append(at)
            name, info, _ = struct.unpack_from("<III", self._types, at)
            if info >> 24 & 0x1F in (STRUCT, UNION) and name:
                self._structs.setdefault(self._name(name), number)

    def _walk(self) -> Iterator[int]:
        at = 0
        while at + 12 <= len(self._types):
            yield at
            info = struct.unpack_from("<I", self._types, at + 4)[0]
            kind, count = info >> 24 & 0x1F, info & 0xFFFF
            if not 1 <= kind <= LAST_KIND:
                raise LoadError(f"the kernel's types (BTF) are damaged: there is no kind {kind}")
            at += 12
            if kind in (INT, VAR, DECL_TAG):
                at += 4
            elif kind == ARRAY:
                at += 12
            elif kind in (STRUCT, UNION, DATASEC, ENUM64):
                at += 12 * count
            elif kind in (ENUM, FUNC_PROTO):
                at += 8 * count
            if at > len(self._types):
                raise LoadError("the kernel's types (BTF) are cut short")

    def _name(self, at: int) -> str:
        end = self._strings.find(b"\0", at)
        return self._strings[at:end].decode("utf-8", "replace") if end >= at else ""

    def _type(self, number: int) -> tuple[int, int, int]:
        """Kind, number of members with the kind's flag (bit 31), and size or type."""
        if not 0 < number < len(self._at):
            return 0, 0, 0
        _, info, size = struct.unpack_from("<III", self._types, self._at[number])
        return info >> 24 & 0x1F, info & 0x8000FFFF, size

    def _resolved(self, number: int) -> int:
        for _ in range(64):
            kind, _, other = self._type(number)
            if kind not in NAMES_ANOTHER:
                break
            number = other
        return number

    def _size(self, number: int, depth: int = 0) -> int:
        number = self._resolved(number)
        kind, _, size = self._type(number)
        if kind == PTR:
            return POINTER_SIZE
        if kind == ARRAY and depth < DEEPEST:
            element, _, count = struct.unpack_from("<III", self._types, self._at[number] + 12)
            return self._size(element, depth + 1) * int(count)
        return size if kind in (INT, STRUCT, UNION, ENUM, ENUM64) else 0

    def __contains__(self, name: str) -> bool:
        return name in self._structs

    def size(self, name: str) -> int:
        """Bytes of a structure; LoadError for one that is not there."""
        return self._size(self._structure(name))

    def _structure(self, name: str) -> int:
        if name not in self._structs:
            raise LoadError(f"this kernel has no struct {name}")
        return self._structs[name]

    def member(self, name: str, path: str) -> Member:
        """A member of a structure, or ("a.b") of one within; also those of unnamed ones. LoadError: there is none."""
        found, within = Member(0, 0), self._structure(name)
        for step in path.split("."):
            inner = self._find(self._resolved(within), step)
            if inner is None:
                raise LoadError(f"this kernel's struct {name} has no member {path}")
            member, within = inner
            found = Member(found.offset + member.offset, member.size, member.bit, member.bits)
        return found

    def has(self, name: str, path: str) -> bool:
        """Whether there is such a member."""
        try:
            self.member(name, path)
        except LoadError:
            return False
        return True

    def _find(self, number: int, wanted: str, depth: int = 0) -> tuple[Member, int] | None:
        """A member and the number of its type."""
        kind, flagged, _ = self._type(number)
        if kind not in (STRUCT, UNION) or depth > DEEPEST:
            return None
        start = self._at[number] + 12
        for index in range(flagged & 0xFFFF):
            name, inner, place = struct.unpack_from("<III", self._types, start + 12 * index)
            bits, place = (place >> 24, place & 0xFFFFFF) if flagged >> 31 else (0, place)
            if name:
                if self._name(name) == wanted:
                    return Member(place // 8, self._size(inner), place % 8, bits), inner
            elif (found := self._find(self._resolved(inner), wanted, depth + 1)) is not None:
                member, inner = found
                return Member(place // 8 + member.offset, member.size, member.bit, member.bits), inner
        return None
