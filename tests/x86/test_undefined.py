"""What instructions leave undefined (Intel SDM volume 2, "Flags Affected")."""

from __future__ import annotations

import pytest

from kvmdbg.x86.asm import assemble
from kvmdbg.x86.undefined import AF, CF, OF, PF, SF, ZF, Undefined, answered, defined, undefined


def of(text: str, bits: int = 32, **registers: int) -> Undefined:
    return undefined(assemble(text, 0, bits), bits, lambda name: registers.get(name, 0))


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("add eax, ebx", 0), ("inc eax", 0), ("mov eax, ebx", 0), ("xor eax, eax", AF), ("test al, al", AF),
        ("mul ebx", SF | ZF | AF | PF), ("imul eax, ebx", SF | ZF | AF | PF), ("div ebx", CF | OF | SF | ZF | AF | PF),
        ("bt eax, 3", OF | SF | AF | PF), ("bsf eax, ebx", CF | OF | SF | AF | PF), ("popcnt eax, ebx", 0),
        ("tzcnt eax, ebx", OF | SF | PF | AF), ("aam", OF | AF | CF), ("daa", OF), ("aaa", OF | SF | ZF | PF),
        ("shl eax, 1", AF), ("shl eax, 5", AF | OF), ("shr eax, 0", 0), ("shr eax, 32", 0), ("rol eax, 1", 0),
        ("shl al, 8", AF | OF | CF), ("sar al, 8", AF | OF), ("shr ax, 15", AF | OF), ("shr ax, 16", AF | OF | CF),
        ("rcr eax, 3", OF), ("ror eax, 0x20", 0), ("shld eax, ebx, 1", AF), ("shld eax, ebx, 4", AF | OF),
    ],
)  # fmt: skip
def test_flags(text: str, flags: int) -> None:
    assert OF == 0x800
    assert of(text) == Undefined(flags)


@pytest.mark.parametrize(
    ("text", "bits", "rcx", "flags"),
    [
        ("shl eax, cl", 32, 32, 0), ("shl eax, cl", 32, 33, AF), ("shl rax, cl", 64, 33, AF | OF),
        ("shl rax, cl", 64, 64, 0), ("rcl al, cl", 32, 0x101, 0), ("rcl al, cl", 32, 9, OF),
    ],
)  # fmt: skip
def test_shifts_by_cl(text: str, bits: int, rcx: int, flags: int) -> None:
    assert of(text, bits, rcx=rcx) == Undefined(flags)


def test_results() -> None:
    everything = CF | OF | SF | ZF | AF | PF
    assert of("shld ax, bx, 17") == Undefined(everything, frozenset(("rax",)))
    assert of("shrd word ptr [ebx], ax, 17") == Undefined(everything, memory=True)
    assert of("shld ax, bx, 16") == Undefined(AF | OF)
    assert of("bsr r9, rbx", 64, rflags=ZF).registers == {"r9"} and not of("bsr r9, rbx", 64).registers
    assert undefined(b"\x66\x0f\xc9", 32, lambda name: 0).registers == {"rcx"}  # bswap cx
    assert of("push fs") == Undefined(memory=True) and of("push eax") == Undefined()
    assert of("faddp") == of("fld1") == Undefined(conditions=True) and of("fcompp") == of("fnstsw ax") == Undefined()
    assert undefined(b"\xff\xff", 32, lambda name: 0) == Undefined()


def test_answers_of_the_cpu() -> None:
    assert answered(b"\x0f\x31", 32) == {"rax", "rdx"} and answered(b"\x0f\xa2", 64) == {"rax", "rbx", "rcx", "rdx"}
    assert answered(assemble("rdrand ecx", 0, 32), 32) == {"rcx"}
    assert not answered(b"\x90", 32) and not answered(b"\xff\xff", 32)


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("add eax, ebx", CF | PF | AF | ZF | SF | OF), ("mov eax, ebx", 0), ("inc eax", PF | AF | ZF | SF | OF),
        ("stc", CF), ("clc", CF), ("mul ebx", CF | OF), ("fadd st(0), st(1)", 0),
    ],
)  # fmt: skip
def test_flags_that_are_set(text: str, flags: int) -> None:
    assert defined(assemble(text, 0, 32), 32) == flags
