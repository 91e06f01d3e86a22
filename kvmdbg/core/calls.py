"""Functions of the guest: what one has returned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvmdbg.debuginfo.calling import Registers, result

if TYPE_CHECKING:
    from kvmdbg.core.session import Session
    from kvmdbg.language.ctype import CType


def returned_value(session: Session, type: CType) -> bytes:
    """The bytes of what a function of this type has just returned on the selected vCPU. MemoryFault."""
    regs = session.regs
    area = session.state_of.fpu()
    found = result(
        type, session.vcpu.mode.bits,
        Registers(regs.rax, regs.rdx, bytes(area.fpr[0])[:10], (bytes(area.xmm[0]), bytes(area.xmm[1]))),
    )  # fmt: skip
    return session.memory.read(found, type.size) if isinstance(found, int) else found
