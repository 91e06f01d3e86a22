"""Functions of expressions."""

from __future__ import annotations

import pytest

from kvmdbg.core.session import Session
from kvmdbg.errors import KvmdbgError
from kvmdbg.language.functions import function
from kvmdbg.pytest_plugin import Guests

pytestmark = pytest.mark.kvm


@pytest.fixture
def dbg(kvm_guest: Guests) -> Session:
    found = kvm_guest(asm="nop; hlt")
    found.memory.write(0x5000, bytes.fromhex("01 52 00 00 04 05 06 07 00 50"))
    return found


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$read_u8(0x5000)", 1),
        ("$read_u16(0x5000) + 1", 0x5202),
        ("$read_u32(0x5004)", 0x07060504),
        ("$read_u64(0x5000) >> 32", 0x07060504),
        ("$read_u8($read_u16(0x5008) + 4)", 4),
        ("$phys(0x5001)", 0x5001),
        ("$port(0x3fd)", 0x60),
        ("$port(0x123, 2)", 0xFFFF),
        ("$port(0x3f8 + 5) & 0x20 ? 7 : 8", 7),
    ],
)
def test_values(dbg: Session, text: str, value: int) -> None:
    assert dbg.evaluate(text).value == value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("$read_u8()", "$read_u8 takes 1 arguments, 0 were given"),
        ("$read_u8(1, 2)", "$read_u8 takes 1 arguments, 2 were given"),
        ("$port(1, 2, 3)", "$port takes 1 to 2 arguments, 3 were given"),
        ("$port(0x123456)", "there is no port 0x123456 with 1 bytes"),
        ("$nothing(3)", "there is no function $nothing; there are: "),
        ("$read_u8(1 2)", "',' or ')' is missing after an argument"),
        ("$read_u8(", "an operand is expected at the end"),
        ("$read_u8(0xf0000000)", "cannot read"),
    ],
)
def test_mistakes(dbg: Session, text: str, says: str) -> None:
    with pytest.raises(KvmdbgError) as caught:
        dbg.evaluate(text)
    assert says in str(caught.value)


def test_a_function_of_ones_own_in_a_condition(dbg: Session) -> None:
    @function("twice")
    def twice(ctx: object, value: int, times: int = 2) -> int:
        return value * times

    assert dbg.evaluate("$twice(4) + $twice(-1, 3)").value == 5 + (1 << 64) - (1 << 64)
    point = dbg.break_at(0x1001, when="$twice($pc) == 0x2002")
    dbg.run()
    assert point.hits == 1
