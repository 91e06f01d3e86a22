"""A guest that draws a large picture, in RAM of the adapter's own."""

from __future__ import annotations

from pathlib import Path

import png
import pytest

from kvmdbg.devices.vbe import ADDRESS
from kvmdbg.pytest_plugin import Guests

pytestmark = pytest.mark.kvm

WINDOW = """
    mov ax, 0x4f02; mov bx, 0x101; int 0x10
    mov ax, 0xa000; mov es, ax; mov di, 1280; mov al, 4; mov cx, 10; rep stosb
    hlt
    mov ax, 0x4f05; xor bx, bx; mov dx, 1; int 0x10
    xor di, di; mov al, 2; stosb
    hlt
"""
LINEAR = """
    mov ax, 0x4f02; mov bx, 0x4115; int 0x10
    cli; lgdt [gdtr]; mov eax, cr0; or al, 1; mov cr0, eax
    mov bx, 8; mov ds, bx
    mov eax, 0xfd000000; mov dword ptr [eax], 0x563412
    hlt
    gdtr: .word 15; .long gdt
    gdt: .quad 0, 0x00cf92000000ffff
"""


def test_the_window_and_going_back(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=WINDOW)
    dbg.run()
    assert dbg.picture().rgb(2)[9:11] == [(170, 0, 0), (0, 0, 0)]
    dbg.snapshots.save("drawn")
    dbg.run()
    shown = dbg.picture()
    assert (shown.rgb(102)[256], shown.rgb(2)[9]) == ((0, 170, 0), (170, 0, 0))
    dbg.snapshots.restore("drawn")
    shown = dbg.picture()
    assert (shown.rgb(102)[256], shown.rgb(2)[9]) == ((0, 0, 0), (170, 0, 0))
    dbg.restart()
    assert dbg.screen() == [""] * 25


def test_linear_memory(kvm_guest: Guests, tmp_path: Path) -> None:
    dbg = kvm_guest(asm=LINEAR)
    point = dbg.watch(ADDRESS, length=4)
    stop = dbg.run()
    assert stop.reason == "watchpoint", (stop.describe(), point)
    point.enabled = False
    dbg.run()
    assert dbg.picture().rgb(0)[:2] == [(0x56, 0x34, 0x12), (0, 0, 0)]
    path = tmp_path / "screen.png"
    dbg.save_screen(str(path))
    width, height, rows, about = png.Reader(filename=str(path)).read()
    assert (width, height, about["planes"]) == (800, 600, 3)
    assert bytes(next(iter(rows)))[:6] == bytes((0x56, 0x34, 0x12, 0, 0, 0))
