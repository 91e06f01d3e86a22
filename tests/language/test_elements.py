"""Complex numbers and vectors: the answers are gdb 13's, but for what docs/expressions.md says."""

from __future__ import annotations

import pytest

from kvmdbg.errors import ExpressionError, MemoryFault
from kvmdbg.language.expressions import parse
from kvmdbg.language.shown import Printer, Style

from .machine import Machine, filled


def _no_memory(address: int, size: int) -> bytes:
    raise MemoryFault(address, "read", "linear")


def shown(text: str, machine: Machine | None = None) -> str:
    found = parse(text).evaluate(machine or filled())
    data = found.data or (found.value & (1 << 8 * found.type.size) - 1).to_bytes(found.type.size, "little")
    return Printer(_no_memory, lambda address: "", Style()).show(found.type, data)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1 + 2i", "1 + 2i"), ("2.5fi", "0 + 2.5i"), ("2i * 2i", "-4 + 0i"), ("(1.0 + 2i) * (1.0 + 2i)", "-3 + 4i"),
        ("1.5 - (3.0f - 1.0i)", "-1.5 + 1i"), ("(1.0 + 2i) / (1.0 + 2i)", "1 + 0i"),
        ("(1.0 + 2i) / (0.0 + 5i)", "0.40000000000000002 + -0.20000000000000001i"), ("(1.0 + 2i) / 2", "0.5 + 1i"),
        ("-(1.0 + 2i)", "-1 + -2i"), ("~(1.0 + 2i)", "1 + -2i"), ("!(0i)", "1"), ("!2i", "0"), ("2i && 1", "1"),
        ("2i ? 7 : 8", "7"), ("1 ? 2i : 3i", "0 + 2i"), ("1 ? 2i : 3", "0 + 2i"),
        ("0 ? 2i : 3", "3"), ("1 ? 3 : 2i", "3"), ("(0 ? 2i : 3) + 1", "4 + 0i"),
        ("(1 ? 1.0f : 2i) + 1", "2 + 0i"), ("1 + 2i == 1 + 2i", "1"), ("1.0 + 2i != 1 + 2i", "0"),
        ("2i == 0", "0"), ("(_Complex double)1", "1 + 0i"), ("(_Complex int)(1.75 + 2.5i)", "1 + 2i"),
        ("(double)(1.5 + 2i)", "1.5"), ("$_creal(1 + 2i) + 1", "2"), ("$_cimag(1.5 + 2i)", "2"),
        ("(1.0l + 1i) / 3", "0.333333333333333333342 + 0.333333333333333333342i"),
        ("*(_Complex float *)0x800 = 3", "3 + 0i"), ("*(_Complex float *)0x800 -= 1.5i", "0 + -1.5i"),
        ("$made = 2 + 3i", "2 + 3i"), ("sizeof(_Complex double) + sizeof(1.0f + 1i)", "24"),
    ],
)  # fmt: skip
def test_complex_numbers(text: str, wanted: str) -> None:
    machine = filled()
    machine.memory["linear"][0x800:0x808] = bytes(8)
    assert shown(text, machine) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("1 + 2i", "complex int"), ("2i * 1.0f", "complex float"), ("1.0f * 2.0i", "complex double"),
     ("$xmm0.v4_int32 + 1", "int32_t __attribute__ ((vector_size(4)))")],
)  # fmt: skip
def test_types(text: str, wanted: str) -> None:
    assert str(parse(text).evaluate(filled()).type) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("$xmm0.v4_int32 + 1", "{2, 3, -2, 5}"), ("1 - $xmm0.v4_int32", "{0, -1, 4, -3}"),
        ("-$xmm0.v4_int32", "{-1, -2, 3, -4}"), ("~$xmm0.v4_int32", "{-2, -3, 2, -5}"),
        ("$xmm0.v4_int32 * $xmm0.v4_int32", "{1, 4, 9, 16}"), ("$xmm0.v4_int32 / 2", "{0, 1, -1, 2}"),
        ("$xmm0.v4_int32 % 3", "{1, 2, 0, 1}"), ("$xmm0.v4_int32 >> 1", "{0, 1, -2, 2}"),
        ("$xmm0.v4_int32 + 2.0", "{3, 4, -1, 6}"), ("($xmm0.v4_int32 + $xmm0.v4_int32)[1]", "4"),
        ("$xmm0.v4_int32 == $xmm0.v4_int32", "1"), ("$xmm0.v4_int32 && 1", "1"),
        ("(int)$xmm0.v4_int32[0] + 1", "2"),
    ],
)  # fmt: skip
def test_vectors(text: str, wanted: str) -> None:
    machine = filled()
    machine.vectors["xmm0"] = b"".join(one.to_bytes(4, "little", signed=True) for one in (1, 2, -3, 4))
    assert shown(text, machine) == wanted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2i % 2", "'%' does not work with complex int"), ("1.0i < 2i", "'<' does not work with complex double"),
        ("$xmm0.v4_int32 + 1.5", "an element of int32_t cannot be 1.5"), ("$xmm0.v4_int32 / 0", "division by zero"),
        ("$xmm0.v4_int32 + $xmm0.v4_float", "do not go together"), ("$xmm0.v4_float & 1", "works with integers only"),
        ("2i + (char *)0", "does not go together"), ("*(2i)", "non-pointer"), ("$_creal(1)", "takes a complex number"),
        ("2i[0]", "_creal and ._cimag"),
        ("$rax = 2i", "cannot be worked with"), ("$mine += 2i", "cannot be worked with"),
    ],
)  # fmt: skip
def test_what_is_refused(text: str, words: str) -> None:
    with pytest.raises(ExpressionError, match=words):
        shown(text)
