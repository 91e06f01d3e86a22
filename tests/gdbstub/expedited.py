"""The registers in a stop reply, for tests that are about the rest of it."""

from __future__ import annotations

import re

_REGISTER = re.compile(rb"(?<=;)[0-9a-f]{2}:[0-9a-f]+;")


def bare(reply: bytes) -> bytes:
    """A reply without the registers that a stop reply brings along."""
    return _REGISTER.sub(b"", reply)
