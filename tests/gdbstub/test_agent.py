"""The bytecode of conditions: every opcode, and whatever else may come over the wire."""

from __future__ import annotations

from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdbstub.agent import MASK, OPCODES, Expression, formatted, signed, string
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
        ("lsh", 1, 63, 1 << 63), ("lsh", 3, 63, 1 << 63), ("lsh", 5, 0, 5), ("lsh", 1, 1 << 40, 0), ("lsh", 1, MASK, 0),
        ("rsh_signed", 1 << 63, 62, -2), ("rsh_signed", 1 << 63, 63, -1), ("rsh_signed", 1 << 63, 64, -1),
        ("rsh_signed", 1 << 62, 62, 1), ("rsh_signed", 1 << 62, 63, 0), ("rsh_signed", 1 << 62, MASK, 0),
        ("rsh_signed", 5, 0, 5), ("rsh_unsigned", 1 << 63, 63, 1), ("rsh_unsigned", 1 << 63, 64, 0),
        ("rsh_unsigned", 5, 0, 5), ("sub", 0, 1, MASK), ("mul", 1 << 63, 2, 0),
        ("div_signed", 7, -2, -3), ("div_signed", -8, -2, 4), ("div_signed", 1 << 63, -1, 1 << 63),
        ("div_unsigned", MASK, 2, MASK >> 1), ("rem_signed", 7, -2, 1), ("rem_signed", -8, 3, -2),
        ("rem_unsigned", MASK, 10, 5), ("less_signed", 3, 3, 0), ("less_unsigned", 3, 3, 0),
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
    assert run(3, 7, "dup", "add") == 14
    assert run(7, 8, "pop") == 7
    assert run(7, 8, "swap") == 7
    assert run(1, 7, 8, "swap", "pop") == 8
    assert run(1, 2, 3, "rot") == 2
    assert run(1, 2, 3, "rot", "pop") == 1
    assert run(1, 2, 3, "rot", "pop", "pop") == 3
    assert run(1, 2, 3, b"\x32\x02") == 1
    assert run(1, 2, "trace", 3) == 3
    assert run(9, b"\x2d\x00\x05", "pop", b"\x2c\x00\x05") == 9
    assert run() == 0


@pytest.mark.parametrize(
    ("bits", "value", "result"),
    [
        (1, 1, -1), (1, 2, 0), (8, 0x1FF, -1), (8, 0x17F, 0x7F), (16, 0x8000, -0x8000), (32, 0x80000000, -0x80000000),
        (63, 1 << 62, -1 << 62), (64, 1 << 63, 1 << 63), (0, 5, 5), (200, 5, 5),
    ],
)  # fmt: skip
def test_sign_extension(bits: int, value: int, result: int) -> None:
    assert run(value, bytes((0x16, bits))) == result & MASK


@pytest.mark.parametrize(
    ("bits", "result"), [(0, 0), (1, 1), (8, 0xFF), (32, 0xFFFFFFFF), (63, MASK >> 1), (64, MASK), (255, MASK)]
)
def test_zero_extension(bits: int, result: int) -> None:
    assert run(-1, bytes((0x2A, bits))) == result


def test_each_opcode_has_its_number() -> None:
    """As in gdb's gdbsupport/ax.def: number, bytes of its operand, values that it takes."""
    table = """add 02 0 2; sub 03 0 2; mul 04 0 2; div_signed 05 0 2; div_unsigned 06 0 2; rem_signed 07 0 2
    rem_unsigned 08 0 2; lsh 09 0 2; rsh_signed 0a 0 2; rsh_unsigned 0b 0 2; trace 0c 0 2; trace_quick 0d 1 1
    log_not 0e 0 1; bit_and 0f 0 2; bit_or 10 0 2; bit_xor 11 0 2; bit_not 12 0 1; equal 13 0 2; less_signed 14 0 2
    less_unsigned 15 0 2; ext 16 1 1; ref8 17 0 1; ref16 18 0 1; ref32 19 0 1; ref64 1a 0 1; if_goto 20 2 1; goto 21 2 0
    const8 22 1 0; const16 23 2 0; const32 24 4 0; const64 25 8 0; reg 26 2 0; end 27 0 0; dup 28 0 1; pop 29 0 1
    zero_ext 2a 1 1; swap 2b 0 2; getv 2c 2 0; setv 2d 2 1; tracev 2e 2 0; tracenz 2f 0 2; trace16 30 2 1; pick 32 1 0
    rot 33 0 3; printf 34 3 2"""
    rows = [row.split() for row in table.replace("\n", ";").split(";")]
    assert {int(number, 16): (name, int(width), int(takes)) for name, number, width, takes in rows} == OPCODES


@pytest.mark.parametrize(
    "name", sorted(name for name, (_, _, takes) in zip(CODE, OPCODES.values(), strict=True) if takes)
)
def test_opcodes_need_what_they_take(name: str) -> None:
    _, width, takes = OPCODES[CODE[name]]
    operand = bytes(width)
    for there in range(takes):
        with pytest.raises(TargetError, match=f"too little on its stack for {name}"):
            run(*[1] * there, bytes((CODE[name],)) + operand)
    if name not in ("if_goto", "goto") and not name.startswith("ref"):
        run(*[1] * takes, bytes((CODE[name],)) + operand)


def test_floating_point_is_refused() -> None:
    for opcode in range(0x1B, 0x20):
        with pytest.raises(TargetError, match="floating point"):
            Expression(bytes((opcode,)))
    for opcode in (0x00, 0x01, 0x31, 0x35):
        with pytest.raises(TargetError, match=f"no agent opcode {opcode:#04x}"):
            Expression(bytes((opcode,)))


def test_operands_are_there_to_their_end() -> None:
    for opcode, (_, width, _) in OPCODES.items():
        for short in range(width):
            with pytest.raises(TargetError, match="ends within an operand"):
                Expression(bytes((opcode,)) + bytes(short))
        Expression(bytes((opcode,)) + bytes(width))
    for length in (1, 5, 0x123):
        head = b"\x34\x00" + length.to_bytes(2, "big")
        Expression(head + b"a" * length + b"\x27")
        Expression(head + b"a" * length)
        with pytest.raises(TargetError, match="ends within an operand"):
            Expression(head + b"a" * (length - 1))


@pytest.mark.parametrize("name", sorted(CODE.keys() - {"goto", "end"}))
def test_what_lies_below_the_values_of_an_opcode_stays(name: str) -> None:
    _, width, takes = OPCODES[CODE[name]]
    gives = {"trace": 0, "tracenz": 0, "pop": 0, "if_goto": 0, "printf": 0, "tracev": 0, "dup": 2, "swap": 2, "rot": 3}
    value = 0 if name == "if_goto" else 0x1000
    parts = (7, 8, *[value] * takes, bytes((CODE[name],)) + bytes(width), *["pop"] * gives.get(name, 1))
    assert (run(*parts), run(*parts, "pop")) == (8, 7)


def test_pick_counts_from_the_top() -> None:
    assert [run(1, 2, 3, bytes((0x32, depth))) for depth in range(3)] == [3, 2, 1]
    with pytest.raises(TargetError, match="picks what is not on its stack"):
        run(1, 2, 3, b"\x32\x03")


def test_values_are_taken_or_stay() -> None:
    assert run(9, 1, 2, "tracenz") == 9
    assert run(9, b"\x0d\x04") == 9 and run(9, b"\x30\x00\x04") == 9  # trace_quick and trace16 leave the address
    assert run(9, b"\x2e\x00\x01") == 9
    assert run(9, b"\x2d\x00\x06") == 9 and run(b"\x2c\x00\x06") == 9 and run(b"\x2c\x7f\xff") == 0
    assert run(1, 2, 3, "rot", "pop", "pop") == 3


def test_expressions_are_compared_by_their_code() -> None:
    one, same, other = Expression(b"\x27"), Expression(b"\x27"), Expression(b"\x22\x01\x27")
    assert one == same and hash(one) == hash(same) and one != other and one != b"\x27"
    assert repr(other) == "Expression(220127)"


def test_printf_takes_its_arguments_in_order() -> None:
    said: list[str] = []
    text = b"%d %d\0"
    call = b"\x34\x02" + len(text).to_bytes(2, "big") + text
    for there in range(4):
        with pytest.raises(TargetError, match="too little on its stack for printf"):
            run(*[0] * there, call)
    # gdb pushes the last argument first, then function and channel
    code = b"".join(map(const, (9, 2, 1, 0, 0))) + call + b"\x27"
    assert Expression(code).evaluate(Values(), said.append) == 9
    assert said == ["1 2"]
    assert Expression(code).evaluate(Values()) == 9


def test_strings_end_in_a_zero_or_where_memory_does() -> None:
    values = Values()
    values.ram = b"ab\0cd" + b"x" * 251  # type: ignore[misc]
    assert (
        string(0x1000, values) == "ab" and string(0x1002, values) == "" and string(0x1003, values) == "cd" + "x" * 251
    )
    assert string(0x5000, values) == ""


def test_long_strings_are_cut() -> None:
    class Endless(Values):
        def memory(self, address: int, size: int) -> bytes:
            return b"y" * size

    assert string(0, Endless()) == "y" * 4096


def test_expression_ends_in_bounded_time() -> None:
    loop = b"\x21\x00\x00"
    with pytest.raises(TargetError, match="does not end"):
        Expression(loop).evaluate(Values())
    # 33,000 rounds of three operations still end
    count = b"\x23\x80\xe8" + b"\x22\x01\x03\x28\x20\x00\x03\x27"
    with pytest.raises(TargetError, match="does not end"):
        Expression(count).evaluate(Values())
    assert Expression(b"\x23\x61\x00" + count[3:]).evaluate(Values()) == 0


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
        ("%u %d %i", [MASK, 1 << 31, 0xFFFFFFFE], "4294967295 -2147483648 -2"),
        (
            "%hhu %hu %lx %jx %zx %tx",
            [0x1FF, 0x1FFFF, MASK, MASK, MASK, MASK],
            " ".join(["255 65535", *["f" * 16] * 4]),
        ),
        ("%#o %#.5o %#-6o| %#x %#o", [8, 8, 8, 0, 0], "010 00010 010   | 0 0"),
        ("%#X", [255], "0XFF"),
        ("%c%c", [0x141, 0x42], "AB"),
        ("%f %e %g %a", [1, 2, 3, 4], " ".join(["(floating point)"] * 4)),
        ("%-+5d|% d|%#o|%.3d", [3, 4, 8, 5], "+3   | 4|010|005"),
        ("100%% %q %", [1], "100% %q %"),
        (r"\e\f\v\a\b\r\q", [], "\x1b\f\v\a\b\rq"),
        ('a\\n\\tb\\\\ \\"%d\\"', [5], 'a\n\tb\\ "5"'),
    ],
)
def test_formats(text: str, values: list[int], shown: str) -> None:
    assert formatted(text, values, Values()) == shown
