"""RDMSR and WRMSR on the software engine: which MSRs there are, and who may see them."""

from __future__ import annotations

from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.build import from_assembly
from kvmdbg.engine import stops

HANDLERS = """
    mov word ptr [13 * 4], offset fault
    mov word ptr [1 * 4], offset trap
    mov sp, 0x7000
"""
FAULT = """
    hlt
fault:
    mov bp, 0x600d
    hlt
trap:
    inc di
    iret
"""


def opened(folder: Path, asm: str) -> kvmdbg.Session:
    from_assembly(HANDLERS + asm + FAULT, folder)
    return kvmdbg.open(folder / "guest.bin", engine="soft", serial="none", irqchip="none", machine="bare")


@pytest.mark.parametrize(
    "asm",
    [
        "mov ecx, 0x1234\nrdmsr",
        "mov ecx, 0x1234\nwrmsr",
        "mov ecx, 0xc0000080\nmov eax, 2\nxor edx, edx\nwrmsr",  # a reserved bit of EFER
        "mov ecx, 0xc0000100\nmov edx, 0x80000000\nwrmsr",  # FS_BASE, not canonical
        "mov ecx, 0xc0000103\nmov edx, 1\nwrmsr",  # TSC_AUX has 32 bits
        "mov ecx, 0x277\nmov eax, 2\nxor edx, edx\nwrmsr",  # PAT: no type of memory
        "mov ecx, 0x2ff\nmov eax, 0xc02\nxor edx, edx\nwrmsr",  # nor of an MTRR
        "mov ecx, 0x200\nmov eax, 7\nxor edx, edx\nwrmsr",
        "mov ecx, 0x250\nmov eax, 0x02060606\nxor edx, edx\nwrmsr",
        "mov ecx, 0xfe\nxor eax, eax\nxor edx, edx\nwrmsr",  # MTRRCAP is to be read alone
    ],
)
def test_what_no_msr_can_be_is_a_fault_at_the_instruction(tmp_path: Path, asm: str) -> None:
    with opened(tmp_path, asm) as dbg:
        assert isinstance(dbg.run(timeout=30), stops.HaltedStop)
        assert dbg.regs.bp == 0x600D
        fault = int.from_bytes(dbg.memory.read(dbg.regs.sp, 2), "little")
        assert dbg.memory.read(fault, 2)[:1] == b"\x0f"


def test_those_that_there_are_and_prefixes(tmp_path: Path) -> None:
    asm = (
        "mov ecx, 0x200\nmov eax, 0x12006\nxor edx, edx\nwrmsr\nxor eax, eax\n.byte 0x66\nrdmsr\nmov ebx, eax\n"
        "mov ecx, 0x10\nmov eax, 0x55\nmov edx, 7\nwrmsr\nrdmsr\nmov esi, edx\nmov ecx, 0x8b\nrdmsr"
    )
    with opened(tmp_path, asm) as dbg:
        assert isinstance(dbg.run(timeout=30), stops.HaltedStop)
        assert (dbg.regs.ebx, dbg.regs.esi) == (0x12006, 7)
        assert dbg.regs.bp != 0x600D and dbg.regs.eax == 0
        assert dbg.state_of.msr(0x200) == 0x12006
        dbg.state_of.set_msr(0x200, 0x5006)
        assert dbg.state_of.msr(0x200) == 0x5006


@pytest.mark.parametrize("alone", [False, True])
def test_catchpoints_stop_behind_the_instruction(tmp_path: Path, alone: bool) -> None:
    """Also where the code has been run before, and in steps."""
    with opened(tmp_path, "mov ecx, 0xc0000102\nagain: mov eax, 5\nxor edx, edx\nwrmsr\nrdmsr\njmp again") as dbg:
        assert isinstance(dbg.run(instructions=100), stops.LimitStop)
        dbg.catch("msr_write", **({} if alone else {"index": 0xC0000102}))
        stop = dbg.run(timeout=30)
        assert isinstance(stop, stops.CaughtStop), stop.describe()
        assert dbg.memory.read(dbg.regs.pc - 2, 2) == b"\x0f\x30"
        rdmsr = dbg.regs.pc
        dbg.step()
        assert dbg.regs.pc == rdmsr + 2 and dbg.regs.eax == 5


def test_it_is_an_instruction_like_others(tmp_path: Path) -> None:
    """Counted once, also where it is made while the guest runs; the guest's own EFLAGS.TF has its trap behind it."""
    made = "mov word ptr [here], 0x320f\njmp here\nhere: nop\nnop\ninc bx\n"
    traced = "xor di, di\npushf\npop ax\nor ax, 0x100\npush ax\npopf\nrdmsr\nnop\nxor ax, ax\npush ax\npopf\n"
    with opened(tmp_path, "mov ecx, 0x10\n" + made + traced) as dbg:
        assert isinstance(dbg.run(instructions=3 + 1 + 2 + 1), stops.LimitStop)
        assert dbg.regs.bx == 0
        dbg.step()
        assert dbg.regs.bx == 1
        assert isinstance(dbg.run(timeout=30), stops.HaltedStop)
        assert dbg.regs.di == 5  # rdmsr, nop, xor, push, popf


@pytest.mark.parametrize("instruction", ["rdmsr", "wrmsr"])
def test_a_breakpoint_in_a_register_stops_before_it(tmp_path: Path, instruction: str) -> None:
    from_assembly(f"mov ecx, 0x12345\nnop\n{instruction}\nhlt", tmp_path)
    with kvmdbg.open(tmp_path / "guest.bin", engine="soft", serial="none", irqchip="none", machine="bare") as dbg:
        dbg.set("breakpoint-hold", "register") if hasattr(dbg, "set") else None
        dbg.breakpoint_hold = "register"
        dbg.break_at(0x1000)
        dbg.break_at(0x1007)
        assert dbg.run(timeout=60).pc == 0x1000
        stop = dbg.run(timeout=60)
        assert stop.reason == "breakpoint"
        assert stop.pc == 0x1007


def test_one_under_a_breakpoint_s_trap_is_found_when_the_trap_is_out(tmp_path: Path) -> None:
    """Each run is a step then, of which unicorn tells no translation."""
    with opened(tmp_path, "mov ecx, 0x12345\nnop\nrdmsr\nmov bp, 1") as dbg:
        dbg.breakpoint_hold = "planted"
        places = (0x1000, 0x1006, 0x100C, 0x100F, 0x1015, 0x1016)
        for place in places:
            dbg.break_at(place)
        assert [dbg.run(timeout=60).pc for _ in places] == list(places)
        assert dbg.run(timeout=60).reason == "halted"
        assert dbg.regs.bp == 0x600D
