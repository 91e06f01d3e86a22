"""Disassembly, kinds of instruction, conditions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmdbg.x86 import conditions, disasm

BITS = st.sampled_from([16, 32, 64])


@given(st.binary(max_size=64), BITS, st.integers(0, 1 << 40))
def test_every_byte_is_shown_once(code: bytes, bits: int, address: int) -> None:
    found = disasm.disassemble(code, address, bits)
    assert b"".join(insn.data for insn in found) == code
    at = address
    for insn in found:
        assert insn.address == at
        at += insn.size
    assert disasm.disassemble(code, address, bits, 3) == found[:3]
    disasm.classify(code, address, bits)


def test_widths_and_syntaxes() -> None:
    code = bytes.fromhex("b83412")
    assert disasm.disassemble(code + b"\0\0", 0, 16)[0].text == "mov ax, 0x1234"
    assert disasm.disassemble(code + b"\0\0", 0, 32)[0].text == "mov eax, 0x1234"
    assert disasm.disassemble(code + b"\0\0", 0, 32, syntax="att")[0].text == "movl $0x1234, %eax"
    assert disasm.disassemble(b"\xff\xff", 0, 64)[0].text == ".byte 0xff"


@pytest.mark.parametrize(
    ("code", "bits", "flags", "target"),
    [
        ("e81000", 16, {"is_call"}, 0x1013),
        ("e810000000", 32, {"is_call"}, 0x1015),
        ("ffd0", 64, {"is_call"}, None),
        ("9a00000010", 16, {"is_call"}, None),
        ("c3", 64, {"is_ret"}, None),
        ("cb", 16, {"is_ret"}, None),
        ("48cf", 64, {"is_ret", "is_iret"}, None),
        ("ebfe", 16, {"is_jump"}, 0x1000),
        ("75f0", 32, {"is_jump", "is_conditional"}, 0xFF2),
        ("e2fd", 16, {"is_jump", "is_conditional"}, 0xFFF),
        ("e302", 32, {"is_jump", "is_conditional"}, 0x1004),
        ("f3a4", 16, {"is_rep"}, None),
        ("f2ae", 32, {"is_rep"}, None),
        ("a4", 16, set(), None),
        ("cd10", 16, {"is_int"}, None),
        ("cc", 64, {"is_int"}, None),
        ("f1", 64, {"is_int"}, None),
        ("f4", 16, {"is_hlt"}, None),
        ("9c", 64, {"is_pushf"}, None),
        ("669c", 32, {"is_pushf"}, None),
        ("ee", 16, {"is_io"}, None),
        ("f36e", 16, {"is_rep", "is_io"}, None),
        ("0f05", 64, {"is_syscall"}, None),
        ("90", 16, set(), None),
        ("f390", 64, set(), None),
    ],
)
def test_kinds(code: str, bits: int, flags: set[str], target: int | None) -> None:
    info = disasm.classify(bytes.fromhex(code), 0x1000, bits)
    assert info is not None
    assert info.size == len(bytes.fromhex(code))
    names = [name for name in disasm.InsnInfo.__annotations__ if name.startswith("is_")]
    assert {name for name in names if getattr(info, name)} == flags
    assert info.target == target


def test_no_instruction_is_no_kind() -> None:
    assert disasm.classify(b"\xff\xff", 0, 64) is None
    assert disasm.classify(b"", 0, 64) is None


@pytest.mark.parametrize("condition", range(16))
@given(flags=st.integers(0, 0xFFF))
def test_jcc_follows_the_sdm(condition: int, flags: int) -> None:
    """Bit 0 of the condition code negates; the rest is SDM volume 1, appendix B."""
    cf, pf, zf, sf, of = (bool(flags >> bit & 1) for bit in (0, 2, 6, 7, 11))
    base = [of, cf, zf, cf or zf, sf, pf, sf != of, zf or sf != of][condition >> 1]
    values = {"rflags": flags, "rcx": 1}
    found = disasm.branch_taken(bytes((0x70 + condition, 0)), 0, 32, values.__getitem__)
    assert found == (base != bool(condition & 1))


@pytest.mark.parametrize(
    ("name", "rcx", "zf", "bits", "taken"),
    [
        ("loop", 2, False, 16, True), ("loop", 1, False, 16, False), ("loop", 0x10001, False, 16, False),
        ("loop", 0, False, 32, True), ("loope", 5, True, 32, True), ("loope", 5, False, 32, False),
        ("loopne", 5, False, 64, True), ("loopne", 5, True, 64, False), ("jcxz", 0x10000, False, 16, True),
        ("jecxz", 1 << 32, False, 32, True), ("jrcxz", 1 << 32, False, 64, False),
    ],
)  # fmt: skip
def test_loops(name: str, rcx: int, zf: bool, bits: int, taken: bool) -> None:
    assert conditions.taken(name, 0x40 if zf else 0, rcx, bits) is taken


def test_other_instructions_have_no_branch() -> None:
    assert disasm.branch_taken(b"\x90", 0, 64, lambda name: 0) is None
    assert disasm.branch_taken(b"\xeb\xfe", 0, 64, lambda name: 0) is None
