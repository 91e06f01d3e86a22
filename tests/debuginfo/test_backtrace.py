"""Frames by frame pointers, on memory and registers that are only in this file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kvmdbg.debuginfo.backtrace import FARTHEST, NAMES_64, StoppedCpu, backtrace, call_frame_address, innermost
from kvmdbg.debuginfo.files import DebugFiles
from kvmdbg.errors import MemoryFault
from kvmdbg.machine.image import Entry, Image
from kvmdbg.x86.modes import LONG64, PROT16, PROT32, REAL, V86, Mode

SIZE = 0x20000


class Memory:
    def __init__(self) -> None:
        self.data = bytearray(SIZE)

    def read(self, address: int, size: int) -> bytes:
        if address + size > SIZE:
            raise MemoryFault(address, "read", "linear")
        return bytes(self.data[address : address + size])

    def put(self, address: int, *words: int, size: int) -> None:
        for number, word in enumerate(words):
            self.data[address + number * size : address + (number + 1) * size] = word.to_bytes(size, "little")


class Registers:
    def __init__(self, **values: int) -> None:
        self.values = dict.fromkeys(NAMES_64, 0) | {"ss_base": 0, "cs_base": 0} | values

    def get(self, name: str) -> int:
        return self.values[name]

    def general(self) -> dict[str, int]:
        return {name: self.values[name] for name in NAMES_64}


@dataclass
class Cpu:
    mode: Mode
    pc: int
    registers: Registers
    memory: Memory = field(default_factory=Memory)


@pytest.fixture
def files(tmp_path: Path) -> DebugFiles:
    (tmp_path / "flat.bin").write_bytes(b"\x90")
    return DebugFiles(Image(str(tmp_path / "flat.bin"), "flat", [], "real", Entry(None, 0)), lambda: None)


def described(cpu: StoppedCpu, files: DebugFiles, most: int = 100) -> tuple[list[tuple[int, int]], str]:
    found = backtrace(cpu, files, most)
    return [(frame.pc, frame.sp) for frame in found.frames], found.end


@pytest.mark.parametrize(("mode", "size"), [(LONG64, 8), (PROT32, 4), (PROT16, 2), (REAL, 2), (V86, 2)])
def test_each_mode_has_its_own_words(files: DebugFiles, mode: Mode, size: int) -> None:
    cpu = Cpu(mode, 0x1010, Registers(rsp=0x8000, rbp=0x8010))
    cpu.memory.put(0x8010, 0x8040, 0x1100, size=size)
    cpu.memory.put(0x8040, 0, 0x1200, size=size)
    frames = [(0x1010, 0x8000), (0x1100, 0x8010 + 2 * size), (0x1200, 0x8040 + 2 * size)]
    assert described(cpu, files) == (frames, "the frame pointer is 0")
    assert [frame.how for frame in backtrace(cpu, files).frames] == ["here", "frame pointer", "frame pointer"]


def test_bases_of_segments_count_where_there_are_any(files: DebugFiles) -> None:
    cpu = Cpu(REAL, 0x11010, Registers(rsp=0x8000, rbp=0x8010, ss_base=0x4000, cs_base=0x11000))
    cpu.memory.put(0xC010, 0, 0x80, size=2)
    assert described(cpu, files)[0] == [(0x11010, 0xC000), (0x11080, 0xC014)]
    cpu = Cpu(LONG64, 0x1010, Registers(rsp=0x8000, rbp=0x8010, ss_base=0x4000, cs_base=0x11000))
    cpu.memory.put(0x8010, 0, 0x1100, size=8)
    assert described(cpu, files)[0] == [(0x1010, 0x8000), (0x1100, 0x8020)]


def test_upper_halves_of_registers_do_not_count_in_narrower_modes(files: DebugFiles) -> None:
    cpu = Cpu(PROT32, 0x1010, Registers(rsp=0xAAAA_0000_8000, rbp=0xBBBB_0000_8010))
    cpu.memory.put(0x8010, 0, 0x1100, size=4)
    assert innermost(cpu).sp == 0x8000
    assert described(cpu, files)[0] == [(0x1010, 0x8000), (0x1100, 0x8018)]


def test_a_caller_has_only_the_registers_that_calls_keep(files: DebugFiles) -> None:
    cpu = Cpu(LONG64, 0x1010, Registers(rsp=0x8000, rbp=0x8010, rax=1, rbx=2, r15=3, rsi=4))
    cpu.memory.put(0x8010, 0x9000, 0x1100, size=8)
    here, caller = backtrace(cpu, files, 2).frames
    assert here.exact and here.place == 0x1010 and here.regs["rax"] == 1 and "rip" not in here.regs
    assert not caller.exact and caller.place == 0x10FF
    assert caller.regs == {"rbx": 2, "rbp": 0x9000, "rsp": 0x8020, "r12": 0, "r13": 0, "r14": 0, "r15": 3}
    cpu = Cpu(PROT32, 0x1010, Registers(rsp=0x8000, rbp=0x8010, rax=1, rbx=2, rsi=4, rdi=5))
    cpu.memory.put(0x8010, 0x9000, 0x1100, size=4)
    assert backtrace(cpu, files, 2).frames[1].regs == {"rbx": 2, "rbp": 0x9000, "rsp": 0x8018, "rsi": 4, "rdi": 5}


@pytest.mark.parametrize(
    ("pointer", "words", "end"),
    [
        (0x7FF8, (), "the frame pointer 0x7ff8 points outside of the stack"),
        (0x8000 + FARTHEST + 8, (), f"the frame pointer {0x8000 + FARTHEST + 8:#x} points outside of the stack"),
        (0x8000, (0x9000, 0), "the return address is 0"),
        (0x8000, (0x9000, SIZE), f"the return address {SIZE:#x} is not mapped"),
        (SIZE, (), f"the stack ends: cannot read linear address {SIZE:#x}"),
    ],
)
def test_ends(files: DebugFiles, pointer: int, words: tuple[int, ...], end: str) -> None:
    cpu = Cpu(LONG64, 0x1010, Registers(rsp=0x8000, rbp=pointer))
    cpu.memory.put(0x8000, *words, size=8)
    frames, found = described(cpu, files)
    assert frames == [(0x1010, 0x8000)] and found.startswith(end)


def test_the_farthest_frame_pointer_is_one(files: DebugFiles) -> None:
    cpu = Cpu(PROT32, 0x1010, Registers(rsp=0x100, rbp=0x100 + FARTHEST))
    assert described(cpu, files)[1].startswith("the stack ends")


def test_at_most_so_many(files: DebugFiles) -> None:
    cpu = Cpu(LONG64, 0x1010, Registers(rsp=0x8000, rbp=0x8000))
    for at in range(0x8000, 0xA000, 16):
        cpu.memory.put(at, at + 16, 0x1100, size=8)
    assert described(cpu, files, 1) == ([(0x1010, 0x8000)], "more than 1 frames")
    assert len(described(cpu, files, 10)[0]) == 10


def test_without_call_frame_information_there_is_no_call_frame_address(files: DebugFiles) -> None:
    cpu = Cpu(LONG64, 0x1010, Registers(rsp=0x8000))
    assert call_frame_address(cpu, files, innermost(cpu)) is None
