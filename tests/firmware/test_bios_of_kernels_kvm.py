"""The BIOS behind a kernel that a multiboot loader has started: its data, and its services from real mode."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.build import from_assembly
from kvmdbg.engine import stops
from kvmdbg.errors import UsageError
from tests.conftest import TIME_SCALE
from tests.loaders.elf_images import ElfImage, Load

pytestmark = pytest.mark.kvm

BACK_TO_REAL_MODE = """
.align 4
{header}
.globl _start
_start:
    cli; cld
    mov ax, [0x413]; mov [0x9000], ax
    mov esi, offset low; mov edi, 0x8000; mov ecx, 256; rep movsb
    lgdt [gdtr]; .byte 0xea; .long 0x8000; .word 8
low: .code16
    mov ax, 16; mov ds, ax; mov es, ax; mov ss, ax
    mov eax, cr0; and al, 0xfe; mov cr0, eax; .byte 0xea; .word 0x8000 + real - low, 0
real: xor ax, ax; mov ds, ax; mov es, ax; mov ss, ax; mov sp, 0x7000
    .byte 0x0f, 0x01, 0x1e; .word 0x8000 + ivt - low                                   # lidt
    mov ax, 0x0e41; mov bx, 7; int 0x10
    int 0x12; mov [0x9002], ax
    cli; hlt
ivt: .word 0x3ff; .long 0
.align 8
gdt: .quad 0, 0x00009a000000ffff, 0x000092000000ffff
gdtr: .word 23; .long gdt
"""
HEADERS = {
    "multiboot": ".long 0x1badb002, 0, -0x1badb002",
    "multiboot2": ".align 8; .long 0xe85250d6, 0, 24, -(0xe85250d6 + 24); .word 0, 0; .long 8",
}


def kernel(folder: Path, protocol: str) -> Path:
    _, elf = from_assembly(BACK_TO_REAL_MODE.format(header=HEADERS[protocol]), folder, mode="prot", address=0x100000)
    return elf


@pytest.mark.parametrize("protocol", HEADERS)
def test_it_goes_back_to_real_mode_for_it(tmp_path: Path, protocol: str) -> None:
    with kvmdbg.open(kernel(tmp_path, protocol), serial="none", memory="16M", entry="_start") as dbg:
        stop = dbg.run(timeout=20 * TIME_SCALE)
        assert isinstance(stop, stops.HaltedStop), stop.describe()
        assert dbg.screen()[0] == "A"
        assert dbg.physical.read(0x9000, 4) == (639).to_bytes(2, "little") * 2


def test_without_it(tmp_path: Path) -> None:
    path = kernel(tmp_path, "multiboot")
    with kvmdbg.open(path, serial="none", memory="16M", entry="_start", firmware="none") as dbg:
        assert dbg.machine.bios is None
        assert dbg.physical.read(0x400, 0x100) == bytes(0x100)
    with pytest.raises(UsageError, match="needs an entry in real mode or by multiboot"):
        kvmdbg.open("guests/long64.elf", serial="none", firmware="bios")


@pytest.mark.parametrize(("data", "has_bios"), [(b"\x7fELF" + bytes(240), True), (bytes(244), False)])
def test_headers_that_the_linker_has_put_before_a_kernel(tmp_path: Path, data: bytes, has_bios: bool) -> None:
    """Linked as a program of Linux's it has the headers of its file in a segment that ends at 1 MiB, where ROM is."""
    code = struct.pack("<III", 0x1BADB002, 0, -0x1BADB002 & 0xFFFFFFFF) + b"\xf4"
    path = tmp_path / "kernel.elf"
    path.write_bytes(ElfImage(entry=0x10000C, loads=[Load(0xFF000, data), Load(0x100000, code)]).build())
    with kvmdbg.open(path, serial="none", memory="16M") as dbg:
        assert isinstance(dbg.run(timeout=20 * TIME_SCALE), stops.HaltedStop)
        assert (dbg.machine.bios is not None) == has_bios
        assert dbg.physical.read(0xF8000, 8) == (b"RSD PTR " if has_bios else bytes(8))
        assert dbg.physical.read(0xFFFF0, 1) == (b"\xea" if has_bios else b"\0")
        assert dbg.physical.read(0xFF000, 4) == bytes(4)
