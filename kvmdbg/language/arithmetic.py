"""C's operators on exact integers: what they give, how far, and what generated expressions call of them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

from kvmdbg.language.context import Context, Fail
from kvmdbg.language.ctype import CType
from kvmdbg.language.floats import Extended, Quad, bytes_of, divided, half, number_of, single, truncated
from kvmdbg.language.types import LEAST
from kvmdbg.masks import LOW64


def wrap(value: int) -> int:
    """The value itself where 64 bits hold it (signed or unsigned), else its lower 64 bits."""
    return value if LEAST <= value <= LOW64 else value & LOW64


def quotient(left: int, right: int) -> int:
    """C's division: towards zero."""
    return left // right if (left < 0) == (right < 0) else -(-left // right)


def remainder(left: int, right: int) -> int:
    """C's remainder: with the sign of the left side."""
    return left - right * quotient(left, right)


def shift_left(left: int, right: int) -> int:
    """0 from 128 places on, where no type has any bits left."""
    return left << right if right < 128 else 0


#: How each operator works on exact numbers, before its result is wrapped to 64 bits.
OPERATORS: dict[str, Callable[[int, int], int]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": quotient, "%": remainder,
    "&": operator.and_, "|": operator.or_, "^": operator.xor, "<<": shift_left, ">>": operator.rshift,
}  # fmt: skip


Range = tuple[int, int]


def bounds(op: str, left: Range, right: Range) -> Range:
    """Range of the unwrapped result for operands of these ranges (least, greatest); wider than it can be, at worst."""
    if op in ("+", "-", "*"):
        corners = [OPERATORS[op](a, b) for a, b in product(left, right)]
        return min(corners), max(corners)
    if op == "<<":
        places = max(0, min(right[1], 127))
        return min(left[0] << places, 0), max(left[1] << places, 0)
    natural = left[0] >= 0 and right[0] >= 0
    most = (1 << max(abs(one) for one in (*left, *right)).bit_length()) - 1
    if op == "&":
        highs = [high for low, high in (left, right) if low >= 0]
        return (0, min(highs)) if highs else (-most - 1, most)
    if op in ("|", "^"):
        return (0, (1 << max(left[1], right[1]).bit_length()) - 1) if natural else (-most - 1, most)
    most = max(abs(left[0]), abs(left[1]))  # / % >> do not make it greater
    return 0 if natural else -most, most


def _divided(left: int, right: int, fail: Fail, column: int) -> int:
    if not right:
        raise fail("division by zero", column)
    return quotient(left, right)


def _modulo(left: int, right: int, fail: Fail, column: int) -> int:
    if not right:
        raise fail("division by zero", column)
    return remainder(left, right)


def _shifted_left(left: int, right: int, fail: Fail, column: int) -> int:
    if right < 0:
        raise fail("a shift by a negative number", column)
    return shift_left(left, right)


def _shifted_right(left: int, right: int, fail: Fail, column: int) -> int:
    if right < 0:
        raise fail("a shift by a negative number", column)
    return left >> min(right, 128)


def _store(ctx: Context, address: int, value: int, size: int, signed: bool, space: str) -> int:
    """Write a number's lower bytes; what is there then, as a number."""
    data = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
    ctx.write(address, data, space)
    return int.from_bytes(data, "little", signed=signed)


def _store_bits(ctx: Context, address: int, value: int, size: int, bit: int, bits: int, space: str) -> int:
    """Write ``bits`` bits from ``bit`` on of the bytes at an address; what they are then, without a sign."""
    mask = (1 << bits) - 1
    before = int.from_bytes(ctx.read(address, size, space), "little")
    after = before & ~(mask << bit) | (value & mask) << bit
    ctx.write(address, after.to_bytes(size, "little"), space)
    return value & mask


def _store_bytes(ctx: Context, address: int, data: bytes, space: str) -> bytes:
    ctx.write(address, data, space)
    return data


def _part(data: bytes, offset: int, size: int, fail: Fail, column: int) -> bytes:
    """Some bytes of what is in no memory."""
    if not 0 <= offset <= len(data) - size:
        raise fail("it has no such element", column)
    return data[offset : offset + size]


def _replaced(place: Callable[[bytes], Any], data: bytes, offset: int, part: bytes, fail: Fail, column: int) -> bytes:
    """Write a part of what is in no memory, as a whole; the part."""
    _part(data, offset, len(part), fail, column)
    place(data[:offset] + part + data[offset + len(part) :])
    return part


def _assembled(size: int, parts: Iterable[tuple[int, int, int, bytes]]) -> bytes:
    """``size`` bytes with some at their offsets; of a bit field so many bits from one on."""
    found = bytearray(size)
    for offset, bit, bits, data in parts:
        if not bits:
            found[offset : offset + len(data)] = data
            continue
        mask, length = (1 << bits) - 1, (bit + bits + 7) // 8
        unit = int.from_bytes(found[offset : offset + length], "little") & ~(mask << bit)
        unit |= (int.from_bytes(data, "little") & mask) << bit
        found[offset : offset + length] = unit.to_bytes(length, "little")
    return bytes(found)


def _as_string(type: CType, value: int) -> bytes:
    from kvmdbg.language.shown import enumerator

    return (enumerator(type, value) if type.kind == "enum" else str(value)).encode() + b"\0"


def _quotient_of_floats(left: Any, right: Any) -> Any:
    return left / right if isinstance(left, Extended) else divided(left, right)


RUNTIME: dict[str, Callable[..., Any]] = {
    "divided": _divided,
    "modulo": _modulo,
    "shifted_left": _shifted_left,
    "shifted_right": _shifted_right,
    "store": _store,
    "store_bits": _store_bits,
    "store_bytes": _store_bytes,
    "part": _part,
    "replaced": _replaced,
    "assembled": _assembled,
    "as_string": _as_string,
    "ratio": _quotient_of_floats,
    "single": single,
    "truncated": truncated,
    "extended": Extended,
    "quad": Quad,
    "half": half,
    "number_of": number_of,
    "bytes_of": bytes_of,
}
