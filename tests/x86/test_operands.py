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
        ("db8d2087", 16, {"rdi": 0x8000}, [W(0x20720, 4)]),  # fisttp
        ("dd33", 64, {"rbx": 0x500}, [W(0x500, 108)]),
        ("66dd33", 64, {"rbx": 0x500}, [W(0x500, 94)]),  # fnsave
        ("d923", 32, {"rbx": 0x500}, [R(0x20500, 28)]),
        ("d927", 16, {"rbx": 0x500}, [R(0x20500, 14)]),  # fldenv
        ("660fe703", 64, {"rbx": 0x500}, [W(0x500, 16)]),
        ("c5f9e703", 64, {"rbx": 0x500}, [W(0x500, 16)]),  # movntdq
        ("0f1103", 64, {"rbx": 0x500}, [W(0x500, 16)]),
        ("0f1003", 64, {"rbx": 0x500}, [R(0x500, 16)]),  # movups
        ("c4e37d190300", 64, {"rbx": 0x500}, [W(0x500, 16)]),  # vextractf128
        ("660ff7c1", 64, {"rdi": 0x500}, [W(0x500, 16)]),  # maskmovdqu
        ("660f38f803", 64, {"rax": 0x700, "rbx": 0x500}, [R(0x500, 64), W(0x700, 64)]),  # movdir64b
        ("0fae23", 64, {"rax": 7, "rbx": 0x500}, [W(0x500, 832)]),  # xsave
        ("0fae2b", 64, {"rax": 3, "rbx": 0x500}, [R(0x500, 576)]),  # xrstor
        ("6303", 32, {"rbx": 0x500}, [RW(0x20500, 2)]),
        ("0f180b", 64, {"rbx": 0x500}, []),  # arpl, prefetcht0
        ("50", 16, {"rsp": 0x1000}, [W(0x60FFE, 2)]),
        ("50", 16, {"rsp": 0x0}, [W(0x6FFFE, 2)]),
        ("6650", 16, {"rsp": 0x1000}, [W(0x60FFC, 4)]),
        ("58", 64, {"rsp": 0x1000}, [R(0x1000, 8)]),
        ("e80000", 16, {"rsp": 0x1000}, [W(0x60FFE, 2)]),
        ("c3", 32, {"rsp": 0x1000}, [R(0x61000, 4)]),
        ("60", 16, {"rsp": 0x1000}, [W(0x60FF0, 16)]),
        ("9c", 64, {"rsp": 0x1000}, [W(0xFF8, 8)]),
        ("60", 16, {"rsp": 8}, [W(0x6FFF8, 8), W(0x60000, 8)]),  # the stack's offsets end between two slots
        ("61", 16, {"rsp": 0xFFF8}, [R(0x6FFF8, 8), R(0x60000, 8)]),
        ("cd10", 16, {"rsp": 2}, [W(0x6FFFC, 4), W(0x60000, 2)]),
        ("cf", 16, {"rsp": 0xFFFE}, [R(0x6FFFE, 2), R(0x60000, 4)]),
        ("60", 16, {"rsp": 0}, [W(0x6FFF0, 16)]),
        ("ce", 16, {"rsp": 0x1000, "rflags": 0x800}, [W(0x60FFA, 6)]),  # into
        ("ce", 32, {"rsp": 0x1000, "rflags": 0x7FF}, []),
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
        ("0fab0f", 16, {"rbx": 0x500, "rcx": 0xFFFF}, [RW(0x204FE, 2)]),  # bit -1
        ("0fab0f", 16, {"rbx": 0x500, "rcx": 0x8000}, [RW(0x1F500, 2)]),
        ("0fab0f", 16, {"rbx": 0x500, "rcx": 0x17FFF}, [RW(0x214FE, 2)]),
        ("0fa30b", 32, {"rbx": 0x500, "rcx": 0xFFFFFFE0}, [R(0x204FC, 4)]),  # bt
        ("0fa30b", 32, {"rbx": 0x500, "rcx": 31}, [R(0x20500, 4)]),
        ("480fb30b", 64, {"rbx": 0x500, "rcx": 64}, [RW(0x508, 8)]),  # btr
        ("480fbb0b", 64, {"rbx": 0x500, "rcx": -1 & (1 << 64) - 1}, [RW(0x4F8, 8)]),  # btc
        ("0fba2b05", 32, {"rbx": 0x500, "rcx": 99}, [RW(0x20500, 4)]),  # bts with a number
        ("9a00100010", 16, {"rsp": 0x1000}, [W(0x60FFC, 4)]),  # far call
        ("669a001000000010", 16, {"rsp": 0x1000}, [W(0x60FF8, 8)]),
        ("cb", 32, {"rsp": 0x1000}, [R(0x61000, 8)]),
        ("48cb", 64, {"rsp": 0x1000}, [R(0x1000, 16)]),
        ("cb", 64, {"rsp": 0x1000}, [R(0x1000, 8)]),
        ("66cb", 64, {"rsp": 0x1000}, [R(0x1000, 4)]),
        ("ca0800", 64, {"rsp": 0x1000}, [R(0x1000, 8)]),
        ("cf", 64, {"rsp": 0x1000}, [R(0x1000, 20)]),
        ("66cf", 64, {"rsp": 0x1000}, [R(0x1000, 10)]),
        ("ff2b", 64, {"rbx": 0x500}, [R(0x500, 6)]),  # far jump
        ("66ff2b", 64, {"rbx": 0x500}, [R(0x500, 4)]),
        ("48ff2b", 64, {"rbx": 0x500}, [R(0x500, 10)]),
        ("ff1b", 64, {"rbx": 0x500, "rsp": 0x1000}, [R(0x500, 6), W(0xFF8, 8)]),  # far call
        ("48ff1b", 64, {"rbx": 0x500, "rsp": 0x1000}, [R(0x500, 10), W(0xFF0, 16)]),
        ("ff2f", 16, {"rbx": 0x500}, [R(0x20500, 4)]),
        ("ff2b", 32, {"rbx": 0x500}, [R(0x20500, 6)]),
        ("ff1b", 32, {"rbx": 0x500, "rsp": 0x1000}, [R(0x20500, 6), W(0x60FF8, 8)]),
        ("66ff2b", 32, {"rbx": 0x500}, [R(0x20500, 4)]),
        ("664850", 64, {"rsp": 0x1000}, [W(0xFF8, 8)]),
        ("61", 32, {"rsp": 0x1000}, [R(0x61000, 32)]),
        ("61", 16, {"rsp": 0x1000}, [R(0x61000, 16)]),
        ("60", 32, {"rsp": 0x1000}, [W(0x60FE0, 32)]),
        ("48cf", 64, {"rsp": 0x1000}, [R(0x1000, 40)]),
        ("cf", 32, {"rsp": 0x1000}, [R(0x61000, 12)]),
        ("cd10", 64, {"rsp": 0x1000}, [W(0xFD8, 40)]),
        ("cc", 32, {"rsp": 0x1000}, [W(0x60FF4, 12)]),
        ("6650", 64, {"rsp": 0x1000}, [W(0xFFE, 2)]),
        ("6650", 32, {"rsp": 0x1000}, [W(0x60FFE, 2)]),
        ("9d", 32, {"rsp": 0x1000}, [R(0x61000, 4)]),
        ("c8080000", 32, {"rsp": 0x1000, "rbp": 0x900}, [W(0x60FFC, 4)]),
        ("c8080002", 32, {"rsp": 0x1000, "rbp": 0x900}, [W(0x60FF4, 12), R(0x608FC, 4)]),
        ("c8080020", 32, {"rsp": 0x1000, "rbp": 0x900}, [W(0x60FFC, 4)]),  # the level has five bits
        ("c9", 16, {"rbp": 0x12000}, [R(0x62000, 2)]),
        ("ad", 32, {"rsi": 0x1000}, [R(0x21000, 4)]),
        ("ae", 32, {"rdi": 0x1000}, [R(0x31000, 1)]),
        ("6c", 32, {"rdi": 0x1000}, [W(0x31000, 1)]),
        ("6f", 32, {"rsi": 0x1000}, [R(0x21000, 4)]),
        ("48ab", 64, {"rdi": 0x1000}, [W(0x1000, 8)]),
        ("67a4", 32, {"rsi": 0x12345, "rdi": 0x16789}, [R(0x22345, 1), W(0x36789, 1)]),
        ("f3a4", 32, {"rcx": 1 << 32, "rsi": 1, "rdi": 2}, []),
        ("67f3a4", 32, {"rcx": 0x10000, "rsi": 1, "rdi": 2}, []),
        ("f2ae", 32, {"rcx": 0, "rdi": 2}, []),
        ("64a4", 32, {"rsi": 1, "rdi": 2}, [R(0x40001, 1), W(0x30002, 1)]),
        ("d7", 32, {"rbx": 0x100, "rax": 0x11FF}, [R(0x201FF, 1)]),
        ("d7", 64, {"rbx": 0x100, "rax": 0x11FF}, [R(0x1FF, 1)]),
        ("833b05", 32, {"rbx": 0x500}, [R(0x20500, 4)]),  # cmp
        ("ff33", 32, {"rbx": 0x500, "rsp": 0x1000}, [R(0x20500, 4), W(0x60FFC, 4)]),  # push [ebx]
        ("ff13", 32, {"rbx": 0x500, "rsp": 0x1000}, [R(0x20500, 4), W(0x60FFC, 4)]),  # call [ebx]
        ("0f18 0b".replace(" ", ""), 32, {"rbx": 0x500}, []),  # prefetch
        ("8b0c9d00100000", 32, {"rbx": 3}, [R(0x2100C, 4)]),
        ("8b4cb310", 32, {"rbx": 0x500, "rsi": 2}, [R(0x20518, 4)]),
        ("8b046500300000", 64, {}, [R(0x3000, 4)]),  # [riz*2 + 0x3000]: an index that is none
        ("678b07", 32, {"rbx": 0x10500}, [R(0x20500, 4)]),
        ("678b03", 64, {"rbx": (1 << 32) + 0x500}, [R(0x500, 4)]),
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


def finder(
    code: str, at: int, bits: int, linear: int, size: int, write: bool, whole: bool = True, **values: int
) -> tuple[int, str] | None:
    raw = bytes.fromhex(code)

    def read(address: int, length: int) -> bytes:
        if not 0x1000 <= address <= address + length <= 0x1000 + len(raw) + 32:
            raise MemoryFault(address)
        return raw.ljust(len(raw) + 32, b"\x90")[address - 0x1000 : address - 0x1000 + length]

    reg = registers(**(dict.fromkeys(BASES, 0) | values))
    made = operands.find_accessor(read, 0x1000 + at, bits, reg, linear, size, write=write, stack_bits=bits, whole=whole)
    found = made[0] if made is not None else None
    return (found.address, found.mnemonic) if found else None


@pytest.mark.parametrize(
    ("code", "bits", "names"),
    [
        ("01d8", 32, ["eax", "ebx"]), ("89d8", 32, ["ebx"]), ("31c0", 32, []), ("29c0", 32, []),
        ("31d8", 32, ["eax", "ebx"]),
        ("8b03", 32, []), ("4801d8", 64, ["rax", "rbx"]), ("0f58c1", 32, []), ("ff", 32, []), ("01c0", 32, ["eax"]),
    ],
)  # fmt: skip
def test_registers_read(code: str, bits: int, names: list[str]) -> None:
    assert operands.registers_read(bytes.fromhex(code), bits) == names


@pytest.mark.parametrize(
    ("code", "bits", "values", "expected"),
    [
        ("f3a4", 32, {"rcx": 5}, (5, 0xFFFFFFFF, 1, None)), ("f3a5", 16, {"rcx": 0x10005}, (5, 0xFFFF, 2, None)),
        ("f348a5", 64, {"rcx": 5, "rflags": 0x400}, (5, (1 << 64) - 1, -8, None)),
        ("f3a6", 32, {"rcx": 5}, (5, 0xFFFFFFFF, 1, True)), ("f2ae", 32, {"rcx": 5}, (5, 0xFFFFFFFF, 1, False)),
        ("f2a4", 32, {"rcx": 5}, (5, 0xFFFFFFFF, 1, None)), ("67f3ab", 32, {"rcx": 0x20003}, (3, 0xFFFF, 4, None)),
        ("a4", 32, {"rcx": 5}, None), ("f390", 32, {}, None), ("ff", 32, {}, None),
    ],
)  # fmt: skip
def test_repetitions(
    code: str, bits: int, values: dict[str, int], expected: tuple[int, int, int, bool | None] | None
) -> None:
    found = operands.repetition(bytes.fromhex(code), bits, registers(rsi=0x100, rdi=0x100, **values))
    assert found == (None if expected is None else operands.Repetition(*expected))


def test_span_of_a_repetition() -> None:
    up, down = operands.Repetition(4, 0xFFFF, 2, None), operands.Repetition(4, 0xFFFF, -2, None)
    assert up.span(W(0x100, 2)) == (0x100, 0x108) and down.span(W(0x100, 2)) == (0xFA, 0x102)
    assert operands.Repetition(1, 0xFFFF, -2, None).span(W(0x100, 2)) == (0x100, 0x102)


@pytest.mark.parametrize(
    ("code", "bits", "values", "wraps"),
    [
        ("f3aa", 16, {"rcx": 3, "rdi": 0xFFFD}, False), ("f3aa", 16, {"rcx": 4, "rdi": 0xFFFD}, True),
        ("f3aa", 16, {"rcx": 4, "rdi": 3, "rflags": 0x400}, False), ("f3aa", 32, {"rcx": 4, "rdi": 0xFFFD}, False),
        ("f3aa", 16, {"rcx": 5, "rdi": 3, "rflags": 0x400}, True), ("f3ac", 16, {"rcx": 4, "rdi": 0xFFFD}, False),
        ("f3a6", 16, {"rcx": 4, "rsi": 0x1FFFD, "rdi": 0}, True), ("f3aa", 16, {"rcx": 0, "rdi": 0xFFFF}, False),
    ],
)  # fmt: skip
def test_elements_that_go_on_at_the_other_end_of_the_segment(
    code: str, bits: int, values: dict[str, int], wraps: bool
) -> None:
    found = operands.repetition(bytes.fromhex(code), bits, registers(**{"rsi": 0x100, **values}))
    assert found is not None and found.wraps == wraps
    if wraps:
        for base in (0, 0x10000, 0x7C00):
            start, end = found.span(W(base + 0x2345, 1))
            assert start <= base and end >= base + 0x10000


def test_decoding_from_the_very_first_byte_tells_where_an_instruction_starts() -> None:
    """mov al, 0x66 and then mov [0x3fff], bp: from 0 on the 0x66 is no prefix."""
    code = bytes.fromhex("b066892eff3f")

    def read(address: int, length: int) -> bytes:
        if not 0 <= address <= address + length <= 0x20:
            raise MemoryFault(address)
        return code.ljust(0x20, b"\x90")[address : address + length]

    reg = registers(**dict.fromkeys(BASES, 0))
    found = operands.find_accessor(read, len(code), 16, reg, 0x4000, 1, write=True, stack_bits=16)
    assert found is not None and found[0].address == 2


@pytest.mark.parametrize(
    ("prefix", "segment"), [("2e", "cs"), ("36", "ss"), ("3e", "ds"), ("26", "es"), ("64", "fs"), ("65", "gs")]
)
def test_the_source_of_a_string_is_in_the_segment_that_a_prefix_names(prefix: str, segment: str) -> None:
    reg = registers(rsi=0x123, rdi=0x456)
    source, target = operands.accesses(bytes.fromhex(prefix + "a4"), 0x1000, 16, reg)
    assert (source.linear, target.linear) == (reg(f"{segment}_base") + 0x123, reg("es_base") + 0x456)


@pytest.mark.parametrize("code", ["66d10eff3f", "66892eff3f", "6626892eff3f", "26892eff3f"])
@pytest.mark.parametrize(("linear", "size"), [(0x3FFF, 1), (0x4000, 3)])
def test_a_part_of_an_access_across_pages(code: str, linear: int, size: int) -> None:
    """Only one of the pages is watched: the size tells nothing of the prefix, which counts to the instruction."""
    found = finder("90" + code, 1 + len(code) // 2, 16, linear, size, True)
    assert found is not None and found[0] == 0x1001


@pytest.mark.parametrize(
    ("code", "bits", "linear", "size", "start"),
    [
        # popf; inc dword ptr [0x3ffe], of which two bytes lie in the watched page
        ("89e536804e01019d 66ff06fe3f", 16, 0x3FFE, 2, 8),
        ("89e536804e01019d 66ff06fe3f", 16, 0x4000, 2, 8),
        # mov byte ptr [di], 0x66; inc word ptr [0x3ffe], which ends with the page
        ("31eb9089e5c60566 ff06fe3f", 16, 0x3FFE, 2, 8),
        # mov ecx, 0x12345678; and 0x48000000: the last byte is no REX
        ("4889e5b978563412 890425fc3f0000", 64, 0x3FFC, 4, 8),
        ("4889e5b900000048 890425fc3f0000", 64, 0x3FFC, 4, 8),
        ("4889e5b978563412 48890425fc3f0000", 64, 0x3FFC, 4, 8),
        ("4889e5b978563412 6689042500400000", 64, 0x4000, 2, 8),
        ("4889e5b978563466 890425003f0000", 64, 0x3F00, 0, 8),
        ("89e58ed8b0269090b026 8907", 16, 0x3F00, 2, 10),  # mov al, 0x26; mov word ptr [bx], ax
    ],
)
def test_whether_a_byte_before_is_a_prefix(code: str, bits: int, linear: int, size: int, start: int) -> None:
    """What comes before tells it, where the size of the access does not."""
    found = finder(code, len(bytes.fromhex(code)), bits, linear, size, True, rbx=0x3F00)
    assert found is not None and found[0] - 0x1000 == start


@pytest.mark.parametrize(("whole", "name"), [(True, "add"), (False, "sidt")])
def test_an_access_of_which_only_a_part_is_known(whole: bool, name: str) -> None:
    """mov rsi, 0x5010; sidt [rsi], whose end is add [rsi], ecx; 4 of the ten bytes are watched."""
    found = finder("48c7c610500000 0f010e", 10, 64, 0x5010, 4, True, whole, rsi=0x5010)
    assert found is not None and found[1] == name


def test_a_round_of_a_repeated_instruction_before_the_instruction_before_it() -> None:
    """mov byte ptr [0x600], al; rep stosb, of which one round has written there, too."""
    assert finder("909090 a20006 f3aa", 6, 16, 0x600, 1, True, rdi=0x601, rcx=3) == (0x1006, "rep stosb")


def test_registers_that_the_instruction_moved_itself() -> None:
    """Given the registers after it, each is found by where it was before."""
    assert finder("90 e8fb0f0000", 6, 32, 0xFFC, 4, True, rsp=0xFFC) == (0x1001, "call")
    assert finder("90 60", 2, 32, 0xFE0, 32, True, rsp=0xFE0) == (0x1001, "pushal")
    assert finder("90 9c", 2, 64, 0xFF8, 8, True, rsp=0xFF8) == (0x1001, "pushfq")
    assert finder("90 58", 2, 32, 0x1000, 4, False, rsp=0x1004) == (0x1001, "pop")
    assert finder("90 9d", 2, 16, 0x1000, 2, False, rsp=0x1002) == (0x1001, "popf")
    assert finder("90 c8080001", 5, 32, 0xFFC, 8, True, rbp=0x1000, rsp=0xFF0) in ((0x1001, "enter"), None)
    assert finder("90 c8080000", 5, 32, 0xFFC, 4, True, rbp=0xFFC, rsp=0xFF4) == (0x1001, "enter")
    assert finder("90 c8080000", 5, 16, 0xFFE, 2, True, rbp=0x70FFE, rsp=0xFF4) == (0x1001, "enter")
    assert finder("90 9a000000000800", 8, 32, 0xFF8, 8, True, rsp=0xFF8) == (0x1001, "lcall")
    assert finder("90 ac", 2, 32, 0x500, 1, False, rsi=0x501) == (0x1001, "lodsb")
    assert finder("90 ae", 2, 32, 0x500, 1, False, rdi=0x501) == (0x1001, "scasb")
    assert finder("90 6d", 2, 32, 0x500, 4, True, rdi=0x504) == (0x1001, "insd")
    assert finder("90 6f", 2, 32, 0x500, 4, False, rsi=0x504) == (0x1001, "outsd")
    assert finder("90 66ab", 3, 32, 0x500, 2, True, rdi=0x502) == (0x1001, "stosw")
    assert finder("90 48a5", 3, 64, 0x500, 8, True, rsi=0, rdi=0x508) == (0x1001, "movsq")


@pytest.mark.parametrize(
    ("code", "bits", "slot", "count"),
    [("60", 32, 4, 8), ("60", 16, 2, 8), ("50", 32, 4, 1), ("9a000000000800", 32, 4, 2), ("9c", 64, 8, 1)],
)
def test_where_a_push_wrote(code: str, bits: int, slot: int, count: int) -> None:
    """From the stack pointer behind it."""
    raw = bytes.fromhex(code)
    reg = registers(**dict.fromkeys(BASES, 0), rsp=0x1000 - slot * count)

    def read(address: int, size: int) -> bytes:
        return raw[address - 0x2000 :][:size] if address >= 0x2000 else b""

    at, end = 0x1000 - slot, 0x2000 + len(raw)
    made = operands.find_accessor(read, end, bits, reg, at, slot, write=True, stack_bits=bits)
    assert made is not None and (made[1].linear, made[1].size) == (0x1000 - slot * count, slot * count)


def test_which_instruction() -> None:
    assert finder("90 f2ae", 1, 32, 0x600, 1, False, rdi=0x601, rcx=3) == (0x1001, "repne scasb")
    assert finder("90 8807 90", 3, 16, 0x500, 1, True, rbx=0x500) == (0x1001, "mov")
    assert finder("90 66890e1c7c", 6, 16, 0x7C1C, 4, True) == (0x1001, "mov")
    assert finder("90 66890e1c7c", 6, 16, 0x7C1C, 0, True) == (0x1001, "mov")
    assert finder("90 50", 2, 32, 0xFFC, 4, True, rsp=0xFFC) == (0x1001, "push")
    assert finder("90 a4", 2, 16, 0x600, 1, True, rsi=0x501, rdi=0x601) == (0x1001, "movsb")
    assert finder("90 a4", 2, 16, 0x600, 1, True, rsi=0x4FF, rdi=0x5FF, rflags=0x400) == (0x1001, "movsb")
    assert finder("90 f3a4", 1, 16, 0x600, 1, True, rsi=0x501, rdi=0x601, rcx=3) == (0x1001, "rep movsb")
    assert finder("90 8a07", 3, 16, 0x500, 1, True, rbx=0x500) is None
    assert finder("90 8a07", 3, 16, 0x500, 1, False, rbx=0x500) == (0x1001, "mov")
