"""A guest in long mode on the software engine: some code at CPL 0 or 3, and the exception that it ends with."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import kvmdbg
from kvmdbg.record import record
from kvmdbg.x86.asm import assemble

BOOT, CODE, TABLES, GDT, IDT, TSS, HANDLERS, STACK, PML4 = (
    0x1000, 0x2000, 0x3000, 0x3100, 0x4000, 0x5000, 0x6000, 0x7800, 0x10000
)  # fmt: skip
GOES = """
    lgdt [0x3000]; lidt [0x3010]; mov eax, 0x10000; mov cr3, rax; mov ax, 0x30; ltr ax
    push {ss}; push 0x7800; push {flags}; push {cs}; push 0x2000; iretq
"""
DESCRIPTORS = (0, 0xAF9B000000FFFF, 0xCF93000000FFFF, 0xCFFB000000FFFF, 0xCFF3000000FFFF, 0xAFFB000000FFFF)
"""64-bit code and data of CPL 0 (8, 0x10); 32-bit code, data and 64-bit code of CPL 3 (0x18, 0x20, 0x28)."""
CODE_OF = {(0, 64): (8, 0x10), (3, 64): (0x2B, 0x23), (3, 32): (0x1B, 0x23)}
MAP_BASE, MAP = 0x68, b"\xff" * 16 + b"\xfe\xff"
WITH_CODE = frozenset((8, 10, 11, 12, 13, 14, 17))
DONE = b"\xeb\xfe"
SHOWN = ("rax", "rbx", "rcx", "rdx", "rsi", "rsp", "r11", "rflags", "cr8")


@record
class Ended:
    """``vector`` is None where nothing was raised; ``offset`` is from the code to the frame's instruction pointer."""

    vector: int | None
    offset: int
    error_code: int | None
    cs: int
    registers: dict[str, int]


def run(
    folder: Path,
    code: str | bytes,
    *,
    cpl: int = 0,
    bits: int = 64,
    flags: int = 2,
    step: int = 0,
    instructions: int = 200,
    setup: Callable[[kvmdbg.Session], object] = lambda dbg: None,
) -> Ended:
    """By steps of so many instructions, or a run. Handlers halt. The bit map of ports in the TSS, which ends with port
    0x8f, lets all code use 0x80."""
    path = folder / "guest.bin"
    cs, ss = CODE_OF[cpl, bits]
    path.write_bytes(assemble(GOES.format(cs=cs, ss=ss, flags=flags), BOOT, 64))
    with kvmdbg.open(
        path, format="flat", load=BOOT, mode="long", memory=0x400000, engine="soft", serial="none", irqchip="none",
        registers={"rsp": STACK},
    ) as dbg:  # fmt: skip
        made = assemble(code, CODE, bits) if isinstance(code, str) else code
        _lay(dbg.memory.write, made)
        setup(dbg)
        if step:
            for _ in range(40):
                if dbg.step(step).reason == "halted":
                    break
        else:
            dbg.run(instructions=instructions)
        return _ended(dbg)


def _lay(write: Callable[[int, bytes], object], code: bytes) -> None:
    write(CODE, code + DONE)
    write(GDT, struct.pack("<8Q", *DESCRIPTORS, TSS << 16 | MAP_BASE + len(MAP) - 1 | 0x89 << 40, 0))
    write(TABLES, struct.pack("<HQ6xHQ", 63, GDT, 32 * 16 - 1, IDT))
    for vector in range(32):
        write(IDT + 16 * vector, struct.pack("<HHBBHQ", HANDLERS + 16 * vector, 8, 0, 0x8E, 0, 0))
        write(HANDLERS + 16 * vector, b"\xf4")
    write(TSS, struct.pack("<IQ", 0, 0x7000).ljust(0x66, b"\0") + struct.pack("<H", MAP_BASE) + MAP)
    write(PML4, struct.pack("<Q", PML4 + 0x1007))
    write(PML4 + 0x1000, struct.pack("<Q", PML4 + 0x2007))
    write(PML4 + 0x2000, struct.pack("<QQ", 0x87, 0x200087))


def _ended(dbg: kvmdbg.Session) -> Ended:
    regs = dbg.regs
    registers = {
        name: getattr(regs, name) for name in ("rax", "rbx", "rcx", "rdx", "rsi", "rsp", "r11", "rflags", "cr8")
    }
    at = regs.rip - 1 - HANDLERS
    if not 0 <= at < 32 * 16:
        return Ended(None, regs.rip - CODE, None, regs.cs, registers)
    vector = at // 16
    frame = struct.unpack("<6Q", dbg.memory.read(regs.rsp, 48))
    error_code, frame = (frame[0], frame[1:]) if vector in WITH_CODE else (None, frame)
    return Ended(vector, frame[0] - CODE, error_code, frame[1], registers)
