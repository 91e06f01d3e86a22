"""Which mode the CPU is in, and what follows from it.

Source: Intel SDM volume 3A, sections 2.2 (modes of operation) and 3.4.5 (CS.L, CS.D).
"""

from __future__ import annotations

from kvmdbg.record import record

CR0_PE = 1 << 0
CR0_PG = 1 << 31
CR4_PSE = 1 << 4
CR4_PAE = 1 << 5
CR4_LA57 = 1 << 12
EFER_LME = 1 << 8
EFER_LMA = 1 << 10
EFLAGS_VM = 1 << 17


@record
class Mode:
    """One operating mode: ``name`` as shown in the prompt, ``bits`` the default width of code and stack slots."""

    name: str
    bits: int

    @property
    def segmented(self) -> bool:
        """True where ``seg:off`` means ``seg * 16 + off``."""
        return self.name in ("real", "v86")


REAL = Mode("real", 16)
V86 = Mode("v86", 16)
PROT16 = Mode("prot16", 16)
PROT32 = Mode("prot32", 32)
LONG64 = Mode("long", 64)
COMPAT32 = Mode("compat32", 32)
COMPAT16 = Mode("compat16", 16)


def mode_of(cr0: int, efer: int, rflags: int, cs_l: int, cs_db: int) -> Mode:
    """The mode that these control bits select."""
    if not cr0 & CR0_PE:
        return REAL
    if efer & EFER_LMA:
        if cs_l:
            return LONG64
        return COMPAT32 if cs_db else COMPAT16
    if rflags & EFLAGS_VM:
        return V86
    return PROT32 if cs_db else PROT16
