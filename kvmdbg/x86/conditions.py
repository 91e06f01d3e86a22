"""Conditions of conditional branches.

Source: Intel SDM volume 1, appendix B (EFLAGS condition codes); volume 2, LOOP and Jcc.
"""

from __future__ import annotations

CF, PF, ZF, SF, OF = 1 << 0, 1 << 2, 1 << 6, 1 << 7, 1 << 11

_SYNONYMS = {
    "jc": "jb", "jnae": "jb", "jnc": "jae", "jnb": "jae", "jz": "je", "jnz": "jne", "jna": "jbe", "jnbe": "ja",
    "jpe": "jp", "jpo": "jnp", "jnge": "jl", "jnl": "jge", "jng": "jle", "jnle": "jg",
    "loopz": "loope", "loopnz": "loopne",
}  # fmt: skip


def taken(mnemonic: str, rflags: int, rcx: int, address_bits: int) -> bool:
    """Whether the branch is taken; ``address_bits`` is the width of the counter of loop and jcxz."""
    name = _SYNONYMS.get(mnemonic, mnemonic)
    cf, pf, zf = bool(rflags & CF), bool(rflags & PF), bool(rflags & ZF)
    sf, of = bool(rflags & SF), bool(rflags & OF)
    if name.startswith("loop"):
        more = (rcx - 1) & (1 << address_bits) - 1 != 0
        return more and {"loop": True, "loope": zf, "loopne": not zf}[name]
    if name.endswith("cxz"):
        width = {"jcxz": 16, "jecxz": 32, "jrcxz": 64}[name]
        return rcx & (1 << width) - 1 == 0
    return {
        "jo": of, "jno": not of, "jb": cf, "jae": not cf, "je": zf, "jne": not zf,
        "jbe": cf or zf, "ja": not (cf or zf), "js": sf, "jns": not sf, "jp": pf, "jnp": not pf,
        "jl": sf != of, "jge": sf == of, "jle": zf or sf != of, "jg": not zf and sf == of,
    }[name]  # fmt: skip
