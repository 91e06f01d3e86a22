"""find with masks and wildcards, texts in other encodings; x/s, x/hs, x/ws."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.searching import _Pattern, _wildcards
from kvmdbg.core.session import Session
from kvmdbg.errors import UsageError
from kvmdbg.pytest_plugin import Guests


def typed(dbg: Session, *lines: str) -> str:
    interpreter = Interpreter(dbg)
    return "\n".join(result.plain(100) for line in lines for result in interpreter.execute(line))


@pytest.fixture
def dbg(kvm_guest: Guests) -> Session:
    session = kvm_guest(asm="hlt", mode="real", memory="1M")
    session.memory.write(0x5000, bytes.fromhex("ba123403 ba560003 00341200"))
    session.memory.write(0x6000, "Grüße".encode() + b"\0" + b'a\xff\\"\0')
    session.memory.write(0x6100, "Grüße 🙂".encode("utf-16-le") + b"\0\0")
    session.memory.write(0x6200, "Grüße 🙂".encode("utf-32-le") + b"\0\0\0\0")
    session.memory.write(0xFFFE, b"\xd8\xd8")
    return session


@pytest.mark.kvm
@pytest.mark.parametrize(
    ("line", "places"),
    [
        ("find /x 0x5000, +16, ba ?? ?? 03", [0x5000, 0x5004]),
        ("find /x 0x5000, +16, ba??00", [0x5004]),
        ("find /x 0x5000, +16, ?a 5?", [0x5004]),
        ("find /h 0x5000, +16, 0x3400 mask 0xff00", [0x5001, 0x5008]),
        ("find /1h 0x5000, +16, 0x3400 mask 0xff00", [0x5001]),
        ("find 0x5000, +16, (u32)0x3000ba mask 0xff0000ff", []),
        ("find 0x5000, +16, (u32)0x030000ba mask 0xff0000ff", [0x5000, 0x5004]),
        ('find 0x6000, +0x400, u"Grüße"', [0x6100]),
        ('find 0x6000, +0x400, U"üße"', [0x6208]),
        ("find 0x5000, +16, 0xba, 0x12 mask 0, 0x34", [0x5000]),
    ],
)
def test_find(dbg: Session, line: str, places: list[int]) -> None:
    found = [int(row.split()[0], 16) for row in typed(dbg, line).splitlines() if row.startswith("0x")]
    assert found == places


@pytest.mark.kvm
@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("find /x 0x5000, +16, b", "'b' are no bytes in hexadecimal"),
        ("find /x 0x5000, +16, zz", "'zz' are no bytes in hexadecimal"),
        ('find 0x5000, +16, u"abc', "lacks its closing quote"),
        ('find 0x5000, +16, u"', "lacks its closing quote"),
    ],
)
def test_find_mistakes(dbg: Session, line: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        typed(dbg, line)


@pytest.mark.kvm
def test_texts(dbg: Session) -> None:
    assert [" ".join(row.split()) for row in typed(dbg, "x/2s 0x6000").splitlines()] == [
        '0x6000: "Grüße"',
        '0x6008: "a\\377\\\\\\""',
    ]
    assert typed(dbg, "x/hs 0x6100") == '0x6100:  u"Grüße 🙂"'
    assert typed(dbg, "x/ws 0x6200") == '0x6200:  U"Grüße 🙂"'
    interpreter = Interpreter(dbg)
    dbg.memory.write(0x6300, b"a\0\0\0b\0\0\0")
    shown = [r.plain(80) for line in ("x/hs 0x6300", "x", "x/s 0x6300") for r in interpreter.execute(line)]
    assert shown == ['0x6300:  u"a"', '0x6304:  "b"', '0x6300:  "a"']  # as in gdb
    with pytest.raises(UsageError, match="x/s shows texts of 1, 2 or 4 bytes"):
        typed(dbg, "x/gs 0x6100")


@given(
    st.binary(max_size=60), st.lists(st.tuples(st.integers(0, 255), st.sampled_from([0, 0xF0, 0xFF, 1])), max_size=4)
)
def test_places_are_those_that_fit(memory: bytes, wanted: list[tuple[int, int]]) -> None:
    if not wanted:
        return
    pattern = _Pattern(bytes(byte for byte, _ in wanted), bytes(mask for _, mask in wanted))
    fits = [
        at
        for at in range(len(memory) - len(wanted) + 1)
        if all(memory[at + n] & mask == byte & mask for n, (byte, mask) in enumerate(wanted))
    ]
    assert list(pattern.places(memory)) == fits


@given(st.text("0123456789abcdef? xyz", max_size=12))
def test_wildcards_never_raise_anything_else(text: str) -> None:
    try:
        pattern = _wildcards(text)
    except UsageError:
        return
    assert len(pattern.data) == len(pattern.masks) == len("".join(text.split())) // 2
