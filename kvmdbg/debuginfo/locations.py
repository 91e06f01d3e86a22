"""DWARF expressions: where a variable is, or what its value is, from registers, memory and constants.

Source: DWARF 5, section 2.5 (expressions) and 2.6 (location descriptions), 7.7.1 (operations); the GNU operations
that gcc used before DWARF 5 have the same operands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from kvmdbg.errors import KvmdbgError
from kvmdbg.language.ctype import CType
from kvmdbg.language.partial import Partial
from kvmdbg.masks import LOW64
from kvmdbg.record import record

MOST_OPERATIONS = 10_000


class NotThere(KvmdbgError):
    """A variable that has no value here: optimized out, or described in a way that is not understood."""


@record
class Place:
    """Where a value is: a linear address, or its bytes and the ``register`` it is in ("" where it was worked out)."""

    address: int | None
    data: bytes = b""
    register: str = ""


class Surroundings(Protocol):
    """What an expression may ask for. Each raises NotThere where it is not known."""

    def word_size(self) -> int:
        """Bytes of an address."""

    def moved(self, address: int) -> int:
        """Where an address of the file is in the guest."""

    def read(self, address: int, size: int) -> bytes:
        """Memory at a linear address. MemoryFault."""

    def register(self, number: int) -> int:
        """A register by its DWARF number."""

    def register_name(self, number: int) -> str: ...

    def frame_base(self) -> int:
        """What the function's locals are counted from."""

    def call_frame(self) -> int:
        """The call frame address."""

    def base_type(self, offset: int) -> CType:
        """The base type at an offset into the unit."""

    def value_on_entry(self, code: bytes, size: int) -> int:
        """What an expression was worth when the function was entered."""


def evaluate(code: bytes, size: int, around: Surroundings) -> Place:
    """Where the value of ``size`` bytes is that an expression describes. NotThere, MemoryFault."""
    try:
        return _Machine(code, max(size, 1), around).run()
    except IndexError:
        raise NotThere("its place is described in a damaged way") from None


def _signed(value: int, size: int = 8) -> int:
    value &= (1 << 8 * size) - 1
    return value - (1 << 8 * size) if value >> 8 * size - 1 else value


class _Machine:
    def __init__(self, code: bytes, size: int, around: Surroundings) -> None:
        self.code, self.size, self.around = code, size, around
        self.at = 0
        self.stack: list[int] = []

    def run(self) -> Place:
        data, known = bytearray(), bytearray()
        place: Place | None = None
        count = 0
        while self.at < len(self.code):
            count += 1
            if count > MOST_OPERATIONS:
                raise NotThere("its place is described by an endless expression")
            op = self._byte()
            if op == 0x93:  # DW_OP_piece
                piece, is_known = self._piece(place, self._uleb(), len(data))
                data += piece
                known += bytes([is_known]) * len(piece)
                place = None
            else:
                place = self._operation(op) or place
        if known:
            if not any(known):
                raise NotThere("optimized out")
            return Place(None, Partial.of(*(bytes(one.ljust(self.size, b"\0")) for one in (data, known))))
        return place if place is not None else Place(self.stack.pop())

    def _piece(self, place: Place | None, size: int, before: int) -> tuple[bytes, bool]:
        """The bytes of a part of the value, and whether they are known."""
        if before + size > self.size:
            raise IndexError
        if place is None:
            if not self.stack:
                return bytes(size), False
            place = Place(self.stack.pop())
        if place.address is not None:
            return self.around.read(place.address, size), True
        return place.data[:size].ljust(size, b"\0"), True

    # --- operands ----------------------------------------------------------------------------------

    def _byte(self) -> int:
        self.at += 1
        return self.code[self.at - 1]

    def _fixed(self, size: int, *, signed: bool = False) -> int:
        return int.from_bytes(self._block(size), "little", signed=signed)

    def _block(self, size: int) -> bytes:
        if self.at + size > len(self.code):
            raise IndexError
        self.at += size
        return self.code[self.at - size : self.at]

    def _uleb(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value

    def _sleb(self) -> int:
        start = self.at
        value = self._uleb()
        bits = 7 * (self.at - start)
        return value - (1 << bits) if value >> bits - 1 else value

    # --- operations --------------------------------------------------------------------------------

    def _bytes(self, value: int) -> bytes:
        return (value & (1 << 8 * self.size) - 1).to_bytes(self.size, "little")

    def _in_register(self, number: int) -> Place:
        value = self._bytes(self.around.register(number))
        return Place(None, value, self.around.register_name(number))

    def _operation(self, op: int) -> Place | None:
        """Do one; the place, where that is what it says."""
        push, pop, around = self.stack.append, self.stack.pop, self.around
        if 0x50 <= op <= 0x6F:  # DW_OP_reg0 to 31
            return self._in_register(op - 0x50)
        if op == 0x90:  # DW_OP_regx
            return self._in_register(self._uleb())
        if op == 0x9F:  # DW_OP_stack_value
            return Place(None, self._bytes(pop()))
        if op == 0x9E:  # DW_OP_implicit_value
            return Place(None, self._block(self._uleb()).ljust(self.size, b"\0"))
        if op in (0xA0, 0xF2):  # DW_OP_implicit_pointer
            raise NotThere("it points to something that was optimized out")
        if op == 0x03:  # DW_OP_addr
            push(around.moved(self._fixed(around.word_size())))
        elif 0x30 <= op <= 0x4F:  # DW_OP_lit0 to 31
            push(op - 0x30)
        elif op in FIXED:
            size, signed = FIXED[op]
            push(self._fixed(size, signed=signed) & LOW64)
        elif op == 0x10:  # DW_OP_constu
            push(self._uleb() & LOW64)
        elif op == 0x11:  # DW_OP_consts
            push(self._sleb() & LOW64)
        elif 0x70 <= op <= 0x8F:  # DW_OP_breg0 to 31
            push(around.register(op - 0x70) + self._sleb() & LOW64)
        elif op == 0x92:  # DW_OP_bregx
            push(around.register(self._uleb()) + self._sleb() & LOW64)
        elif op == 0x91:  # DW_OP_fbreg
            push(around.frame_base() + self._sleb() & LOW64)
        elif op == 0x9C:  # DW_OP_call_frame_cfa
            push(around.call_frame())
        elif op == 0x23:  # DW_OP_plus_uconst
            push(pop() + self._uleb() & LOW64)
        elif op in (0x06, 0x94):  # DW_OP_deref, DW_OP_deref_size
            size = around.word_size() if op == 0x06 else self._byte()
            push(int.from_bytes(around.read(pop(), size), "little"))
        elif op in (0xA3, 0xF3):  # DW_OP_entry_value
            push(around.value_on_entry(self._block(self._uleb()), around.word_size()))
        elif op in TYPED:
            self._typed(op)
        elif op in (0x28, 0x2F):  # DW_OP_bra, DW_OP_skip
            way = self._fixed(2, signed=True)
            if op == 0x2F or pop():
                self.at += way
                if not 0 <= self.at <= len(self.code):
                    raise IndexError
        elif op in MOVED:
            MOVED[op](self.stack)
        elif op == 0x15:  # DW_OP_pick
            push(self.stack[-1 - self._byte()])
        elif op in UNARY:
            push(UNARY[op](pop()) & LOW64)
        elif op in BINARY:
            right, left = pop(), pop()
            if op in (0x1B, 0x1D) and not right:
                raise NotThere("its place is described by a division by 0")
            push(BINARY[op](left, right) & LOW64)
        elif op != 0x96:  # DW_OP_nop
            raise NotThere(f"its place is described by a DWARF operation that is not understood ({op:#x})")
        return None

    def _typed(self, op: int) -> None:
        """The operations of DWARF 5 whose values have base types; integers only."""
        if op in (0xA5, 0xF5):  # DW_OP_regval_type
            value = self.around.register(self._uleb())
        elif op in (0xA6, 0xF6):  # DW_OP_deref_type
            value = int.from_bytes(self.around.read(self.stack.pop(), self._byte()), "little")
        elif op in (0xA8, 0xF7, 0xA9, 0xF9):  # DW_OP_convert, DW_OP_reinterpret
            value = self.stack.pop()
        offset = self._uleb()
        if op in (0xA4, 0xF4):  # DW_OP_const_type
            value = int.from_bytes(self._block(self._byte()), "little")
        if offset:
            type_ = self.around.base_type(offset)
            if type_.kind == "float" or not 0 < type_.size <= 8:
                raise NotThere("its value is described in floating point, which is not worked out")
            value = _signed(value, type_.size) if type_.signed else value & (1 << 8 * type_.size) - 1
        self.stack.append(value & LOW64)


FIXED = {
    0x08: (1, False), 0x09: (1, True), 0x0A: (2, False), 0x0B: (2, True), 0x0C: (4, False), 0x0D: (4, True),
    0x0E: (8, False), 0x0F: (8, True),
}  # fmt: skip
TYPED = {0xA4, 0xF4, 0xA5, 0xF5, 0xA6, 0xF6, 0xA8, 0xF7, 0xA9, 0xF9}
UNARY: dict[int, Callable[[int], int]] = {0x19: lambda a: abs(_signed(a)), 0x1F: lambda a: -a, 0x20: lambda a: ~a}


def _quotient(left: int, right: int) -> int:
    a, b = _signed(left), _signed(right)
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


BINARY: dict[int, Callable[[int, int], int]] = {
    0x1A: lambda a, b: a & b, 0x1B: _quotient, 0x1C: lambda a, b: a - b, 0x1D: lambda a, b: a % b,
    0x1E: lambda a, b: a * b, 0x21: lambda a, b: a | b, 0x22: lambda a, b: a + b,
    0x24: lambda a, b: a << min(b, 64), 0x25: lambda a, b: a >> min(b, 64),
    0x26: lambda a, b: _signed(a) >> min(b, 64), 0x27: lambda a, b: a ^ b,
    0x29: lambda a, b: int(a == b), 0x2A: lambda a, b: int(_signed(a) >= _signed(b)),
    0x2B: lambda a, b: int(_signed(a) > _signed(b)), 0x2C: lambda a, b: int(_signed(a) <= _signed(b)),
    0x2D: lambda a, b: int(_signed(a) < _signed(b)), 0x2E: lambda a, b: int(a != b),
}  # fmt: skip


def _drop(stack: list[int]) -> None:
    stack.pop()


def _swap(stack: list[int]) -> None:
    stack[-1], stack[-2] = stack[-2], stack[-1]


def _rotate(stack: list[int]) -> None:
    stack[-1], stack[-2], stack[-3] = stack[-2], stack[-3], stack[-1]


MOVED: dict[int, Callable[[list[int]], None]] = {
    0x12: lambda stack: stack.append(stack[-1]),
    0x13: _drop,
    0x14: lambda stack: stack.append(stack[-2]),
    0x16: _swap,
    0x17: _rotate,
}
