"""Firmware whose descriptors lie in ROM without accessed bits, which the CPU sets and the ROM does not keep."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.build import from_assembly
from kvmdbg.core.session import Session
from kvmdbg.engine.stops import BreakpointStop, HaltedStop

pytestmark = pytest.mark.kvm

LOW = 0xF0000
ROM = """
start:  cli
        mov ax, cs
        mov ds, ax
        lgdt [gdtr]
        mov eax, cr0
        or al, 1
        mov cr0, eax
        .byte 0x66, 0xea                # jmp 8:0xf0000+protected
        .long 0xf0000 + protected
        .word 8
        .code32
protected:
        mov ax, 16
        mov ds, ax
        mov es, ax
        mov esp, 0x7000
        sidt [0xf0000 + stored]
        mov byte ptr [0x6000], 'X'
halt:   hlt
        .balign 8
gdt:    .quad 0
        .quad 0x00cf9a000000ffff
        .quad 0x00cf92000000ffff
gdtr:   .word 23
        .long 0xf0000 + gdt
stored: .ascii "ABCDEF"
        .code16
        .org 0xfff0
        .byte 0xea, 0, 0, 0, 0xf0
        .org 0x10000
"""
INSTRUCTIONS = 15
"""Up to the hlt."""


@pytest.fixture(scope="module")
def rom(tmp_path_factory: pytest.TempPathFactory) -> str:
    flat, _ = from_assembly(ROM, tmp_path_factory.mktemp("rom"), address=0)
    return str(flat)


@pytest.fixture
def dbg(rom: str) -> Iterator[Session]:
    with kvmdbg.open(bios=rom) as session:
        yield session
        assert session.memory.read(LOW, 0x10000) == Path(rom).read_bytes()
        assert session.memory.read(0x6000, 1) == b"X"
        assert (session.regs.cs, session.regs.es, session.regs.esp) == (8, 16, 0x7000)


def test_it_gets_on(dbg: Session) -> None:
    stop = dbg.run(timeout=30)
    assert isinstance(stop, HaltedStop), stop.describe()


def test_steps_do_each_instruction_once(dbg: Session) -> None:
    places = []
    for _ in range(INSTRUCTIONS):
        stop = dbg.step()
        assert stop.reason == "step", stop.describe()
        places.append(dbg.regs.pc)
    assert len(set(places)) == INSTRUCTIONS
    assert isinstance(dbg.step(), HaltedStop)


def test_breakpoints_on_such_instructions_fire_once(dbg: Session) -> None:
    protected = LOW + Path(dbg.image.path).read_bytes().index(bytes.fromhex("66b81000"))
    points = [dbg.break_at(protected + n) for n in (0, 4, 6)]
    for point in points:
        stop = dbg.run(timeout=30)
        assert isinstance(stop, BreakpointStop) and stop.hits == (point,), stop.describe()
    assert isinstance(dbg.run(timeout=30), HaltedStop)
    assert [point.hits for point in points] == [1, 1, 1]
