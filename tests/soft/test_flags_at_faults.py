"""Flags in the frame of a fault that comes behind what made them."""

from __future__ import annotations

from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.build import from_assembly

FRAME = 0x6FFA


@pytest.mark.parametrize("fault", ["div cx", "ud2", "bound ax, [0x5000]", "int 0", "nop\ndiv cx"])
@pytest.mark.parametrize(
    "makes",
    [
        "cmp ax, bx",
        "mul bx",
        "stc\nsbb ax, 1",
        "neg ax",
        "shl bx, 13",
        "mov bx, 0x88\nadd bx, 1\nadd bx, 0x4f",
        "std",
        "xor ax, ax",
    ],
)
def test_a_free_run_and_steps_push_the_same(tmp_path: Path, makes: str, fault: str) -> None:
    """Unicorn, when it counts, has put them together already and makes them once more of what it has put them into."""
    vectors = "\n".join(f"mov word ptr [4 * {n}], offset fault" for n in (0, 5, 6))
    asm = f"{vectors}\nmov sp, 0x7000\nmov word ptr [0x5000], 9\nxor cx, cx\nmov bx, 5\n{makes}\n{fault}\nfault: hlt"
    from_assembly(asm, tmp_path)
    pushed = []
    for steps in (False, True):
        with kvmdbg.open(tmp_path / "guest.bin", engine="soft", serial="none", irqchip="none", machine="bare") as dbg:
            if steps:
                while dbg.regs.sp != FRAME:
                    dbg.step()
            else:
                assert dbg.run(timeout=60).reason == "halted"
            assert dbg.regs.sp == FRAME
            pushed.append(dbg.memory.read(FRAME + 4, 2))
    assert pushed[0] == pushed[1]


@pytest.mark.parametrize("operand", [0x10, 0x14, 0x3C, 0x80, 0x95])
def test_the_guest_s_own_step_pushes_the_flags_of_the_instruction(tmp_path: Path, operand: int) -> None:
    """What the flags are made of may look like flags: 0x14 like PF and AF."""
    asm = "mov word ptr [4], offset trap\nmov sp, 0x7000\nmov bx, 0x7786\npush 0x102\npopf\n"
    from_assembly(f"{asm}add bx, {operand}\nhlt\ntrap: hlt", tmp_path)
    with kvmdbg.open(tmp_path / "guest.bin", engine="soft", serial="none", irqchip="none", machine="bare") as dbg:
        assert dbg.run(timeout=60).reason == "halted"
        result = 0x7786 + operand
        even = (result & 0xFF).bit_count() % 2 == 0
        wanted = 0x102 | 4 * even | 0x10 * ((0x6 + (operand & 15)) > 15)
        assert dbg.regs.bx == result
        assert int.from_bytes(dbg.memory.read(FRAME + 4, 2), "little") == wanted
