"""What ``$name``, a symbol and a segment mean on one machine: resolved when an expression is bound."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from kvmdbg.language import functions, vectors
from kvmdbg.language.arithmetic import RUNTIME, wrap
from kvmdbg.language.context import Context, Fail
from kvmdbg.language.ctype import CODE, DATA, EXACT, INT, UNSIGNED, CType
from kvmdbg.language.floats import Extended, bytes_of, number_of
from kvmdbg.language.partial import Partial
from kvmdbg.language.types import LEAST, Raw
from kvmdbg.masks import LOW64
from kvmdbg.x86 import flags, registers

FLAGS = {name.lower(): (bit, 1) for name, bit, _ in flags.DECODED["rflags"]} | {"iopl": (12, 2)}
"""Lowest bit and number of bits in RFLAGS. Source: Intel SDM volume 1, section 3.4.3."""

PSEUDO = ("pc", "sp", "fp")
POINTERS = {"pc": CODE, "rip": CODE, "eip": CODE} | dict.fromkeys(("sp", "fp", "rsp", "esp", "rbp", "ebp"), DATA)
"""The types of registers that hold addresses (gdb's code_ptr and data_ptr)."""
SEGMENT_REGISTERS = ("cs", "ds", "es", "fs", "gs", "ss")


def kind_of(ctx: Context, name: str) -> str:
    """ "register", "vector", "flag" or "variable": what ``$name`` is."""
    low = name.lower()
    if name in ctx.fields:
        return "variable"
    if low in PSEUDO or registers.lookup(low) is not None:
        return "register"
    if low in vectors.TYPES:
        return "vector"
    return "flag" if low in FLAGS else "variable"


def static_type(name: str) -> tuple[CType, int, int]:
    """Type (EXACT: of a variable) and range of ``$name``, as far as the name alone tells."""
    low = name.lower()
    if low in PSEUDO:
        return POINTERS[low], 0, LOW64
    register = registers.lookup(low)
    if register is not None:
        type = POINTERS.get(low) or UNSIGNED.get(register.bits // 8) or EXACT
        return type, 0, (1 << register.bits) - 1
    if low in FLAGS:
        return INT, 0, (1 << FLAGS[low][1]) - 1
    if low in vectors.TYPES:
        return vectors.TYPES[low], 0, 0
    return EXACT, LEAST, LOW64


def reader(ctx: Context, name: str, column: int, fail: Fail) -> Callable[[], Any]:
    """A function that reads ``$name``."""
    kind, low = kind_of(ctx, name), name.lower()
    if kind == "register":
        read = ctx.register_reader(low)
        if read is None:
            raise fail(f"this CPU has no register ${low}", column)
        return read
    if kind == "flag":
        shift, bits = FLAGS[low]
        mask = (1 << bits) - 1
        rflags = reader(ctx, "rflags", column, fail)
        return lambda: rflags() >> shift & mask

    get = ctx.variable

    def variable() -> int:
        value = get(name)
        if isinstance(value, int):
            return value if LEAST <= value <= LOW64 else value & LOW64
        other = _variable(ctx, name, column, fail)
        if isinstance(other, bytes):
            raise fail(f"${name} is no number any more", column)
        return wrap(int(float(other)))

    return variable


def wide(ctx: Context, name: str, column: int, fail: Fail) -> Callable[[], int]:
    """A function that reads ``$name``, an integer of more than 64 bits."""

    def variable() -> int:
        value = _variable(ctx, name, column, fail)
        if isinstance(value, bytes):
            raise fail(f"${name} is no number any more", column)
        return int(value) if not isinstance(value, Extended) else int(float(value))

    return variable


def _variable(ctx: Context, name: str, column: int, fail: Fail) -> Raw:
    value = ctx.variable(name)
    if value is None:
        if name.lstrip("$").isdigit() or not name.strip("$"):
            raise fail(f"the value history has no ${name}", column)
        raise fail(f"no register, flag or variable ${name}", column)
    return value


def floating(ctx: Context, name: str, column: int, fail: Fail) -> Callable[[int], float | Extended]:
    """A function of the size that reads ``$name``, a floating point number."""
    if kind_of(ctx, name) == "vector":
        whole_of = whole(ctx, name, column, fail)
        return lambda size: number_of(whole_of(size))

    def variable(size: int) -> float | Extended:
        value = _variable(ctx, name, column, fail)
        if isinstance(value, bytes):
            raise fail(f"${name} is no number any more", column)
        return (value if isinstance(value, Extended) else Extended(value)) if size > 8 else float(value)

    return variable


def whole(ctx: Context, name: str, column: int, fail: Fail) -> Callable[[int], bytes]:
    """A function of the size that reads ``$name``, a vector register or a variable that is a structure or an array."""

    def value(size: int) -> bytes:
        low = name.lower()
        found = ctx.vector(low) if low in vectors.TYPES else _variable(ctx, name, column, fail)
        if found is None:
            raise fail(f"this CPU has no register ${low}", column)
        if not isinstance(found, bytes) or len(found) != size:
            raise fail(f"${name} is not what it was", column)
        return found

    return value


def placer(ctx: Context, name: str, column: int, fail: Fail) -> Callable[[Raw], Raw]:
    """A function that gives ``$name`` a value that is no integer."""
    low = name.lower()
    if kind_of(ctx, name) == "vector":

        def write(value: Raw) -> Raw:
            data = value if isinstance(value, bytes) else bytes_of(value, vectors.TYPES[low].size)
            ctx.set_vector(low, data)
            return value

        return write

    def place(value: Raw) -> Raw:
        ctx.set_variable(name, value)
        return value

    return place


def writer(ctx: Context, name: str, column: int, fail: Fail) -> Callable[[int], int]:
    """A function that sets ``$name`` and returns the value it has then."""
    kind, low = kind_of(ctx, name), name.lower()
    if kind == "variable":
        if name.lstrip("$").isdigit() or not name.strip("$"):
            raise fail(f"${name} is a value of the history: it cannot be assigned", column)

        def set_variable(value: int) -> int:
            ctx.set_variable(name, value)
            return value

        return set_variable
    if kind == "flag":
        shift, bits = FLAGS[low]
        mask = (1 << bits) - 1
        rflags = reader(ctx, "rflags", column, fail)

        def set_flag(value: int) -> int:
            ctx.set_register("rflags", rflags() & ~(mask << shift) | (value & mask) << shift)
            return value & mask

        return set_flag
    register = registers.lookup(low)
    width = (1 << register.bits) - 1 if register is not None and low not in PSEUDO else LOW64

    def set_register(value: int) -> int:
        ctx.set_register(low, value & width)
        return value & width

    return set_register


def symbol(ctx: Context, name: str, column: int, fail: Fail) -> int:
    """A symbol's address."""
    value = ctx.symbol(name)
    if value is None:
        low = name.lower()
        known = low in PSEUDO or low in FLAGS or registers.lookup(low) is not None
        raise fail(f"no symbol '{name}'" + (f"; a register is written ${low}" if known else ""), column)
    return value & LOW64


def symbol_or_digits(ctx: Context, named: str, column: int, fail: Fail) -> int:
    """The address of a symbol that looks like a number in another base; where there is none, that number."""
    name, _, base = named.rpartition(" ")
    address = ctx.symbol(name)
    return int(name, int(base)) if address is None else address


def base(ctx: Context, name: str, column: int, fail: Fail) -> Callable[[], Any]:
    """A function that reads the base a segment register really has, which need not be its selector's.

    In 64-bit mode only fs and gs have one (SDM volume 1, section 3.4.2.1).
    """
    read = ctx.register_reader(f"{name}_base")
    if read is None:
        selector = reader(ctx, name, column, fail)
        return lambda: ctx.segment(selector())
    if name in ("fs", "gs"):
        return read
    hidden = read
    return lambda: 0 if ctx.pointer_size == 8 else hidden()


def caller(ctx: Context, name: str, column: int, fail: Fail) -> Callable[..., int]:
    """The function ``$name(...)``, on this machine."""
    made = functions.lookup(name)
    if made is None:
        raise fail(f"there is no function ${name}", column)
    return partial(made, ctx)


def source_address(ctx: Context, name: str, column: int, fail: Fail) -> Callable[[], int]:
    """A function that gives the address of a variable of the source."""

    def address() -> int:
        found, _ = ctx.source_variable(name)
        if found is None:
            raise fail(f"'{name}' is in a register here, it has no address", column)
        return found & LOW64

    return address


def source_value(ctx: Context, name: str, column: int, fail: Fail) -> Callable[[int, bool], int]:
    """A function of size and sign that reads a variable of the source."""

    def value(size: int, signed: bool) -> int:
        address, data = ctx.source_variable(name)
        if address is not None:
            data = ctx.read(address, size, "linear")
        return int.from_bytes(data[:size], "little", signed=signed)

    return value


def source_contents(ctx: Context, name: str, column: int, fail: Fail) -> Callable[[int], bytes]:
    """A function of the size that reads the bytes of a variable of the source."""

    def contents(size: int) -> bytes:
        address, data = ctx.source_variable(name)
        return data[:size] if address is None else ctx.read(address, size, "linear")

    return contents


def source_piece(ctx: Context, name: str, column: int, fail: Fail) -> Callable[[int, int], bytes]:
    """A function of offset and size that reads a part of a variable of the source."""

    def piece(offset: int, size: int) -> bytes:
        address, data = ctx.source_variable(name)
        if address is not None:
            return ctx.read(address + offset & LOW64, size, "linear")
        found: bytes = RUNTIME["part"](data, offset, size, fail, column)
        if isinstance(found, Partial) and not any(found.known):
            raise fail(f"{name}: this part of it was optimized out", column)
        return found

    return piece


def source_placer(ctx: Context, name: str, column: int, fail: Fail) -> Callable[[bytes], bytes]:
    """A function that writes the bytes of a variable of the source."""

    def place(data: bytes) -> bytes:
        ctx.set_source_variable(name, data)
        return data

    return place


def source_writer(ctx: Context, name: str, column: int, fail: Fail) -> Callable[[int, int, bool], int]:
    """A function of value, size and sign that writes a variable of the source and returns the value it has then."""

    def store(value: int, size: int, signed: bool) -> int:
        data = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
        ctx.set_source_variable(name, data)
        return int.from_bytes(data, "little", signed=signed)

    return store


def unset(ctx: Context, name: str, column: int, fail: Fail) -> Callable[[], int]:
    """A function that says whether ``$name`` has no value."""
    known = kind_of(ctx, name) != "variable"
    return lambda: int(not known and ctx.variable(name) is None)


BINDERS: dict[str, Callable[[Context, str, int, Fail], Any]] = {
    "call": caller,
    "reader": reader,
    "writer": writer,
    "symbol": symbol,
    "digits": symbol_or_digits,
    "address": source_address,
    "value": source_value,
    "store": source_writer,
    "base": base,
    "unset": unset,
    "floating": floating,
    "whole": whole,
    "wide": wide,
    "placer": placer,
    "contents": source_contents,
    "piece": source_piece,
    "place": source_placer,
}
