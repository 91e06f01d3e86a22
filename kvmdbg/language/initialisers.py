"""Whole arrays and structures between braces: ``{1, 2}`` by itself, and what it is assigned or cast to.

Source: ISO C, sections 6.7.9 (initialization; what is not named is 0) and 6.5.2.5 (compound literals).
"""

from __future__ import annotations

from typing import NamedTuple

from kvmdbg.language import code, elements
from kvmdbg.language.code import Code, Generator, Node
from kvmdbg.language.ctype import CType, Member
from kvmdbg.language.precedence import Operators


class _Room(NamedTuple):
    """Where an item goes: ``offset`` bytes into the whole; a bit field has ``bits`` from ``bit`` on."""

    type: CType
    offset: int
    bit: int = 0
    bits: int = 0


class Assembled(Node):
    """``{1, 2}`` as an array or a structure: of each item its offset, its bits if it is a bit field, its type there and
    its value; the rest is 0."""

    items: tuple[tuple[int, int, int, CType, Node], ...]

    def parts(self) -> tuple[Node, ...]:
        return tuple(one[-1] for one in self.items)

    def emit(self, make: Generator) -> Code:
        found = []
        for offset, bit, bits, type, node in self.items:
            text = node.emit(make)
            data = make.in_memory(make.converted(text, node.type, type) if type.is_number else text, type)
            found.append(f"({offset}, {bit}, {bits}, {data.text}), ")
        return Code(f"assembled({self.type.size}, ({''.join(found)}))")


class Initialisers(Operators):
    """Those of one expression."""

    def _initialiser(self, type: CType) -> Node:
        """The items of an array or a structure of this type, behind the ``{`` that has been taken."""
        column = self._start
        rooms = _rooms(type)
        items: list[tuple[int, int, int, CType, Node]] = []
        at = 0
        while not self._is("}"):
            if items:
                self._expect(",", "or '}' behind an item")
                if self._is("}"):
                    break
            at = self._designated(type, rooms, at)
            if at >= len(rooms):
                raise self.fail(f"{type} has room for {len(rooms)} items")
            room = rooms[at]
            items.append((room.offset, room.bit, room.bits, room.type, self._item(room.type)))
            at += 1
        self._take()
        return self._checked(Assembled(column=column, type=type, items=tuple(items)))

    def _designated(self, type: CType, rooms: list[_Room], at: int) -> int:
        """Which room is next: the one behind the last, or that which ``.name =`` or ``[3] =`` says."""
        if self._kind == "word" and self._token.startswith("."):
            name = self._token[1:]
            names = [one.name for one in type.resolved.members] if type.is_structure else []
            if name not in names:
                raise self.fail(f"{type} has no member {name}")
            self._take()
            self._expect("=", "behind the name of a member")
            return names.index(name)
        if self._is("[") and type.kind == "array":
            self._take()
            at = self._number()[0]
            self._expect("]", "behind the number of an element")
            self._expect("=", "behind the number of an element")
        return at

    def _item(self, type: CType) -> Node:
        if self._is("{") and not type.is_number:
            self._take()
            return self._initialiser(type)
        column = self._start
        return self._fitting(type, self._assignment(), column)

    def _fitting(self, type: CType, value: Node, column: int) -> Node:
        """A value as one of this type: a number, or something of the same size; a text for an array of characters."""
        if type.is_number:
            return self._number_of(value)
        if type.kind == "complex":
            try:
                return elements.converted(value, type)
            except elements.Mismatch as error:
                raise self.fail(str(error), column) from None
        if type.kind == "array" and isinstance(value, code.Constant) and isinstance(value.value, bytes):
            target, room = type.target, type.size
            assert target is not None and value.type.target is not None
            data = value.value if len(value.value) <= room else value.value[: -target.size]
            if target.kind == "char" and target.size == value.type.target.size and len(data) <= room:
                return code.Constant(column=column, type=type, value=data.ljust(room, b"\0"))
        kinds = [one.kind if not one.is_structure else "" for one in (type, value.type)]
        if kinds[0] != kinds[1] or type.size != value.type.resolved.size or not type.size:
            raise self.fail(f"a {value.type} cannot be assigned to a {type}", column)
        return value


def _rooms(type: CType) -> list[_Room]:
    """Where the items of an array or a structure go, in turn."""
    full = type.resolved
    if type.kind == "array" and type.target is not None:
        return [_Room(type.target, at * type.target.size) for at in range(type.count or 0)]
    members = full.members[:1] if full.kind == "union" else full.members
    return [_room(one) for one in members]


def _room(one: Member) -> _Room:
    return _Room(one.type, one.offset + (one.bit // 8 if one.bits else 0), one.bit % 8, one.bits)
