"""Which instructions a step passes without traps at handlers' entries."""

from __future__ import annotations

import pytest

from kvmdbg.x86.plain_instructions import goes_to, raises_nothing, touches_port

PLAIN = (
    "90",  # nop
    "40",  # inc ax
    "01c8",  # add ax, cx
    "0504 00",  # add ax, 4
    "83c0 7f",
    "89d8",  # mov ax, bx
    "b83412",
    "66b8 78563412",
    "8d4702",  # lea ax, [bx+2]
    "d1e0",  # shl ax, 1
    "d1c0",  # rol ax, 1
    "f7d8",  # neg ax
    "f7e3",  # mul bx
    "fec0",
    "7402",
    "0f841000",
    "e2fe",
    "ebfe",
    "e90001",
    "e460",  # in al, 60h
    "ef",  # out dx, ax
    "0fb6c3",  # movzx ax, bl
    "0f94c0",  # sete al
    "fa",  # cli
)
NOT_PLAIN = (
    "0107",  # add [bx], ax
    "8907",
    "8dc0",  # lea with a register: #UD
    "f7f3",  # div bx
    "f607 01",
    "f6c8 01",  # group 3, 1: not documented
    "d0f0",  # group 2, 6: not documented
    "50",  # push
    "c3",
    "cc",
    "cd10",
    "cf",
    "f4",
    "fb",  # sti: the next instruction belongs to it
    "8ed8",  # mov ds, ax
    "9d",
    "6667 90",
    "f390",  # pause
    "f090",
    "6674 02",  # jcc with another operand size may leave the segment
    "660f841000",
    "66eb00",
    "ffe0",  # jmp ax
    "ff07",
    "0f20c0",  # mov eax, cr0
    "0f0b",
    "0fb607",  # movzx ax, [bx]
    "6c",  # ins
    "a4",
    "d7",  # xlat
    "c8100000",
    "62",
    "d4 0a",  # aam: may divide by 0
    "9b",
    "d9c0",
)


def padded(code: str) -> bytes:
    return bytes.fromhex(code).ljust(16, b"\xcc")


@pytest.mark.parametrize("code", PLAIN)
def test_plain_ones(code: str) -> None:
    assert raises_nothing(padded(code), 0)


@pytest.mark.parametrize("code", NOT_PLAIN)
def test_others(code: str) -> None:
    assert not raises_nothing(padded(code), 0)


@pytest.mark.parametrize(
    ("code", "port"), [("e460", True), ("66ef", True), ("ec", True), ("90", False), ("ebfe", False)]
)
def test_ports(code: str, port: bool) -> None:
    assert touches_port(padded(code), 0) is port


@pytest.mark.parametrize(
    ("code", "rip", "bits", "to"),
    [
        ("90", 0x100, 16, 0x101),
        ("eb fe", 0x100, 16, 0x100),
        ("eb 80", 0x10, 16, 0xFF92),  # round the end of the segment
        ("eb 10", 0x10, 32, 0x22),
        ("e9 fdff", 0x100, 16, 0x100),
        ("e9 00010000", 0x100, 32, 0x205),
        ("90", 0xFFFF, 16, None),
        ("40", 0x100, 16, None),
        ("e2 00", 0x100, 16, None),
    ],
)
def test_where_a_jump_goes(code: str, rip: int, bits: int, to: int | None) -> None:
    assert goes_to(padded(code), 0, rip, bits) == to
