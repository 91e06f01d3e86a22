"""ACPI's tables: a kernel of multiboot finds them from the pointer on, and switches the machine off by them."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.build import from_assembly
from kvmdbg.core.session import Session
from kvmdbg.engine import stops
from tests.conftest import TIME_SCALE
from tests.firmware.machine import Pc

HEADER = ".align 4; .long 0x1badb002, 0, -0x1badb002; .globl _start; _start: "
SEARCH = """
    mov esi, 0xe0000
1:  cmp dword ptr [esi], 0x20445352; jne 2f; cmp dword ptr [esi + 4], 0x20525450; je 3f    # "RSD PTR "
2:  add esi, 16; cmp esi, 0x100000; jb 1b; hlt
3:  mov ebx, [esi + 16]; mov ebx, [ebx + 36]                                               # the FADT comes first
    mov edx, [ebx + 64]; in ax, dx; test ax, 1; jnz 5f; hlt
5:  mov edi, [ebx + 40]
4:  inc edi; cmp dword ptr [edi], 0x5f35535f; jne 4b                                       # "_S5_"
    movzx ecx, byte ptr [edi + 7]; shl ecx, 10
    and ax, 0xc3ff; or eax, ecx; or ax, 0x2000; out dx, ax; cli; hlt
"""


def summed(dbg: Session, address: int, size: int) -> bytes:
    data = dbg.physical.read(address, size)
    assert sum(data) % 256 == 0
    return data


def table(dbg: Session, address: int) -> bytes:
    return summed(dbg, address, struct.unpack("<I", dbg.physical.read(address + 4, 4))[0])


def tables(dbg: Session) -> dict[bytes, bytes]:
    """By their signatures, all that the pointer leads to."""
    area = dbg.physical.read(0xE0000, 0x20000)
    at = next(0xE0000 + n for n in range(0, len(area), 16) if area[n : n + 8] == b"RSD PTR ")
    root = table(dbg, struct.unpack("<I", summed(dbg, at, 20)[16:])[0])
    found = [table(dbg, address) for (address,) in struct.iter_unpack("<I", root[36:])]
    return {one[:4]: one for one in found}


def kernel(folder: Path) -> Path:
    return from_assembly(HEADER + SEARCH, folder, mode="prot", address=0x100000)[1]


@pytest.mark.kvm
def test_a_kernel_switches_off_by_them(tmp_path: Path) -> None:
    with kvmdbg.open(kernel(tmp_path), serial="none", entry="_start") as dbg:
        stop = dbg.run(timeout=30 * TIME_SCALE)
        assert isinstance(stop, stops.ExitedStop), stop.describe()
        assert "it switched the machine off (port 0x604)" in stop.describe()
        assert set(tables(dbg)) == {b"FACP"}, "there is no APIC"


@pytest.mark.kvm
def test_what_they_say(tmp_path: Path) -> None:
    with kvmdbg.open(kernel(tmp_path), serial="none", entry="_start", cpus=2) as dbg:
        found = tables(dbg)
        fixed, apics = found[b"FACP"], found[b"APIC"]
        facs, dsdt = struct.unpack_from("<II", fixed, 36)
        assert (len(fixed), dbg.physical.read(facs, 8)) == (116, b"FACS" + (64).to_bytes(4, "little"))
        assert facs % 64 == 0
        assert b"\x08_S5_\x12" in table(dbg, dsdt)
        events, _, control, _, _, timer = struct.unpack_from("<6I", fixed, 56)
        assert (events, control, timer, fixed[88], fixed[89], fixed[91]) == (0x600, 0x604, 0x608, 4, 2, 4)
        assert struct.unpack_from("<II", apics, 36) == (0xFEE00000, 1)
        entries = apics[44:]
        assert entries[:16] == bytes((0, 8, 0, 0, 1, 0, 0, 0, 0, 8, 1, 1, 1, 0, 0, 0))
        assert entries[16:28] == bytes((1, 12, 0, 0, 0, 0, 0xC0, 0xFE, 0, 0, 0, 0))
        assert entries[28:] == bytes((4, 6, 0xFF, 0, 0, 1))


def test_their_registers() -> None:
    pc = Pc()
    assert pc.bus.read_port(0x604, 2) == 1
    assert pc.bus.read_port(0x600, 2) & 0xFFFE == 0
    before = pc.bus.read_port(0x608, 4)
    assert 0 <= before < 1 << 24


@pytest.mark.kvm
def test_a_boot_sector_finds_none(tmp_path: Path) -> None:
    image, _ = from_assembly("cli; hlt; .org 510; .byte 0x55, 0xaa", tmp_path, address=0x7C00)
    with kvmdbg.open(image, serial="none") as dbg:
        assert b"RSD PTR " not in dbg.physical.read(0xE0000, 0x20000)
