"""Assembling instructions, with keystone (an optional package)."""

from __future__ import annotations

import re
from typing import Any

from kvmdbg.errors import UsageError

DIRECTIVE = re.compile(r"\.\s*[A-Za-z_]\w*")
"""As .incbin, which reads a file, and .fill, which takes any amount of memory."""


def assemble(text: str, address: int, bits: int) -> bytes:
    """Machine code of instructions in Intel syntax, separated by ``;``, for linear ``address`` and a mode's bits.

    UsageError for what is no instruction there, and where keystone is not installed.
    """
    try:
        import keystone
    except ImportError:
        raise UsageError(
            "assembling needs keystone: pip install 'kvmdbg[asm]'; patch writes bytes without it"
        ) from None
    if not text.strip(" ;"):
        raise UsageError("there is nothing to assemble, as in: asm 0x1000 mov eax, 1")
    if directive := DIRECTIVE.search(text):
        raise UsageError(f"'{directive[0]}' is no instruction; only instructions are assembled here")
    modes = {16: keystone.KS_MODE_16, 32: keystone.KS_MODE_32, 64: keystone.KS_MODE_64}
    engine: Any = keystone.Ks(keystone.KS_ARCH_X86, modes[bits])
    try:
        code, _ = engine.asm(text, address, as_bytes=True)
    except keystone.KsError as error:
        why = str(error).partition(" (")[0].removeprefix("Invalid ").lower()
        raise UsageError(f"'{text}' cannot be assembled for {bits}-bit code: {why}") from None
    if not code:
        raise UsageError(f"'{text}' cannot be assembled for {bits}-bit code")
    return bytes(code)
