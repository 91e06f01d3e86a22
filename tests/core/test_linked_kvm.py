"""Breakpoints in code that is in memory, but not mapped yet: a kernel before it has made its page tables."""

from __future__ import annotations

from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.build import from_assembly
from kvmdbg.engine import stops
from tests.loaders.elf_images import EM_X86_64, FUNC, GLOBAL, ElfImage, Load

HIGH, LOW = 0xFFFFFFFF80100000, 0x100000
CODE = """
    mov rax, cr3
    mov rbx, [rax]
    mov [rax + 8*511], rbx
    and rbx, -4096
    mov rcx, [rbx]
    mov [rbx + 8*510], rcx
    lea rdx, [rip + func]
    call rdx
    mov rcx, 0xffffffff80000000
    add rdx, rcx
    call rdx
    hlt
func:
    inc esi
    ret
"""


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    code = from_assembly(CODE, tmp_path, mode="long", address=LOW)[0].read_bytes()
    func = HIGH + len(code) - 3
    elf = ElfImage(
        bits=64, machine=EM_X86_64, entry=LOW, loads=[Load(HIGH, code, physical=LOW)],
        symbols=[("func", func, 3, FUNC, GLOBAL, 1)],
    )  # fmt: skip
    path = tmp_path / "kernel.elf"
    path.write_bytes(elf.build())
    return path


@pytest.mark.parametrize("hold", ["auto", "planted", "stepping"])
def test_fires_at_the_address_that_it_was_set_on(kernel: Path, hold: str) -> None:
    with kvmdbg.open(kernel) as dbg:
        point = dbg.break_at("func")
        dbg.breakpoint_hold = hold
        stop = dbg.run(timeout=10)
        assert isinstance(stop, stops.BreakpointStop) and stop.pc == point.address > 1 << 63
        assert dbg.regs.rsi == 1  # the call by its low address was none of its business
        assert "trap" in point.held_by if hold == "planted" else True
        assert dbg.memory.read(stop.pc, 3) == b"\xff\xc6\xc3"
        assert not isinstance(dbg.run(timeout=10), stops.BreakpointStop) and dbg.regs.rsi == 2
