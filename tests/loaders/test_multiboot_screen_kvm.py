"""Kernels that ask their boot loader for a picture find its address and draw there."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.build import from_assembly
from kvmdbg.engine import stops
from kvmdbg.errors import LoadError
from kvmdbg.loaders import load
from kvmdbg.machine.image import Screen
from tests.conftest import TIME_SCALE

Write = Callable[[bytes], str]
AT, CODE = 0x100000, 0x80
ADDRESSES, VIDEO = 1 << 16, 1 << 2
WHITE, BLACK, RED = (255, 255, 255), (0, 0, 0), (255, 0, 0)
DRAW_1 = "mov esi, [ebx + 88]; mov edx, [ebx + 96]; mov ecx, [ebx + 104];"
DRAW_2 = """
    lea edi, [ebx + 8]
1:  cmp dword ptr [edi], 8; je 2f
    mov eax, [edi + 4]; add eax, 7; and eax, -8; add edi, eax; jmp 1b
2:  mov esi, [edi + 8]; mov edx, [edi + 16]; mov ecx, [edi + 24];
"""
DRAW = "lea edi, [esi + edx + {place}]; mov dword ptr [edi], {value}; hlt"
"""In the second line."""


def kernel_1(flags: int, *video: int, code: bytes = b"\xf4") -> bytes:
    head = struct.pack("<III", 0x1BADB002, flags | ADDRESSES, -(0x1BADB002 + (flags | ADDRESSES)) & 0xFFFFFFFF)
    head += struct.pack("<5I", AT, AT, 0, 0, AT + CODE)
    return (head + struct.pack(f"<{len(video)}I", *video)).ljust(CODE, b"\xff") + code


def kernel_2(*screen: int, code: bytes = b"\xf4") -> bytes:
    tags = struct.pack("<HHIIIIIHHIII", 2, 0, 24, AT, AT, 0, 0, 3, 0, 12, AT + CODE, 0)
    if screen:
        tags += struct.pack("<HHIIII", 5, 0, 20, *screen) + bytes(4)
    tags += struct.pack("<HHI", 0, 0, 8)
    length = 16 + len(tags)
    head = struct.pack("<4I", 0xE85250D6, 0, length, -(0xE85250D6 + length) & 0xFFFFFFFF)
    return (head + tags).ljust(CODE, b"\0") + code


def code(folder: Path, text: str) -> bytes:
    return from_assembly(text, folder, mode="prot", address=AT + CODE)[0].read_bytes()


@pytest.mark.parametrize(
    ("wanted", "screen"),
    [
        ((0, 800, 600, 32), Screen(800, 600, 32)), ((0, 640, 480, 24), Screen(640, 480, 24)),
        ((0, 320, 200, 16), Screen(320, 200, 16)), ((0, 0, 0, 0), Screen(1024, 768, 32)),
        ((0, 1024, 768, 8), Screen(1024, 768, 32)), ((0, 99999, 600, 32), Screen(1024, 768, 32)),
        ((0, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF), Screen(1024, 768, 32)), ((1, 80, 25, 0), None),
    ],
)  # fmt: skip
def test_what_is_asked_for(image_file: Write, wanted: tuple[int, ...], screen: Screen | None) -> None:
    assert load(image_file(kernel_1(VIDEO, *wanted))).screen == screen
    assert load(image_file(kernel_1(0, *wanted))).screen is None
    text = screen is None or not wanted[3]
    assert load(image_file(kernel_2(*wanted[1:]))).screen == (None if text else screen)
    assert load(image_file(kernel_2())).screen is None


def test_a_header_that_is_cut_off(image_file: Write) -> None:
    whole = kernel_1(VIDEO, 0, 800, 600, 32)
    for size in range(len(whole)):
        try:
            load(image_file(whole[:size]))
        except LoadError as error:
            assert "\n" not in str(error)


@pytest.mark.kvm
def test_what_vesa_says_of_it(image_file: Write) -> None:
    """Version 1 has it beside the framebuffer's own fields, and older kernels look nowhere else."""
    with kvmdbg.open(image_file(kernel_1(VIDEO, 0, 800, 600, 16)), serial="none") as dbg:
        info = int(dbg.regs.ebx)
        flags = int.from_bytes(dbg.physical.read(info, 4), "little")
        control, mode, number, *interface = struct.unpack("<IIHHHH", dbg.physical.read(info + 72, 16))
        assert flags & 0x1800 == 0x1800
        assert (number, interface) == (0x4114, [0, 0, 0])
        pitch, width, height = struct.unpack("<HHH", dbg.physical.read(mode + 16, 6))
        assert (pitch, width, height, dbg.physical.read(mode + 25, 1)[0]) == (1600, 800, 600, 16)
        assert dbg.physical.read(mode + 31, 6) == bytes((5, 11, 6, 5, 5, 0))
        assert dbg.physical.read(mode + 40, 4) == dbg.physical.read(info + 88, 4)
        signature, version, name, _, modes, blocks = struct.unpack("<4sHIIIH", dbg.physical.read(control, 20))
        assert (signature, version, blocks) == (b"VESA", 0x300, 256)
        assert dbg.physical.read((name >> 16 << 4) + (name & 0xFFFF), 7) == b"kvmdbg\0"
        assert dbg.physical.read((modes >> 16 << 4) + (modes & 0xFFFF), 4) == b"\x14\x01\xff\xff"
    with kvmdbg.open(image_file(kernel_1(VIDEO, 1, 80, 25, 0)), serial="none") as dbg:
        assert dbg.physical.read(int(dbg.regs.ebx), 4)[1] & 0x18 == 0x10, "text is no mode of VESA's"


@pytest.mark.kvm
@pytest.mark.parametrize("protocol", [1, 2])
@pytest.mark.parametrize(("bits", "red"), [(32, 0xFF0000), (16, 0xF800)])
def test_it_draws_there(tmp_path: Path, image_file: Write, protocol: int, bits: int, red: int) -> None:
    draw = DRAW.format(place=bits // 8 * 7, value=red)
    if protocol == 1:
        data = kernel_1(VIDEO, 0, 640, 480, bits, code=code(tmp_path, DRAW_1 + draw))
    else:
        data = kernel_2(640, 480, bits, code=code(tmp_path, DRAW_2 + draw))
    with kvmdbg.open(image_file(data), serial="none") as dbg:
        for _ in range(2):
            shown = dbg.picture()
            assert (shown.width, shown.height, shown.rgb(1)[7]) == (640, 480, BLACK)
            assert isinstance(dbg.run(timeout=20 * TIME_SCALE), stops.HaltedStop)
            assert dbg.regs.ecx == 480
            assert dbg.picture().rgb(1)[6:9] == [BLACK, RED, BLACK]
            dbg.restart()
