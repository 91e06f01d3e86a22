"""Kernels of a test's own, entered by the protocols of Linux and of Xen: what they find is what was handed over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import kvmdbg
from kvmdbg.build import from_assembly
from tests.loaders.linux_images import bzimage, pvh

PRINT = """
    mov dx, 0x3f8
1:  lodsb
    test al, al
    jz 2f
    out dx, al
    jmp 1b
2:  cli; hlt
"""
Write = Callable[[bytes], str]


def code(tmp_path: Path, mode: str, text: str) -> bytes:
    return from_assembly(text, tmp_path, mode=mode, address=0x100000)[0].read_bytes()


def test_the_64_bit_protocol(tmp_path: Path, image_file: Write) -> None:
    (tmp_path / "disk").write_bytes(b"the initrd\0")
    entry = "mov ebx, [rsi+0x218]; mov esi, [rsi+0x228];" + PRINT.replace(
        "2: ", "2: mov esi, ebx; xor ebx, ebx; test esi, esi; jnz 1b;"
    )
    path = image_file(bzimage(code(tmp_path, "long", entry)))
    with kvmdbg.open(path, cmdline="hello", initrd=tmp_path / "disk", serial="none", irqchip=False) as dbg:
        dbg.run(timeout=1)
        assert dbg.output == b"hellothe initrd"


def test_the_32_bit_protocol(tmp_path: Path, image_file: Write) -> None:
    entry = "mov ax, ds; mov es, ax; mov esi, [esi+0x228];" + PRINT
    path = image_file(bzimage(code32=code(tmp_path, "prot", entry), xloadflags=0, payload=b"packed"))
    with kvmdbg.open(path, cmdline="hello nokaslr", serial="none") as dbg:
        dbg.run(timeout=1)
        assert dbg.output == b"hello nokaslr"


def test_pvh(tmp_path: Path, image_file: Write) -> None:
    entry = "mov esi, [ebx+24];" + PRINT
    with kvmdbg.open(image_file(pvh(code(tmp_path, "prot", entry))), cmdline="hello", serial="none") as dbg:
        dbg.run(timeout=5)
        assert dbg.output == b"hello"


def test_the_setup_part_with_its_bios(tmp_path: Path, image_file: Write) -> None:
    """Data segments are those of the setup part; it asks the BIOS how much memory there is."""
    code16 = from_assembly("mov si, [0x228]; int 0x12;" + PRINT, tmp_path, mode="real", address=0x10200)[0].read_bytes()
    data = bytearray(bzimage(xloadflags=0, code32_start=0))
    data[0x26C : 0x26C + len(code16)] = code16
    with kvmdbg.open(image_file(bytes(data)), cmdline="hello", serial="none") as dbg:
        dbg.run(timeout=5)
        assert dbg.output == b"hello"
        assert dbg.regs.rax & 0xFF00 == 639 & 0xFF00
