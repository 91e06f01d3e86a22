"""The accesses that are known before an instruction runs, beside those that unicorn makes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import unicorn
from unicorn import x86_const as reg

from kvmdbg.x86 import operands

CODE, DATA = 0x1000, 0x10000
VALUES = {"rax": 5, "rcx": 3, "rdx": 0, "rbx": DATA + 0x800, "rsp": DATA + 0x3000, "rbp": 7}
VALUES |= {"rsi": DATA + 0x1000, "rdi": DATA + 0x2000, "rip": CODE, "rflags": 2}
ONES = b"\xff" * 16
MAPS = (b"", b"\x0f", b"\x0f\x38", b"\x0f\x3a")
PREFIXES = {64: (b"", b"\x66", b"\xf2", b"\xf3", b"\x48"), 32: (b"", b"\x66", b"\xf2", b"\xf3")}
OTHERWISE = frozenset(
    "bndmov bndmk bndcl bndcu bndcn bndldx bndstx "  # goes by tables of bounds
    "fxsave fxrstor fxsave64 fxrstor64 xsave xrstor xsave64 xrstor64 xsaveopt xsaveopt64 "  # not the reserved bytes
    "fldenv frstor cvttps2pi cvtps2pi cvtps2pd cvtdq2pd punpcklbw punpcklwd punpckldq roundss roundsd "  # part, or more
    "lds les lss lfs lgs lgdt lidt ltr lldt verr verw lar lsl lcall ljmp int int1 int3 iretd iretq sysenter".split()
)
"""What unicorn makes in another way than the SDM has it, or does not make."""


def encodings(bits: int) -> Iterator[bytes]:
    """One of each instruction with an operand at [rbx], by its name, prefix and the sizes of its operands."""
    known = set()
    for opcode_map in MAPS:
        for opcode in range(256):
            if not opcode_map and opcode in (0x0F, 0x26, 0x2E, 0x36, 0x3E, 0x62, 0x64, 0x65, 0x66, 0x67, 0xC4, 0xC5):
                continue
            for number in range(8):
                for prefix in PREFIXES[bits]:
                    code = prefix + opcode_map + bytes([opcode, number << 3 | 3]) + b"\x02" + bytes(7)
                    insn = operands.decode(code, bits)
                    if insn is None or not any(operand.type == operands.MEM for operand in insn.operands):
                        continue
                    name = insn.mnemonic.split()[-1]
                    kind = (name, *((operand.type, operand.size) for operand in insn.operands))
                    if kind not in known and name not in OTHERWISE:
                        known.add(kind)
                        yield code[: insn.size]


class Machine:
    def __init__(self, bits: int) -> None:
        self.uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64 if bits == 64 else unicorn.UC_MODE_32)
        self.uc.mem_map(CODE, 0x1000)
        self.uc.mem_map(DATA, 0x4000)
        self.uc.reg_write(reg.UC_X86_REG_CR4, 0x600)  # SSE
        self.uc.reg_write(reg.UC_X86_REG_XMM0, int.from_bytes(ONES, "little"))
        for name, value in VALUES.items():
            full = "eflags" if name == "rflags" else name if bits == 64 else f"e{name[1:]}"
            self.uc.reg_write(getattr(reg, f"UC_X86_REG_{full.upper()}"), value)
        self.accessed: dict[bool, set[int]] = {True: set(), False: set()}
        self.uc.hook_add(unicorn.UC_HOOK_MEM_READ | unicorn.UC_HOOK_MEM_WRITE, self._see)

    def _see(self, uc: object, access: int, address: int, size: int, value: int, data: object) -> None:
        self.accessed[access == unicorn.UC_MEM_WRITE] |= set(range(address, address + size))

    def run(self, code: bytes) -> bool:
        self.uc.mem_write(CODE, code)
        try:
            self.uc.emu_start(CODE, CODE + len(code), count=1)
        except unicorn.UcError:
            return False
        return True


@pytest.mark.parametrize("bits", [32, 64])
def test_each_instruction_with_a_memory_operand(bits: int) -> None:
    wrong, seen = [], 0
    for code in encodings(bits):
        machine = Machine(bits)
        if not machine.run(code):
            continue
        seen += 1
        found = operands.accesses(code, CODE, bits, lambda name: VALUES.get(name, 0))
        for write in (False, True):
            ours = {
                at
                for one in found
                if (one.write if write else one.read)
                for at in range(one.linear, one.linear + one.size)
            }
            if ours != machine.accessed[write]:
                insn = operands.decode(code, bits)
                kind = "writes" if write else "reads"
                wrong.append(
                    f"{insn and insn.mnemonic} {code.hex()} {kind} {len(machine.accessed[write])}, not {len(ours)}"
                )
    assert not wrong, "\n".join(wrong)
    assert seen > 300
