"""#GP of SSE's operands that are not aligned to 16 bytes, on the software engine (SDM volume 2A, table 2-21)."""

from __future__ import annotations

from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.x86.asm import assemble
from tests.soft.long_mode import CODE, run

START, DATA = b"\x90\xbb\x05\0\0\0", CODE + 0x100
"""NOP, MOV EBX."""


def guest(instruction: str, address: int) -> bytes:
    """With ``{0}`` in it for this address, relative to RIP, and UD2 behind."""
    made = assemble(instruction.format("[rip + 0x11111111]"), 0, 64)
    distance = address - (CODE + len(START) + len(made))
    return START + made.replace(b"\x11" * 4, distance.to_bytes(4, "little", signed=True)) + b"\x0f\x0b"


def on(dbg: kvmdbg.Session) -> None:
    dbg.regs.cr4 |= 0x200


@pytest.mark.parametrize("step", [False, True])
@pytest.mark.parametrize("cpl", [0, 3])
@pytest.mark.parametrize(
    "code",
    ["movaps xmm1, xmmword ptr {0}", "movdqa xmmword ptr {0}, xmm1", "pxor xmm9, xmmword ptr {0}",
     "pshufd xmm1, xmmword ptr {0}, 5", "movntps xmmword ptr {0}, xmm1"],
)  # fmt: skip
@pytest.mark.parametrize(("off", "vector"), [(1, 13), (8, 13), (0, 6), (16, 6)])
def test_it_is_raised_where_the_code_has_the_address(
    tmp_path: Path, code: str, off: int, vector: int, cpl: int, step: bool
) -> None:
    ended = run(tmp_path, guest(code, DATA - off), cpl=cpl, step=step, setup=on)
    assert ended.vector == vector
    assert (ended.offset == len(START)) == (vector == 13)
    assert ended.error_code == (0 if vector == 13 else None)


@pytest.mark.parametrize("step", [False, True])
@pytest.mark.parametrize(
    "code",
    ["movups xmm1, xmmword ptr {0}", "movdqu xmmword ptr {0}, xmm1", "movq xmm1, qword ptr {0}",
     "addss xmm1, dword ptr {0}", "pand mm1, qword ptr {0}", "cvtps2pd xmm1, qword ptr {0}"],
)  # fmt: skip
def test_others_need_not_be_aligned(tmp_path: Path, code: str, step: bool) -> None:
    ended = run(tmp_path, guest(code, DATA - 1), step=step, setup=on)
    assert (ended.vector, ended.offset > len(START)) == (6, True)


@pytest.mark.parametrize(("cr0", "cr4", "vector"), [(8, 0x200, 7), (4, 0x200, 6), (0, 0, 6)])
def test_sse_that_is_off_comes_before(tmp_path: Path, cr0: int, cr4: int, vector: int) -> None:
    def lay(dbg: kvmdbg.Session) -> None:
        dbg.regs.cr4 = int(dbg.regs.cr4) & ~0x200 | cr4
        dbg.regs.cr0 = int(dbg.regs.cr0) | cr0

    ended = run(tmp_path, guest("movaps xmm1, xmmword ptr {0}", DATA - 1), setup=lay)
    assert (ended.vector, ended.offset) == (vector, len(START))
