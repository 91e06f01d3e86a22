"""Objects of C++ by their tables of virtual functions: of which class each really is, and what its tables hold.

Source: Itanium C++ ABI, 2.5 (virtual tables): an object begins with the address of its table; before the functions
stand the type's information and the offset to the start of the whole object.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from kvmdbg.errors import KvmdbgError, MemoryFault
from kvmdbg.language.ctype import CType, Method
from kvmdbg.record import record

_TABLE = re.compile(r"vtable for (.+)\+\d+")


@record
class Table:
    """The table of functions that an object of ``type`` at ``place``, or a base in it, has; ``count`` are known."""

    type: CType
    place: int
    address: int
    count: int


def has_table(type: CType) -> bool:
    """Whether objects of a class begin with the address of a table: it has virtual functions or virtual bases."""
    one = type.resolved
    if one.language != "c++" or not one.is_structure:
        return False
    return any(each.virtual for each in one.methods) or any(
        base.virtual is not None or has_table(base.type) for base in one.bases
    )


def is_by_reference(type: CType) -> bool:
    """Whether functions get where an object of C++ is, and are told where one that they return shall be.

    Source: Itanium C++ ABI, 3.1.1 (non-trivial for the purposes of calls).
    """
    one = type.resolved
    if one.kind == "array" and one.target is not None:
        return is_by_reference(one.target)
    if one.language != "c++" or not one.is_structure:
        return False
    if has_table(one) or any(_copies(one, each) for each in one.methods):
        return True
    return any(is_by_reference(each.type) for each in one.members)


def _copies(owner: CType, method: Method) -> bool:
    """Whether it is a destructor, or a constructor from an object of the class, that the compiler has not made."""
    name = owner.given.partition("<")[0].rpartition("::")[2]
    if method.made or method.ending or method.name not in (name, f"~{name}"):
        return False
    takes = (method.type.parameters or [])[1:]
    if method.name[0] == "~":
        return True
    return bool(takes) and takes[0].reference and takes[0].target is not None and takes[0].target.resolved.same(owner)


class Objects:
    """``read`` gives memory at a linear address (MemoryFault), ``label`` names an address or gives "", ``class_named``
    gives a class by its name; an address has ``word`` bytes."""

    def __init__(
        self,
        read: Callable[[int, int], bytes],
        label: Callable[[int], str],
        class_named: Callable[[str], CType | None],
        word: int,
    ) -> None:
        self._read = read
        self._label = label
        self._class_named = class_named
        self._word = word

    def whole(self, type: CType, address: int) -> tuple[CType, int] | None:
        """The class that an object at an address really has, and where the whole of it begins; None: not known.

        ``type`` is the class that the source says.
        """
        if not has_table(type):
            return None
        try:
            table = self._number(address)
            match = _TABLE.fullmatch(self._label(table))
            found = self._class_named(match[1]) if match is not None else None
            if found is None or not found.is_structure:
                return None
            top = int.from_bytes(self._read(table - 2 * self._word, self._word), "little", signed=True)
        except MemoryFault:
            return None
        return found.resolved, address + top

    def cast(self, type: CType, address: int, wanted: CType) -> int:
        """Where the part of an object is that is of a ``wanted`` class, as dynamic_cast has it; 0: it has none.

        Of void the whole object is meant. KvmdbgError where the object's class is not known.
        """
        if not address:
            return 0
        found = self.whole(type, address)
        if found is None:
            raise KvmdbgError(f"the class of the object at {address:#x} is not known: it has no table of a known class")
        whole, start = found
        if wanted.kind == "void":
            return start
        places = self._parts(whole, start, wanted)
        return places.pop() if len(places) == 1 else 0

    def _parts(self, type: CType, at: int, wanted: CType) -> set[int]:
        if type.same(wanted):
            return {at}
        found: set[int] = set()
        for base in type.resolved.bases:
            if base.access == "public":
                place = base.virtual(self._read, at) if base.virtual is not None else at + base.offset
                found |= self._parts(base.type, place, wanted)
        return found

    def tables(self, type: CType, address: int) -> list[Table]:
        """The tables of an object and of the bases in it, by where these lie; bases at its start share its own."""
        found: dict[int, tuple[CType, int]] = {}

        def visit(one: CType, at: int) -> None:
            if not has_table(one):
                return
            count = max(
                [each.slot + 1 for each in one.resolved.methods if each.virtual and each.slot is not None] or [0]
            )
            first, most = found.get(at, (one.resolved, 0))
            found[at] = first, max(most, count)
            for base in one.resolved.bases:
                visit(base.type, base.virtual(self._read, at) if base.virtual is not None else at + base.offset)

        visit(type, address)
        return [Table(one, at, self._number(at), count) for at, (one, count) in sorted(found.items()) if count]

    def functions(self, table: Table) -> list[int]:
        """The addresses in a table. MemoryFault."""
        return [self._number(table.address + at * self._word) for at in range(table.count)]

    def _number(self, address: int) -> int:
        return int.from_bytes(self._read(address, self._word), "little")
