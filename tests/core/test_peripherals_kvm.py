"""Where a guest looks for what is typed."""

from __future__ import annotations

import pytest

from kvmdbg.pytest_plugin import Guests

pytestmark = pytest.mark.kvm

POLLED = "mov cx, 20; again: in al, 0x64; loop again; hlt"
A20 = """
    w: in al, 0x64; test al, 2; jnz w; mov al, 0xd1; out 0x64, al
    x: in al, 0x64; test al, 2; jnz x; mov al, 3; out 0x60, al
    hlt
"""
SERIAL = "mov dx, 0x3fd; in al, dx; in al, dx; hlt"
SENDS = (
    "mov cx, 9; again: mov dx, 0x3fd; in al, dx; test al, 0x20; jz again; mov dx, 0x3f8; out dx, al; loop again; hlt"
)
WITH_INTERRUPTS = "mov dx, 0x3f9; mov al, 1; out dx, al; hlt"
PIC = """
    mov al, 0x11; out 0x20, al; mov al, 0x20; out 0x21, al; mov al, 4; out 0x21, al; mov al, 1; out 0x21, al
    mov al, {mask}; out 0x21, al; mov al, 0; out 0xe9, al
"""


@pytest.mark.parametrize(
    ("source", "where"),
    [
        ("hlt", ""), (POLLED, "keyboard"), (A20, ""), (SERIAL, "serial"), (SENDS, ""), (WITH_INTERRUPTS, "serial"),
        (f"{SERIAL[:-3]}{POLLED}", "serial"),
    ],
)  # fmt: skip
def test_where_a_guest_looks(kvm_guest: Guests, source: str, where: str) -> None:
    dbg = kvm_guest(asm=source)
    assert dbg.peripherals.takes_keys == ""
    dbg.run(timeout=20)
    assert dbg.peripherals.takes_keys == where


def test_only_a_serial_port_at_stdio_takes_keys(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=f"{SERIAL[:-3]}{POLLED}", serial="none")
    dbg.run(timeout=20)
    assert dbg.peripherals.takes_keys == "keyboard"


def test_there_may_be_no_keyboard(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=POLLED, machine="bare")
    dbg.run(timeout=20)
    assert dbg.peripherals.takes_keys == ""


@pytest.mark.parametrize(("mask", "where"), [(0xFD, "keyboard"), (0xFF, ""), (0xFE, "")])
def test_the_keyboards_interrupt_lets_keys_through(kvm_guest: Guests, mask: int, where: str) -> None:
    dbg = kvm_guest(asm=PIC.format(mask=mask), irqchip=True, devices=["isa-debugcon"])
    assert dbg.peripherals.takes_keys == ""
    dbg.catch("io", port=0xE9)
    dbg.run(timeout=20)
    assert dbg.peripherals.takes_keys == where
