"""Where a member of a structure is."""

from __future__ import annotations

from kvmdbg.record import record


@record
class Member:
    """``offset`` and ``size`` are in bytes; a bit field has ``bits`` bits from bit ``bit`` on."""

    offset: int
    size: int
    bit: int = 0
    bits: int = 0
