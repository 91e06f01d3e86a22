"""Tables and a stack made by hand: an entry's layout is that of arch/x86/include/asm/orc_types.h of each version."""

from __future__ import annotations

import struct

import pytest

from kvmdbg.debuginfo.orc import frame_by_orc
from kvmdbg.debuginfo.symbols import SymbolTable
from kvmdbg.errors import MemoryFault
from kvmdbg.machine.image import Symbol

IPS, ENTRIES, BANNER, TEXT, STACK = 0x1000, 0x2000, 0x3000, 0x10000, 0x8000
UNDEFINED, PREV_SP, DX, DI, BP, SP, R10, R13, BP_INDIRECT, SP_INDIRECT = range(10)
LAYOUTS = {"6.1.0": (0, 1, 2, 1 << 10), "6.3.1": (0, 1, 2, 1 << 11), "6.4.0": (2, 3, 4, 1 << 8)}


class Made:
    """Memory with the tables of one kernel."""

    def __init__(self, version: str = "6.1.0") -> None:
        self.bytes = bytearray(0x20000)
        self.call, self.regs, self.partial, self.end = LAYOUTS[version]
        self.symbols = SymbolTable()
        self.count = 0
        self.put(BANNER, f"Linux version {version}-test (x) ".encode())

    def put(self, at: int, data: bytes) -> None:
        self.bytes[at : at + len(data)] = data

    def read(self, address: int, size: int) -> bytes:
        if address + size > len(self.bytes):
            raise MemoryFault(address, "read", "linear", "not mapped")
        return bytes(self.bytes[address : address + size])

    def entry(
        self, at: int, sp_offset: int, sp_reg: int, kind: int, bp_offset: int = 0, bp_reg: int = 0, flags: int = 0
    ) -> None:
        place = IPS + 4 * self.count
        self.put(place, struct.pack("<i", TEXT + at - place))
        self.put(
            ENTRIES + 6 * self.count,
            struct.pack("<hhH", sp_offset, bp_offset, sp_reg | bp_reg << 4 | kind << 8 | flags),
        )
        self.count += 1
        self.symbols = SymbolTable(
            [
                Symbol("__start_orc_unwind_ip", IPS),
                Symbol("__stop_orc_unwind_ip", IPS + 4 * self.count),
                Symbol("__start_orc_unwind", ENTRIES),
                Symbol("linux_banner", BANNER),
            ]
        )

    def caller(self, at: int, **regs: int) -> object:
        return frame_by_orc(self, self.symbols, TEXT + at, {"rsp": STACK, "rbp": STACK + 64, **regs})


@pytest.mark.parametrize("version", LAYOUTS)
def test_a_call(version: str) -> None:
    made = Made(version)
    made.entry(0, 8, SP, made.call)
    made.entry(4, 24, SP, made.call, -16, PREV_SP)
    made.put(STACK, struct.pack("<3Q", 0x11, 0x22, TEXT + 0x99))
    assert made.caller(3) == (0x11, {"rsp": STACK + 8, "rbp": STACK + 64}, False)
    assert made.caller(4) == (TEXT + 0x99, {"rsp": STACK + 24, "rbp": 0x22}, False)


@pytest.mark.parametrize("version", LAYOUTS)
def test_the_outermost_frame(version: str) -> None:
    made = Made(version)
    made.entry(0, 8, SP, made.call)
    if version == "6.4.0":
        made.entry(16, 0, UNDEFINED, 1)
    else:
        made.entry(16, 0, UNDEFINED, 0, flags=made.end)
    assert made.caller(16) == "this is the outermost frame"


@pytest.mark.parametrize(
    ("sp_reg", "offset", "regs", "expected"),
    [
        (SP_INDIRECT, 16, {}, STACK + 0x110),
        (BP, 16, {}, STACK + 80),
        (BP_INDIRECT, 8, {}, STACK + 0x200),
        (R10, 0, {"r10": STACK + 0x300}, STACK + 0x300),
        (DI, 0, {}, None),
        (UNDEFINED, 0, {}, None),
    ],
)
def test_where_the_stack_pointer_is_counted_from(
    sp_reg: int, offset: int, regs: dict[str, int], expected: int | None
) -> None:
    made = Made()
    made.entry(0, offset, sp_reg, made.call)
    made.put(STACK, struct.pack("<Q", STACK + 0x100))
    made.put(STACK + 72, struct.pack("<Q", STACK + 0x200))
    for at in (0x110, 80, 0x200, 0x300):
        made.put(STACK + at - 8, struct.pack("<Q", at) if at != 80 else made.read(STACK + 72, 8))
    found = made.caller(0, **regs)
    assert (found is None) == (expected is None)
    if expected is not None:
        assert isinstance(found, tuple) and found[1]["rsp"] == expected


def test_an_interrupted_function() -> None:
    """All registers were pushed, or only what the CPU pushes; what was interrupted stands at its next instruction."""
    made = Made()
    made.entry(0, 0, SP, made.regs)
    made.entry(8, 0, SP, made.partial)
    pushed = list(range(100, 121))
    pushed[16:21] = TEXT + 0x77, 0x10, 2, STACK + 0x400, 0x18
    made.put(STACK, struct.pack("<21Q", *pushed))
    assert made.caller(0) == (TEXT + 0x77, {"rsp": STACK + 0x400, "rbp": 104}, True)
    made.put(STACK, struct.pack("<5Q", TEXT + 0x55, 0x10, 2, STACK + 0x500, 0x18))
    assert made.caller(8) == (TEXT + 0x55, {"rsp": STACK + 0x500, "rbp": STACK + 64}, True)
    made.put(STACK + 8, struct.pack("<Q", 0x33))
    assert made.caller(8) == f"the kernel was entered from user code at {TEXT + 0x55:#x}"


def test_what_no_table_covers() -> None:
    made = Made()
    assert made.caller(0) is None  # no symbols
    made.entry(0x10, 8, SP, made.call)
    assert made.caller(0xF) is None
    assert made.caller(1 << 20) is None
    made.symbols.add([Symbol("__start_orc_unwind", 1 << 40, binding="global")])
    del made.bytes[IPS:]
    assert made.caller(0x10) is None  # not mapped yet
