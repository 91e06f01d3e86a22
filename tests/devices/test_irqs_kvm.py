"""Interrupts of clock and mouse as a guest gets them, by the second controller."""

from __future__ import annotations

import pytest

from kvmdbg.engine import stops
from kvmdbg.pytest_plugin import Guests
from tests.conftest import TIME_SCALE

pytestmark = pytest.mark.kvm

SET_UP = """
    cli
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov sp, 0x7000
    mov word ptr [0x70 * 4], offset clock
    mov word ptr [0x70 * 4 + 2], 0
    mov word ptr [0x74 * 4], offset mouse
    mov word ptr [0x74 * 4 + 2], 0
    mov al, 0x11; out 0x20, al; out 0xa0, al
    mov al, 0x08; out 0x21, al
    mov al, 0x70; out 0xa1, al
    mov al, 4; out 0x21, al
    mov al, 2; out 0xa1, al
    mov al, 1; out 0x21, al; out 0xa1, al
    mov al, 0xfb; out 0x21, al
"""
HANDLERS = """
clock:
    push ax
    inc word ptr [0x5000]
    mov al, 0x0c; out 0x70, al
    in al, 0x71
    mov [0x5002], al
    jmp ended
mouse:
    push ax
    push bx
    in al, 0x60
    xor bx, bx
    mov bl, [0x5010]
    mov [0x5011 + bx], al
    inc bx
    mov [0x5010], bl
    pop bx
ended:
    mov al, 0x20; out 0xa0, al; out 0x20, al
    pop ax
    iret
"""
PERIODIC = (
    SET_UP
    + """
    mov al, 0xfe; out 0xa1, al
    mov al, 0x0b; out 0x70, al
    mov al, 0x42; out 0x71, al
    sti
again: hlt
    cmp word ptr [0x5000], 64
    jb again
    out 0x99, al
    jmp again
"""
    + HANDLERS
)
MOUSE = (
    SET_UP
    + """
    mov al, 0xef; out 0xa1, al
    mov al, 0x60; out 0x64, al
    mov al, 0x47; out 0x60, al
    mov al, 0xd4; out 0x64, al
    mov al, 0xf4; out 0x60, al
    sti
again: hlt
    cmp byte ptr [0x5010], 1
    jne three
    out 0x98, al
three:
    cmp byte ptr [0x5010], 4
    jb again
    out 0x99, al
    jmp again
"""
    + HANDLERS
)


CHANNEL_2 = """
    xor ax, ax; mov ds, ax
    out 0x61, al
    mov al, 0xb0; out 0x43, al
    mov al, 0x00; out 0x42, al; mov al, 0x10; out 0x42, al
    in al, 0x61; mov [0x5000], al
    mov al, 1; out 0x61, al
again: in al, 0x61
    test al, 0x20
    jz again
    mov [0x5001], al
    out 0x99, al
"""


@pytest.mark.parametrize("irqchip", ["user", "kernel"])
def test_channel_2_by_its_gate(kvm_guest: Guests, irqchip: str) -> None:
    """As kernels measure the CPU's speed by: OUT2 stays low until the gate is open and the count is over."""
    dbg = kvm_guest(asm=CHANNEL_2, irqchip=irqchip)
    dbg.catch("io", port=0x99)
    assert isinstance(dbg.run(timeout=60), stops.CaughtStop)
    closed, over = dbg.physical.read(0x5000, 2)
    assert (closed & 0x23, over & 0x23) == (0, 0x21)


def test_the_clock_ticks_1024_times_a_second(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=PERIODIC)
    dbg.world.guest_rate = 0.2 / TIME_SCALE  # a slow machine takes longer than a tick for its handler
    dbg.catch("io", port=0x99)
    stop = dbg.run(timeout=60)
    assert isinstance(stop, stops.CaughtStop), stop.describe()
    assert dbg.physical.read(0x5002, 1)[0] & 0xC0 == 0xC0
    assert dbg.machine.board.time.now() >= 64 * 10**9 // 1024


def test_the_mouse_reports_in_the_background(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=MOUSE)
    dbg.catch("io", port=0x98)
    assert isinstance(dbg.run(timeout=60), stops.CaughtStop)  # the acknowledge of its command
    dbg.catch("io", port=0x99)
    dbg.peripherals.move_mouse(3, 2, 1)
    stop = dbg.run(timeout=60)
    while isinstance(stop, stops.CaughtStop) and "0x98" in stop.describe():
        stop = dbg.run(timeout=60)
    assert isinstance(stop, stops.CaughtStop), stop.describe()
    assert dbg.physical.read(0x5011, 4).hex() == "fa2903fe"
