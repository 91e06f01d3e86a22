"""The accessed bit in the descriptors of code and stack, which far jumps, calls and returns set as moves do."""

from __future__ import annotations

from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.build import from_assembly

TABLE = 0x5000
CODE, DATA, USER_CODE, USER_DATA = 0x00CF9A000000FFFF, 0x00CF92000000FFFF, 0x00CFFA000000FFFF, 0x00CFF2000000FFFF
LGDT = "mov word ptr [0x4000], 47; mov dword ptr [0x4002], 0x5000; lgdt [0x4000]; mov esp, 0x7000\n"
OTHER = {
    "jmp": "jmp 0x18, offset there",
    "call": "call 0x18, offset there",
    "retf": "push 0x18; push offset there; retf",
    "iret": "pushfd; push 0x18; push offset there; iretd",
}
OUTER = {
    "retf": "push 0x2b; push 0x7000; push 0x23; push offset there; retf",
    "iret": "push 0x2b; push 0x7000; pushfd; push 0x23; push offset there; iretd",
}


def bits_after(folder: Path, asm: str, *, steps: bool) -> list[int]:
    """The accessed bit of each descriptor where the guest ends."""
    from_assembly(f"{LGDT}{asm}\nthere: hlt\n", folder, mode="prot")
    path = folder / "guest.bin"
    with kvmdbg.open(path, engine="soft", mode="prot", serial="none", irqchip="none", machine="bare") as dbg:
        table = (0, CODE, DATA, CODE, USER_CODE, USER_DATA)
        dbg.memory.write(TABLE, b"".join(one.to_bytes(8, "little") for one in table))
        stop = dbg.step() if steps else dbg.run(timeout=60)
        while stop.reason == "step":
            stop = dbg.step()
        assert stop.reason in ("halted", "shutdown")  # HLT of a user is a #GP, for which there is no gate
        return [dbg.memory.read(TABLE + 8 * number + 5, 1)[0] & 1 for number in range(6)]


@pytest.mark.parametrize("steps", [False, True])
@pytest.mark.parametrize("asm", OTHER.values(), ids=OTHER)
def test_code_that_is_gone_to(tmp_path: Path, asm: str, steps: bool) -> None:
    assert bits_after(tmp_path, asm, steps=steps) == [0, 0, 0, 1, 0, 0]


@pytest.mark.parametrize("steps", [False, True])
@pytest.mark.parametrize("asm", OUTER.values(), ids=OUTER)
def test_code_and_stack_of_a_user(tmp_path: Path, asm: str, steps: bool) -> None:
    assert bits_after(tmp_path, asm, steps=steps) == [0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize("steps", [False, True])
def test_a_table_alone_marks_nothing(tmp_path: Path, steps: bool) -> None:
    assert bits_after(tmp_path, "nop", steps=steps) == [0] * 6
