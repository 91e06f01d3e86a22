"""How functions get their arguments and give their results back.

Source: System V ABI, AMD64 supplement, section 3.2.3 (classification, passing, returning); System V ABI, Intel386
supplement, section "Function Calling Sequence"; gcc -m16 makes code that calls as the latter has it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator

from kvmdbg.language.abi import abi
from kvmdbg.language.ctype import CType
from kvmdbg.language.objects import is_by_reference
from kvmdbg.record import record

INTEGER, SSE, SSE_UP, X87, MEMORY, NONE = "integer", "sse", "sseup", "x87", "memory", ""
"""SSE_UP: the upper half of the XMM register that the eightbyte before it is in."""
COMPOUND = ("struct", "union", "class", "array")
INTEGERS_64 = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")
VECTORS_64 = 8
"""XMM registers that take arguments."""
STACK_ALIGNMENT = 16
"""Of the stack's arguments in 64-bit code, and of those among them whose types ask for it, at least."""
WIDEST = 64
"""That of the widest vectors."""


def classes(type: CType) -> list[str]:
    """The class of each eightbyte of a value, on AMD64; [MEMORY] for one that is passed and returned in memory."""
    if type.size > 16 or not type.size or is_by_reference(type):
        return [MEMORY]
    found = [NONE] * ((type.size + 7) // 8)
    for offset, leaf in _leaves(type):
        if offset % min(max(leaf.size, 1), 8) or not 0 <= offset <= type.size - leaf.size:
            return [MEMORY]  # packed, or a damaged file's
        one = SSE if leaf.kind in ("float", "array") else INTEGER
        if leaf.kind == "float" and leaf.size > 8 and not leaf.is_quad:
            one = X87
        for number in range(offset // 8, (offset + leaf.size + 7) // 8):
            upper = one == SSE and number > offset // 8
            found[number] = _merged(found[number], SSE_UP if upper else one)
    if X87 in found and type.kind in COMPOUND and found != [X87, X87]:
        return [MEMORY]
    return found


def is_by_options(type: CType, bits: int) -> bool:
    """Whether the compiler's options (-msse, -mavx) say how a value is passed: in vector registers, or in memory."""
    return any(one.is_vector and (bits != 64 or one.size > 16) for _, one in _leaves(type))


def _merged(known: str, one: str) -> str:
    if known in (NONE, one):
        return one
    if INTEGER in (known, one):
        return INTEGER
    return X87 if X87 in (known, one) else SSE


def _leaves(type: CType, offset: int = 0) -> Iterator[tuple[int, CType]]:
    """The values that a value consists of, and where they are in it."""
    if type.is_vector:
        yield offset, type
    elif type.kind == "array" and type.target is not None:
        for number in range((type.count or 0) if type.target.size else 0):
            yield from _leaves(type.target, offset + number * type.target.size)
    elif type.kind in COMPOUND:
        for one in type.members:
            yield from _leaves(one.type, offset + one.offset)
    elif type.kind == "complex" and type.target is not None:
        yield from ((offset, type.target), (offset + type.target.size, type.target))
    elif type.size:
        yield offset, type


@record
class Registers:
    """Those that a result may be in, at the moment of the return: ``st0`` and ``st1`` ten bytes, ``xmm`` two
    registers."""

    rax: int
    rdx: int
    st0: bytes
    xmm: tuple[bytes, bytes]
    st1: bytes = bytes(10)


def result_in_memory(type: CType, bits: int) -> bool:
    """Whether a function gets, before its arguments, where its result is wanted."""
    if bits == 64:
        return classes(type) == [MEMORY] and type.kind in COMPOUND
    return type.kind in COMPOUND or (type.kind == "complex" and type.size > 8)


def result(type: CType, bits: int, registers: Registers) -> bytes | int:
    """The bytes of what a function of this type has returned, or the address where they are."""
    if bits == 64:
        return _result_64(type, registers)
    if result_in_memory(type, bits):
        return registers.rax & 0xFFFFFFFF
    if type.kind == "float":
        return _from_st0(type, registers.st0)
    both = registers.rax & 0xFFFFFFFF | (registers.rdx & 0xFFFFFFFF) << 32
    return both.to_bytes(8, "little")[: type.size]


def _result_64(type: CType, registers: Registers) -> bytes | int:
    if type.kind == "complex" and type.size == 32:
        return registers.st0.ljust(16, b"\0") + registers.st1.ljust(16, b"\0")
    found = classes(type)
    if found == [MEMORY]:
        return registers.rax
    if found[0] == X87:
        return _from_st0(type, registers.st0)
    integers = [registers.rax.to_bytes(8, "little"), registers.rdx.to_bytes(8, "little")]
    vectors = list(registers.xmm)
    data = b""
    for one, width in _in_registers(found):
        data += (integers if one == INTEGER else vectors).pop(0)[:width]
    return data[: type.size]


def _in_registers(found: list[str]) -> Iterator[tuple[str, int]]:
    """The class of each register that eightbytes of these classes take, and how many bytes are in it."""
    for number, one in enumerate(found):
        if one != SSE_UP:
            yield one, 16 if found[number + 1 : number + 2] == [SSE_UP] else 8


def _from_st0(type: CType, st0: bytes) -> bytes:
    """A float, a double or a long double that is in the x87's register."""
    if type.size >= 10:
        return st0[:10].ljust(type.size, b"\0")
    value = _x87_value(st0)
    if type.size == 4:
        try:
            return struct.pack("<f", value)
        except OverflowError:
            value = math.copysign(math.inf, value)
    return struct.pack("<f" if type.size == 4 else "<d", value)


def _x87_value(st0: bytes) -> float:
    """The number in 80 bits, as well as a double has it. Source: SDM volume 1, 4.2.2."""
    fraction, top = int.from_bytes(st0[:8], "little"), int.from_bytes(st0[8:10], "little")
    sign, exponent = (-1.0 if top >> 15 else 1.0), top & 0x7FFF
    if exponent == 0x7FFF:
        return sign * (math.inf if fraction in (0, 1 << 63) else math.nan)
    try:
        return sign * math.ldexp(fraction, max(exponent, 1) - 16383 - 63)
    except OverflowError:
        return sign * math.inf


@record
class Passed:
    """What a call puts where: ``registers`` by name (``xmm0`` with 16 bytes), ``stack`` from the stack pointer up."""

    registers: dict[str, int | bytes]
    stack: bytes


def passing(arguments: list[tuple[CType, bytes]], bits: int, result_at: int | None) -> Passed:
    """Where arguments, types and bytes, go; ``result_at`` is where a result in memory is wanted."""
    if bits != 64:
        stack = b"" if result_at is None else result_at.to_bytes(4, "little")
        for type, data in arguments:
            aligned = [one.size for _, one in _leaves(type) if one.size >= 16 and (one.is_vector or one.is_quad)]
            stack += bytes(-len(stack) % max(aligned, default=4))
            stack += data.ljust(-(-max(type.size, len(data)) // 4) * 4, b"\0")
        return Passed({}, stack)
    integers, vectors = list(INTEGERS_64), [f"xmm{number}" for number in range(VECTORS_64)]
    registers: dict[str, int | bytes] = {}
    stack = b""
    if result_at is not None:
        registers[integers.pop(0)] = result_at
    for type, data in arguments:
        found = classes(type)
        wanted = found.count(INTEGER), found.count(SSE)
        fits = wanted[0] <= len(integers) and wanted[1] <= len(vectors)
        if found[0] in (MEMORY, X87) or not fits:
            alignment = abi(8).alignment(type)
            if alignment >= STACK_ALIGNMENT and not type.size % STACK_ALIGNMENT:  # not packed
                stack += bytes(-len(stack) % min(alignment, WIDEST))
            stack += data.ljust(-(-len(data) // 8) * 8, b"\0")
            continue
        for one, width in _in_registers(found):
            part, data = data[:width].ljust(width, b"\0"), data[width:]
            if one == INTEGER:
                registers[integers.pop(0)] = int.from_bytes(part, "little")
            else:
                registers[vectors.pop(0)] = part.ljust(16, b"\0")
    registers["rax"] = VECTORS_64 - len(vectors)  # for functions with ...
    return Passed(registers, stack)
