"""A jump to the entry of a handler is no exception; repeated instructions reach a breakpoint once."""

from __future__ import annotations

import pytest

from kvmdbg.engine.stops import BreakpointStop, CaughtStop, HaltedStop
from kvmdbg.pytest_plugin import Guests

pytestmark = pytest.mark.kvm

REAL = """
.code16
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov sp, 0x7000
    mov word ptr [0], offset handler
    mov word ptr [2], 0
    xor cx, cx
one: div cx
two: div cx
    hlt
handler:
    inc cx
    cmp cx, 4
    jnz handler
    xor cx, cx
    mov bp, sp
    add word ptr [bp], 2
    iret
"""
FLAT = """
.code{bits}
    mov {r}sp, 0x8000
    lidt [idtr]
    xor ecx, ecx
one: div ecx
two: div ecx
    hlt
handler:
    inc ecx
    cmp ecx, 4
    jnz handler
    xor ecx, ecx
    pop {r}ax
    add {r}ax, 2
    pop {r}dx
    popf{d}
{leave}
    jmp {r}ax
.balign 16
idtr: .word {gate} - 1
    .{pointer} idt
idt: .word handler, 8, 0x8e00, 0
    .skip {gate} - 8
"""
PROTECTED = FLAT.format(bits=32, r="e", d="d", leave="", gate=8, pointer="long")
LONG = FLAT.format(bits=64, r="r", d="q", leave="    mov rsp, [rsp]", gate=16, pointer="quad")
PROGRAMS = {"real": REAL, "prot": PROTECTED, "long": LONG}


@pytest.mark.parametrize("mode", PROGRAMS)
def test_each_exception_is_caught_once(kvm_guest: Guests, mode: str) -> None:
    dbg = kvm_guest(asm=PROGRAMS[mode], mode=mode)
    dbg.catch("exception")
    for place in ("one", "two"):
        stop = dbg.run(timeout=20)
        assert isinstance(stop, CaughtStop), stop.describe()
        assert (stop.exit.vector, stop.exit.ip) == (0, dbg.resolve(place)[0])
    stop = dbg.run(timeout=20)
    assert isinstance(stop, HaltedStop), stop.describe()


def test_what_was_told_is_told_again_in_a_state_that_is_put_back(kvm_guest: Guests) -> None:
    """A late look at the guest's table can find a vCPU in the handler, which then comes by a jump alone."""
    arrives = (
        "xor ax, ax; mov ds, ax; mov ss, ax; mov sp, 0x7000; mov word ptr [2], 0; mov word ptr [0], offset handler;"
    )
    dbg = kvm_guest(asm=f"{arrives} push 2; push 0; push 0; stc; jmp handler; handler: hlt", mode="real")
    dbg.snapshots.save("start")
    dbg.catch("exception")
    for _ in range(2):
        stop = dbg.run(timeout=20)
        assert isinstance(stop, CaughtStop), stop.describe()
        dbg.snapshots.restore("start")


@pytest.mark.parametrize("hold", ["auto", "stepping"])
def test_a_breakpoint_on_a_repeated_instruction_fires_once(kvm_guest: Guests, hold: str) -> None:
    dbg = kvm_guest(asm="mov edi, 0x5000; mov ecx, 8; cld; fill: rep stosb; hlt", mode="prot")
    dbg.breakpoint_hold = hold
    point = dbg.break_at("fill")
    stop = dbg.run(timeout=20)
    assert isinstance(stop, BreakpointStop), stop.describe()
    stop = dbg.run(timeout=20)
    assert isinstance(stop, HaltedStop), stop.describe()
    assert (point.hits, dbg.regs.ecx) == (1, 0)


LOOP = """
.code16
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov sp, 0x7000
    mov word ptr [0], offset handler
    mov word ptr [2], 0
    mov bx, 5
again:
    xor cx, cx
one: div cx
    dec bx
    jnz again
    hlt
handler:
    mov bp, sp
    add word ptr [bp], 2
    iret
"""


def test_an_exception_that_comes_again_is_caught_again(kvm_guest: Guests) -> None:
    """With the same frame at the same place."""
    dbg = kvm_guest(asm=LOOP, mode="real")
    point = dbg.catch("exception")
    for _ in range(5):
        stop = dbg.run(timeout=20)
        assert isinstance(stop, CaughtStop), stop.describe()
    stop = dbg.run(timeout=20)
    assert isinstance(stop, HaltedStop), stop.describe()
    assert point.hits == 5


@pytest.mark.parametrize("mode", PROGRAMS)
def test_a_jump_with_no_frame_on_the_stack_is_no_exception(kvm_guest: Guests, mode: str) -> None:
    """Bit 1 of FLAGS is always set in a frame."""
    asm = PROGRAMS[mode].replace("one: div", "push 0\npush 0\npush 0\njmp handler\none: div", 1)
    dbg = kvm_guest(asm=asm.replace("handler:\n", "handler: hlt\n", 1), mode=mode)
    dbg.catch("exception")
    stop = dbg.run(timeout=20)
    assert isinstance(stop, HaltedStop), stop.describe()
    assert stop.pc == dbg.resolve("handler")[0] + 1
