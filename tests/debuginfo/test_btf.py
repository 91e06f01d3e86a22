"""Types made by hand, as Documentation/bpf/btf.rst lays them out."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmdbg.debuginfo.btf import Btf
from kvmdbg.debuginfo.structures import Member
from kvmdbg.errors import LoadError

INT, PTR, ARRAY, STRUCT, UNION, ENUM, TYPEDEF, CONST, FUNC_PROTO, VAR, DATASEC = 1, 2, 3, 4, 5, 6, 8, 10, 13, 14, 15


class Made:
    def __init__(self) -> None:
        self.types, self.strings, self.count = b"", b"\0", 0

    def name(self, text: str) -> int:
        if not text:
            return 0
        self.strings += text.encode() + b"\0"
        return len(self.strings) - len(text) - 1

    def add(self, kind: int, name: str = "", size: int = 0, rest: bytes = b"", count: int = 0, flag: int = 0) -> int:
        self.types += struct.pack("<III", self.name(name), flag << 31 | kind << 24 | count, size) + rest
        self.count += 1
        return self.count

    def struct(self, name: str, size: int, *members: tuple[str, int, int], kind: int = STRUCT, flag: int = 0) -> int:
        rest = b"".join(struct.pack("<III", self.name(one), type_, place) for one, type_, place in members)
        return self.add(kind, name, size, rest, len(members), flag)

    def build(self) -> bytes:
        header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(self.types), len(self.types), len(self.strings))
        return header + self.types + self.strings


@pytest.fixture
def made() -> Made:
    made = Made()
    u32 = made.add(INT, "unsigned int", 4, struct.pack("<I", 32))
    alias = made.add(TYPEDEF, "pid_t", u32)
    pointer = made.add(PTR, size=made.add(CONST, size=alias))
    array = made.add(ARRAY, rest=struct.pack("<III", u32, u32, 6))
    made.add(ENUM, "colour", 4, bytes(8), 1)
    made.add(FUNC_PROTO, size=0, rest=bytes(16), count=2)
    made.add(VAR, "v", u32, bytes(4))
    made.add(DATASEC, ".data", 4, bytes(12), 1)
    inner = made.struct("inner", 12, ("x", u32, 0), ("y", pointer, 32))
    unnamed = made.struct("", 8, ("left", u32, 0), ("right", alias, 32), kind=UNION)
    made.struct(
        "outer",
        100,
        ("first", u32, 0),
        ("words", array, 32),
        ("within", inner, 256),
        ("", unnamed, 512),
        ("p", pointer, 640),
    )
    made.struct("fields", 4, ("low", u32, 5 << 24 | 0), ("high", u32, 3 << 24 | 13), ("plain", u32, 64), flag=1)
    return made


def test_members(made: Made) -> None:
    btf = Btf(made.build())
    assert btf.size("outer") == 100 and "outer" in btf and "pid_t" not in btf
    expected = {
        "first": Member(0, 4),
        "words": Member(4, 24),
        "within": Member(32, 12),
        "within.y": Member(36, 8),
        "left": Member(64, 4),
        "right": Member(68, 4),
        "p": Member(80, 8),
    }
    assert {path: btf.member("outer", path) for path in expected} == expected
    assert btf.member("fields", "high") == Member(1, 4, 5, 3)
    assert btf.member("fields", "plain") == Member(8, 4, 0, 0)
    assert btf.has("outer", "within.x") and not btf.has("outer", "within.z") and not btf.has("nothing", "x")


@pytest.mark.parametrize(
    ("struct_", "path", "message"),
    [
        ("nothing", "x", "this kernel has no struct nothing"),
        ("outer", "none", "this kernel's struct outer has no member none"),
        ("outer", "first.x", "this kernel's struct outer has no member first.x"),
    ],
)
def test_what_is_not_there(made: Made, struct_: str, path: str, message: str) -> None:
    with pytest.raises(LoadError, match=message):
        Btf(made.build()).member(struct_, path)


def test_damage() -> None:
    with pytest.raises(LoadError, match="cut short"):
        Btf(b"\x9f\xeb")
    with pytest.raises(LoadError, match="damaged"):
        Btf(bytes(100))
    made = Made()
    made.add(25)
    with pytest.raises(LoadError, match="there is no kind 25"):
        Btf(made.build())
    made = Made()
    made.struct("round", 4, ("", 1, 0))
    assert not Btf(made.build()).has("round", "x")
    made.add(TYPEDEF, "t", 2)
    made.struct("again", 4, ("x", 2, 0))
    assert Btf(made.build()).member("again", "x") == Member(0, 0)


@given(st.binary(max_size=40), st.integers(0, 600))
def test_damaged_types_give_one_error_or_an_answer(noise: bytes, at: int) -> None:
    types = Made()
    u32 = types.add(INT, "unsigned int", 4, struct.pack("<I", 32))
    types.struct("outer", 8, ("a", u32, 0), ("b", types.add(ARRAY, rest=struct.pack("<III", u32, u32, 1)), 32))
    data = bytearray(types.build())
    data[at : at + len(noise)] = noise
    try:
        btf = Btf(bytes(data))
        btf.member("outer", "b")
    except LoadError:
        pass


@pytest.mark.parametrize(("kind", "rest"), [(STRUCT, 12), (ARRAY, 12), (DATASEC, 12), (VAR, 4), (ENUM, 8)])
def test_a_last_type_that_is_cut_off(kind: int, rest: int) -> None:
    made = Made()
    made.add(kind, "last", 4, bytes(rest - 1), 1)
    with pytest.raises(LoadError, match="cut short"):
        Btf(made.build())
