"""Handlers that a descriptor table names (Intel SDM volume 3A, figures 6-2 and 6-8; 20.1.4 for real mode)."""

from __future__ import annotations

import pytest

from kvmdbg.errors import MemoryFault
from kvmdbg.x86 import gates
from kvmdbg.x86.modes import COMPAT16, COMPAT32, LONG64, PROT16, PROT32, REAL, V86, Mode
from tests.x86.states import Ram, gate


@pytest.mark.parametrize(
    ("mode", "size"), [(REAL, 4), (V86, 4), (PROT16, 8), (PROT32, 8), (COMPAT16, 16), (COMPAT32, 16), (LONG64, 16)]
)
def test_bytes_of_an_entry(mode: Mode, size: int) -> None:
    assert gates.gate_size(mode) == size


def test_real_mode() -> None:
    ram = Ram()
    ram.put(0x100, bytes.fromhex("3412 00f0  ffff 0000  0000 0010"))
    assert gates.handlers(ram.read, 0x100, 11, REAL) == {0: 0xF1234, 1: 0xFFFF, 2: 0x10000}
    assert gates.handlers(ram.read, 0x100, 10, REAL) == {0: 0xF1234, 1: 0xFFFF}
    assert len(gates.handlers(ram.read, 0, 0xFFFF, REAL)) == 256


def test_protected_mode() -> None:
    ram = Ram()
    table = [gate(8, 0x12345678), gate(8, 0x1000, 15), gate(8, 0x2000, 5), gate(8, 0x3000, 6),
             gate(8, 0x4000, present=0), gate(8, 0x5000, 12), gate(8, 0xFFFFFFFF, dpl=3)]  # fmt: skip
    ram.put(0x200, b"".join(table))
    assert gates.handlers(ram.read, 0x200, len(table) * 8 - 1, PROT32) == {0: 0x12345678, 1: 0x1000, 6: 0xFFFFFFFF}


def test_long_mode() -> None:
    ram = Ram()
    table = [gate(8, 0xFFFFFFFF81234567, wide=True), bytes(16), gate(8, 0x1000, 15, ist=3, wide=True)]
    ram.put(0x200, b"".join(table))
    for mode in (LONG64, COMPAT32):
        assert gates.handlers(ram.read, 0x200, 47, mode) == {0: 0xFFFFFFFF81234567, 2: 0x1000}
    assert gates.handlers(ram.read, 0x200, 46, LONG64) == {0: 0xFFFFFFFF81234567}


def test_entries_without_repeats() -> None:
    ram = Ram()
    ram.put(0x200, gate(8, 0x1000) + gate(8, 0x2000) + gate(8, 0x1000))
    assert gates.handler_entries(ram.read, 0x200, 23, PROT32) == (0x1000, 0x2000)


def test_table_that_cannot_be_read() -> None:
    def read(linear: int, size: int) -> bytes:
        raise MemoryFault(linear)

    assert gates.handlers(read, 0, 0x7FF, PROT32) == {}
