"""Which instructions a KVM in software lets the CPU run: those that its emulator does not know."""

from __future__ import annotations

import pytest

from kvmdbg.engine.stepped_instructions import native_size


@pytest.mark.parametrize(
    ("code", "bits", "size"),
    [
        ("0faee8 90", 16, 3),  # lfence
        ("f30f1efa 90", 64, 4),  # endbr64
        ("0f01f8 90", 64, 3),  # swapgs
        ("480fae06", 64, 4),  # fxsave64
        ("0fae06", 64, 3),  # fxsave
        ("0fae04", 16, None),
        ("0fae06", 32, None),
        ("0fae3e", 64, None),  # clflush
        ("0fc70e", 32, None),  # cmpxchg8b
        ("410fc70e", 64, None),
        ("480fc70e", 64, 4),  # cmpxchg16b
        ("0fc7f0", 64, 3),  # rdrand
        ("0f0106", 64, None),  # sgdt, sidt, smsw, lmsw, invlpg
        ("0f010e", 32, None),
        ("0f01e0", 64, None),
        ("0f01f0", 64, None),
        ("0f013e", 64, None),
        ("0f01d0", 32, 3),  # xgetbv
        ("42 0faee8", 16, None),  # inc dx
        ("42 0faee8", 64, 4),
        ("0fae", 64, None),
        ("90", 64, None),
        ("", 64, None),
    ],
)
def test_those_that_are_not_emulated(code: str, bits: int, size: int | None) -> None:
    assert native_size(bytes.fromhex(code), bits) == size
