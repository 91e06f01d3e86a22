"""A machine that starts in firmware: a ROM of our own, below 4 GiB and below 1 MiB."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kvmdbg
from kvmdbg.build import from_assembly
from kvmdbg.core.session import Session
from kvmdbg.devices.lapic import LocalApic
from kvmdbg.engine.stops import BreakpointStop, HaltedStop, StepStop
from kvmdbg.errors import UsageError

pytestmark = pytest.mark.kvm

RESET = 0xFFFFFFF0
LOW, HIGH = 0xF0000, 0xFFFF0000
STORE = 14
"""Where the first write to ROM is."""

ROM = """
start:  mov ax, cs
        mov ds, ax
        xor dx, dx
        mov ss, dx
        mov sp, 0x7000
        cli
        nop
        nop
        mov byte ptr [0x100], 'X'
        mov byte ptr [0x101], 'Y'
        mov al, [0x100]
        push ax
        pop bx
        hlt
        .org 0x100
        .ascii "AB"
        .org 0xfff0
        .byte 0xea, 0, 0, 0, 0xf0
        .org 0x10000
"""


@pytest.fixture
def rom(tmp_path: Path) -> str:
    flat, _ = from_assembly(ROM, tmp_path, address=0)
    return str(flat)


@pytest.fixture
def dbg(rom: str) -> Iterator[Session]:
    with kvmdbg.open(bios=rom) as session:
        yield session


@pytest.fixture
def warnings(dbg: Session) -> list[str]:
    told: list[str] = []
    dbg.listeners.on_warning(told.append)
    return told


def test_it_starts_at_the_reset_vector(dbg: Session) -> None:
    assert (dbg.vcpu.pc, dbg.vcpu.cs_ip) == (RESET, (0xF000, 0xFFF0))
    (insn,) = dbg.disassemble(RESET, 1)
    assert insn.mnemonic == "ljmp"
    assert isinstance(dbg.step(), StepStop) and dbg.vcpu.pc == LOW
    assert dbg.memory.read(LOW, 16) == dbg.memory.read(HIGH, 16)


def test_breakpoints_lie_in_both_views(dbg: Session) -> None:
    first, second = dbg.break_at(f"*{RESET:#x}"), dbg.break_at(f"*{LOW + STORE:#x}")
    for point, pc in ((first, RESET), (second, LOW + STORE)):
        stop = dbg.run(timeout=10)
        assert isinstance(stop, BreakpointStop) and stop.breakpoints == (point,) and dbg.vcpu.pc == pc
    assert isinstance(dbg.run(timeout=10), HaltedStop)


def test_what_the_guest_writes_there_is_lost_and_told_once(dbg: Session, warnings: list[str]) -> None:
    assert isinstance(dbg.run(timeout=10), HaltedStop)
    assert dbg.memory.read(LOW + 0x100, 2) == b"AB" and dbg.regs.rax & 0xFF == ord("A")
    assert dbg.regs.rbx == dbg.regs.rax
    (told,) = warnings
    assert told.startswith(f"the instruction at {LOW + STORE:#x} wrote to ROM (1 byte at 0xf0100)")


def test_the_same_with_a_breakpoint_in_the_page(dbg: Session, warnings: list[str]) -> None:
    dbg.break_at(f"*{LOW + STORE + 5:#x}")
    assert isinstance(dbg.run(timeout=10), BreakpointStop)
    assert isinstance(dbg.step(), StepStop)
    assert isinstance(dbg.run(timeout=10), HaltedStop)
    assert dbg.memory.read(LOW + 0x100, 2) == b"AB" and len(warnings) == 1


def test_the_user_may_write_there_until_a_restart(dbg: Session, warnings: list[str]) -> None:
    dbg.memory.write(LOW + 0x100, b"u")
    assert isinstance(dbg.run(timeout=10), HaltedStop)
    assert dbg.regs.rax & 0xFF == ord("u")
    dbg.restart()
    assert dbg.vcpu.pc == RESET and dbg.memory.read(LOW + 0x100, 2) == b"AB"
    assert isinstance(dbg.run(timeout=10), HaltedStop) and dbg.regs.rax & 0xFF == ord("A")


def test_snapshots_have_it(dbg: Session, warnings: list[str], tmp_path: Path) -> None:
    here = str(tmp_path / "here")
    dbg.step()
    dbg.snapshots.save("here")
    dbg.snapshots.write("here", here)
    assert isinstance(dbg.run(timeout=10), HaltedStop)
    for name in ("here", dbg.snapshots.read(here, "file").name):
        dbg.snapshots.restore(name)
        assert dbg.vcpu.pc == LOW and isinstance(dbg.run(timeout=10), HaltedStop)


def test_an_image_besides_is_a_disk(rom: str, tmp_path: Path) -> None:
    sector = bytes(510) + b"\x55\xaa"
    (tmp_path / "floppy.img").write_bytes(sector + bytes(1440 * 1024 - 512))
    (tmp_path / "disk.img").write_bytes(sector + bytes(4 << 20))
    with kvmdbg.open(tmp_path / "floppy.img", bios=rom) as dbg:
        assert dbg.vcpu.pc == RESET and [one.name for one in dbg.machine.board.disks] == ["fd0"]
    with kvmdbg.open(tmp_path / "disk.img", bios=rom, disks=[str(tmp_path / "floppy.img")]) as dbg:
        assert dbg.machine.board.disks.hard_disks[0].path == str(tmp_path / "disk.img")


def test_an_image_that_is_no_disk_is_refused(rom: str, tmp_path: Path) -> None:
    (tmp_path / "flat.bin").write_bytes(b"\x90" * 100)
    with pytest.raises(UsageError, match=r"starts in the firmware .*, which boots disks: .*flat\.bin is none"):
        kvmdbg.open(tmp_path / "flat.bin", bios=rom)
    with pytest.raises(UsageError, match="which guest"):
        kvmdbg.open()


WAITS_FOR_THE_ACPI_TIMER = """
start:  cli
        xor dx, dx
        mov ss, dx
        mov sp, 0x7000
        mov eax, 0x80000b40     # 00:01.3, PMBA
        mov ebx, 0xb001
        call config
        mov eax, 0x80000b80     # PMREGMISC
        mov ebx, 1
        call config
        mov dx, 0xb008
        in eax, dx
        mov ebx, eax
wait:   in eax, dx
        mov ecx, eax
        sub eax, ebx
        and eax, 0xffffff
        cmp eax, 3580           # a millisecond
        jb wait
        hlt
config: mov dx, 0xcf8
        out dx, eax
        mov dl, 0xfc
        mov eax, ebx
        out dx, eax
        ret
        .org 0xfff0
        .byte 0xea, 0, 0, 0, 0xf0
        .org 0x10000
"""


def test_firmware_waits_by_the_acpi_timer(tmp_path: Path) -> None:
    flat, _ = from_assembly(WAITS_FOR_THE_ACPI_TIMER, tmp_path, address=0)
    with kvmdbg.open(flat, format="rom") as dbg:
        assert isinstance(dbg.run(timeout=10), HaltedStop)
        assert 3580 <= dbg.regs.rax < 3579545


COUNTS_APIC_TICKS = """
start:  cli
        xor cx, cx
        mov ss, cx
        mov sp, 0x7000
        cs lgdt [gdtr]
        mov eax, cr0
        or al, 1
        mov cr0, eax
        mov bx, 8
        mov ds, bx              # from here on all addresses, in real mode as well
        and al, 0xfe
        mov cr0, eax
        mov dword ptr [0x40 * 4], offset tick + 0xf0000000
        mov ebx, 0xfee00000
        mov dword ptr [ebx + 0xf0], 0x1ff
        mov dword ptr [ebx + 0x3e0], 0xb
        mov dword ptr [ebx + 0x320], 0x20040    # periodic
        mov dword ptr [ebx + 0x380], 50000000   # 50 ms: a tick's handler takes longer than 1 ms on slow machines
        sti
again:  hlt
        cmp cx, 5
        jb again
        mov dword ptr [ebx + 0x380], 0
        hlt                     # for good: interrupts are on, and none comes
tick:   inc cx
        mov dword ptr [ebx + 0xb0], 0
        iret
        .balign 8
gdt:    .quad 0, 0x00cf93000000ffff
gdtr:   .short 15
        .long 0xf0000 + gdt
        .org 0xfff0
        .byte 0xea, 0, 0, 0, 0xf0
        .org 0x10000
"""


def test_firmware_has_a_timer_in_its_local_apic(tmp_path: Path) -> None:
    flat, _ = from_assembly(COUNTS_APIC_TICKS, tmp_path, address=0)
    with kvmdbg.open(flat, format="rom") as dbg:
        started = time.monotonic()
        assert isinstance(dbg.run(timeout=10), HaltedStop)
        assert dbg.regs.rcx & 0xFFFF >= 5  # more where the machine is slow
        assert time.monotonic() - started >= 0.25
        (apic,) = (one for one in dbg.devices if isinstance(one, LocalApic))
        assert apic.details()["timer"] == "periodic, vector 0x40"


def test_only_firmware_with_controllers_of_ours_has_it(rom: str, tmp_path: Path) -> None:
    def has_apic(**options: Any) -> bool:
        with kvmdbg.open(**options) as dbg:
            return any(isinstance(one, LocalApic) for one in dbg.devices)

    assert has_apic(bios=rom)
    assert not has_apic(bios=rom, irqchip="none")
    assert not has_apic(bios=rom, irqchip="kernel")
    (tmp_path / "flat.bin").write_bytes(b"\xf4" * 100)
    assert not has_apic(path=tmp_path / "flat.bin")
