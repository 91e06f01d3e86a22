"""Near branches, in all their encodings and over any distance, on KVM and on the software engine."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

import kvmdbg

pytestmark = [pytest.mark.kvm, pytest.mark.kvm_alone]

HALT = b"\xf4"
SHORT = [bytes((one,)) for one in (*range(0x70, 0x80), *range(0xE0, 0xE4), 0xEB)]
NEAR = [b"\xe8", b"\xe9", *(bytes((0x0F, one)) for one in range(0x80, 0x90))]
BITS = {"real": 16, "prot": 32, "long": 64}
END = {"real": 0xFFF0, "prot": 0x1F0000, "long": 0x1F0000}


def branch(rng: Random, mode: str, at: int) -> bytes:
    """One at an offset of the code segment, to another offset in it."""
    prefix = rng.choice([b"", b"", b"\x67", b"\x2e", b"\x3e", *([b"\x66", b"\x66\x67"] if mode != "long" else [])])
    if rng.random() < 0.3:
        return prefix + rng.choice(SHORT) + rng.randbytes(1)
    code = prefix + rng.choice(NEAR)
    size = 4 if mode == "long" or (mode == "prot") != (0x66 in prefix) else 2
    to = rng.choice([*(rng.randrange(0x700, END[mode]) for _ in range(8)), 0, END[mode]])
    if mode == "prot":
        to = rng.choice([to, 0xFFFFFFF0])
    return code + (to - (at + len(code) + size) & (1 << 8 * size) - 1).to_bytes(size, "little")


@pytest.mark.parametrize("mode", BITS)
def test_a_branch_leads_to_the_same_place(tmp_path: Path, mode: str) -> None:
    (tmp_path / "guest.bin").write_bytes(HALT)
    rng = Random(f"branches {mode}")
    guests = [
        kvmdbg.open(
            tmp_path / "guest.bin", format="flat", load=0x500, mode=mode, engine=engine, serial="none", machine="bare",
            memory="2M",
        )
        for engine in ("kvm", "soft")
    ]  # fmt: skip
    for _ in range(250):
        base = rng.choice([0, 0x8000, 0x12340]) if mode == "real" else 0
        at = rng.randrange(0x1000, END[mode])
        code, flags, count = (
            branch(rng, mode, at),
            2 | rng.getrandbits(12) & 0x8D5,
            rng.choice([0, 1, 2, 0x10000, 0x10001]),
        )
        found = []
        for dbg in guests:
            if mode == "real":
                dbg.regs.cs = base >> 4
            dbg.regs.rip, dbg.regs.rsp, dbg.regs.rflags, dbg.regs.rcx = at, 0x400, flags, count
            dbg.physical.write(base + at, code)
            dbg.step()
            found.append((dbg.regs.cs, dbg.regs.rip, dbg.regs.rsp, dbg.regs.rcx, dbg.physical.read(0x3F8, 8)))
        assert found[0] == found[1], f"{code.hex()} at {base:#x}+{at:#x}, rflags {flags:#x}, rcx {count:#x}"
    for dbg in guests:
        dbg.close()
