"""Code that goes on behind its segment raises #GP on the software engine: unicorn goes on in what lies there."""

from __future__ import annotations

from pathlib import Path

import pytest

import kvmdbg

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
