"""Assembling, with keystone."""

from __future__ import annotations

import sys

import pytest

from kvmdbg.errors import UsageError
from kvmdbg.x86 import asm


@pytest.mark.parametrize(
    ("text", "bits", "code"),
    [
        ("mov ax, 0x1234", 16, "b83412"), ("mov ax, 0x1234", 32, "66b83412"), ("mov rax, rbx", 64, "4889d8"),
        ("nop; hlt", 16, "90f4"), ("jmp 0x1000", 32, "ebfe"), ("mov al, [rip + 0x10]", 64, "8a0510000000"),
    ],
)  # fmt: skip
def test_instructions(text: str, bits: int, code: str) -> None:
    assert asm.assemble(text, 0x1000, bits).hex() == code


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "there is nothing to assemble, as in: asm 0x1000 mov eax, 1"), (" ; ;", "there is nothing to assemble"),
        (".byte 1", "'.byte' is no instruction; only instructions are assembled here"),
        ("nop; . fill 9", r"'\. fill' is no instruction"), ("nop; .incbin 'x'", "'.incbin' is no instruction"),
        ("mov rax, rbx", "'mov rax, rbx' cannot be assembled for 16-bit code: .*"),
        ("frobnicate", "'frobnicate' cannot be assembled for 16-bit code: mnemonic"),
    ],
)  # fmt: skip
def test_what_is_none(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=f"^{says}"):
        asm.assemble(text, 0x1000, 16)


def test_without_keystone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keystone", None)
    with pytest.raises(UsageError, match=r"assembling needs keystone: pip install 'kvmdbg\[asm\]'"):
        asm.assemble("nop", 0, 64)
