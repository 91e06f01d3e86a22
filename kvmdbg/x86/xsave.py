"""The XSAVE area in its standard form (Intel SDM volume 1, 13.4; its first 512 bytes: table 10-2)."""

from __future__ import annotations

from ctypes import Structure, c_uint8, c_uint16, c_uint32, c_uint64

from kvmdbg.errors import UsageError

X87, SSE, AVX = 1, 2, 4
"""State components in ``xstate_bv``: one whose bit is clear has its first value, whatever the area holds."""
_Sixteen = c_uint8 * 16


class XsaveArea(Structure):
    """x87, XMM and the upper halves of YMM (at 576 on every CPU so far).

    The selectors FCS and FDS are bits 32 to 47 of ``last_ip`` and ``last_dp``.
    """

    _layout_ = "ms"  # what _pack_ means where it is not said
    _pack_ = 1
    _fields_ = [
        ("fcw", c_uint16),
        ("fsw", c_uint16),
        ("ftwx", c_uint8),
        ("pad1", c_uint8),
        ("last_opcode", c_uint16),
        ("last_ip", c_uint64),
        ("last_dp", c_uint64),
        ("mxcsr", c_uint32),
        ("mxcsr_mask", c_uint32),
        ("fpr", _Sixteen * 8),
        ("xmm", _Sixteen * 16),
        ("pad2", c_uint8 * 96),
        ("xstate_bv", c_uint64),
        ("xcomp_bv", c_uint64),
        ("pad3", c_uint8 * 48),
        ("upper", _Sixteen * 16),
        ("beyond", c_uint8 * 3264),
    ]

    def register(self, name: str) -> bytes:
        """The bytes of st0 to st7 (10), xmm0 to xmm15 (16), ymm0 to ymm15 (32)."""
        number = int(name.lstrip("stxym"))
        if name.startswith("st"):
            return bytes(self.fpr[number])[:10]
        low = bytes(self.xmm[number])
        return low if name.startswith("xmm") else low + self.ymm_high(number)

    def set_register(self, name: str, data: bytes) -> None:
        """Write one of them; an x87 register then holds something."""
        number = int(name.lstrip("stxym"))
        if name.startswith("st"):
            self.fpr[number][:10] = data
            self.ftwx |= 1 << ((self.fsw >> 11) + number & 7)
            self.xstate_bv |= X87
            return
        self.xmm[number][:] = data[:16]
        self.xstate_bv |= SSE
        if len(data) > 16:
            self.upper[number][:] = data[16:]
            self.xstate_bv |= AVX

    def set_word(self, field: str, value: int) -> None:
        """Write a control or status word ("fcw", "mxcsr"). UsageError for what it cannot hold."""
        bits = 8 * getattr(type(self), field).size
        possible = self.mxcsr_mask or 0xFFBF if field == "mxcsr" else (1 << bits) - 1
        if not 0 <= value <= (1 << bits) - 1 or value & ~possible:
            raise UsageError(f"this register holds bits of {possible:#x} only")
        setattr(self, field, value)
        self.xstate_bv |= SSE if field == "mxcsr" else X87

    def ymm_high(self, number: int) -> bytes:
        """The upper half of a YMM register."""
        return bytes(self.upper[number]) if self.xstate_bv & AVX else bytes(16)
