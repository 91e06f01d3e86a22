"""Accessed bits of code and stack segments do not depend on what ends unicorn's run."""

from __future__ import annotations

from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.build import from_assembly

TABLE, GATES = 0x5000, 0x5100
CODE, DATA, USER_CODE, USER_DATA = 0x00CF9A000000FFFF, 0x00CF92000000FFFF, 0x00CFFA000000FFFF, 0x00CFF2000000FFFF
DESCRIPTORS = (0, CODE, DATA, CODE, USER_CODE, USER_DATA)
TABLES = "mov word ptr [0x4000], 47; mov dword ptr [0x4002], 0x5000; lgdt [0x4000]; mov esp, 0x7000\n"
TABLES += "mov word ptr [0x4000], 0x17f; mov dword ptr [0x4002], 0x5100; lidt [0x4000]\n"
CASES = {
    "jump": "jmp 0x18, offset there; there: jmp 8, offset end",
    "call": "call 0x18, offset there; jmp end; there: retf",
    "retf": "push 0x18; push offset there; retf; there: jmp 8, offset end",
    "iretd": "pushfd; push 0x18; push offset there; iretd; there: jmp 8, offset end",
    "int": "mov word ptr [0x5180], offset there; mov dword ptr [0x5182], 0x8e000018\nint 0x10; jmp end; there: iretd",
    "user": "push 0x2b; push 0x7000; push 0x23; push offset there; retf; there: nop",
}


@pytest.mark.parametrize("asm", CASES.values(), ids=CASES)
def test_a_free_run_leaves_the_table_as_steps_do(tmp_path: Path, asm: str) -> None:
    from_assembly(f"{TABLES}{asm}\nend: hlt\n", tmp_path, mode="prot")
    path = tmp_path / "guest.bin"
    ends = []
    for steps in (False, True):
        with kvmdbg.open(path, engine="soft", mode="prot", serial="none", irqchip="none", machine="bare") as dbg:
            dbg.memory.write(TABLE, b"".join(one.to_bytes(8, "little") for one in DESCRIPTORS))
            stop = dbg.step() if steps else dbg.run(timeout=60)
            while stop.reason == "step":
                stop = dbg.step()
            assert stop.reason in ("halted", "shutdown")  # HLT of a user is a #GP, for which there is no gate
            ends.append(dbg.memory.read(TABLE, 8 * len(DESCRIPTORS)))
    assert ends[0] == ends[1]
    assert [ends[0][8 * number + 5] & 1 for number in (1, 3, 4)] == [0, 0, 0]  # else an interrupt, as int, sets one
