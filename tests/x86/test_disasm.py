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
        ("67e302", 32, {"is_jump", "is_conditional"}, 0x1005),
        ("e0fd", 16, {"is_jump", "is_conditional"}, 0xFFF),
        ("e1fd", 16, {"is_jump", "is_conditional"}, 0xFFF),
        ("0f8400f0ffff", 64, {"is_jump", "is_conditional"}, 0x6),
        ("0f8400e0ffff", 64, {"is_jump", "is_conditional"}, (1 << 64) - 0xFFA),
        ("0f8400e0ffff", 32, {"is_jump", "is_conditional"}, (1 << 32) - 0xFFA),
        ("eb7f", 64, {"is_jump"}, 0x1081),
        ("ffe0", 64, {"is_jump"}, None),
        ("ea00000010", 16, {"is_jump"}, None),
        ("ff2f", 32, {"is_jump"}, None),
        ("ff1f", 32, {"is_call"}, None),
        ("c7f800000000", 64, set(), 0x1006),  # xbegin
        ("c20400", 32, {"is_ret"}, None),
        ("ca0400", 32, {"is_ret"}, None),
        ("0f07", 64, {"is_ret"}, None),
        ("0f35", 32, {"is_ret"}, None),
        ("0f34", 32, {"is_syscall"}, None),
        ("0f01c1", 64, {"is_syscall"}, None),
        ("0f01d9", 64, {"is_syscall"}, None),
        ("ce", 32, {"is_int"}, None),
        ("9d", 64, set(), None),
        ("8bd7", 32, set(), None),
        ("b89c000000", 32, set(), None),
        ("009c", 32, None, None),
        ("e490", 32, {"is_io"}, None),
        ("ec", 32, {"is_io"}, None),
        ("6c", 32, {"is_io"}, None),
        ("f26d", 32, {"is_rep", "is_io"}, None),
        ("f3ab", 32, {"is_rep"}, None),
        ("f3a6", 32, {"is_rep"}, None),
        ("f3ac", 64, {"is_rep"}, None),
        ("48ab", 64, set(), None),
        ("f30f10c1", 64, set(), None),  # movss
        ("f3c3", 64, {"is_ret"}, None),
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
def test_kinds(code: str, bits: int, flags: set[str] | None, target: int | None) -> None:
    info = disasm.classify(bytes.fromhex(code), 0x1000, bits)
    if flags is None:
        assert info is None
        return
    assert info is not None
    assert info.size == len(bytes.fromhex(code))
    names = [name for name in disasm.InsnInfo.__annotations__ if name.startswith("is_")]
    assert {name for name in names if getattr(info, name)} == flags
    assert info.target == target


@pytest.mark.parametrize(
    ("code", "bits", "to"),
    [
        ("66e85c7bffff", 16, 0xF7047),  # 32 bits: back by more than 32 KiB
        ("660f845b7bffff", 16, 0xF7047),
        ("e85c7b", 16, 0xF7044),  # 16 bits: around the end of the segment
        ("e9180b", 16, 0xF0000),
        ("eb7f", 16, 0xFF566),
        ("66eb7f", 16, 0xFF567),
        ("e2fe", 16, 0xFF4E5),
        ("e815ba0000", 32, 0x10AEFF),
        ("66e8157b", 32, 0xF6FFE),
    ],
)
def test_a_branch_leads_to_an_offset_in_its_segment(code: str, bits: int, to: int) -> None:
    """Of code in the segment at 0xf0000."""
    raw = bytes.fromhex(code)
    info = disasm.classify(raw, 0xFF4E5, bits, 0xF0000)
    assert info is not None and info.target == to
    assert disasm.disassemble(raw, 0xFF4E5, bits, base=0xF0000)[0].operands == f"{to:#x}"


@pytest.mark.parametrize("base", [0, 0x10002, 0x20003])
def test_a_branch_outside_of_the_segment_stays_there(base: int) -> None:
    """Code of 16 bits that another segment has: it is looked at before the guest jumps there."""
    raw = bytes.fromhex("e81000")
    info = disasm.classify(raw, 0x20002, 16, base)
    assert info is not None and info.target == 0x20015
    assert disasm.disassemble(raw, 0x20002, 16, base=base)[0].operands == "0x20015"


@pytest.mark.parametrize(
    ("code", "bits", "over"),
    [
        ("e810000000", 32, True),
        ("cd10", 32, True),
        ("f3a4", 32, True),
        ("a4", 32, False),
        ("ebfe", 32, False),
        ("c3", 32, False),
    ],
)
def test_what_next_runs_to_its_end(code: str, bits: int, over: bool) -> None:
    info = disasm.classify(bytes.fromhex(code), 0x1000, bits)
    assert info is not None and info.is_stepped_over == over


def test_count_and_what_is_no_instruction() -> None:
    code = bytes.fromhex("90 ffff 90 90")
    shown = disasm.disassemble(code, 0x10, 32)
    assert next((one.address, one.size) for one in shown) == (0x10, 1)
    for count in range(5):
        assert disasm.disassemble(code, 0x10, 32, count) == shown[:count]
    assert disasm.disassemble(b"\xff\xff", 0, 32, syntax="att")[0].text == ".byte $0xff"
    assert disasm.disassemble(b"\x06", 5, 64)[0] == disasm.Insn(5, b"\x06", ".byte", "0x06")


def test_instructions_have_15_bytes_at_most() -> None:
    assert disasm.classify(b"\x66" * 14 + b"\x90", 0, 64) is not None
    assert disasm.classify(b"\x66" * 15 + b"\x90", 0, 64) is None


@pytest.mark.parametrize(
    ("code", "bits", "rcx", "taken"),
    [
        ("e302", 16, 0x10000, True), ("67e302", 16, 0x10000, False), ("e302", 32, 1 << 32, True),
        ("67e302", 32, 0x10000, True), ("e302", 64, 1 << 32, False), ("67e302", 64, 1 << 32, True),
        ("e302", 64, 1 << 64 - 1, False), ("e3fe", 16, 1, False), ("e2fe", 16, 1, False), ("67e2fe", 16, 0x10001, True),
        ("e2fe", 16, 0x10001, False), ("67e2fe", 32, 0x10001, False), ("67e2fe", 64, (1 << 32) + 1, False),
        ("e2fe", 64, (1 << 32) + 1, True), ("e167", 16, 1, False), ("e267", 16, 0x10001, False),
    ],
)  # fmt: skip
def test_width_of_the_counter(code: str, bits: int, rcx: int, taken: bool) -> None:
    values = {"rflags": 0x40, "rcx": rcx}
    assert disasm.branch_taken(bytes.fromhex(code), 0x1000, bits, values.__getitem__) is taken


@pytest.mark.parametrize(
    ("names", "flags"),
    [
        ("jb jc jnae", {0x1}), ("je jz", {0x40}), ("jp jpe", {0x4}), ("jo", {0x800}), ("js", {0x80}),
        ("jbe jna", {0x1, 0x40}),
        ("jl jnge", {0x80, 0x800}), ("jle jng", {0x80, 0x800, 0x40}),
    ],
)  # fmt: skip
def test_synonyms(names: str, flags: set[int]) -> None:
    opposite = {"jb": "jae jnc jnb", "je": "jne jnz", "jp": "jnp jpo", "jo": "jno", "js": "jns", "jbe": "ja jnbe",
                "jl": "jge jnl", "jle": "jg jnle"}[names.split()[0]]  # fmt: skip
    for one in (0x1, 0x4, 0x40, 0x80, 0x800):
        assert all(conditions.taken(name, one, 0, 32) == (one in flags) for name in names.split())
        assert all(conditions.taken(name, one, 0, 32) == (one not in flags) for name in opposite.split())
    assert conditions.taken("jl", 0x880, 0, 32) is False and conditions.taken("jg", 0x880, 0, 32) is True
    for name, zf, found in (("loopz", 0x40, True), ("loopz", 0, False), ("loopnz", 0, True), ("loopnz", 0x40, False)):
        assert conditions.taken(name, zf, 5, 32) is found


def test_no_instruction_is_no_kind() -> None:
    plain = disasm.InsnInfo(1, "nop")
    assert not any(getattr(plain, name) for name in disasm.InsnInfo.__annotations__ if name.startswith("is_"))
    assert plain.target is None and not plain.is_stepped_over
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
