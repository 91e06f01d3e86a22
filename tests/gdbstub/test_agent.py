"""The bytecode of conditions: every opcode, and whatever else may come over the wire."""

from __future__ import annotations

from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdbstub.agent import MASK, OPCODES, Expression, formatted, signed
from gdbstub.errors import TargetError

CODE = {name: opcode for opcode, (name, _, _) in OPCODES.items()}


class Values:
    """Registers hold their number times 0x11; memory is 0x1000 to 0x10ff and counts up."""

    ram: ClassVar[bytes] = bytes(range(256))

    def register(self, number: int) -> int:
        if number > 20:
            raise TargetError("no such register")
        return number * 0x11

    def memory(self, address: int, size: int) -> bytes:
        if not 0x1000 <= address <= 0x1100 - size:
            raise TargetError("no memory there")
        return self.ram[address - 0x1000 :][:size]


def const(value: int) -> bytes:
    return bytes((CODE["const64"],)) + (value & MASK).to_bytes(8, "big")


def run(*parts: bytes | str | int) -> int:
    """Evaluate: bytes as they are, names of opcodes, numbers as constants; ends with ``end``."""
    code = b""
    for part in (*parts, "end"):
        code += part if isinstance(part, bytes) else bytes((CODE[part],)) if isinstance(part, str) else const(part)
    return Expression(code).evaluate(Values())


@pytest.mark.parametrize(
    ("operation", "first", "second", "result"),
    [
        ("add", 5, 7, 12), ("add", MASK, 1, 0), ("sub", 5, 7, -2), ("mul", 5, -7, -35),
        ("div_signed", -7, 2, -3), ("div_unsigned", 7, 2, 3), ("rem_signed", -7, 2, -1), ("rem_unsigned", 7, 4, 3),
        ("lsh", 1, 40, 1 << 40), ("lsh", 1, 64, 0), ("rsh_signed", -8, 1, -4), ("rsh_signed", -8, 99, -1),
        ("rsh_unsigned", -8, 1, (MASK - 7) >> 1), ("rsh_unsigned", 8, 99, 0),
        ("bit_and", 12, 10, 8), ("bit_or", 12, 10, 14), ("bit_xor", 12, 10, 6),
        ("equal", 3, 3, 1), ("equal", 3, 4, 0), ("less_signed", -1, 0, 1), ("less_signed", 0, -1, 0),
        ("less_unsigned", -1, 0, 0), ("less_unsigned", 0, -1, 1),
    ],
)  # fmt: skip
def test_two_operands(operation: str, first: int, second: int, result: int) -> None:
    assert run(first, second, operation) == result & MASK


@given(st.integers(0, MASK), st.integers(1, MASK))
def test_signed_division_is_that_of_c(first: int, second: int) -> None:
    a, b = signed(first), signed(second)
    whole, rest = signed(run(first, second, "div_signed")), signed(run(first, second, "rem_signed"))
    assert whole == signed(int(abs(a) // abs(b) * (-1 if (a < 0) != (b < 0) else 1)))
    assert signed(whole * b + rest) == a
    assert abs(rest) < abs(b)


def test_the_others() -> None:
    assert run(0, "log_not") == 1
    assert run(5, "log_not") == 0
    assert run(5, "bit_not") == MASK - 5
    assert run(0x80, b"\x16\x08") == -128 & MASK
    assert run(0x7F, b"\x16\x08") == 0x7F
    assert run(-1, b"\x16\x40") == MASK
    assert run(-1, b"\x2a\x10") == 0xFFFF
    assert run(0x1002, "ref8") == 2
    assert run(0x1002, "ref16") == 0x0302
    assert run(0x1002, "ref32") == 0x05040302
    assert run(0x1002, "ref64") == 0x0908070605040302
    assert run(b"\x22\xfe") == 0xFE
    assert run(b"\x23\xfe\x01") == 0xFE01
    assert run(b"\x24\x00\x00\x01\x00") == 0x100
    assert run(b"\x26\x00\x03") == 0x33
    assert run(7, "dup", "add") == 14
    assert run(7, 8, "pop") == 7
    assert run(7, 8, "swap") == 7
    assert run(1, 2, 3, "rot") == 2
    assert run(1, 2, 3, "rot", "pop") == 1
    assert run(1, 2, 3, "rot", "pop", "pop") == 3
    assert run(1, 2, 3, b"\x32\x02") == 1
    assert run(1, 2, "trace", 3) == 3
    assert run(9, b"\x2d\x00\x05", "pop", b"\x2c\x00\x05") == 9
    assert run() == 0


def test_jumps() -> None:
    """if_goto over a part, and a loop that counts down."""
    for condition, value in ((0, 5), (1, 6)):
        branch = bytes((0x22, condition)) + b"\x20\x00\x08" + b"\x22\x05\x27" + b"\x22\x06\x27"
        assert Expression(branch).evaluate(Values()) == value
    down = b"\x22\x0a" + b"\x22\x01\x03" + b"\x28" + b"\x20\x00\x02" + b"\x27"
    assert Expression(down).evaluate(Values()) == 0


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (b"\x02\x27", "too little on its stack"),
        (b"\x22\x00\x22\x00\x05\x27", "division by zero"),
        (b"\x21\x00\x00", "does not end"),
        (b"\x22\x01", "past its end"),
        (b"\x32\x05\x27", "not on its stack"),
        (b"\x21\x00\x04\x22\xff\x27", "jumps into an operand"),
        (b"\x26\x00\x63\x27", "no such register"),
        (b"\x22\x00\x17\x27", "no memory"),
    ],
)
def test_what_cannot_be_evaluated(code: bytes, says: str) -> None:
    with pytest.raises(TargetError, match=says):
        Expression(code).evaluate(Values())


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (b"\xff", "no agent opcode 0xff"),
        (b"\x23\x00", "within an operand"),
        (b"\x1b", "floating"),
        (b"\x34\x01\x00\x09a", "within"),
    ],
)
def test_what_is_refused_at_once(code: bytes, says: str) -> None:
    with pytest.raises(TargetError, match=says):
        Expression(code)


@given(st.lists(st.one_of(st.sampled_from(sorted(OPCODES)), st.integers(0, 255)), max_size=40))
def test_any_code(code: list[int]) -> None:
    try:
        value = Expression(bytes(code)).evaluate(Values(), lambda text: None)
    except TargetError:
        return
    assert 0 <= value <= MASK


def test_printf() -> None:
    said: list[str] = []
    text = b"pc %#x, %d %s%%\n\0"
    code = const(0x1041) + const(-3) + const(0x33) + const(0) + const(0)
    code += b"\x34\x03" + len(text).to_bytes(2, "big") + text + b"\x27"
    values = Values()
    values.ram = bytes(0x41) + b"hello\0" + bytes(200)  # type: ignore[misc]
    Expression(code).evaluate(values, said.append)
    assert said == ["pc 0x33, -3 hello%\n"]


@pytest.mark.parametrize(
    ("text", "values", "shown"),
    [
        ("%5d|%-5d|%05d", [1, 2, 3], "    1|2    |00003"),
        ("%lld %llu", [MASK, MASK], "-1 18446744073709551615"),
        ("%x %X %o %c", [255, 255, 8, 65], "ff FF 10 A"),
        ("%hhd %hd", [255, 65535], "-1 -1"),
        ("%p %d", [4096], "0x1000 0"),
        ('a\\n\\tb\\\\ \\"%d\\"', [5], 'a\n\tb\\ "5"'),
    ],
)
def test_formats(text: str, values: list[int], shown: str) -> None:
    assert formatted(text, values, Values()) == shown
