"""The guest's own debug registers on the software engine (SDM volume 3B, 17.2 and 17.3)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.engine.stops import LimitStop
from kvmdbg.x86.asm import assemble

HANDLER = 0x5000
LOG = 0x6000
"""The handler counts at LOG, and puts down where it was called, EFLAGS there and DR6 behind it, 12 bytes a time."""
LOGS = """
    push eax; push ebx; mov ebx, [0x6000]; inc dword ptr [0x6000]; imul ebx, ebx, 12
    mov eax, [esp + 8]; mov [ebx + 0x6004], eax; mov eax, [esp + 16]; mov [ebx + 0x6008], eax
    mov eax, dr6; mov [ebx + 0x600c], eax; xor eax, eax; mov dr6, eax
    or dword ptr [esp + 16], 0x10000; pop ebx; pop eax; iretd
"""
DONE = b"\xeb\xfe"
"""A jump to itself."""
Way = Callable[[kvmdbg.Session], object]


def until_done(dbg: kvmdbg.Session, step: Callable[[], object]) -> None:
    while dbg.memory.read(dbg.regs.eip, 2) != DONE:
        step()


WAYS: list[Way] = [
    lambda dbg: dbg.run(instructions=1000),
    lambda dbg: until_done(dbg, dbg.step),
    lambda dbg: until_done(dbg, lambda: dbg.step(3)),
    lambda dbg: until_done(dbg, lambda: dbg.run(instructions=2)),
]
everywhere = pytest.mark.parametrize("way", WAYS, ids=["run", "steps", "strides", "counted"])


def hits(folder: Path, asm: str, way: Way) -> tuple[list[tuple[int, int, int]], kvmdbg.Session]:
    """Address, EFLAGS and DR6 of each #DB of code at 0x1000."""
    path = folder / "guest.bin"
    path.write_bytes(assemble(f"lidt [0x3000]; lgdt [0x3008]; {asm}", 0x1000, 32) + DONE)
    dbg = kvmdbg.open(
        path, format="flat", load=0x1000, mode="prot", memory=0x80000, engine="soft", serial="none", irqchip="none",
        registers={"rsp": 0x7000},
    )  # fmt: skip
    gate = struct.pack("<HHHH", HANDLER, 8, 0x8E00, 0)
    dbg.memory.write(0x2000, bytes(8) + gate)
    dbg.memory.write(0x2100, struct.pack("<QQQ", 0, 0xCF9B000000FFFF, 0xCF93000000FFFF))
    dbg.memory.write(0x3000, struct.pack("<HI2xHI", 15, 0x2000, 23, 0x2100))
    dbg.memory.write(HANDLER, assemble(LOGS, HANDLER, 32))
    way(dbg)
    count = int.from_bytes(dbg.memory.read(LOG, 4), "little")
    return [struct.unpack("<III", dbg.memory.read(LOG + 4 + 12 * n, 12)) for n in range(count)], dbg


def sets(number: int, address: str, dr7: int) -> str:
    return f"mov eax, {address}; mov dr{number}, eax; mov eax, {dr7:#x}; mov dr7, eax"


@everywhere
def test_an_execution_breakpoint_is_a_fault_before_it(tmp_path: Path, way: Way) -> None:
    """The handler's EFLAGS.RF has it go on there."""
    asm = f"{sets(2, 'there', 0x20)}; mov ecx, 3; there: inc edx; nop; loop there; xor eax, eax; mov dr7, eax"
    found, dbg = hits(tmp_path, asm, way)
    with dbg:
        assert [(dr6, flags & 0x10000) for _, flags, dr6 in found] == [(0xFFFF0FF4, 0)] * 3
        assert {dbg.memory.read(at, 1) for at, _, _ in found} == {b"\x42"}
        assert dbg.regs.edx == 3


@everywhere
def test_a_resume_flag_for_another_instruction_keeps_none_away(tmp_path: Path, way: Way) -> None:
    asm = (
        f"{sets(0, 'there', 2)}; pushfd; or dword ptr [esp], 0x10000; push 8; mov eax, back; push eax; iretd;"
        "back: jmp there; there: nop"
    )
    found, dbg = hits(tmp_path, asm, way)
    with dbg:
        assert [dr6 for _, _, dr6 in found] == [0xFFFF0FF1]


@everywhere
@pytest.mark.parametrize(
    ("access", "kind", "fires"),
    [
        ("mov [0x4000], ecx", 1, True), ("mov [0x4000], ecx", 3, True), ("mov eax, [0x4000]", 3, True),
        ("mov eax, [0x4000]", 1, False), ("mov [0x4003], cl", 1, True), ("mov [0x4004], ecx", 3, False),
        ("mov [0x3ffd], ecx", 3, True), ("mov [0x3ffc], ecx", 3, False), ("add [0x4002], cx", 1, True),
        ("mov esp, 0x4004; push ecx; mov esp, 0x7000", 1, True), ("mov edi, 0x4000; stosd", 1, True),
        ("mov esi, 0x4000; mov edi, 0x4800; movsb", 3, True), ("mov esi, 0x4000; mov dx, 0x80; outsb", 3, True),
    ],
)  # fmt: skip
def test_a_data_breakpoint_is_a_trap_behind_it(tmp_path: Path, way: Way, access: str, kind: int, fires: bool) -> None:
    asm = f"stc; {sets(1, '0x4000', 8 | kind << 20 | 3 << 22)}; {access}; behind: sbb ebx, ebx; xor eax, eax"
    found, dbg = hits(tmp_path, asm, way)
    with dbg:
        assert [dr6 for _, _, dr6 in found] == [0xFFFF0FF2] * fires
        carry = b"\x00" if "add" in access else b"\xff"
        assert dbg.registers.rbx.to_bytes(8, "little")[:1] == carry
        if "add" not in access and fires:
            assert found[0][1] & 1


@everywhere
def test_general_detect_keeps_code_from_them(tmp_path: Path, way: Way) -> None:
    found, dbg = hits(tmp_path, "mov eax, 0x2000; mov dr7, eax; mov ebx, dr7; mov ecx, dr7", way)
    with dbg:
        assert [(dbg.memory.read(at, 3), dr6) for at, _, dr6 in found] == [(b"\x0f\x21\xfb", 0xFFFF2FF0)]
        assert (dbg.regs.ebx, dbg.regs.ecx) == (0x400, 0x400)


@everywhere
def test_what_they_hold(tmp_path: Path, way: Way) -> None:
    asm = "mov eax, -1; mov dr6, eax; mov ebx, dr4; mov eax, 0xffffd000; mov dr7, eax; mov ecx, dr7"
    found, dbg = hits(tmp_path, asm, way)
    with dbg:
        assert found == []
        assert (dbg.regs.ebx, dbg.regs.ecx) == (0xFFFFEFFF, 0xFFFF0400)


def test_beside_the_debuggers_own(tmp_path: Path) -> None:
    """The debugger stops where both are, and the guest gets its #DB all the same."""
    stops = []

    def way(dbg: kvmdbg.Session) -> None:
        dbg.watch(0x4000, 4, "write")
        there = 0x1000 + dbg.memory.read(0x1000, 0x100).index(b"\x90" + DONE)
        dbg.break_at(hex(there), hardware=True)
        while not isinstance(stop := dbg.run(instructions=1000), LimitStop):
            stops.append(type(stop).__name__)

    both = sets(1, "0x4000", 2 | 8 | 1 << 20 | 3 << 22)
    asm = f"{both}; mov ebx, there; mov dr0, ebx; mov [0x4000], eax; nop; there: nop"
    found, dbg = hits(tmp_path, asm, way)
    with dbg:
        assert [dr6 & 15 for _, _, dr6 in found] == [2, 1]
        assert stops == ["WatchpointStop", "BreakpointStop", "BreakpointStop"]  # the handler goes back to it
