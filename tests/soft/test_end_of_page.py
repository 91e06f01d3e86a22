"""Code that runs on into a page that is not there: what lies before it is done, and the fault is raised there."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.engine import stops
from kvmdbg.x86.asm import assemble
from tests.soft import long_mode

END = 0x200000
INC, MOV = b"\x48\xff\xc3", b"\x0f\x20\xc0"


def without_the_next(dbg: kvmdbg.Session, begin: int, code: bytes) -> None:
    dbg.memory.write(begin, code)
    dbg.memory.write(long_mode.PML4 + 0x2008, bytes(8))


def at_the_end(folder: Path, before: str, code: bytes, step: int) -> tuple[long_mode.Ended, int]:
    """How ``code`` ends at the end of the last page that is there, and where it begins; ``before`` is run first."""
    begin = END - len(code)
    ended = long_mode.run(
        folder, f"{before}; jmp {begin:#x}", step=step, setup=lambda dbg: without_the_next(dbg, begin, code)
    )
    return ended, begin


@pytest.mark.parametrize("step", [0, 1, 3])
@pytest.mark.parametrize("across", [0, 1, 2])
@pytest.mark.parametrize("held", [b"", MOV, MOV + INC + MOV], ids=["none", "one", "two"])
def test_a_page_that_is_not_mapped(tmp_path: Path, held: bytes, across: int, step: int) -> None:
    """Instructions that are held in what runs on there (MOV from CR0) are found as elsewhere."""
    code = INC * 9 + held + INC * 9
    last = END - 2 + across
    begin = last - len(code)
    ended = long_mode.run(
        tmp_path, f"xor ebx, ebx; jmp {begin:#x}", step=step, setup=lambda dbg: without_the_next(dbg, begin, code + INC)
    )
    assert (ended.vector, ended.offset, ended.error_code) == (14, last - long_mode.CODE, 0)
    assert ended.registers["rbx"] == len(code) // 3 - held.count(MOV)


@pytest.mark.parametrize("step", [0, 1, 3])
def test_cr2_is_what_it_was_until_then(tmp_path: Path, step: int) -> None:
    code = INC * 5 + b"\x0f\x20\xd1" + INC * 5  # mov rcx, cr2
    ended, _ = at_the_end(tmp_path, "mov eax, 0x1234; mov cr2, rax", code, step)
    assert ended.vector == 14 and ended.registers["rcx"] == 0x1234


@pytest.mark.parametrize("step", [0, 1, 3])
def test_what_a_cpu_refuses_there_is_refused(tmp_path: Path, step: int) -> None:
    ended, begin = at_the_end(tmp_path, "xor ecx, ecx", INC * 5 + b"\x0f\x00\xd9" + INC * 5, step)  # ltr cx
    assert (ended.vector, ended.offset) == (13, begin + 15 - long_mode.CODE)


@pytest.mark.parametrize("step", [0, 1, 3])
@pytest.mark.parametrize(("code", "at"), [(b"", END), (b"", END + 16), (INC * 5, END)])
def test_a_page_of_the_kernels(tmp_path: Path, code: bytes, at: int, step: int) -> None:
    begin = at - len(code)

    def setup(dbg: kvmdbg.Session) -> None:
        dbg.memory.write(begin, code + INC * 3)
        dbg.memory.write(long_mode.PML4 + 0x2008, (END | 0x83).to_bytes(8, "little"))

    ended = long_mode.run(tmp_path, f"xor ebx, ebx; jmp {begin:#x}", cpl=3, step=step, setup=setup)
    assert (ended.vector, ended.offset, ended.error_code) == (14, at - long_mode.CODE, 5)
    assert ended.registers["rbx"] == len(code) // 3


@pytest.mark.parametrize("step", [0, 1, 3])
def test_a_descriptor_there_is_no_code(tmp_path: Path, step: int) -> None:
    table, begin = END - 0x100, END - 0x200
    code = assemble("lgdt [0x3020]; mov ecx, 0x100; mov ds, cx; hlt", begin, 64)

    def setup(dbg: kvmdbg.Session) -> None:
        dbg.memory.write(table, struct.pack("<6Q", *long_mode.DESCRIPTORS))
        dbg.memory.write(long_mode.TABLES + 0x20, struct.pack("<HQ", 0xFFFF, table))
        without_the_next(dbg, begin, code)

    ended = long_mode.run(tmp_path, f"jmp {begin:#x}", step=step, setup=setup)
    assert (ended.vector, ended.offset, ended.error_code) == (
        14,
        begin + code.index(b"\x66\x8e\xd9") - long_mode.CODE,
        0,
    )


@pytest.mark.parametrize("code", [b"", INC, INC * 5])
@pytest.mark.parametrize("fetch", [False, True])
def test_what_has_faulted_is_not_counted(tmp_path: Path, code: bytes, fetch: bool) -> None:
    last = b"" if fetch else b"\x8a\x05\x08\0\0\0"  # mov al, [rip + 8]
    begin = END - len(code + last)

    def setup(dbg: kvmdbg.Session) -> None:
        without_the_next(dbg, begin, code + last)
        dbg.memory.write(long_mode.HANDLERS + 14 * 16, b"\x48\xff\xc2" * 3)  # inc rdx

    ends = [
        long_mode.run(tmp_path, f"xor edx, edx; jmp {begin:#x}", instructions=13 + count, setup=setup)
        for count in range(len(code) // 3 + 4)
    ]
    offsets = [2, *range(begin - long_mode.CODE, END - len(last) - long_mode.CODE + 1, 3)]
    assert [one.offset for one in ends] == [*offsets, offsets[-1], offsets[-1]]
    assert [one.vector for one in ends] == [None] * len(offsets) + [14, 14]
    assert [one.registers["rdx"] for one in ends] == [0] * len(offsets) + [1, 2]


def test_the_end_of_memory(tmp_path: Path) -> None:
    """There is nothing to be fetched behind it, but nothing goes there either."""
    with kvmdbg.open(
        _written(tmp_path, b"\x90\xf4"), format="flat", load=0x7FF00, mode="prot", memory=0x80000,
        engine="soft", serial="none", irqchip="none",
    ) as dbg:  # fmt: skip
        assert dbg.run(instructions=100).pc == 0x7FF00 + 200
        assert isinstance(dbg.run(timeout=20), stops.HaltedStop)
        assert dbg.regs.rip == 0x80000


@pytest.mark.parametrize("step", [0, 1, 3])
def test_the_end_of_memory_and_of_the_segment(tmp_path: Path, step: int) -> None:
    """There #GP comes first."""
    with kvmdbg.open(
        _written(tmp_path, b"\x90\x90"), format="flat", load=0x7FF00, entry="0x7000:0xff00", mode="real",
        memory=0x80000, engine="soft", serial="none", irqchip="none",
    ) as dbg:  # fmt: skip
        dbg.regs.rsp = 0x6000
        dbg.memory.write(0x34, (0x5000).to_bytes(4, "little"))
        dbg.memory.write(0x5000, b"\xf4")
        for _ in range(200):
            if (dbg.step(step) if step else dbg.run(timeout=20)).reason == "halted":
                break
        assert dbg.regs.pc == 0x5001
        assert dbg.memory.read(dbg.regs.ss * 16 + 0x5FFA, 4) == b"\0\0\0\x70"


def _written(folder: Path, end: bytes) -> Path:
    (folder / "guest.bin").write_bytes(b"\x66\x90" * 127 + end)
    return folder / "guest.bin"
