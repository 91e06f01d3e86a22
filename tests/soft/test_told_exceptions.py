"""Exceptions that unicorn tells otherwise than a CPU raises them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soft.long_mode import run

NOT_CANONICAL = "movabs rbp, 0x800000000000"


@pytest.mark.parametrize("step", [False, True])
@pytest.mark.parametrize(
    ("code", "vector"),
    [
        ("mov eax, [rbp]", 12),
        ("mov [rbp + 8], eax", 12),
        ("mov eax, [rbp + rax]", 12),
        ("mov rsp, rbp; pop rax", 12),
        ("lea rsp, [rbp + 16]; push rax", 12),
        ("mov rax, rbp; mov eax, [rax]", 13),
        ("mov eax, ds:[rbp]", 12),  # no override counts for DS in 64-bit mode
    ],
)
def test_an_address_of_the_stack_that_is_not_canonical_raises_ss(
    tmp_path: Path, code: str, vector: int, step: bool
) -> None:
    """SDM volume 3A, 6.15, interrupt 12."""
    found = run(tmp_path, f"{NOT_CANONICAL}; {code}", cpl=3, step=step)
    assert (found.vector, found.error_code) == (vector, 0)


@pytest.mark.parametrize("step", [False, True])
@pytest.mark.parametrize("prefix", [b"", b"\x66", b"\x48", b"\x66\x48"])
def test_int1_may_have_prefixes(tmp_path: Path, prefix: bytes, step: bool) -> None:
    found = run(tmp_path, prefix + b"\xf1", cpl=3, step=step)
    assert (found.vector, found.offset) == (1, len(prefix) + 1)


@pytest.mark.parametrize("step", [False, True])
@pytest.mark.parametrize("code", [b"\xcd\x06", b"\xb0\x01\xcd\x06", b"\xcd\x05", b"\x66\xcd\x06"])
def test_int_6_is_an_interrupt_and_no_fault(tmp_path: Path, code: bytes, step: bool) -> None:
    """Unicorn tells of it as of an instruction that is none."""
    found = run(tmp_path, code, step=step)
    assert (found.vector, found.offset) == (code[-1], len(code))
    found = run(tmp_path, b"\x90" + code, cpl=3, step=step)
    assert (found.vector, found.error_code) == (13, code[-1] * 8 + 2)
    assert found.offset == 1 + len(code) - (3 if code[0] == 0x66 else 2)
