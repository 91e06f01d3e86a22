"""An interrupt in real mode that nobody serves: the guest runs through what lies where its vector leads, or at 0:0.

Nothing exits there. It is found where the vCPU is looked at anyway: when it is kicked, and when KVM cannot go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvmdbg.errors import MemoryFault

if TYPE_CHECKING:
    from kvmdbg.engine.debugged_vcpu import DebuggedVcpu
    from kvmdbg.engine.inspection import Inspection

INT = 0xCD
TABLE_END = 0x400
LOOKED_AT = 8
"""How many words of the stack may lie above the frame that the interrupt has pushed."""
NOTHING = bytes(8)
ALWAYS_SET, NEVER_SET = 2, 0x8028
"""In FLAGS as the interrupt pushes them."""


def empty_vector(at: DebuggedVcpu, space: Inspection, *, stuck: bool) -> tuple[int, str] | None:
    """The vector through which the vCPU got lost, and the sentence on it; None where it is not lost.

    It is where it runs through zeros or through the table of vectors, or is ``stuck``, and the frame of an ``int``
    whose vector leads to zeros or into that table lies on top of its stack.
    """
    if at.mode.name != "real":
        return None
    try:
        if not stuck and at.pc >= TABLE_END and space.read_linear(at, at.pc, 2) != bytes(2):
            return None
        words = [int.from_bytes(space.read_linear(at, at.on_stack(2 * n), 2), "little") for n in range(LOOKED_AT + 3)]
        for ip, cs, flags in zip(words, words[1:], words[2:], strict=False):
            if flags & NEVER_SET or not flags & ALWAYS_SET:
                continue
            code = space.read_linear(at, (cs << 4) + (ip - 2 & 0xFFFF), 2)
            if code[0] == INT and (target := _leads_nowhere(at, space, code[1])) is not None:
                return code[1], _sentence(at, code[1], target, f"{cs:04x}:{ip - 2 & 0xFFFF:04x}")
    except MemoryFault:
        pass
    return None


def _leads_nowhere(at: DebuggedVcpu, space: Inspection, vector: int) -> str | None:
    """Where a vector leads, if no code can be there."""
    entry = space.read_linear(at, int(at.sregs.idt.base) + 4 * vector, 4)
    offset, segment = int.from_bytes(entry[:2], "little"), int.from_bytes(entry[2:], "little")
    linear = (segment << 4) + offset
    empty = linear < TABLE_END or space.read_linear(at, linear, len(NOTHING)) == NOTHING
    return f"{segment:04x}:{offset:04x}" if empty else None


def _sentence(at: DebuggedVcpu, vector: int, target: str, place: str) -> str:
    regs = at.vcpu.regs
    values = ", ".join(f"{name.upper()}={getattr(regs, 'r' + name) & 0xFFFF:#06x}" for name in ("ax", "bx", "cx", "dx"))
    return (
        f"int {vector:#x} at {place}: its vector leads to {target}, where no code is, and the guest runs through what "
        f"lies there (by now {values})"
    )
