"""What DWARF says of the members of C++'s classes, taken by itself.

Source: DWARF 5, sections 5.7.3 (inheritance), 5.7.8 (member functions), 2.9 (accessibility).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

ACCESS = {1: "public", 2: "protected", 3: "private"}


def access_of(die: Any, usual: str) -> str:
    """Who may use a member: ``usual`` where nothing is said."""
    said = die.attributes.get("DW_AT_accessibility")
    return ACCESS.get(int(said.value), usual) if said is not None else usual


def ending_of(die: Any) -> str:
    """What stands behind a member function's declaration."""
    if "DW_AT_deleted" in die.attributes:
        return "= delete"
    made = die.attributes.get("DW_AT_defaulted")
    return "= default" if made is not None and int(made.value) == 1 else ""


def slot_of(die: Any) -> int | None:
    """The place of a virtual function in the table of its class; None of others."""
    place = die.attributes.get("DW_AT_vtable_elem_location")
    if place is None or isinstance(place.value, int) or bytes(place.value)[:1] != b"\x10":  # DW_OP_constu
        return None
    return _leb(bytes(place.value), 1)[0]


def _leb(code: bytes, at: int) -> tuple[int, int]:
    """An unsigned number and where it ends."""
    number = shift = 0
    while True:
        byte = code[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at


def virtual_base(code: bytes, word: int) -> Callable[[Callable[[int, int], bytes], int], int] | None:
    """A function that gives the address of a virtual base, from one that reads memory and the object's address.

    ``code`` is a DWARF expression; None for one that is damaged, or has other operations than
    compilers use for that.
    """
    if not code:
        return None
    mask = (1 << 8 * word) - 1

    def find(read: Callable[[int, int], bytes], address: int) -> int:
        stack, at = [address], 0
        while at < len(code):
            operation, at = code[at], at + 1
            if operation == 0x12:  # DW_OP_dup
                stack.append(stack[-1])
            elif operation == 0x06:  # DW_OP_deref
                stack.append(int.from_bytes(read(stack.pop() & mask, word), "little"))
            elif operation in (0x10, 0x23):  # DW_OP_constu, DW_OP_plus_uconst
                number, at = _leb(code, at)
                stack.append(number if operation == 0x10 else stack.pop() + number)
            elif operation in (0x08, 0x09):  # DW_OP_const1u, DW_OP_const1s
                stack.append(int.from_bytes(code[at : at + 1], "little", signed=operation == 0x09))
                at += 1
            elif operation in (0x1C, 0x22):  # DW_OP_minus, DW_OP_plus
                second, first = stack.pop(), stack.pop()
                stack.append((first - second if operation == 0x1C else first + second) & mask)
            elif 0x30 <= operation < 0x50:  # DW_OP_lit0 to 31
                stack.append(operation - 0x30)
            else:
                raise ValueError(f"the place of a base class has an operation {operation:#x}")
        return stack[-1] & mask

    try:
        find(lambda at, size: bytes(size), 0)  # no operation depends on what is read
    except (ValueError, IndexError):
        return None
    return find
