"""The accesses of an instruction, known before it runs; and which instruction made one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmdbg.errors import MemoryFault
from kvmdbg.record import replace
from kvmdbg.x86 import operands
from kvmdbg.x86.operands import Access

SEGMENTS = ("cs", "ds", "es", "fs", "gs", "ss")
BASES = {f"{name}_base": 0x10000 * (n + 1) for n, name in enumerate(SEGMENTS)}
NAMES = "rax rbx rcx rdx rsi rdi rsp rbp r8 r9 r10 r11 r12 r13 r14 r15 rip rflags".split()


def registers(**values: int):  # type: ignore[no-untyped-def]
    known = dict.fromkeys(NAMES, 0) | BASES | values
    return known.__getitem__


def R(at: int, size: int) -> Access:
    return Access(at, size, True, False)


def W(at: int, size: int) -> Access:
    return Access(at, size, False, True)


def RW(at: int, size: int) -> Access:
    return Access(at, size, True, True)


@pytest.mark.parametrize(
    ("code", "bits", "values", "expected"),
    [
        ("8807", 16, {"rbx": 0x500}, [W(0x20500, 1)]),
        ("8a07", 16, {"rbx": 0x500}, [R(0x20500, 1)]),
        ("8802", 16, {"rbp": 0x100, "rsi": 0xFFF0}, [W(0x600F0, 1)]),  # wraps at 64 KiB, stack segment
        ("66890e1c7c", 16, {}, [W(0x27C1C, 4)]),
        ("678903", 16, {"rbx": 0x12345678}, [W(0x12365678, 2)]),
        ("2ea10005", 16, {}, [R(0x10500, 2)]),
        ("8903", 32, {"rbx": 0xFFFFFFFF}, [W(0x1FFFF, 4)]),
        ("890424", 32, {"rsp": 0x1000}, [W(0x61000, 4)]),
        ("0103", 64, {"rbx": 0x500}, [RW(0x500, 4)]),
        ("48890510000000", 64, {}, [W(0x1017, 8)]),
        ("64488903", 64, {"rbx": 0x10}, [W(0x40010, 8)]),
        ("488b84c800100000", 64, {"rax": 0x20, "rcx": 3}, [R(0x1038, 8)]),
        ("8d07", 16, {"rbx": 0x500}, []),
        ("90", 64, {}, []),
        ("50", 16, {"rsp": 0x1000}, [W(0x60FFE, 2)]),
        ("50", 16, {"rsp": 0x0}, [W(0x6FFFE, 2)]),
        ("6650", 16, {"rsp": 0x1000}, [W(0x60FFC, 4)]),
        ("58", 64, {"rsp": 0x1000}, [R(0x1000, 8)]),
        ("e80000", 16, {"rsp": 0x1000}, [W(0x60FFE, 2)]),
        ("c3", 32, {"rsp": 0x1000}, [R(0x61000, 4)]),
        ("60", 16, {"rsp": 0x1000}, [W(0x60FF0, 16)]),
        ("9c", 64, {"rsp": 0x1000}, [W(0xFF8, 8)]),
        ("d007", 16, {"rbx": 0x500}, [RW(0x20500, 1)]),  # rol byte [bx], 1
        ("d113", 32, {"rbx": 0x500}, [RW(0x20500, 4)]),  # rcl
        ("0f9203", 64, {"rbx": 0x500}, [W(0x500, 1)]),  # setc
        ("0fb10b", 64, {"rbx": 0x500}, [RW(0x500, 4)]),  # cmpxchg
        ("0fc70b", 64, {"rbx": 0x500}, [RW(0x500, 8)]),  # cmpxchg8b
        ("0fae03", 64, {"rbx": 0x500}, [W(0x500, 512)]),  # fxsave
        ("c407", 16, {"rbx": 0x500}, [R(0x20500, 4)]),  # les
        ("c403", 32, {"rbx": 0x500}, [R(0x20500, 6)]),
        ("c8080001", 16, {"rsp": 0x1000, "rbp": 0x900}, [W(0x60FFC, 4)]),  # enter 8, 1
        ("c8080003", 32, {"rsp": 0x1000, "rbp": 0x900}, [W(0x60FF0, 16), R(0x608F8, 8)]),
        ("c9", 32, {"rbp": 0x2000}, [R(0x62000, 4)]),
        ("cd10", 16, {"rsp": 0x1000}, [W(0x60FFA, 6)]),
        ("a4", 16, {"rsi": 1, "rdi": 2}, [R(0x20001, 1), W(0x30002, 1)]),
        ("26a5", 16, {"rsi": 1, "rdi": 2}, [R(0x30001, 2), W(0x30002, 2)]),
        ("f3aa", 16, {"rcx": 0, "rdi": 2}, []),
        ("f3aa", 16, {"rcx": 1, "rdi": 2}, [W(0x30002, 1)]),
        ("a6", 32, {"rsi": 1, "rdi": 2}, [R(0x20001, 1), R(0x30002, 1)]),
        ("d7", 16, {"rbx": 0x100, "rax": 0x1105}, [R(0x20105, 1)]),
        ("0fab0f", 16, {"rbx": 0x500, "rcx": 40}, [RW(0x20504, 2)]),
        ("0f0107", 16, {"rbx": 0x500}, [W(0x20500, 6)]),
    ],
)
def test_accesses(code: str, bits: int, values: dict[str, int], expected: list[Access]) -> None:
    found = operands.accesses(bytes.fromhex(code), 0x1000, bits, registers(**values), stack_bits=bits)
    if code.startswith("0f0107"):
        assert [(a.linear, a.write) for a in found] == [(0x20500, True)]
    else:
        assert [replace(one, segment="ds") for one in found] == expected


@pytest.mark.parametrize(
    ("code", "bits", "segments"),
    [
        ("8807", 16, ["ds"]),
        ("8802", 16, ["ss"]),
        ("2ea10005", 16, ["cs"]),
        ("26a5", 16, ["es", "es"]),
        ("50", 16, ["ss"]),
    ],
)
def test_the_segment_of_an_access(code: str, bits: int, segments: list[str]) -> None:
    found = operands.accesses(bytes.fromhex(code), 0x1000, bits, registers(rsi=1, rdi=2), stack_bits=bits)
    assert [access.segment for access in found] == segments


@given(st.binary(min_size=1, max_size=15), st.sampled_from([16, 32, 64]), st.integers(0, (1 << 64) - 1))
def test_rubbish(code: bytes, bits: int, value: int) -> None:
    known = dict.fromkeys(NAMES, value) | BASES
    for access in operands.accesses(code, 0x1000, bits, known.__getitem__):
        assert 0 <= access.linear < 1 << 64
        assert access.size > 0
        assert access.read or access.write


def finder(code: str, at: int, bits: int, linear: int, size: int, write: bool, **values: int) -> tuple[int, str] | None:
    raw = bytes.fromhex(code)

    def read(address: int, length: int) -> bytes:
        if not 0x1000 <= address <= address + length <= 0x1000 + len(raw) + 32:
            raise MemoryFault(address)
        return raw.ljust(len(raw) + 32, b"\x90")[address - 0x1000 : address - 0x1000 + length]

    reg = registers(**(dict.fromkeys(BASES, 0) | values))
    made = operands.find_accessor(read, 0x1000 + at, bits, reg, linear, size, write=write, stack_bits=bits)
    found = made[0] if made is not None else None
    return (found.address, found.mnemonic) if found else None


def test_which_instruction() -> None:
    assert finder("90 8807 90", 3, 16, 0x500, 1, True, rbx=0x500) == (0x1001, "mov")
    assert finder("90 66890e1c7c", 6, 16, 0x7C1C, 4, True) == (0x1001, "mov")
    assert finder("90 66890e1c7c", 6, 16, 0x7C1C, 0, True) == (0x1001, "mov")
    assert finder("90 50", 2, 32, 0xFFC, 4, True, rsp=0xFFC) == (0x1001, "push")
    assert finder("90 a4", 2, 16, 0x600, 1, True, rsi=0x501, rdi=0x601) == (0x1001, "movsb")
    assert finder("90 a4", 2, 16, 0x600, 1, True, rsi=0x4FF, rdi=0x5FF, rflags=0x400) == (0x1001, "movsb")
    assert finder("90 f3a4", 1, 16, 0x600, 1, True, rsi=0x501, rdi=0x601, rcx=3) == (0x1001, "rep movsb")
    assert finder("90 8a07", 3, 16, 0x500, 1, True, rbx=0x500) is None
    assert finder("90 8a07", 3, 16, 0x500, 1, False, rbx=0x500) == (0x1001, "mov")
