"""An ``int`` that nobody serves.

In real mode the guest runs through what lies where the vector leads, or at 0:0. Nothing exits there: it is found where
the vCPU is looked at anyway, when it is kicked and when KVM cannot go on. In protected and long mode it ends the guest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvmdbg.errors import MemoryFault
from kvmdbg.record import record

if TYPE_CHECKING:
    from kvmdbg.engine.debugged_vcpu import DebuggedVcpu
    from kvmdbg.engine.inspection import Inspection
    from kvmdbg.kvm import abi
    from kvmdbg.x86.faults import State

INT = 0xCD
TABLE_END = 0x400
LOOKED_AT = 8
"""How many words of the stack may lie above the frame that the interrupt has pushed."""
NOTHING = bytes(8)
REGISTERS = ("ax", "bx", "cx", "dx")
ALWAYS_SET, NEVER_SET = 2, 0x8028
"""In FLAGS as the interrupt pushes them."""


@record
class Lost:
    """``vector`` leads to ``target``, where no code is, and the ``int`` at ``cs``:``ip`` went there."""

    vector: int
    target: str
    cs: int
    ip: int

    def sentence(self, regs: abi.kvm_regs, *, exact: bool) -> str:
        """``regs`` are those at the int, or where not ``exact`` those of now."""
        values = _values(regs, *REGISTERS)
        function = f", AH={regs.rax >> 8 & 0xFF:#04x}," if exact else ""
        return (
            f"int {self.vector:#x}{function} at {self.cs:04x}:{self.ip:04x}: its vector leads to {self.target}, where "
            f"no code is, and the guest runs through what lies there ({values if exact else f'by now {values}'})"
        )


def lost_in(at: DebuggedVcpu, space: Inspection, *, stuck: bool) -> Lost | None:
    """By which ``int`` the vCPU got lost; None where it is not lost.

    It is where it runs through zeros or through the table of vectors, or is ``stuck``, and the frame of an ``int``
    whose vector leads to zeros or into that table lies on top of its stack.
    """
    if at.mode.name != "real":
        return None
    try:
        if not stuck and at.pc >= TABLE_END and space.read_linear(at, at.pc, 2) != bytes(2):
            return None
        words = [int.from_bytes(space.read_linear(at, at.on_stack(2 * n), 2), "little") for n in range(LOOKED_AT + 3)]
        for behind, cs, flags in zip(words, words[1:], words[2:], strict=False):
            if flags & NEVER_SET or not flags & ALWAYS_SET:
                continue
            ip = behind - 2 & 0xFFFF
            code = space.read_linear(at, (cs << 4) + ip, 2)
            if code[0] == INT and (target := _leads_nowhere(at, space, code[1])) is not None:
                return Lost(code[1], target, cs, ip)
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


def without_gate(state: State) -> tuple[int, str] | None:
    """The vector of the ``int`` at pc, and the sentence on it, where the table of gates has none for it."""
    from kvmdbg.x86.delivery import delivery_fault
    from kvmdbg.x86.faults import first_fault

    wanted = first_fault(state)
    if wanted is None or not wanted.software or (refused := delivery_fault(state, wanted)) is None:
        return None
    wide = {16: "", 32: "e", 64: "r"}[state.mode.bits]
    function = state.regs.rax >> 8 & 0xFF
    place = f"int {wanted.vector:#x}, AH={function:#04x}, at {state.pc:#x}"
    return wanted.vector, f"{place}: {refused.why} ({_values(state.regs, *(wide + name for name in REGISTERS))})"


def _values(regs: abi.kvm_regs, *names: str) -> str:
    digits = {"r": 16, "e": 8}.get(names[0][0], 4)
    values = (getattr(regs, "r" + name[-2:]) & (1 << 4 * digits) - 1 for name in names)
    return ", ".join(f"{name.upper()}={value:#0{2 + digits}x}" for name, value in zip(names, values, strict=True))
