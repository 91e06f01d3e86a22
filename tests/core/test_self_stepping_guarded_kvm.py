"""A guest that steps itself, with pages guarded: what a KVM tries for ever there raises a #DB at each try."""

from __future__ import annotations

import pytest

from kvmdbg.engine.stops import HaltedStop
from kvmdbg.pytest_plugin import Guests
from tests.conftest import TIME_SCALE

STEPS_ITSELF = """
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov sp, 0x7000
    mov word ptr [4], offset debug
    mov word ptr [6], ax
    mov si, offset data
    pushf
    pop cx
    or cx, 0x100
    push cx
    popf
    xor al, ah
    {instruction}
after:
    mov dx, 3
    pushf
    pop dx
    and dx, 0xfeff
    push dx
    popf
    hlt
debug:
    inc word ptr [0x600]
    {exit}
    iret
.balign {apart}
data: .skip 0x3f0
"""


@pytest.mark.parametrize("exit", ["", "out 0x80, al"], ids=["no exit", "an exit"])
@pytest.mark.parametrize("held", ["planted", "write", "access"])
@pytest.mark.parametrize(
    "instruction",
    ["sgdt [si]", "sidt [si]", "fxsave [si]", "fxrstor [si]", "lgdt [si]", "smsw [si]", "inc word ptr [si]"],
)
def test_each_instruction_is_stepped_once(kvm_guest: Guests, instruction: str, held: str, exit: str) -> None:
    planted = held == "planted"
    asm = STEPS_ITSELF.format(instruction=instruction, exit=exit, apart=16 if planted else 4096)
    alone, dbg = kvm_guest(asm=asm), kvm_guest(asm=asm)
    assert isinstance(alone.run(timeout=10 * TIME_SCALE), HaltedStop)
    if planted:
        dbg.breakpoint_hold = "planted"
        dbg.break_at("after", when="0")  # in the page of the data
    else:
        dbg.watch("data + 0x300", 64, held, when="0")
    stop = dbg.run(timeout=10 * TIME_SCALE)
    assert isinstance(stop, HaltedStop), stop.describe()
    assert dbg.regs.snapshot() == alone.regs.snapshot()
    assert dbg.physical.read(0x600, 2) == alone.physical.read(0x600, 2)
