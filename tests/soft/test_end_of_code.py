"""Code that goes on behind its segment raises #GP on the software engine: unicorn goes on in what lies there."""

from __future__ import annotations

from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.x86.asm import assemble

HANDLER, LAST = 0x3000, 0xFFFF
GP, NONE = 13, None


@pytest.mark.parametrize("step", [False, True])
@pytest.mark.parametrize("selector", [0, 0x1000])
@pytest.mark.parametrize(
    ("at", "code", "vector", "ip", "eax"),
    [
        (LAST, b"\x40\x40\xf4", GP, 0x0000, 1),  # inc ax
        (LAST - 1, b"\xb8\x07\x00\xf4", GP, LAST - 1, 0),  # mov ax, 7
        (LAST - 2, b"\xb8\x07\x00\xf4", GP, 0x0000, 7),
        (LAST - 40, b"\x40" * 41 + b"\xf4", GP, 0x0000, 41),
        (LAST - 1, b"\x40\xf4", NONE, LAST + 1, 1),  # the last byte is hlt
        (LAST - 2, b"\x40\xeb\xf0", NONE, LAST - 14, 1),  # it is a jump back
    ],
)
def test_the_end_of_real_modes_segments(
    tmp_path: Path, at: int, code: bytes, vector: int | None, ip: int, eax: int, selector: int, step: bool
) -> None:
    image = tmp_path / "guest.bin"
    image.write_bytes(b"\xea" + at.to_bytes(2, "little") + selector.to_bytes(2, "little"))
    with kvmdbg.open(
        image, format="flat", load=0x2000, engine="soft", serial="none", irqchip="none", machine="bare",
        registers={"rsp": 0x7000},
    ) as dbg:  # fmt: skip
        dbg.memory.write(4 * GP, HANDLER.to_bytes(4, "little"))
        dbg.memory.write(HANDLER, b"\xf4")
        dbg.memory.write(16 * selector + LAST - 14 - 1, b"\xf4")
        dbg.memory.write(16 * selector + at, code)
        if step:
            while dbg.regs.rip > LAST or dbg.memory.read(dbg.regs.pc, 1) != b"\xf4":
                dbg.step()
            dbg.step()
        else:
            dbg.run(timeout=30)
        assert dbg.regs.eax == eax
        if vector is None:
            assert (dbg.regs.cs, dbg.regs.rip) == (selector, ip)
        else:
            assert dbg.regs.rip == HANDLER + 1
            assert dbg.memory.read(0x7000 - 6, 4) == ip.to_bytes(2, "little") + selector.to_bytes(2, "little")


@pytest.mark.parametrize("step", [False, True])
@pytest.mark.parametrize(
    ("code", "offset"),
    [
        ("jmp 0x3000", 0),
        ("jmp 0x2000", 0),
        ("jmp 0x1ffe", NONE),
        ("call 0x3000", 0),
        ("call 0x1ffe", NONE),
        ("xor ecx, ecx; jne 0x3000", NONE),
        ("xor ecx, ecx; je 0x3000", 2),
        ("stc; jb 0x2000", 1),
        ("add cl, cl; loop 0x2000", 2),
    ],
)
def test_a_jump_behind_it_raises_gp_where_it_is(tmp_path: Path, code: str, offset: int | None, step: bool) -> None:
    start = b"\xea" + (0x1F80).to_bytes(4, "little") + b"\x18\0"  # to a code segment of 8 KiB
    image = tmp_path / "guest.bin"
    image.write_bytes(assemble("lgdt [0x1800]; lidt [0x1808]", 0x1000, 32) + start)
    with kvmdbg.open(
        image, format="flat", load=0x1000, mode="prot", memory=0x80000, engine="soft", serial="none", irqchip="none",
        registers={"rsp": 0x7000, "rcx": 5},
    ) as dbg:  # fmt: skip
        gdt = (0, 0xCF9B000000FFFF, 0xCF93000000FFFF, 0x409B0000001FFF)
        dbg.memory.write(0x1900, b"".join(one.to_bytes(8, "little") for one in gdt))
        dbg.memory.write(0x1A00 + 8 * GP, (HANDLER | 8 << 16 | 0x8E00 << 32).to_bytes(8, "little"))
        dbg.memory.write(0x1800, b"\x1f\0\0\x19\0\0\0\0\xff\0\0\x1a\0\0")
        dbg.memory.write(0x1F80, assemble(code, 0x1F80, 32) + b"\xf4")
        dbg.memory.write(0x1FFE, b"\xf4")
        dbg.memory.write(HANDLER, b"\xf4")
        if step:
            while dbg.memory.read(dbg.regs.pc, 1) != b"\xf4":
                dbg.step()
            dbg.step()
        else:
            dbg.run(timeout=30)
        assert (dbg.regs.rip == HANDLER + 1) == (offset is not None)
        if offset is not None:
            frame = (0, 0x1F80 + offset, 0x18)
            assert dbg.memory.read(0x7000 - 16, 12) == b"".join(one.to_bytes(4, "little") for one in frame)


@pytest.mark.parametrize("branch", ["66e8", "66e9", "660f84"])
def test_a_branch_of_32_bits_by_more_than_half_a_segment(tmp_path: Path, branch: str) -> None:
    """As code for real mode by gcc has it, that of SeaBIOS."""
    image = tmp_path / "guest.bin"
    opcode = bytes.fromhex(branch)
    behind = 0xF000 + 2 + len(opcode) + 4
    code = b"\x31\xc0" + opcode + (0x2000 - behind & 0xFFFFFFFF).to_bytes(4, "little")
    image.write_bytes(code)
    with kvmdbg.open(
        image, format="flat", load=0xF000, engine="soft", serial="none", machine="bare", registers={"rsp": 0x7000}
    ) as dbg:
        dbg.memory.write(0x2000, b"\xf4")
        dbg.memory.write(4 * GP, HANDLER.to_bytes(4, "little"))
        dbg.memory.write(HANDLER, b"\xf4")
        assert dbg.disassemble(0xF002, 1)[0].operands == "0x2000"
        dbg.run(timeout=30)
        assert dbg.regs.pc == 0x2001
